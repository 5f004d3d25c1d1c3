"""Replaces `flask.sansio.blueprints`. The classes are defined in `carboy.blueprints`."""

import typing as t

from ..blueprints import Blueprint, BlueprintSetupState, DeferredSetupFunction
from ..core.flasknames import flask_names

__all__ = ["Blueprint", "BlueprintSetupState", "DeferredSetupFunction"]

if not t.TYPE_CHECKING:
    __getattr__, __dir__ = flask_names(__name__)
