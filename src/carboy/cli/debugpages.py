"""Keep known secrets out of the tracebacks of Werkzeug's debugger and development server."""

from __future__ import annotations

import typing as t
from functools import wraps

from ..core.logmasking import get_masked_logger
from ..core.masking import mask_known, mask_text

# The page as a whole contains a secret of its own, with which the browser proves that it has the
# page. So only known secrets are masked there, and all others in the tracebacks within it.
_RENDERERS = {
    "render_debugger_html": mask_known,
    "render_traceback_html": mask_text,
    "render_traceback_text": mask_text,
}


def mask_tracebacks() -> None:
    """Mask secrets wherever Werkzeug shows a traceback: on the debugger's page, and in the log.

    The methods that render tracebacks are replaced, because Werkzeug has no other place for this.
    What somebody evaluates in the debugger's console is shown as it is.
    """
    from werkzeug.debug.tbtools import DebugTraceback

    get_masked_logger("werkzeug")
    for name, mask in _RENDERERS.items():
        render = getattr(DebugTraceback, name)
        if not hasattr(render, "__wrapped__"):
            setattr(DebugTraceback, name, _masking(render, mask))


def _masking(render: t.Callable[..., str], mask: t.Callable[[str], str]) -> t.Callable[..., str]:
    @wraps(render)
    def render_without_secrets(*args: t.Any, **kwargs: t.Any) -> str:
        return mask(render(*args, **kwargs))

    return render_without_secrets
