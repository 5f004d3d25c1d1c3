"""`flask.sansio.blueprints` by its path; the classes are in `carboy.blueprints`."""

from ..blueprints import Blueprint, BlueprintSetupState, DeferredSetupFunction

__all__ = ["Blueprint", "BlueprintSetupState", "DeferredSetupFunction"]
