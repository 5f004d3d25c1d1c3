"""Load the app in the process of a replica on a cluster."""

from __future__ import annotations

import typing as t

from ...cli import load_dotenv
from ...core.logmasking import mask_failed_threads
from ...helpers import get_load_dotenv
from .. import log
from . import debugmode
from .apploading import flush_each_line, install_as_flask_if_asked, load

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def load_on_cluster(target: str | None) -> WSGIApplication:
    """Import an app from the current folder, as a worker does. Its log goes to stderr, which the
    cluster keeps.
    """
    mask_failed_threads()
    log.configure()
    flush_each_line()
    install_as_flask_if_asked()
    if get_load_dotenv():
        load_dotenv()
    asked_by = debugmode.disable_in_environment()
    app = load(target)
    debugmode.disable(app, asked_by)
    log.configure_for_app(app, warn=log.logger.warning)
    return app
