"""`TokenTimer`: asks for the next batch of a replica shortly before the current one is finished.

Otherwise a device has nothing to do from the end of a batch until its client has got the token and
sent the next batch. A client sends ahead only full batches, which a later token would not make
larger (`queue.state`).
"""

from __future__ import annotations

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
_SEEN = 9


class TokenTimer:
    """Writes the token of a replica before the end of a batch, if the durations of batches differ
    by less than that time: a batch that waits here could be computed by another replica.

    `begin` and `end` are called by one thread.
    """

    def __init__(self, tokens: TokenWriter) -> None:
        self._tokens = tokens
        #: The number of predictions in the latest batches, which is the same in all of them.
        self._size = 0
        self._durations_s: deque[float] = deque(maxlen=_SEEN)
        self._began_s = 0.0
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
        """Return how long a batch takes; 0 if that cannot be predicted. Two of the latest batches
        may have been exceptions.
        """
        if len(self._durations_s) < _SEEN:
            return 0.0
        _, shortest_s, *_, longest_s, _ = ordered = sorted(self._durations_s)
        return ordered[_SEEN // 2] if longest_s - shortest_s < _LEAD_S else 0.0

    def end(self) -> None:
        """Note that the batch is finished. The caller writes the token now, if it is not written
        already.
        """
        self._durations_s.append(monotonic() - self._began_s)
        if self._due_s is not None:
            with self._changed:
                self._due_s = None

    def _write_at(self, due_s: float) -> None:
        with self._changed:
            self._due_s = due_s
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="carboy tokens", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        with self._changed:
            while True:
                due_s = self._due_s
                left_s = None if due_s is None else due_s - monotonic()
                if left_s is None or left_s > 0:
                    self._changed.wait(left_s)
                else:
                    self._due_s = None
                    self._tokens.write()
