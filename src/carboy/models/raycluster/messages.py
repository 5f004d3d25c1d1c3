"""The messages between web workers, the controller and the replicas of an app on a Ray cluster.

A web worker calls the controller's `watch` with a `Report` and gets a `Snapshot`, again and again.
Calls of a replica's `compute` and `stream` take and return parcels: `join` makes them.
"""

from __future__ import annotations

import pickle
import platform
import struct
import typing as t
from importlib.metadata import version as installed_version

import msgspec

from ..replicas.frames import ConnectionLost, join_region

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ..replicas.frames import Buffer

# Ray keeps longer values in shared memory, from which they are read without a copy, and sends
# shorter ones with the call.
INLINE_BYTES = 64 * 1024
_HEAD = struct.Struct("<IB59x")  # a multiple of the alignment of buffers

Phase = t.Literal["waiting", "loading", "ready", "draining", "hanging"]
PoolState = t.Literal["loading", "ready", "refused"]


class Versions(msgspec.Struct, frozen=True):
    """The versions of carboy and Python, which must be the same in all processes of a cluster."""

    carboy: str
    python: str

    @classmethod
    def here(cls) -> Versions:
        """Return the versions of this process, of Python without the patch release, which may
        differ.
        """
        return cls(installed_version("carboy"), ".".join(platform.python_version_tuple()[:2]))

    def difference(self, other: Versions) -> str:
        """Return how another process differs, as `carboy 1.2 instead of 1.3`; "" if it does not."""
        names = ("carboy", "python")
        return " and ".join(
            f"{name.replace('python', 'Python')} {getattr(other, name)} instead of"
            f" {getattr(self, name)}"
            for name in names
            if getattr(self, name) != getattr(other, name)
        )


class Code(msgspec.Struct, frozen=True):
    """Where a replica finds the code of the app.

    Attributes:
        target: the import path of the app; None if it is looked for.
        folder: the folder in which the web worker was started.
        digest: that of the Python files of the app.
        package: the URI of the files that were uploaded to the cluster; "" if they are on each
            node.
        as_flask: whether `import flask` imports carboy.
    """

    target: str | None
    folder: str
    digest: str
    package: str = ""
    as_flask: bool = False


class WantedVersion(msgspec.Struct, frozen=True):
    """A version of a model that a web worker needs.

    Attributes:
        want: as a supervisor of replicas gets it.
        most: how many replicas there may be; the least number is in `want`.
        batch: how many predictions a replica computes together.
        resources: what each replica needs of its node.
    """

    want: dict[str, t.Any]
    code: Code
    most: int
    batch: int
    resources: dict[str, float]

    @property
    def key(self) -> str:
        """Identifies the version of the model, with the code of the app."""
        return f"{self.want['key']} {self.code.digest} {self.code.package}"

    @property
    def least(self) -> int:
        return t.cast("int", self.want["replicas"])


class Report(msgspec.Struct):
    """A message by which a web worker tells the controller which versions it needs.

    Attributes:
        client: identifies the web worker.
        serial: that of the last snapshot which it has got from this controller; 0 before.
        wanted: the versions that it needs.
        demand: how many predictions wait for, or are computed by, each of these, by key.
        leaves: whether the web worker ends.
    """

    client: str
    serial: int
    versions: Versions
    wanted: list[WantedVersion]
    demand: dict[str, int]
    leaves: bool = False


class ReplicaFacts(msgspec.Struct):
    """The state of one replica, as the controller reports it.

    Attributes:
        name: the name of its actor.
        number: from 1; a replica that takes the place of another has its number.
        node: the address of its node; "" before it has one.
        started_at_s: when it was asked for, in seconds since 1970.
        restarts: how many there were before it under this number.
        resident_bytes: the memory of its process; None if unknown.
    """

    name: str
    number: int
    phase: Phase
    node: str
    pid: int | None
    started_at_s: float
    restarts: int
    resident_bytes: int | None


