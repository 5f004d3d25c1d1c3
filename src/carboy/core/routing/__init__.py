"""Match URLs to rules. Werkzeug's `Map` is the reference; a compiled matcher is used if possible.

`map` decides when the matcher is out of date, and `matcher` matches a path. `tables` has dicts for
the usual rules, and `tree` has Werkzeug's state machine in a form that is fast to traverse.
"""

from __future__ import annotations

from .map import Map as Map
from .map import adopt as adopt

__all__ = ["Map", "adopt"]
