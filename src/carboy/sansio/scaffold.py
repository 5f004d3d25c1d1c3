"""Replaces `flask.sansio.scaffold`. The class is defined in `carboy.scaffold`."""

import typing as t

from ..core.flasknames import flask_names
from ..scaffold import Scaffold, _endpoint_from_view_func, _sentinel, find_package, setupmethod

__all__ = ["Scaffold", "_endpoint_from_view_func", "_sentinel", "find_package", "setupmethod"]

if not t.TYPE_CHECKING:
    __getattr__, __dir__ = flask_names(__name__)
