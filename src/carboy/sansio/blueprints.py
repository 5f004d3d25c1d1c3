"""Alias for `flask.sansio.blueprints`. The classes are in `carboy.blueprints`."""

from ..blueprints import Blueprint, BlueprintSetupState, DeferredSetupFunction

__all__ = ["Blueprint", "BlueprintSetupState", "DeferredSetupFunction"]
