"""Wait for a state that no event reports: a parked thread, a closed descriptor, a written file."""

from __future__ import annotations

import time
import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc

# How long a test waits for an event before it fails. Only a failing test waits that long, so the
# limit is generous: on a busy machine a thread or process may pause for seconds. Below the limit of
# 60 s of a whole test, so that the failure names the condition.
PATIENCE_S = 30.0


def wait_until(
    condition: cabc.Callable[[], object], *, pause_s: float = 0.005, within_s: float = PATIENCE_S
) -> None:
    """Return as soon as the condition is true; fail if it is not true in time.

    Args:
        condition: called again and again, on the calling thread.
        pause_s: the pause between two calls.
        within_s: how long to wait.
    """
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s, "the condition did not become true"
        time.sleep(pause_s)
