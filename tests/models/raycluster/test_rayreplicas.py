"""How a web worker uses replicas on a cluster: turns, repetition, replicas that leave.

Ray itself is replaced: its calls return what the test's actors say.
"""

import queue
import threading

import pytest
from fakeray import BATCH, Actor, ActorDiedError, Cluster, loaded, replicas_of
from polling import PATIENCE_S, wait_until

from carboy.errors import ReplicaLostError, UnavailableError
from carboy.models.options import Options
from carboy.models.raycluster.rayreplicas import WINDOW
from carboy.models.raycluster.resources import resources_of


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
