"""Match URLs to rules, with the results of Werkzeug's `Map` but faster.

A matcher is compiled from the rules of a map. It recognises ordinary paths; Werkzeug matches all
others. `map` decides when the matcher must be compiled again, and `matcher` matches a path.
`tables` builds dicts for the usual rules, and `tree` converts Werkzeug's state machine into a form
that is fast to traverse.
"""

from __future__ import annotations

from .map import Map as Map
from .map import adopt as adopt

__all__ = ["Map", "adopt"]
