"""Why a prediction was not made: another branch of the tree in `carboy.errors`.

    CarboyError                          status  code                  also a
    ├── UnavailableError                 503     model-unavailable     RuntimeError
    │   ├── QueueFullError               503     queue-full
    │   ├── QueuedTooLongError           503     queued-too-long       TimeoutError
    │   ├── StuckError                   503     model-stuck
    │   └── ClosedError                  503     model-closed
    ├── DeadlineError                    504     deadline              TimeoutError
    ├── UnreadError                      408     stream-unread         TimeoutError
    ├── CancelledError                   499     cancelled             RuntimeError
    ├── AnswerError                      500     answer-invalid        TypeError
    └── CrashError                       500     prediction-crashed    RuntimeError

Anything that is 503 was not computed: to send it again is safe, and `retry_after_s` says when. 504
was being computed when its time was over. 499 is never sent: who cancels has gone.
"""

from __future__ import annotations

import typing as t

from carboy.errors import CarboyError


class UnavailableError(CarboyError, RuntimeError):
    """The model does not take this prediction now; nothing of it was computed."""

    status = 503
    code = "model-unavailable"

    def __init__(self, detail: str, *, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s


class QueueFullError(UnavailableError):
    """As many wait as may wait."""

    code = "queue-full"


class QueuedTooLongError(UnavailableError, TimeoutError):
    """The deadline passed before its turn came."""

    code = "queued-too-long"


class StuckError(UnavailableError):
    """`predict` has not come back from a batch whose last deadline is over."""

    code = "model-stuck"


class ClosedError(UnavailableError):
    """The model is being unloaded, or its server stops."""

    code = "model-closed"


class DeadlineError(CarboyError, TimeoutError):
    """The deadline passed while `predict` was computing. Its result will be dropped."""

    status = 504
    code = "deadline"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class UnreadError(CarboyError, TimeoutError):
    """A stream was given up because its reader did not read."""

    status = 408
    code = "stream-unread"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class CancelledError(CarboyError, RuntimeError):
    """Whoever asked does not want the answer any more."""

    status: t.ClassVar[int] = 499
    code = "cancelled"


class AnswerError(CarboyError, TypeError):
    """What `predict` returned is not one result per item. `of_items`: their number is wrong."""

    code = "answer-invalid"

    def __init__(self, detail: str, *, of_items: bool = False) -> None:
        super().__init__(detail)
        self.of_items = of_items


class CrashError(CarboyError, RuntimeError):
    """`predict` raised no `Exception`: `sys.exit`, or a panic of a library that is written in Rust.

    What it raised is the `__cause__`.
    """

    code = "prediction-crashed"
