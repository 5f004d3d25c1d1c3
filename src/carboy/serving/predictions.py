"""Predictions that wait without a thread.

    POST --> limits --> its body arrives --> decoded --> the model's queue .. computes --> answered

Each arrow is a call on whatever thread brings the news: one of the engine's for the body, the
model's own for the answer. In between a prediction is an object and a socket. When its client
leaves, it is cancelled; if its batch does not compute by then, it never will.

Failures are rare, and what becomes of them (error handlers, signals, the log) is the app's: its
view is called with the failure, on a thread for views. So it is with answers where the app has
`after_request` functions. Only refusals that nobody else wants to see are answered from here, so
that a full queue is refused at once.
"""

from __future__ import annotations

import typing as t

from carboy.models.ways import is_listened_to, obstacle

from .frames import collect
from .log import logger
from .office import Office
from .prediction import Prediction

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from carboy.models.model import Model

    from .exchange import Exchange
    from .gateway_rsgi import RsgiGateway


def routes(app: t.Any, gateway: RsgiGateway) -> dict[str, cabc.Callable[[Exchange], object]]:
    """By path, what answers the POSTs to a model. Those with an obstacle are left to the app."""
    office = Office(app, gateway)
    found: dict[str, cabc.Callable[[Exchange], object]] = {}
    for model in app.models.values():
        reason = obstacle(app, model)
        if reason is None:
            found[model.rule] = Desk(model, office).take
        else:
            logger.info(
                "predictions of %r wait on a thread each (at most --threads): %s",
                model.name,
                reason,
            )
    return found


class Desk:
    """Takes the predictions of one model."""

    def __init__(self, model: Model, office: Office) -> None:
        assert model.site is not None
        self.model = model
        self.office = office
        self.batched = model.options.batch > 1
        self._max_body_bytes = model.site.max_body_bytes

    @property
    def max_body_bytes(self) -> int:
        limit = self._max_body_bytes()
        served = self.office.gateway.max_body_bytes
        return limit if served is None else min(limit, served)

    def take(self, exchange: Exchange) -> None:
        """Begin with a request, whose body may not be there yet."""
        office = self.office
        if is_listened_to():
            office.gateway.handle(exchange)
            return
        office.app._got_first_request = True
        prediction = Prediction(exchange, self)
        headers = exchange.headers
        length = headers.get("content-length")
        if "transfer-encoding" in headers:
            collect(
                exchange.protocol,
                self.max_body_bytes,
                office.gateway.patience,
                prediction,
                trailers="trailer" in headers,
            )
        elif length is None or length == "0":
            prediction.begin(b"")
        else:
            prediction.await_body(int(length))
