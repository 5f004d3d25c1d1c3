"""URL matching: Werkzeug's `Map` stays the truth, a compiled matcher answers the ordinary case."""

from __future__ import annotations

from .map import Map as Map
from .map import adopt as adopt

__all__ = ["Map", "adopt"]
