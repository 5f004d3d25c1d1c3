"""How a web worker uses replicas on a cluster: turns, repetition, replicas that leave.

Ray itself is replaced: its calls return what the test's actors say.
"""

import queue
import sys
import threading
import types
import typing as t

import pytest
from polling import PATIENCE_S, wait_until

from carboy.contract.signature import read_predict
from carboy.errors import ReplicaLostError, UnavailableError
from carboy.models.options import Options
from carboy.models.raycluster.messages import (
    FAILED,
    RESULTS,
    STALE,
    PoolFacts,
    ReplicaFacts,
    join,
    split_parcel,
)
from carboy.models.raycluster.rayreplicas import WINDOW, RayReplicas
from carboy.models.raycluster.resources import resources_of
from carboy.models.replicas.batches import (
    BatchFormat,
    BatchReader,
    ResultWriter,
    encode_failure,
)


class RayError(Exception):
    pass


class ActorDiedError(RayError):
    pass


class ActorUnavailableError(RayError):
    pass


def predict(x: float) -> float:
    return x


OPERATION = read_predict(predict, owner="Model 'm'")


class GetTimeoutError(RayError):
    pass


class Method:
    def __init__(self, function):
        self.remote = function


class Actor:
    """A replica of a test. `script` has what it does for each batch: "answer" and so on."""

    def __init__(self, *script):
        self.script = list(script)
        self.batches = 0
        self.has_begun = threading.Event()
        form = BatchFormat.of(OPERATION)
        self._reader, self._writer = BatchReader(form, lambda _: {}), ResultWriter(form)
        self.compute = Method(self._compute)

    def _compute(self, data):
        self.batches += 1
        does = self.script.pop(0) if self.script else "answer"
        if isinstance(does, Exception):
            return does
        if does == "hang":
            self.has_begun.set()
            return None
        if does == "stale":
            return join(STALE)
        if does == "fail":
            return join(FAILED, encode_failure(ValueError("no")))
        if does == "garbage":
            return b"garbage"
        parcel = split_parcel(data)
        batch = self._reader.read(parcel.meta, parcel.region)
        meta, packer = self._writer.pack([2 * each["x"] for each in batch.entries], batch)
        return join(RESULTS, meta, packer.buffers)


class Cluster:
    """The connection of a test: it grants whatever replicas there are."""

    trouble = ""

    def __init__(self):
        self.reported = []

    def want(self, user):
        return self.facts

    def release(self, user):
        self.facts = None

    def hangs(self, name, took_s):
        self.reported.append((name, took_s))

    def show(self, *names, state="ready"):
        replicas = [
            ReplicaFacts(each, i, "ready", "n", 1, 0.0, 0, 1) for i, each in enumerate(names)
        ]
        about = {"took_s": 1.0, "loaded_bytes": 5, "cards": []}
        self.facts = PoolFacts(state, "", about, replicas)
        return self.facts


@pytest.fixture
def actors(monkeypatch):
    """The actors by name, which `ray.get_actor` finds."""
    found = {}

    def get(answer, timeout=None):
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            assert timeout
            raise GetTimeoutError
        return answer

    def get_actor(name):
        if name not in found:
            raise ValueError(name)
        return found[name]

    ray = types.ModuleType("ray")
    ray.get, ray.get_actor = get, get_actor
    ray.exceptions = types.ModuleType("ray.exceptions")
    for each in (RayError, ActorDiedError, ActorUnavailableError, GetTimeoutError):
        setattr(ray.exceptions, each.__name__, each)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.exceptions", ray.exceptions)
    return found


def replicas_of(cluster, **options: t.Any):
    return RayReplicas(
        {"key": "m  "},
        cluster,
        OPERATION,
        owner="Model 'm'",
        streams=False,
        **{"retry": True, "most": 2, "batch": 4, "resources": {}, **options},
    )


def loaded(cluster, actors, made=None, **scripts):
    for name, script in scripts.items():
        actors[name] = Actor(*script)
    cluster.show(*scripts)
    made = made or replicas_of(cluster)
    made.load()
    return made


BATCH: t.Any = [{"x": 1.0}, {"x": 2.0}]


def test_a_batch_is_computed_by_one_call(actors):
    replicas = loaded(Cluster(), actors, a=[])
    assert replicas.compute(BATCH) == [2.0, 4.0]
    assert actors["a"].batches == 1


