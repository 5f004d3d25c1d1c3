"""`flask.sansio.app` by its path; there is one application class, in `carboy.app`."""

from ..app import Carboy as App

__all__ = ["App"]
