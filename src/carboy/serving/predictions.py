"""Predictions that wait without a thread.

    POST --> limits --> its body arrives --> decoded --> the model's queue .. computes --> answered

Each arrow is a call on whatever thread brings the news: the one that leads for the body, and that
or the model's own for the answer. In between a prediction is an object and a socket. When its
client leaves, it is cancelled; if its batch does not compute by then, it never will.

Failures are rare, and what becomes of them (error handlers, signals, the log) is the app's: its
view is called with the failure, on a thread for views. So it is with answers where the app has
`after_request` functions. Only refusals that nobody else wants to see are answered from here, so
that a full queue is refused at once.
"""

from __future__ import annotations

import typing as t
from collections import deque
from functools import cached_property, partial

from carboy.models.view import measured
from carboy.models.ways import has_last_word, is_heard, is_listened_to, obstacle

from .http.head import Head
from .log import logger
from .office import Office
from .prediction import Prediction

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from carboy.models.answers import Answer
    from carboy.models.forms import Arguments
    from carboy.models.model import Model
    from carboy.models.queue.ticket import Ticket

    from .http.exchange import Exchange
    from .wsgi.gateway import Gateway

# What takes longer is computed beside the thread that leads, which reads on meanwhile. To wake
# another thread takes 10 to 100 us, the longest where a virtual processor had nothing to do.
QUICK_S = 0.0005


def routes(app: t.Any, gateway: Gateway) -> dict[str, cabc.Callable[[Exchange], object]]:
    """By path, what answers the POSTs to a model. Those with an obstacle are left to the app."""
    office = Office(app, gateway)
    found: dict[str, cabc.Callable[[Exchange], object]] = {}
    for model in app.models.values():
        reason = obstacle(app, model)
        if reason is None:
            found[model.rule] = Desk(model, office).admit
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
        self._largest = model.options.batch
        limit, served = model.site.max_body_bytes(), office.gateway.limits.body_bytes
        self.max_body_bytes = limit if served is None else min(limit, served)
        self._round: deque[tuple[Arguments, Prediction]] = deque()
        self._ends = False  # its end was asked for
        self._known: tuple[t.Any, Head | None] = None, None

    def admit(self, exchange: Exchange) -> None:
        """The head of a request is there; its body is collected, if it may be so long."""
        if is_listened_to():
            self.office.gateway.admit_to_view(exchange)
            return
        length, limit = exchange.length or 0, self.max_body_bytes
        exchange.limit = limit
        exchange.taker = self.take
        limits = self.office.gateway.limits
        exchange.patience_s = limits.buffered_body_s(None if exchange.chunked else length)
        if length > limit:
            exchange.intake, exchange.fault = "nothing", "long"
        elif length > limits.buffered_body_bytes or exchange.chunked:
            # As it comes: who announces much and sends nothing takes no room from others.
            exchange.claim = partial(self.office.hold, exchange)

    def take(self, exchange: Exchange) -> None:
        """Begin with a request whose body is there, or cannot be had."""
        app = self.office.app
        if not app._got_first_request:
            app._got_first_request = True
        prediction = Prediction(exchange, self)
        if exchange.fault is None:
            prediction.begin(exchange.body())
        else:
            prediction.refuse()

    # --- answers -------------------------------------------------------------------------------

    def app_has_last_word(self, exchange: Exchange) -> bool:
        """Whether the app has something to do to any answer to this request."""
        if self._app_has_last_word or is_heard():
            return True
        cookie = exchange.headers.get("HTTP_COOKIE")
        # A permanent session is sent again with each answer.
        return cookie is not None and self.office.app._session_needs_refresh(
            {"HTTP_COOKIE": cookie}
        )

    @cached_property
    def _app_has_last_word(self) -> bool:
        # PERF: 0.4 us per prediction. The app's functions are fixed once it has had a request.
        return has_last_word(self.office.app, self.model)

    def head(self, answer: Answer, ticket: Ticket) -> Head:
        """That of an answer with 200.

        PERF: those who came in one round, and were computed in one batch, have the same: 2 us each.
        """
        key = ticket.arrived_s, ticket.began_s, answer.media_type, answer.headers
        known, head = self._known
        if head is None or known != key:
            fields = [("Content-Type", answer.media_type), *answer.headers, *measured(ticket)]
            head = Head("200 OK", fields)
            self._known = key, head
        return head

    # --- batches -------------------------------------------------------------------------------

    def submit(self, arguments: Arguments, prediction: Prediction, *, at_once: bool) -> None:
        """Let it wait for its turn, with those that come in the same round, or at once.

        Rounds are the leader's: another thread has none.
        """
        if at_once:
            self._begin([(arguments, prediction)])
            return
        round_ = self._round
        round_.append((arguments, prediction))
        if not self._ends:
            self._ends = True
            self.office.gateway.call_after_round(self._end_round)
        if len(round_) == self._largest:
            self._end_round()  # it can be computed while the rest is read

    def _end_round(self) -> None:
        # A leader that was relieved amid its turn may be here beside the one that leads now: what
        # is put in from now on is either taken here or makes another end.
        self._ends = False
        round_ = []
        try:
            while self._round:
                round_.append(self._round.popleft())
        except IndexError:  # the other took the last
            pass
        if round_:
            self._begin(round_)

    def _begin(self, round_: list[tuple[Arguments, Prediction]]) -> None:
        tickets: cabc.Sequence[Ticket | Exception]
        try:
            tickets = self.model.begin_all(round_, on_done=self._done)
        except Exception as exc:  # noqa: BLE001  # "can't start new thread": each is told
            tickets = [exc] * len(round_)
        for (_, prediction), ticket in zip(round_, tickets, strict=True):
            prediction.began(ticket)
        self.model.compute_quickly(QUICK_S)

    def _done(self, tickets: list[Ticket]) -> None:
        """On the thread that computed them, or that gave them up."""
        if len(tickets) == 1 or self.office.gateway.leads():
            self._answer(tickets)
        else:
            # The leader reads what these clients send next: beside it, this thread would have to
            # wait for the interpreter's lock once for each answer.
            self.office.gateway.call(partial(self._answer, tickets))

    def _answer(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            ticket.client.answer(ticket)
