"""An app that runs the full dispatch for every request, for comparison with the fast path."""

from __future__ import annotations

import carboy


class Chained(carboy.Flask):
    """An app that never takes the fast path, because it overrides a method."""

    def full_dispatch_request(self) -> carboy.Response:
        return super().full_dispatch_request()
