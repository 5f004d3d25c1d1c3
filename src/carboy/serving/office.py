"""What the predictions of one app share: the bound on bodies, who refuses, who writes answers."""

from __future__ import annotations

import typing as t
from _thread import allocate_lock
from functools import cached_property

from carboy.models.ways import blueprints_of, handles_errors_itself, has_last_word
from carboy.problems import Problem

if t.TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from carboy.models.model import Model

    from .exchange import Exchange
    from .gateway_rsgi import RsgiGateway

# Bodies beyond AT_ONCE_BYTES that are held at the same time, until they are decoded. One more is
# refused: ten of the largest, or a hundred photographs.
HELD_BYTES = 320 * 1024 * 1024
# Pictures, arrays and tables are written beside the model, not by its thread.
WRITERS = 4


class Office:
    """What the models of one app share."""

    def __init__(self, app: t.Any, gateway: RsgiGateway) -> None:
        self.app = app
        self.gateway = gateway
        self._held_bytes = 0
        self._lock = allocate_lock()

    @cached_property
    def writers(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(WRITERS, "answers")

    def hold(self, size_bytes: int) -> bool:
        """Count a large body in; False if there are too many."""
        with self._lock:
            if self._held_bytes + size_bytes > HELD_BYTES:
                return False
            self._held_bytes += size_bytes
            return True

    def release(self, size_bytes: int) -> None:
        with self._lock:
            self._held_bytes -= size_bytes

    def refuse(
        self, exchange: Exchange, model: Model, problem: Problem, *, unread: bool = False
    ) -> None:
        """Answer with a problem, by the app if that has a handler for it or a last word.

        Args:
            exchange: the request.
            model: for which it is.
            problem: what to answer.
            unread: the body has not been read.
        """
        if not self.wants(exchange, model, problem):
            self.answer(exchange, problem, unread=unread)
        elif unread:
            exchange.outcome = problem
            self.gateway.take_slot_unread(exchange)
        else:
            self.leave_to_app(exchange, problem)

    def wants(self, exchange: Exchange, model: Model, problem: Problem) -> bool:
        """Whether the app has something to do to a refusal."""
        app = self.app
        return (
            app._find_error_handler(problem, blueprints_of(model)) is not None
            or handles_errors_itself(app)
            or self.has_last_word(exchange, model)
        )

    def has_last_word(self, exchange: Exchange, model: Model) -> bool:
        """Whether the app has something to do to any answer to this request."""
        app = self.app
        if has_last_word(app, model):
            return True
        cookie = exchange.headers.get("cookie")
        # A permanent session is sent again with each answer.
        return cookie is not None and app._session_needs_refresh({"HTTP_COOKIE": cookie})

    def answer(self, exchange: Exchange, problem: Problem, *, unread: bool = False) -> None:
        """Answer with a problem that concerns nobody else."""
        status, body = problem.code or 500, problem.get_body().encode()
        if unread:
            self.gateway.refuse(exchange, status, problem.get_headers(), body)
        else:
            self.gateway.answer(exchange, status, problem.get_headers(), body)

    def leave_to_app(self, exchange: Exchange, outcome: t.Any) -> None:
        """Let its view answer for what became of a prediction: a ticket, or what it failed with."""
        exchange.outcome = outcome
        self.gateway.hand_over(exchange)


def busy() -> Problem:
    return Problem(
        503,
        "The server reads too many large bodies just now.",
        code="bodies-full",
        headers=[("Retry-After", "1")],
    )
