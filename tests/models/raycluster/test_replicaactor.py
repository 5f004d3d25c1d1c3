"""What the actor of a replica does with batches that come as calls of Ray, which is replaced."""

import os
import sys
import threading
import types
from collections import abc as cabc

import pytest
from polling import PATIENCE_S, wait_until

from carboy.models.model import Model
from carboy.models.options import Options
from carboy.models.raycluster.messages import join, split_parcel
from carboy.models.raycluster.nodesocket import NodeConnections, NodeListener
from carboy.models.replicas.batches import BatchFormat, ResultReader, decode_failure, pack_batch
from carboy.models.replicas.frames import (
    BATCH,
    END,
    FAILED,
    ITEM,
    RESULTS,
    STALE,
    ConnectionLost,
    FrameSocket,
)
from carboy.models.replicas.replicaconnection import receive

WANT = {"version": "", "source": "", "has_check": False, "device_lock": False, "devices": []}


@pytest.fixture
def computer(without_ray):
    """A function that returns what computes the batches of a model in an actor."""
    module = without_ray("carboy.models.raycluster.replicaactor")
    made = []

    def make(predict, name="replica-test", **options):
        model = Model("m", "/m", predict, Options(**options))
        made.append(module._Computer(model, types.SimpleNamespace(want=WANT), name))
        return made[-1]

    yield make
    for each in made:
        each.refuse()
        each.close()


def batch_of(*entries):
    meta, packer = pack_batch(entries)
    return join(BATCH, meta, packer.buffers)


def test_a_stream_that_ends_the_process_fails_alone(computer):
    def leave(n: int) -> cabc.Iterator[int]:
        """Yield one item, and end the process; also when it is closed."""
        try:
            yield n
            sys.exit("over")
        finally:
            raise SystemExit("closed")

    sent = list(computer(leave).stream(batch_of({"n": 7}), lambda: False))
    kinds = [split_parcel(each).kind for each in sent]
    assert kinds == [ITEM, END]
    failure = decode_failure(split_parcel(sent[-1]).meta)
    assert isinstance(failure, SystemExit)


class Counting:
    """A model that yields numbers.

    Attributes:
        closed: set when a generator was closed before its end.
    """

    closed: threading.Event

    def predict(self, n: int) -> cabc.Iterator[int]:
        try:
            yield from range(n)
        except GeneratorExit:
            self.closed.set()
            raise


def test_a_long_stream_arrives_whole(computer):
    sent = list(computer(Counting).stream(batch_of({"n": 100}), lambda: False))
    assert [split_parcel(each).kind for each in sent] == [ITEM] * 100 + [END]


@pytest.mark.parametrize("how", ["stopped", "abandoned"])
def test_a_stream_that_nobody_reads_is_closed(computer, how):
    closed = threading.Event()
    used = computer(type("Model", (Counting,), {"closed": closed}))
    stopped = threading.Event()
    stream = used.stream(batch_of({"n": 10**9}), stopped.is_set)
    for _ in range(20):
        assert split_parcel(next(stream)).kind == ITEM
    if how == "stopped":
        stopped.set()
        assert [split_parcel(each).kind for each in stream] == [END]
    else:
        stream.close()
    assert closed.wait(PATIENCE_S)
    assert len(list(used.stream(batch_of({"n": 2}), lambda: False))) == 3


def test_one_thread_computes_the_batches_of_this_node_and_of_others(computer):
    def thread(x: list[int]) -> list[int]:
        return [threading.get_ident() for _ in x]

    name = f"replica-test-{os.urandom(6).hex()}"
    used = computer(thread, name, batch=4)
    parcel = split_parcel(used.compute(batch_of({"x": 1})))
    assert parcel.kind == RESULTS
    form = BatchFormat.of(Model("m", "/m", thread, Options(batch=4)).operation)
    (by_ray,) = ResultReader(form).results_of(parcel.meta, parcel.region, 1)
    connections = NodeConnections(name, form)
    connection = connections.take()
    if connection is None:
        pytest.skip("the system has no Unix sockets without files")
    meta, packer = pack_batch([{"x": 1}])
    connection.frames.send(BATCH, 1, meta, packer.buffers)
    assert connection.outcome_of(receive(connection.frames, 1), 1) == [by_ray]
    assert by_ray != threading.get_ident()
    connection.frames.close()


def test_a_long_batch_and_its_results_arrive_whole(computer):
    def double(x: list[bytes]) -> list[bytes]:
        return [2 * each for each in x]

    used = computer(double, batch=4)
    parcel = split_parcel(used.compute(batch_of({"x": b"ab" * 500_000})))
    form = BatchFormat.of(Model("m", "/m", double, Options(batch=4)).operation)
    assert ResultReader(form).results_of(parcel.meta, parcel.region, 1) == [b"ab" * 1_000_000]


def test_a_replica_that_is_to_end_computes_nothing_any_more(computer):
    used = computer(same)
    used.refuse()
    assert split_parcel(used.compute(batch_of({"x": 1}))).kind == STALE
    assert [split_parcel(each).kind for each in used.stream(batch_of({"x": 1}), bool)] == [STALE]


def same(x: int) -> int:
    return x


def test_a_broken_device_lets_another_replica_compute_the_batch(computer):
    def broken(x: int) -> int:
        if x:
            raise ValueError("no")
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    used = computer(broken)
    assert split_parcel(used.compute(batch_of({"x": 1}))).kind == FAILED
    assert (used.fault, used.check()) == ("", "")
    assert split_parcel(used.compute(batch_of({"x": 0}))).kind == STALE
    wait_until(lambda: "illegal memory access" in used.fault)
    assert used.check() == used.fault
    assert split_parcel(used.compute(batch_of({"x": 1}))).kind == STALE


def test_the_time_of_the_current_batch_is_known(computer):
    may_end = threading.Event()

    def hang(x: int) -> int:
        assert may_end.wait(PATIENCE_S)
        return x

    used = computer(hang)
    assert used.computing_s() == 0
    computing = threading.Thread(target=used.compute, args=[batch_of({"x": 1})])
    computing.start()
    wait_until(lambda: used.computing_s() > 0)
    may_end.set()
    computing.join()
    wait_until(lambda: used.computing_s() == 0)


def test_lost_results_are_no_results_of_the_next_batch(computer, monkeypatch):
    """As if the actor had no descriptor left when the shared memory with the results arrived."""
    used = computer(Repeating, batch=4)
    receive_fails = [True]

    def fail_once(self, *args):
        if receive_fails:
            receive_fails.clear()
            raise ConnectionLost("its shared memory has not arrived")
        return map_(self, *args)

    map_ = FrameSocket._map
    monkeypatch.setattr(FrameSocket, "_map", fail_once)
    with pytest.raises(ConnectionLost):
        used.compute(batch_of({"x": b"a"}))
    form = BatchFormat.of(Model("m", "/m", Repeating, Options(batch=4)).operation)
    for letter in (b"b", b"c"):
        parcel = split_parcel(used.compute(batch_of({"x": letter})))
        assert ResultReader(form).results_of(parcel.meta, parcel.region, 1) == [letter * 100_000]


class Repeating:
    def predict(self, x: list[bytes]) -> list[bytes]:
        return [100_000 * each for each in x]


def test_a_call_without_a_descriptor_is_an_error_and_does_not_end_the_replica(
    computer, monkeypatch
):
    used = computer(Counting)

    def refuse(listener):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(NodeListener, "connect_to_it", refuse)
        with pytest.raises(OSError, match="Too many"):
            list(used.stream(batch_of({"n": 2}), bool))
    assert len(list(used.stream(batch_of({"n": 2}), bool))) == 3
