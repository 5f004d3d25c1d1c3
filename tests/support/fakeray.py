"""Replicas on a cluster for tests without Ray: its calls return what the actors of a test say."""

import sys
import threading
import types
import typing as t

from carboy.contract.signature import read_predict
from carboy.models.raycluster.messages import PoolFacts, ReplicaFacts, join, split_parcel
from carboy.models.raycluster.rayreplicas import RayReplicas
from carboy.models.replicas.batches import (
    BatchFormat,
    BatchReader,
    ResultWriter,
    encode_failure,
)
from carboy.models.replicas.frames import FAILED, RESULTS, STALE


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


def replace_ray(monkeypatch):
    """Replace Ray; return the actors by name, which `ray.get_actor` finds."""
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
