"""A model on a fake device with an exact clock, for bench/simulate.py.

A batch of n occupies the device for FIXED_S + ITEM_S * n. It ends at a moment that is known in
advance. Until shortly before it the thread sleeps; then it looks at the clock until that moment has
come, because a sleep may end late.

The variables of the environment: DEVICE_REPLICAS (0: in the worker), DEVICE_BATCH, DEVICE_WAIT_MS,
DEVICE_QUEUE.
"""

import os
import time

from carboy import Carboy

FIXED_S, ITEM_S = 0.020, 0.001
# A sleep ends this much before the batch does; meanwhile the thread spins.
SPIN_S = 0.0005

app = Carboy(__name__)


BATCH = int(os.environ.get("DEVICE_BATCH", "16"))


def occupy(size: int) -> None:
    ends_s = time.perf_counter() + FIXED_S + ITEM_S * size
    while (left_s := ends_s - time.perf_counter()) > 0:
        if left_s > SPIN_S:
            time.sleep(left_s - SPIN_S)


def many(number: list[int]) -> list[int]:
    occupy(len(number))
    return number


def one(number: int) -> int:
    occupy(1)
    return number


app.model(
    "/device",
    name="device",
    batch=BATCH,
    wait_ms=float(os.environ.get("DEVICE_WAIT_MS", "0")),
    queue=int(os.environ.get("DEVICE_QUEUE", "64")),
    replicas=int(os.environ.get("DEVICE_REPLICAS", "0")) or None,
    example=1,
)(many if BATCH > 1 else one)


@app.get("/")
def ready() -> str:
    return "ready"


@app.get("/counts")
def counts() -> dict:
    """Return how many batches of each size were computed, and how long that took together."""
    numbers = app.models["device"].statistics()
    return {"batch_sizes": numbers.batch_sizes, "computed_s": numbers.computed_s}
