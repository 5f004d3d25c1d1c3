"""Replaces `flask.sansio.app`. The application class is defined in `carboy.app`."""

import typing as t

from ..app import Carboy as App
from ..core.flasknames import flask_names

__all__ = ["App"]

if not t.TYPE_CHECKING:
    __getattr__, __dir__ = flask_names(__name__)
