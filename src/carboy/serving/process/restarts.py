"""When a worker that died is started again. No clock, no process: the caller brings times."""

from __future__ import annotations

# A worker that served this long is taken to have died of a request, not of its start.
STEADY_S = 10.0
FIRST_DELAY_S = 0.5
MOST_DELAY_S = 30.0


class Restarts:
    """The waits before one worker's starts: none, then longer each time that it dies young."""

    def __init__(self) -> None:
        self._deaths_in_a_row = 0

    def delay_s(self, lived_s: float) -> float:
        """Count a death after `lived_s` seconds; the seconds to wait before the next start."""
        if lived_s >= STEADY_S:
            self._deaths_in_a_row = 0
        delay_s = 0.0
        if self._deaths_in_a_row:
            delay_s = min(FIRST_DELAY_S * 2 ** min(self._deaths_in_a_row - 1, 16), MOST_DELAY_S)
        self._deaths_in_a_row += 1
        return delay_s
