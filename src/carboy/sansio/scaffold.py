"""Alias for `flask.sansio.scaffold`. The class is in `carboy.scaffold`."""

from ..scaffold import Scaffold, _endpoint_from_view_func, _sentinel, find_package, setupmethod

__all__ = ["Scaffold", "_endpoint_from_view_func", "_sentinel", "find_package", "setupmethod"]
