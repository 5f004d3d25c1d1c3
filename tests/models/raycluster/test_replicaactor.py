"""What the actor of a replica does with a model that fails. Ray itself is replaced."""

import sys
import types
from collections import abc as cabc

from carboy.models.model import Model
from carboy.models.raycluster.messages import BATCH, END, ITEM, join, split_parcel
from carboy.models.replicas.batches import decode_failure, pack_batch

WANT = {"version": "", "source": "", "has_check": False, "device_lock": False, "devices": []}


def leave(n: int) -> cabc.Iterator[int]:
    """Yield one item, and end the process; also when it is closed."""
    try:
        yield n
        sys.exit("over")
    finally:
        raise SystemExit("closed")


def test_a_stream_that_ends_the_process_fails_alone(without_ray):
    module = without_ray("carboy.models.raycluster.replicaactor")
    model = Model("leave", "/leave", leave)
    computer = module._Computer(model, types.SimpleNamespace(want=WANT))
    meta, packer = pack_batch([{"n": 7}])
    sent = list(computer.stream(join(BATCH, meta, packer.buffers), lambda: False, lambda: None))
    kinds = [split_parcel(each).kind for each in sent]
    assert kinds == [ITEM, END]
    failure = decode_failure(split_parcel(sent[-1]).meta)
    assert isinstance(failure, SystemExit)
