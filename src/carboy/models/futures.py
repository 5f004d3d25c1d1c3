"""Predictions as `concurrent.futures.Future`, for which scripts and asyncio know how to wait."""

from __future__ import annotations

import typing as t
from concurrent.futures import Future

if t.TYPE_CHECKING:
    from .queue.scheduler import Scheduler
    from .queue.ticket import Ticket


class Prediction(Future[t.Any]):
    """The answer of one prediction, later. `cancel` works until its batch computes."""

    _cancel_ticket: t.Callable[[], bool]

    @classmethod
    def begin(cls, scheduler: Scheduler, item: t.Any) -> Prediction:
        future = cls()
        ticket = scheduler.submit(item, deadline_s=None, on_done=future._take)
        future._cancel_ticket = lambda: not ticket.batch_size and scheduler.cancel(ticket)
        return future

    def cancel(self) -> bool:
        return super().cancel() if self.cancelled() or self._cancel_ticket() else False

    def _take(self, tickets: list[Ticket]) -> None:
        from ..errors import CancelledError

        (ticket,) = tickets
        if isinstance(ticket.value, CancelledError):
            super().cancel()
            self.set_running_or_notify_cancel()  # tells `wait` and `as_completed`
        elif not self.set_running_or_notify_cancel():
            return
        elif isinstance(ticket.value, BaseException):
            self.set_exception(ticket.value)
        else:
            self.set_result(ticket.value)
