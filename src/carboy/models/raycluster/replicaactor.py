"""The actor with a model: it loads the app, builds one version of one of its models, and computes
batches of that model for web workers.

The model is loaded on the main thread. Batches are computed on one thread, and the questions of
the controller are answered on another, also while `predict` computes.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import tempfile
import typing as t
from time import monotonic

import ray

from carboy.core.logmasking import get_masked_logger
from carboy.core.processmemory import resident_bytes
from carboy.errors import ModelLoadError

from ..queue.stream import items_of
from ..replicas.batches import BatchFormat, BatchReader, ResultWriter, encode_failure
from ..replicas.checkup import Checkup
from ..replicas.devicefaults import sticky_device_fault
from ..replicas.devicelock import DeviceLock
from ..replicas.frames import ConnectionLost
from ..replicas.supervision import Ready, device_lock_path
from .codedigest import code_folder, digest_of
from .messages import (
    BATCH,
    END,
    FAILED,
    ITEM,
    RESULTS,
    STALE,
    Condition,
    LoadedReplica,
    Versions,
    WantedVersion,
    decode_wanted,
    encode,
    join,
    split_parcel,
)

if t.TYPE_CHECKING:
    import pickle
    from collections import abc as cabc

    from carboy.models.model import Model

    from ..replicas.batches import ReceivedBatch

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
        self._begins_s: float | None = None
        self._is_draining = False
        self._stopped: set[bytes] = set()
        self._fault = ""
        self._computer: _Computer | None = None
        _say_placed(controller)
        begun_s = monotonic()
        try:
            _compare_versions(Versions(*versions))
            self._computer = _Computer(load_model(self._wanted, load_app), self._wanted)
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
        began_s = self._begins_s
        fault = self._fault or ("" if self._computer is None else self._computer.check())
        return encode(
            Condition(
                resident_bytes(),
                0.0 if began_s is None else monotonic() - began_s,
                fault,
                is_broken=bool(self._fault),
            )
        )

    @_in_control_group
    def dump(self) -> None:
        """Write the stacks of all threads to the log of the actor."""
        faulthandler.dump_traceback(sys.__stderr__ or 2)

    @_in_control_group
    def refuse(self) -> None:
        """Compute no batches that arrive later."""
        self._is_draining = True

    def drain(self) -> None:
        """Release the model. Ray calls this after the batches that were sent before."""
        if self._computer is not None:
            self._computer.version.replica.close()

    # --- for web workers -----------------------------------------------------------------------

    def compute(self, data: t.Any) -> Sent:
        """Compute a batch. Takes and returns a parcel."""
        if self._is_draining or self._fault or self._computer is None:
            return join(STALE)
        self._begins_s = monotonic()
        try:
            return self._computer.compute(data, self._begin)
        except _BrokenDevice as exc:
            self._fault = str(exc)
            return join(STALE)
        finally:
            self._begins_s = None

    def stream(self, data: t.Any, name: bytes) -> cabc.Iterator[Sent]:
        """Compute a prediction that yields; yields parcels.

        Args:
            name: identifies the stream, for `stop`.
        """
        if self._is_draining or self._fault or self._computer is None:
            yield join(STALE)
            return
        self._begins_s = monotonic()
        try:
            yield from self._computer.stream(data, lambda: name in self._stopped, self._begin)
        except _BrokenDevice as exc:
            self._fault = str(exc)
            yield join(STALE)
        finally:
            self._begins_s = None
            self._stopped.discard(name)

    @_in_control_group
    def stop(self, name: bytes) -> None:
        """Let a stream end before its next item, because its client has left."""
        self._stopped.add(name)

    def _begin(self) -> None:
        """Count the time of a batch from now on, because it has waited for its device."""
        self._begins_s = monotonic()


class _BrokenDevice(Exception):  # noqa: N818  # caught in this module
    """The device cannot compute any more in this process."""


class _Computer:
    """Computes the batches of a model that is loaded. Used by one thread, `check` excepted."""

    def __init__(self, model: Model, wanted: WantedVersion) -> None:
        want = wanted.want
        self.version = model.make_version(want["version"], want["source"] or None)
        self.version.load()
        form = BatchFormat.of(model.operation)
        self._compute = self.version.replica.compute
        self._reader = BatchReader(form, model.codec)
        self._writer = ResultWriter(form)
        self._device = _device_lock(wanted)
        self._checkup = None
        if want["has_check"]:
            self._checkup = Checkup(self.version.replica.check, owner=f"Model {model.name!r}")
            self._checkup.passed()

    def check(self) -> str:
        """Return why the model is not ready; "" if it is. Never blocks."""
        return "" if self._checkup is None else self._checkup.reason()

    def compute(self, data: t.Any, begin: cabc.Callable[[], object]) -> Sent:
        """Compute the batch of a parcel."""
        try:
            batch = self._read(data)
            result: t.Any = []
            if batch.entries:
                with self._device_held(begin):
                    result = self._compute(batch.entries)
            meta, packer = self._writer.pack(result, batch)
        except BaseException as exc:  # noqa: BLE001  # clients must learn of any failure
            return self._failed(exc)
        return join(RESULTS, meta, packer.buffers)

    def stream(
        self,
        data: t.Any,
        is_stopped: cabc.Callable[[], bool],
        begin: cabc.Callable[[], object],
    ) -> cabc.Iterator[Sent]:
        """Compute the prediction of a parcel item by item."""
        items: t.Any = None
        try:
            arguments = self._read(data).only()
            with self._device_held(begin):
                items = items_of(self._compute([arguments])[0])
            while not is_stopped():
                with self._device_held(begin):
                    try:
                        item = next(items)
                    except StopIteration:
                        break
                meta, packer = self._writer.pack_each([item])
                yield join(ITEM, meta, packer.buffers)
        except GeneratorExit:  # nobody reads this generator any more
            raise
        except BaseException as exc:  # noqa: BLE001  # clients must learn of any failure
            yield self._failed(exc, kind=END)
        else:
            yield join(END)
        finally:
            # Also SystemExit, which would end the actor.
            with contextlib.suppress(BaseException):
                getattr(items, "close", lambda: None)()

    def _read(self, data: t.Any) -> ReceivedBatch:
        parcel = split_parcel(data)
        if parcel.kind != BATCH:
            raise ConnectionLost(f"an unexpected message {parcel.kind}", is_garbage=True)
        return self._reader.read(parcel.meta, parcel.region)

    def _failed(self, exc: BaseException, kind: int = FAILED) -> Sent:
        """Return a failure as a parcel.

        Raises:
            _BrokenDevice: another replica can compute the batch.
        """
        if fault := sticky_device_fault(exc):
            raise _BrokenDevice(fault) from exc
        return join(kind, encode_failure(exc))

    @contextlib.contextmanager
    def _device_held(self, begin: cabc.Callable[[], object]) -> cabc.Iterator[None]:
        if self._device is None:
            yield
            return
        with self._device.hold(lambda: None, begin):
            yield


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


def _device_lock(wanted: WantedVersion) -> DeviceLock | None:
    """Return the lock on the device of this process; None if the model needs none.

    Replicas of the same user on a node share it, as those of a supervisor do. A GPU is known by
    what Ray has assigned to this process.
    """
    devices = wanted.want["devices"]
    if not devices or not wanted.want["device_lock"] or devices == ["cpu"]:
        return None
    device = devices[0]
    if device.startswith("cuda"):
        device = f"cuda-{os.environ.get('CUDA_VISIBLE_DEVICES', '')}"
    folder = os.path.join(tempfile.gettempdir(), f"carboy-ray-{os.getuid()}")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if os.stat(folder).st_uid != os.getuid():
        raise ModelLoadError(f"the folder {folder} for the locks on devices is of another user")
    return DeviceLock(device_lock_path(folder, device))
