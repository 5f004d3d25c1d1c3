"""`TokenTimer`: asks for the next batch of a replica shortly before the current one is finished.

Otherwise a device has nothing to do from the end of a batch until its client has got the token and
sent the next batch. While a client has a batch in the replica, it sends only full batches, which a
later token would not make larger (`queue.state`).

A batch that was sent cannot be computed by another replica any more. So the timer is for versions
with one replica (`process.run_replica`), and writes the token at the end of the batch if that
cannot be predicted.
"""

from __future__ import annotations

import contextlib
import threading
import typing as t
from collections import deque
from time import monotonic

if t.TYPE_CHECKING:
    from .tokens import TokenWriter

# How long a client takes to get a token and send a full batch; measured: 0.3 to 0.5 ms.
_LEAD_S = 0.0005
# For shorter batches the timer would cost more than it gains.
_SHORTEST_S = 0.002
# The durations of so many batches of one size say how long the next one takes.
_DURATIONS = 9


class TokenTimer:
    """Writes the token of a replica `_LEAD_S` before the end of a batch, if the durations of
    batches differ by less than that.

    `begin` and `end` are called by one thread.
    """

    def __init__(self, tokens: TokenWriter) -> None:
        self._tokens = tokens
        #: The number of predictions in the latest batches, which is the same in all of them.
        self._size = 0
        self._durations_s: deque[float] = deque(maxlen=_DURATIONS)
        self._began_s = 0.0
        #: Guards `_due_s`, and is notified when that is set.
        self._changed = threading.Condition()
        self._due_s: float | None = None
        self._thread: threading.Thread | None = None

    def begin(self, size: int) -> None:
        """Note that a batch of this size is computed from now on."""
        self._began_s = monotonic()
        if size != self._size:
            self._size = size
            self._durations_s.clear()
        elif (expected_s := self._expected_s()) >= _SHORTEST_S:
            self._write_at(self._began_s + expected_s - _LEAD_S)

    def _expected_s(self) -> float:
        """Return how long a batch takes; 0 if that cannot be predicted. The shortest and the
        longest of the latest batches may be outliers.
        """
        if len(self._durations_s) < _DURATIONS:
            return 0.0
        _, shortest_s, *_, longest_s, _ = ordered = sorted(self._durations_s)
        return ordered[_DURATIONS // 2] if longest_s - shortest_s < _LEAD_S else 0.0

    def end(self) -> None:
        """Note that the batch is finished. The caller writes the token now, if it is not written
        already.
        """
        self._durations_s.append(monotonic() - self._began_s)
        with self._changed:
            self._due_s = None

    def _write_at(self, due_s: float) -> None:
        with self._changed:
            self._due_s = due_s
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="carboy tokens", daemon=True)
            # If the system allows no further thread, tokens are written at the end of batches.
            with contextlib.suppress(RuntimeError):
                self._thread.start()

    def _run(self) -> None:
        with self._changed:
            while True:
                self._changed.wait(self.write_if_due())

    def write_if_due(self) -> float | None:
        """Write the token if it is due; return in how many seconds it is, None if that is unknown.
        The caller holds the lock.
        """
        if self._due_s is None:
            return None
        left_s = self._due_s - monotonic()
        if left_s > 0:
            return left_s
        self._due_s = None
        self._tokens.write()
        return None
