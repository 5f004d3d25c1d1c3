"""Alias for `flask.sansio.app`. The application class is in `carboy.app`."""

from ..app import Carboy as App

__all__ = ["App"]
