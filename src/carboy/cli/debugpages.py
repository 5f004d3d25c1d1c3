"""Keep known secrets out of the tracebacks of Werkzeug's debugger and development server."""

from __future__ import annotations

import typing as t
from functools import wraps

from ..core.logmasking import get_masked_logger
from ..core.masking import mask_text

_RENDERERS = ("render_debugger_html", "render_traceback_html", "render_traceback_text")


def mask_tracebacks() -> None:
    """Mask secrets wherever Werkzeug shows a traceback: on the debugger's page, and in the log.

    The methods that render tracebacks are replaced, because Werkzeug has no other place for this.
    What somebody evaluates in the debugger's console is shown as it is.
    """
    from werkzeug.debug.tbtools import DebugTraceback

    get_masked_logger("werkzeug")
    for name in _RENDERERS:
        render = getattr(DebugTraceback, name)
        if not hasattr(render, "__wrapped__"):
            setattr(DebugTraceback, name, _masking(render))


def _masking(render: t.Callable[..., str]) -> t.Callable[..., str]:
    @wraps(render)
    def render_without_secrets(*args: t.Any, **kwargs: t.Any) -> str:
        return mask_text(render(*args, **kwargs))

    return render_without_secrets
