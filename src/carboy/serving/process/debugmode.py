"""Debug mode is off in production, whoever asks for it: it skips the handlers of 500 and compares
the time of each template's file on each request.
"""

from __future__ import annotations

import os
import typing as t

from ...config import get_env
from ...helpers import get_debug_flag

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_VARIABLES = ("CARBOY_DEBUG", "FLASK_DEBUG")


def disable_in_environment() -> str:
    """Switch debug mode off for the apps that this process creates from now on.

    Returns:
        What asked for debug mode, such as "FLASK_ENV=development"; "" if nothing did.
    """
    if not get_debug_flag():
        return ""
    # The option --debug has set these variables, too, so that the two cannot be told apart.
    asked = any(os.environ.get(name) for name in _VARIABLES)
    variable = "CARBOY_ENV" if os.environ.get("CARBOY_ENV") else "FLASK_ENV"
    asked_by = "--debug or FLASK_DEBUG" if asked else f"{variable}={get_env()}"
    for name in _VARIABLES:
        os.environ[name] = "0"
    return asked_by


def disable(app: WSGIApplication, asked_by: str = "") -> str:
    """Switch debug mode of an app off.

    Args:
        app: the application.
        asked_by: what `disable_in_environment` returned before the app was created.

    Returns:
        A sentence for the log that says who asked for debug mode; "" if nobody did.
    """
    if getattr(app, "debug", False):  # other WSGI applications may lack the attribute
        app.debug = False  # type: ignore[attr-defined]
        asked_by = "the app"
    if not asked_by:
        return ""
    return (
        f"debug mode is off, although {asked_by} asks for it: this server is for production. For"
        " debugging use 'carboy run --debug'"
    )