def test_an_exception_of_predict_is_raised(actors):
    replicas = loaded(Cluster(), actors, a=["fail"])
    with pytest.raises(ValueError, match="no"):
        replicas.compute(BATCH)
    assert replicas.compute(BATCH) == [2.0, 4.0]


def test_another_replica_repeats_the_batch_of_one_that_died(actors):
    replicas = loaded(Cluster(), actors, a=[ActorDiedError("killed")], b=[ActorDiedError("killed")])
    results = replicas.compute(BATCH)
    assert all(isinstance(each, ReplicaLostError) for each in results)
    assert actors["a"].batches == actors["b"].batches == 1


def test_a_dead_replica_is_not_used_again_while_the_controller_does_not_know(actors):
    cluster = Cluster()
    replicas = loaded(cluster, actors, a=[ActorDiedError("killed")], b=[])
    for _ in range(4):
        assert replicas.compute(BATCH) == [2.0, 4.0]
    replicas.apply(cluster.show("a", "b"))
    for _ in range(4):
        assert replicas.compute(BATCH) == [2.0, 4.0]
    assert actors["a"].batches == 1


def test_without_retry_the_batch_is_lost(actors):
    cluster = Cluster()
    replicas = loaded(
        cluster, actors, replicas_of(cluster, retry=False), a=[ActorDiedError("killed")]
    )
    assert isinstance(replicas.compute(BATCH)[0], ReplicaLostError)


def test_a_replica_that_leaves_loses_no_batch_even_without_retry(actors):
    cluster = Cluster()
    replicas = loaded(cluster, actors, replicas_of(cluster, retry=False), a=["stale"], b=["stale"])
    actors["c"] = Actor()
    replicas.apply(cluster.show("a", "b", "c"))
    for _ in range(3):
        assert replicas.compute(BATCH) == [2.0, 4.0]
    assert actors["a"].batches <= 1
    assert actors["b"].batches <= 1


def test_a_replica_that_sends_garbage_is_reported_and_not_used(actors):
    cluster = Cluster()
    replicas = loaded(cluster, actors, a=["garbage", "garbage"], b=["garbage"])
    replicas.compute(BATCH)
    assert cluster.reported
    assert all(took_s == 0 for _, took_s in cluster.reported)


def test_a_thread_waits_while_the_replica_has_enough_to_do(actors):
    replicas = loaded(Cluster(), actors, a=[])
    actor = replicas._actors["a"]
    actor.taken = WINDOW
    has_waited = threading.Event()

    def compute():
        assert replicas.compute(BATCH) == [2.0, 4.0]
        has_waited.set()

    late = threading.Thread(target=compute)
    late.start()
    assert not has_waited.is_set()
    replicas._release(actor, WINDOW)
    late.join()


def test_a_batch_goes_to_a_slow_replica_that_is_idle_rather_than_to_a_quick_one(actors):
    replicas = loaded(Cluster(), actors, a=[], b=[])
    quick, slow = replicas._actors["a"], replicas._actors["b"]
    quick.took_s, slow.took_s = 0.02, 0.06
    assert [replicas._take() for _ in range(3)] == [quick, slow, quick]


def test_a_replica_gets_no_batches_while_one_waits_to_be_its_only_one(actors):
    replicas = loaded(Cluster(), actors, a=[])
    actor = replicas._actors["a"]
    busy = replicas._take()
    taken = queue.Queue()
    waits = threading.Thread(target=lambda: taken.put(replicas._take_alone()))
    waits.start()
    wait_until(lambda: actor.is_reserved)
    assert actor.room == 0
    replicas._release(busy)
    assert taken.get(timeout=PATIENCE_S) is actor
    waits.join()
    assert actor.taken == WINDOW
    replicas._release(actor, WINDOW)
    assert replicas.compute(BATCH) == [2.0, 4.0]


def test_a_batch_that_waits_for_a_replica_alone_takes_another_one_when_that_dies(actors):
    replicas = loaded(Cluster(), actors, a=[], b=[])
    first, second = replicas._take(), replicas._take()
    taken = queue.Queue()
    waits = threading.Thread(target=lambda: taken.put(replicas._take_alone()))
    waits.start()
    wait_until(lambda: first.is_reserved or second.is_reserved)
    reserved, other = (first, second) if first.is_reserved else (second, first)
    replicas._forget(reserved)
    replicas._release(other)
    assert taken.get(timeout=PATIENCE_S) is other
    waits.join()


