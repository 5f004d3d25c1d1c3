"""Notice an app that a server runs in a sub-interpreter, where NumPy and most libraries for models
are not supported. They keep Python objects in C variables, of which a process has one for all its
interpreters, or call Python by the functions `PyGILState_*`, which use the main interpreter: such a
call waits for ever.

mod_wsgi gives each app an interpreter of its own, uWSGI each app but the first.
"""

from __future__ import annotations

import importlib
import sys
import typing as t

from ..errors import ServingError

if t.TYPE_CHECKING:
    from ..sansio.app import App

# The server's module, which it adds to `sys.modules` -> the setting that makes the server use the
# main interpreter, and where it belongs.
_REMEDIES = {
    "mod_wsgi": "'WSGIApplicationGroup %{GLOBAL}' to Apache's configuration of this app, below its"
    " WSGIScriptAlias ('carboy apache --mod-wsgi' writes one)",
    "uwsgi": "'single-interpreter = true' to uWSGI's configuration",
}
# Libraries that do not support sub-interpreters, and that load most of the others.
_UNSUITED = ("numpy", "torch", "tensorflow", "onnxruntime")


def refuse_model(owner: str) -> None:
    """Raise ServingError in a sub-interpreter, because nobody can know whether a model works there
    before it hangs.
    """
    remedy = _remedy()
    if remedy:
        raise ServingError(
            f"{owner}: the server runs this app in a sub-interpreter, where NumPy and other"
            f" libraries for models hang or crash. Add {remedy}, and restart the server."
        )


def warn_of_libraries(app: App) -> None:
    """Log a warning if this is a sub-interpreter, and a library is imported that does not work
    there. Flask does not refuse such an app, because it may work.
    """
    found = [name for name in _UNSUITED if name in sys.modules]
    remedy = found and _remedy()
    if remedy:
        app.logger.warning(
            "The server runs this app in a sub-interpreter, where %s may hang or crash. Add %s, and"
            " restart the server.",
            " and ".join(found),
            remedy,
        )


def _remedy() -> str:
    """Return which setting of the server makes it use the main interpreter, or "" if this is the
    main interpreter, or a server that uses no other one.
    """
    remedy = next((text for name, text in _REMEDIES.items() if name in sys.modules), "")
    return remedy if remedy and _in_subinterpreter() else ""


def _in_subinterpreter() -> bool:
    name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    interpreters = importlib.import_module(name)
    return bool(interpreters.get_current() != interpreters.get_main())
