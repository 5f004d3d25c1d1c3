"""The actor with a model: it loads the app, builds one version of one of its models, and computes
batches of that model for web workers.

The model is loaded on the main thread. Batches are computed on one thread, and the questions of
the controller are answered on others, also while `predict` computes. The batches of web workers on
other nodes come as calls of Ray, whose threads pass them to the one that computes.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import tempfile
import threading
import typing as t
from time import monotonic

import ray

from carboy.core.logmasking import get_masked_logger
from carboy.core.processmemory import resident_bytes
from carboy.errors import ModelLoadError

from ..replicas.batches import BatchFormat
from ..replicas.checkup import Checkup
from ..replicas.frames import (
    BATCH,
    ITEM,
    MORE,
    READ_ITEMS,
    STALE,
    STOP,
    ConnectionLost,
    FrameSocket,
)
from ..replicas.process import ReplicaServer
from ..replicas.replicaconnection import receive
from ..replicas.supervision import Ready, device_lock_path
from ..replicas.tokens import NoTokens
from .codedigest import code_folder, digest_of
from .messages import (
    Condition,
    LoadedReplica,
    Versions,
    WantedVersion,
    decode_wanted,
    encode,
    join,
    split_parcel,
)
from .nodesocket import SERIAL, NodeListener

if t.TYPE_CHECKING:
    import pickle
    from collections import abc as cabc

    from carboy.models.model import Model

    Sent: t.TypeAlias = bytes | pickle.PickleBuffer
    LoadApp: t.TypeAlias = cabc.Callable[[str | None], object]

#: The group of the methods that are answered while a batch is computed.
CONTROL = "control"

_Method = t.TypeVar("_Method", bound=t.Callable[..., t.Any])
_in_control_group = t.cast(
    "cabc.Callable[[_Method], _Method]", ray.method(concurrency_group=CONTROL)
)
_logger = get_masked_logger("carboy.models")


class ReplicaActor:
    """One replica of a version of a model.

    Args:
        wanted: a `WantedVersion`.
        versions: what the web workers run, as a `Versions`.
        number: the number of the replica among those of the version.
        controller: the name of the controller's actor.
        load_app: imports the app, by its import path.
    """

    def __init__(
        self,
        wanted: bytes,
        versions: tuple[str, str],
        number: int,
        controller: str,
        load_app: LoadApp,
    ) -> None:
        self._wanted_bytes = wanted
        self._number = number
        self._wanted = decode_wanted(wanted)
        self._stopped: set[bytes] = set()
        self._computer: _Computer | None = None
        _say_placed(controller)
        begun_s = monotonic()
        try:
            _compare_versions(Versions(*versions))
            name = ray.get_runtime_context().get_actor_name()
            self._computer = _Computer(load_model(self._wanted, load_app), self._wanted, name)
        except BaseException as exc:  # the user's module may raise SystemExit
            self._loaded = LoadedReplica({}, _explain(exc))
            _logger.exception("The replica cannot load its model")
            return
        ready = Ready(
            took_s=monotonic() - begun_s,
            loaded_bytes=self._computer.version.replica.loaded_bytes,
            cards=[card.to_dict() for card in self._computer.version.cards],
        )
        self._loaded = LoadedReplica(t.cast("dict[str, t.Any]", ready))

    # --- for the controller --------------------------------------------------------------------

    @_in_control_group
    def loaded(self) -> bytes:
        """Return a `LoadedReplica`. Ray calls this after the model was loaded."""
        return encode(self._loaded)

    @_in_control_group
    def describe(self) -> tuple[bytes, int, bytes, str, int]:
        """Return `WantedVersion`, the number, `LoadedReplica`, the node and the process id."""
        return self._wanted_bytes, self._number, encode(self._loaded), *_here()

    @_in_control_group
    def examine(self) -> bytes:
        """Return a `Condition`."""
        computer = self._computer
        if computer is None:
            return encode(Condition(resident_bytes(), 0.0, "", is_broken=False))
        is_broken = bool(computer.fault)
        return encode(
            Condition(resident_bytes(), computer.computing_s(), computer.check(), is_broken)
        )

    @_in_control_group
    def dump(self) -> None:
        """Write the stacks of all threads to the log of the actor."""
        faulthandler.dump_traceback(sys.__stderr__ or 2)

    @_in_control_group
    def refuse(self) -> None:
        """Compute no batches that arrive later."""
        if self._computer is not None:
            self._computer.refuse()

    def drain(self) -> None:
        """Release the model. Ray calls this after the batches that were sent before."""
        if self._computer is not None:
            self._computer.close()

    # --- for web workers -----------------------------------------------------------------------

    def compute(self, data: t.Any) -> Sent:
        """Compute a batch of a web worker on another node. Takes and returns a parcel."""
        return join(STALE) if self._computer is None else self._computer.compute(data)

    def stream(self, data: t.Any, name: bytes) -> cabc.Iterator[Sent]:
        """Compute a prediction that yields; yields parcels.

        Args:
            name: identifies the stream, for `stop`.
        """
        if self._computer is None:
            yield join(STALE)
            return
        try:
            yield from self._computer.stream(data, lambda: name in self._stopped)
        finally:
            self._stopped.discard(name)

    @_in_control_group
    def stop(self, name: bytes) -> None:
        """Let a stream end before its next item, because its client has left."""
        self._stopped.add(name)


class _Computer:
    """Computes the batches of a model that is loaded, on a thread of its own: those that web
    workers on this node send through a socket, and those of other nodes, which come as calls of Ray
    and are passed on through that socket.

    Args:
        name: the name of this actor.

    Attributes:
        fault: the error after which this process cannot compute any more, such as one of its
            device; "" without one.
    """

    def __init__(self, model: Model, wanted: WantedVersion, name: str) -> None:
        want = wanted.want
        self.fault = ""
        self.version = model.make_version(want["version"], want["source"] or None)
        self.version.load()
        self._checkup = None
        if want["has_check"]:
            self._checkup = Checkup(self.version.replica.check, owner=f"Model {model.name!r}")
            self._checkup.passed()
        listener = NodeListener(name)
        self._server = ReplicaServer(
            self.version.replica.compute,
            BatchFormat.of(model.operation),
            model.codec,
            listener=listener,
            tokens=NoTokens(),
            device_lock=_device_lock(wanted),
            streams=model.answers.streams,
        )
        self._listener = listener
        self._thread = threading.Thread(target=self._run, name="carboy batches", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.fault = self._server.run()
        except BaseException as exc:
            _logger.exception("The replica cannot compute any more")
            self.fault = f"{type(exc).__name__}: {exc}"
            self._server.close_descriptors()

    # --- for any thread ------------------------------------------------------------------------

    def check(self) -> str:
        """Return why the model is not ready; "" if it is. Never blocks."""
        return self.fault or ("" if self._checkup is None else self._checkup.reason())

    def computing_s(self) -> float:
        """Return for how long the current batch has been computed; 0 without one."""
        return self._server.computing_s()

    def refuse(self) -> None:
        """Compute no batches that arrive later."""
        self._server.drain()

    # --- for the threads on which Ray calls ----------------------------------------------------

    def close(self) -> None:
        """Wait for the batch that is being computed, after `refuse`, and release the model."""
        self._thread.join()
        self.version.replica.close()

    def compute(self, data: t.Any) -> Sent:
        """Let the batch of a parcel be computed; return a parcel.

        Raises:
            ConnectionLost, OSError: it may have been computed, but the results are lost.
        """
        try:
            with self._connected() as frames:
                _send(frames, data)
                return _receive(frames)[1]
        except (ConnectionLost, OSError):
            if self._server.takes_batches:
                raise
            return join(STALE)

    def stream(self, data: t.Any, is_stopped: cabc.Callable[[], bool]) -> cabc.Iterator[Sent]:
        """Let the prediction of a parcel be computed item by item; yield parcels. Raises as
        `compute` does.
        """
        try:
            with self._connected() as frames:
                _send(frames, data)
                yield from _items(frames, is_stopped)
        except (ConnectionLost, OSError):
            if self._server.takes_batches:
                raise
            yield join(STALE)

    @contextlib.contextmanager
    def _connected(self) -> cabc.Iterator[FrameSocket]:
        """Connect to the thread that computes, for one batch. So nothing of a batch that has failed
        is left for the next one; and the end of the connection ends a stream that nobody reads.
        """
        frames = FrameSocket(self._listener.connect_to_it())
        try:
            yield frames
        finally:
            frames.close()


def _items(frames: FrameSocket, is_stopped: cabc.Callable[[], bool]) -> cabc.Iterator[Sent]:
    """Yield the parcels of a stream, until its end or until `is_stopped`."""
    unread = 0
    kind, parcel = _receive(frames)
    while kind == ITEM:
        yield parcel
        if is_stopped():
            frames.send(STOP, SERIAL)
            while kind == ITEM:
                kind, parcel = _receive(frames)
            break
        unread += 1
        if unread == READ_ITEMS:
            frames.send(MORE, SERIAL)
            unread = 0
        kind, parcel = _receive(frames)
    yield parcel


def _send(frames: FrameSocket, data: t.Any) -> None:
    """Send the batch of a parcel."""
    parcel = split_parcel(data)
    frames.send(BATCH, SERIAL, parcel.meta, [[parcel.region]] if parcel.region else ())


def _receive(frames: FrameSocket) -> tuple[int, Sent]:
    """Wait for what becomes of a batch; return its kind and the parcel."""
    frame = receive(frames, SERIAL)
    return frame.kind, join(frame.kind, frame.meta, [[frame.region]] if frame.region else ())


def load_model(wanted: WantedVersion, load_app: LoadApp) -> Model:
    """Load the app, and return its model.

    Raises:
        ModelLoadError: the code is not there, or is not that of the web workers.
    """
    from ..replicas.placing import compute_here

    code = wanted.code
    folder = os.getcwd() if code.package else code.folder
    if not os.path.isdir(folder):
        raise ModelLoadError(
            f"the folder {folder!r} of the app is not on the node {_here()[0]}. Install the app"
            " there at the same path, such as by the same image, or send it with the setting"
            " 'ray_code': upload"
        )
    os.chdir(folder)
    sys.path.insert(0, folder)
    if code.as_flask:
        os.environ["CARBOY_AS_FLASK"] = "1"
    compute_here()
    app = load_app(code.target)
    if not code.package:  # else it is the folder of the web worker, without what `.rayignore` names
        _compare_code(code.target, folder, code.digest)
    name = wanted.want["model"]
    models = vars(app).get("models") or {}
    if name not in models:
        raise ModelLoadError(
            f"the app has no model {name!r} on the node {_here()[0]}: its models are"
            f" {', '.join(models) or 'none'}"
        )
    return t.cast("Model", models[name])


def _compare_versions(wanted: Versions) -> None:
    if difference := wanted.difference(Versions.here()):
        raise ModelLoadError(
            f"the node {_here()[0]} has {difference} of the web workers. Install the same versions"
            " on all nodes"
        )


def _compare_code(target: str | None, folder: str, digest: str) -> None:
    there = code_folder(target, folder)
    if digest_of(there) != digest:
        raise ModelLoadError(
            f"the Python files in {there!r} on the node {_here()[0]} are not those of the web"
            " worker. Install the same code on all nodes, or send it with the setting 'ray_code':"
            " upload"
        )


def _explain(exc: BaseException) -> str:
    if isinstance(exc, ModelLoadError):
        return str(exc)
    return f"{type(exc).__name__}: {exc}"


def _here() -> tuple[str, int]:
    """Return the address of the node, and the process id."""
    return ray.util.get_node_ip_address(), os.getpid()


def _say_placed(controller: str) -> None:
    """Tell the controller that this process loads the model now."""
    try:
        actor = ray.get_actor(controller)
    except ValueError:  # it is just being replaced, and will ask
        return
    context = ray.get_runtime_context()
    actor.placed.remote(context.get_actor_name(), *_here())


def _device_lock(wanted: WantedVersion) -> str:
    """Return the path of the lock on the device of this process; "" if the model needs none.

    Replicas of the same user on a node share it, as those of a supervisor do. A GPU is known by
    what Ray has assigned to this process.
    """
    devices = wanted.want["devices"]
    if not devices or not wanted.want["device_lock"] or devices == ["cpu"]:
        return ""
    device = devices[0]
    if device.startswith("cuda"):
        device = f"cuda-{os.environ.get('CUDA_VISIBLE_DEVICES', '')}"
    folder = os.path.join(tempfile.gettempdir(), f"carboy-ray-{os.getuid()}")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if os.stat(folder).st_uid != os.getuid():
        raise ModelLoadError(f"the folder {folder} for the locks on devices is of another user")
    return device_lock_path(folder, device)