def test_threads_that_wait_learn_that_the_cluster_is_gone(actors):
    cluster = Cluster()
    replicas = loaded(cluster, actors, a=[])
    replicas._actors["a"].taken = WINDOW
    failed = []

    def compute():
        try:
            replicas.compute(BATCH)
        except UnavailableError as exc:
            failed.append(str(exc))

    waiting = threading.Thread(target=compute)
    waiting.start()
    cluster.trouble = "The Ray cluster does not answer any more: 10.0.0.5:6379"
    replicas.lose()
    waiting.join()
    assert failed == ["Model 'm': its replicas cannot be reached. Retry the request."]
    assert not replicas.loaded
    assert "10.0.0.5" in replicas.trouble


@pytest.mark.parametrize("retry", [True, False])
def test_a_thread_that_waits_for_results_leaves_ray_when_the_cluster_is_gone(actors, retry):
    """Ray answers such a call never, if the node of the replica has vanished."""
    cluster = Cluster()
    replicas = loaded(cluster, actors, replicas_of(cluster, retry=retry), a=["hang"])
    ended = queue.Queue()

    def compute():
        try:
            ended.put(replicas.compute(BATCH)[0])
        except UnavailableError as exc:
            ended.put(exc)

    waiting = threading.Thread(target=compute)
    waiting.start()
    assert actors["a"].has_begun.wait(PATIENCE_S)
    assert replicas.is_waited_for
    cluster.trouble = "The Ray cluster does not answer any more: 10.0.0.5:6379"
    replicas.lose()
    expected = UnavailableError if retry else ReplicaLostError
    assert isinstance(ended.get(timeout=PATIENCE_S), expected)
    waiting.join()
    assert not replicas.is_waited_for


def test_the_end_and_the_return_of_the_last_replica_are_told(actors):
    cluster = Cluster()
    replicas = loaded(cluster, actors, a=[])
    told = []
    replicas.on_ready = lambda: told.append(replicas.is_ready)
    replicas.apply(cluster.show())
    assert replicas.trouble == "no replica is ready."
    replicas.apply(cluster.show("a"))
    assert (told, replicas.trouble) == ([False, True], "")


def test_a_version_is_held_once_and_goes_on_when_the_other_one_has_failed(actors):
    cluster = Cluster()
    replicas = loaded(cluster, actors, a=[])
    asked = []
    replicas.on_hold = asked.append
    facts = cluster.show("a")
    facts.hold_s = 30.0
    replicas.apply(facts)
    replicas.apply(facts)
    replicas.resume_if(["another"])
    assert asked == [30.0]
    replicas.resume_if(["m  "])
    replicas.resume_if(["m  "])
    assert asked == [30.0, None]


# ------------------------------------------------------------------------------------- resources


@pytest.mark.parametrize(
    ("options", "resources"),
    [
        ({}, {"num_cpus": 1}),
        ({"resources": {"num_cpus": 0.5, "a100": 1}}, {"num_cpus": 0.5, "a100": 1}),
        ({"device": "cuda"}, {"num_cpus": 1, "num_gpus": 1}),
        ({"device": ["cuda:0", "cuda:1"], "replicas": 2}, {"num_cpus": 1, "num_gpus": 1}),
        ({"device": "cuda", "resources": {"num_gpus": 0.5}}, {"num_cpus": 1, "num_gpus": 0.5}),
        ({"device": "cpu"}, {"num_cpus": 1}),
    ],
)
def test_a_replica_needs_a_cpu_and_the_gpu_of_its_device(options, resources):
    assert resources_of(Options(**{"replicas": 1, **options}), "Model 'm'") == resources


@pytest.mark.parametrize(
    ("name", "amount", "expected"),
    [
        ("num_gpus", 1.5, "a part of one GPU, or whole GPUs"),
        ("num_cpus", 0.00001, "at least 0.0001"),
        ("a100", 0.00001, "at least 0.0001"),
        ("object_store_memory", 1, "Ray calls this 'memory'"),
        ("a100", -1, "at least 0"),
    ],
)
def test_an_amount_that_ray_refuses_is_refused_with_the_model(name, amount, expected):
    with pytest.raises(ValueError, match=expected):
        Options(replicas=1, resources={name: amount})


@pytest.mark.parametrize("given", [{"num_gpus": 2.0}, {"num_gpus": 1 / 3}, {"num_cpus": 1.5}])
def test_parts_of_resources_are_accepted_as_ray_does(given):
    assert Options(replicas=1, resources=given).resources == given
