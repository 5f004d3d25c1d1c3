"""What the predictions of one app share: the bound on bodies, who refuses, who writes answers."""

from __future__ import annotations

import typing as t
from _thread import allocate_lock
from functools import cached_property

from carboy.core.problems import Problem
from carboy.models.ways import OUTCOME, blueprints_of, handles_errors_itself

if t.TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from .http.exchange import Exchange
    from .predictions import Desk
    from .wsgi.gateway import Gateway

# Pictures, arrays and tables are written beside the model, not by its thread.
WRITERS = 4


class Office:
    """What the models of one app share."""

    def __init__(self, app: t.Any, gateway: Gateway) -> None:
        self.app = app
        self.gateway = gateway
        self._held_bytes = 0
        self._lock = allocate_lock()

    @cached_property
    def writers(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(WRITERS, "answers")

    def hold(self, exchange: Exchange, size_bytes: int) -> bool:
        """Count a body with all others, if it is a large one; False if they are too many."""
        limits = self.gateway.limits
        if size_bytes <= limits.buffered_body_bytes:
            return True
        with self._lock:
            more = size_bytes - exchange.held_bytes
            if self._held_bytes + more > limits.held_bodies_bytes:
                return False
            self._held_bytes += more
        exchange.held_bytes = size_bytes
        exchange.release = self.release
        return True

    def release(self, exchange: Exchange) -> None:
        """It is decoded, or will not be."""
        with self._lock:
            self._held_bytes -= exchange.held_bytes
        exchange.held_bytes = 0

    def refuse(self, exchange: Exchange, desk: Desk, problem: Problem) -> None:
        """Answer with a problem, by the app if that has a handler for it or a last word."""
        if not self.wants(exchange, desk, problem):
            self.answer(exchange, problem)
        else:
            self.leave_to_app(exchange, problem)

    def wants(self, exchange: Exchange, desk: Desk, problem: Problem) -> bool:
        """Whether the app has something to do to a refusal."""
        app = self.app
        return (
            app._find_error_handler(problem, blueprints_of(desk.model)) is not None
            or handles_errors_itself(app)
            or desk.app_has_last_word(exchange)
        )

    def answer(self, exchange: Exchange, problem: Problem) -> None:
        """Answer with a problem that concerns nobody else."""
        status, body = problem.code or 500, problem.get_body().encode()
        exchange.respond(status, problem.get_headers(), body)

    def leave_to_app(self, exchange: Exchange, outcome: t.Any) -> None:
        """Let its view answer for what became of a prediction: a ticket, or what it failed with."""
        exchange.extra = {OUTCOME: outcome}
        self.gateway.hand_over(exchange)


def busy() -> Problem:
    return Problem(
        503,
        "The server reads too many large bodies just now.",
        code="bodies-full",
        headers=[("Retry-After", "1")],
    )
