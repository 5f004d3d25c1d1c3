"""Make the lines that the server logs when it is ready: URLs of the app, and where its logs go."""

from __future__ import annotations

import logging
import sys
import typing as t

from .management.workertopics import models_of

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed.wsgi import WSGIApplication

    from carboy.app import Carboy
    from carboy.observability.access import AccessLog
    from carboy.project import Project

    from .settings import Settings


def about(app: WSGIApplication, settings: Settings, access_log: AccessLog | None) -> list[str]:
    """Return the lines that tell the user about an app that is ready: its environment, the URLs of
    its models and its documentation, and where its logs go.
    """
    from carboy.core.dispatch import Dispatcher

    lines = []
    if isinstance(app, Dispatcher):
        carboy_app = t.cast("Carboy", app)
        # The app may have a config of a class other than `carboy.Config`, without `project`.
        project: Project | None = getattr(carboy_app.config, "project", None)
        if project is not None:
            lines.append(f"environment: {project.describe_environment()}")
        # `app.models` would load what models need, which other apps do without.
        if models := models_of(app):
            urls = (f"{settings.url}{model.rule}" for model in models.values())
            lines.append(f"models: {' '.join(urls)}")
        lines += _about_access(carboy_app)
        if (path := docs_path(carboy_app)) is not None:
            lines.append(f"docs: {settings.url}{path}")
    return [*lines, f"log: {where_log_goes(app)}; access log: {where_access_log_goes(access_log)}"]


def _about_access(app: Carboy) -> cabc.Iterator[str]:
    access = app.find_overrides().access
    if access is None:
        return
    if keys := access.describe_keys():
        yield f"API keys: {keys}"
    if access.has_rates():
        yield f"rate limits: {_who_counts()}"


def _who_counts() -> str:
    from carboy.access.tokensources import is_shared

    if is_shared():
        return "all workers count together"
    return "this process counts alone, because it has no supervisor"


def advice_on_other_flask(app: WSGIApplication) -> str:
    """Return a warning for the log if an extension of a carboy app imports the installed Flask
    instead of carboy; else "".
    """
    from carboy.core.dispatch import Dispatcher
    from carboy.core.otherflask import explain_use_by_extensions

    return explain_use_by_extensions(t.cast("Carboy", app)) if isinstance(app, Dispatcher) else ""


def advice_on_socketio(app: WSGIApplication, workers: int) -> str:
    """Return a warning for the log if an app uses Flask-SocketIO, and there are several workers;
    else "".
    """
    extensions = getattr(app, "extensions", None)
    if workers <= 1 or not isinstance(extensions, dict) or "socketio" not in extensions:
        return ""
    return (
        f"the app uses Socket.IO, and there are {workers} workers. Requests of one client"
        " may reach different workers, which do not know each other's clients: set --workers 1, or"
        ' let clients connect with {transports: ["websocket"]} and set a message_queue.'
    )


def docs_path(app: Carboy) -> str | None:
    """Return the URL path of the page that documents the app's API; None if it has no such page."""
    if not app._is_documentation_wanted():
        return None
    paths: list[str | None] = [app.config[f"OPENAPI_{name}_PATH"] for name in ("DOCS", "REDOC")]
    return next(filter(None, paths), None)


def where_log_goes(app: WSGIApplication) -> str:
    from carboy.observability.access import receivers

    name = getattr(app, "name", None)  # a WSGI application of another framework may lack `name`
    handlers = receivers(logging.getLogger(name if isinstance(name, str) else None))
    # Without any handler, the log goes to stderr, because Flask adds a handler for stderr to the
    # app's logger when the logger is first used.
    return describe(handlers) or "stderr"


def where_access_log_goes(access_log: AccessLog | None) -> str:
    if access_log is None:
        return "off (--access-log)"
    return f"{access_log.format}, to {describe(access_log.handlers())}"


def describe(handlers: cabc.Iterable[logging.Handler]) -> str:
    """Return the names of the files or streams to which log handlers write, such as "stderr,
    /var/log/shop.log".
    """
    return ", ".join(dict.fromkeys(map(_describe, handlers)))


def _describe(handler: logging.Handler) -> str:
    from carboy.observability.handlers import LineHandler
    from carboy.observability.setup import path_of

    if isinstance(handler, LineHandler):
        return path_of(handler) or "stderr"
    if isinstance(handler, logging.FileHandler):
        return handler.baseFilename
    stream = getattr(handler, "stream", None)
    names = {id(sys.stderr): "stderr", id(sys.stdout): "stdout"}
    return names.get(id(stream), type(handler).__name__)