class PoolFacts(msgspec.Struct):
    """The replicas of a version of a model.

    Attributes:
        state: "ready" from the time on when there were enough of them.
        reason: why the version is refused, or none of the replicas is ready; "" without a reason.
        about: what the first replica has said of the model (`Ready`); empty before.
        hold_s: how long predictions for this version must wait, because another one takes its
            place; None if they need not.
    """

    state: PoolState
    reason: str
    about: dict[str, t.Any]
    replicas: list[ReplicaFacts]
    hold_s: float | None = None


class Event(msgspec.Struct):
    """An event on the cluster, which web workers write into their log.

    Attributes:
        number: counted by the controller.
        at_s: when it happened, on the clock of the controller.
    """

    number: int
    level: int
    text: str
    at_s: float


class Snapshot(msgspec.Struct):
    """The controller's answer to a `Report`: the state of the versions that the web worker wants.

    Attributes:
        controller: identifies the process of the controller, whose serial numbers begin with 1.
        refused: why the web worker gets no replicas at all; "" if it does.
        pools: the versions that it wants, by key.
        now_s: the time on the clock of the controller.
        events: what has happened since the controller has started, at most the last hundred.
        resumed: the versions that were held for another one, which has failed; by the keys that
            they have for a supervisor.
    """

    controller: str
    serial: int
    refused: str
    pools: dict[str, PoolFacts]
    now_s: float
    events: list[Event]
    resumed: list[str] = []


class LoadedReplica(msgspec.Struct):
    """A replica's report after loading its model: `about` the model, or why loading has failed."""

    about: dict[str, t.Any]
    failure: str = ""


class Condition(msgspec.Struct):
    """A replica's answer to the question how it is.

    Attributes:
        computing_s: for how long it has computed the current batch; 0 without one.
        fault: the reason why its model or its device does not work; "" without one.
        is_broken: whether the process cannot compute any more.
    """

    resident_bytes: int | None
    computing_s: float
    fault: str
    is_broken: bool


encode = msgspec.msgpack.Encoder().encode
decode_report = msgspec.msgpack.Decoder(Report).decode
decode_snapshot = msgspec.msgpack.Decoder(Snapshot).decode
decode_wanted = msgspec.msgpack.Decoder(WantedVersion).decode
decode_loaded = msgspec.msgpack.Decoder(LoadedReplica).decode
decode_condition = msgspec.msgpack.Decoder(Condition).decode


class Parcel(t.NamedTuple):
    """A batch, or what has become of it.

    Attributes:
        kind: what it contains, as in a `Frame`: BATCH, RESULTS, FAILED, STALE, ITEM or END.
        region: the buffers. They may be changed, and kept.
    """

    kind: int
    meta: bytes
    region: memoryview


def join(
    kind: int, meta: bytes = b"", buffers: cabc.Sequence[cabc.Sequence[Buffer]] = ()
) -> bytes | pickle.PickleBuffer:
    """Return a parcel as Ray sends it: short ones as bytes; long ones as a buffer, which Ray copies
    into its shared memory as it is.
    """
    head = _HEAD.pack(len(meta), kind)
    parts, size = join_region(buffers)
    if len(meta) + size < INLINE_BYTES:
        return b"".join((head, meta, *_aligned(meta, parts)))
    return pickle.PickleBuffer(bytearray().join((head, meta, *_aligned(meta, parts))))


def _aligned(meta: bytes, parts: list[Buffer]) -> list[Buffer]:
    return [bytes(-len(meta) % _HEAD.size), *parts] if parts else parts


def split_parcel(data: t.Any) -> Parcel:
    """Read a parcel.

    Raises:
        ConnectionLost: it is none.
    """
    view = memoryview(data)
    if len(view) < _HEAD.size:
        raise ConnectionLost("it has sent something that is no message", is_garbage=True)
    size, kind = _HEAD.unpack_from(view)
    meta = bytes(view[_HEAD.size : _HEAD.size + size])
    if len(meta) != size:
        raise ConnectionLost("it has sent a part of a message", is_garbage=True)
    start = _HEAD.size + size + -size % _HEAD.size
    # The values that are made of a region may refer to it: Ray's memory cannot be written, and is
    # only free when nothing refers to it.
    return Parcel(kind, meta, memoryview(bytearray(view[start:])))
