"""An app that calls every step of handling a request, for comparison with the fast path."""

from __future__ import annotations

import carboy


class Chained(carboy.Flask):
    """An app that never takes the fast path, because a method of it is the user's."""

    def full_dispatch_request(self) -> carboy.Response:
        return super().full_dispatch_request()
