"""URL matching: Werkzeug's `Map` is the reference, a compiled matcher handles ordinary requests.

`map` decides when the matcher is out of date, `matcher` matches, `tables` and `tree` are the data
that it uses: dicts for the common rules, and Werkzeug's state machine in a form that is fast to
walk.
"""

from __future__ import annotations

from .map import Map as Map
from .map import adopt as adopt

__all__ = ["Map", "adopt"]
