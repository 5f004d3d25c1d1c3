"""Switch debug mode off under the production server, even if an option, a variable or the app asks
for it.

In debug mode, an app does not call its error handlers for 500, and on each request looks whether
the files of templates have changed, which is slow.
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
        The option or variable that asked for debug mode, such as "FLASK_ENV=development"; "" if
        debug mode was off.
    """
    if not get_debug_flag():
        return ""
    # Either the user has set one of these variables, or the option --debug has set them. Which of
    # the two is not known here, so that the log names both.
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
        A sentence for the log that says what asked for debug mode, and that it is off; "" if
        nothing asked for it.
    """
    if getattr(app, "debug", False):  # a WSGI application of another framework may lack `debug`
        app.debug = False  # type: ignore[attr-defined]
        asked_by = "the app"
    if not asked_by:
        return ""
    return (
        f"debug mode is off, although {asked_by} asks for it: this server is for production. For"
        " debugging use 'carboy run --debug'"
    )
