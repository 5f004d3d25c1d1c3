"""Replicas: where the batches of a model are computed. So far, always in this process.

`Replica` is the interface that the queue uses; its three methods could also call another process or
machine. `InProcess` builds the model's object and calls it in this process. `Checkup` runs the
object's own `check` method for readiness probes.
"""

from __future__ import annotations

import inspect
import os
import pathlib
import threading
import traceback
import typing as t
from time import monotonic

from carboy.contract.signature import predict_at
from carboy.core.annotations import signature_of
from carboy.core.foreignservers import (
    preforking_server,
    refuse_before_uwsgi_forks,
    warning_of_fork,
)
from carboy.core.logmasking import get_masked_logger
from carboy.core.processmemory import resident_bytes
from carboy.errors import ModelFileError, ModelLoadError, ServingError, SignatureError
from carboy.observability.handlers import show_messages

from .queue.calls import one_by_one
from .saved.card import noting_cards

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .queue.calls import Arguments, Compute
    from .saved.card import Card

# If the last check ended at least this long ago, a readiness probe starts the next one. Kubernetes
# probes every 10 s by default (periodSeconds), so each of its probes starts a check.
CHECK_EVERY_S = 5.0
# If a model's `check` method takes longer than this, the check has failed: the method should only
# look at a file, a device or a connection.
CHECK_LIMIT_S = 10.0

_KEYWORD_ONLY, _VAR_KEYWORD = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD

_logger = get_masked_logger("carboy.models")


class Replica(t.Protocol):
    """One copy of a model, in this process or elsewhere. Any thread may call any method.

    Attributes:
        loaded: whether `compute` can begin at once. If not, the queue calls `load` first, so that
            the time of loading does not count against the deadline of `predict`.
    """

    loaded: bool

    def load(self) -> object:
        """Build the model's object unless it exists already. Raises ModelLoadError."""

    def compute(self, batch: cabc.Sequence[Arguments]) -> t.Any:
        """Compute a batch; load the model first if it is not loaded.

        Args:
            batch: the arguments of each prediction, by name. At most `concurrency` batches compute
                at the same time. If `predict` yields, a batch is a single prediction.

        Returns:
            One result per prediction, in the same order. An exception among the results fails that
            prediction alone. If `predict` yields, the only result is an iterator, and the caller
            reads it on the same thread.

        Raises:
            Exception: whatever `predict` raises. The queue splits the batch and computes the parts.
        """

    def close(self) -> None:
        """Release the model. Called while nothing is computed; the next `compute` loads the model
        again.
        """


class ModelSource:
    """What `@app.model` decorates: a class with a method `predict`, or a function that predicts.

    Args:
        folder: the folder of a saved model, which the class gets as an argument; None if it gets
            no argument.
    """

    def __init__(self, target: t.Any, *, owner: str, folder: str | None = None) -> None:
        self.target = target
        self.folder = folder
        self.is_class = inspect.isclass(target)
        self.predict = self._find_predict(owner)
        inner = inspect.unwrap(self.predict)
        if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
            raise SignatureError(
                f"{owner}: `predict` is `async def`, but predictions run on threads. Write `def`."
            )
        self.yields = inspect.isgeneratorfunction(inner)
        self.has_check = self.is_class and callable(getattr(target, "check", None))
        self._positional = _positional_only(inner)
        if self.is_class:
            _check_arguments(target, owner, folder)
        elif folder is not None:
            raise SignatureError(
                f"{owner}: source={folder!r} is passed to the `__init__` of a class, and this model"
                " is a function. Write a class with `__init__(self, path)` and `predict`."
            )

    def _find_predict(self, owner: str) -> cabc.Callable[..., t.Any]:
        if not callable(self.target):
            raise SignatureError(
                f"{owner}: expected a class with a method `predict`, or a function; got"
                f" {type(self.target).__name__}. Put `@app.model(...)` above a class or def."
            )
        if not self.is_class:
            return t.cast("cabc.Callable[..., t.Any]", self.target)
        predict = getattr(self.target, "predict", None)
        if not inspect.isfunction(predict):
            raise SignatureError(
                f"{owner}: the class {self.target.__qualname__} has no method `predict`."
                " Write `def predict(self, ...)` with types."
            )
        is_static = isinstance(inspect.getattr_static(self.target, "predict"), staticmethod)
        if not is_static and next(iter(signature_of(predict).parameters), "") != "self":
            raise SignatureError(
                f"{owner}: {predict_at(predict)} has no parameter `self`, which a method of a class"
                " needs as its first. Write `def predict(self, ...)`."
            )
        return predict

    def build(self) -> t.Any:
        """Create the object of the class; from a saved model if the model has a source.

        Raises:
            ModelFileError: the files in the folder are not those on its card.
        """
        if self.folder is None:
            return self.target()
        from .saved.loadmodel import open_folder

        open_folder(self.folder)
        return self.target(pathlib.Path(self.folder))

    def by_name(self, predict: cabc.Callable[..., t.Any]) -> cabc.Callable[..., t.Any]:
        """Return `predict` as a function of keyword arguments, even if it has positional-only
        parameters.
        """
        positional = self._positional
        if not positional:
            return predict

        def predict_by_name(**arguments: t.Any) -> t.Any:
            values = []
            for name, default in positional:
                values.append(arguments.pop(name, default))
            return predict(*values, **arguments)

        return predict_by_name


class InProcess:
    """A replica in this process. The first thread that needs the model builds the object, once.

    Args:
        bind: returns the function that computes batches by calls of the object's `predict`.
        warm: called with `predict` before the replica is used; raises if the model does not work.

    Attributes:
        loading: whether a thread builds the model at the moment.
        loaded_bytes: how much the memory of this process grew by while the model was built; 0 if
            the system does not tell. Models that are built at the same time count for each other.
        cards: the cards of the saved models that were opened while the model was built.
        compute: computes a batch; see `Replica`. PERF: once the model is loaded, the attribute
            holds the function that computes, so that a batch need not check whether the model is
            loaded.
    """

    compute: Compute

    def __init__(
        self,
        source: ModelSource,
        *,
        owner: str,
        bind: cabc.Callable[[cabc.Callable[..., t.Any]], Compute] = one_by_one,
        warm: cabc.Callable[[cabc.Callable[..., t.Any]], object] | None = None,
    ) -> None:
        self._source = source
        self._owner = owner
        self._bind = bind
        self._warm = warm
        self._lock = threading.Lock()
        self._object: t.Any = None
        self._failed_attempts = 0
        self._failure: ModelLoadError | None = None
        self.loading = False
        self.loaded_bytes = 0
        self.cards: tuple[Card, ...] = ()
        self.loaded = not source.is_class and warm is None
        self.compute = self._load_and_compute
        if self.loaded:
            self.compute = bind(source.by_name(source.predict))

    def _load_and_compute(self, batch: cabc.Sequence[Arguments]) -> t.Any:
        return self.load()(batch)

    def load(self) -> Compute:
        """Build the model's object unless it exists already, and return `compute`.

        If building fails, all threads that waited for it get the error. The next call builds again,
        because a missing file may exist by then.
        """
        seen = self._failed_attempts
        with self._lock:
            if self.loaded:
                return self.compute
            if self._failed_attempts != seen and self._failure is not None:
                raise self._failure
            self.loading = True
            before_bytes, begun_s = resident_bytes() or 0, monotonic()
            try:
                self.compute = compute = self._bind(self._build())
            except ModelLoadError as exc:
                self._failed_attempts += 1
                self._failure = exc
                raise
            finally:
                self.loading = False
            self.loaded_bytes = max(0, (resident_bytes() or 0) - before_bytes)
            self.loaded = True
            _log_loaded(self._owner, monotonic() - begun_s)
            return compute

    def _build(self) -> cabc.Callable[..., t.Any]:
        source, model = self._source, None
        predict = source.predict
        _prepare_load(self._owner)
        if source.is_class:
            try:
                with noting_cards() as noted:
                    model = source.build()
                self.cards = tuple(noted.values())
            except Exception as exc:
                raise _load_error(self._owner, "", source.target, exc) from exc
            predict = t.cast("cabc.Callable[..., t.Any]", model.predict)
        predict = source.by_name(predict)
        if self._warm is not None:
            try:
                self._warm(predict)
            except Exception as exc:
                _close(model)
                raise _load_error(
                    self._owner, "it failed on its example: ", source.target, exc
                ) from exc
        self._object = model
        return predict

    def check(self) -> None:
        """Call the model's own `check` method, if it has one; raises what `check` raises."""
        self.load()
        check = getattr(self._object, "check", None)
        if check is not None:
            check()

    def close(self) -> None:
        """Call the model's own `close` method, if it has one, and drop the reference to the model's
        object.
        """
        with self._lock:
            closing, self._object = self._object, None
            if self._source.is_class:
                self.loaded = False
                self.compute = self._load_and_compute
        _close(closing)


def _prepare_load(owner: str) -> None:
    """Look for what another server does before a model is loaded, and would make it hang.

    Raises:
        ModelLoadError: the model cannot be used in this process.
    """
    if preforking_server():
        show_messages(_logger)
    if warning := warning_of_fork():
        _logger.warning("%s", warning)
    try:
        refuse_before_uwsgi_forks(owner)
    except ServingError as exc:
        raise ModelLoadError(str(exc)) from None


def _log_loaded(owner: str, took_s: float) -> None:
    """Say that a process has loaded a model: each worker of another server does so on its own."""
    server = preforking_server()
    process = f"process {os.getpid()}{f' of {server}' if server else ''}"
    _logger.info("%s: loaded by %s in %.2f s", owner, process, took_s)


def _close(model: t.Any) -> None:
    if model is not None and hasattr(model, "close"):
        model.close()


def _positional_only(predict: cabc.Callable[..., t.Any]) -> tuple[tuple[str, t.Any], ...]:
    """Return the names of the positional-only parameters of `predict`, without `self`, and their
    defaults.
    """
    found = [p for p in signature_of(predict).parameters.values() if p.kind is p.POSITIONAL_ONLY]
    return tuple((p.name, p.default) for p in found if p.name != "self")


def _check_arguments(target: type, owner: str, folder: str | None) -> None:
    """Refuse a class that needs other arguments than carboy passes to it."""
    try:
        parameters = list(signature_of(target).parameters.values())
    except ValueError:  # classes written in C may have no signature
        return
    if folder is not None:
        if not parameters or parameters[0].kind in (_KEYWORD_ONLY, _VAR_KEYWORD):
            raise SignatureError(
                f"{owner}: source={folder!r} is passed to {target.__qualname__}(), which takes no"
                " argument. Write `def __init__(self, path)`: the folder of the saved model."
            )
        parameters = parameters[1:]
    needed = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if needed:
        raise SignatureError(
            f"{owner}: {target.__qualname__}() needs {', '.join(needed)}, but carboy builds it"
            " without arguments. Give each a default, read it from config in `__init__`, or get the"
            " folder of a saved model by app.model(..., source=folder)."
        )


def _load_error(owner: str, prefix: str, target: t.Any, exc: Exception) -> ModelLoadError:
    """Return the error for a model that failed to load. It names the failing line in the user's own
    file instead of a line in a library.
    """
    from .saved.loadfailures import explain_failure

    frames = traceback.extract_tb(exc.__traceback__)
    home = getattr(inspect.getmodule(target), "__file__", None)
    own = [frame for frame in frames if frame.filename == home] or frames[-1:]
    place = f"{own[-1].filename}, line {own[-1].lineno}" if own else "an unknown line"
    if isinstance(exc, ModelFileError) and home and own[-1].filename != home:
        place = f"the source of {target.__qualname__} in {home}"
    advice = explain_failure(exc)
    return ModelLoadError(
        f"{owner} could not be loaded: {prefix}{type(exc).__name__}: {exc} ({place})"
        f"{'. ' if advice else ''}{advice}"
    )


class Health(t.NamedTuple):
    """Whether all models of an app are ready, and the reason for each model that is not."""

    ready: bool
    reasons: dict[str, str]


class Checkup:
    """Runs the `check` method of one model at most every few seconds, on a thread of its own, when
    a readiness probe asks for the result.

    The probe must not wait, so it gets the result of the last run. A check that does not return
    within `CHECK_LIMIT_S` has failed.
    """

    def __init__(self, check: cabc.Callable[[], object], *, owner: str) -> None:
        self._check = check
        self._owner = owner
        self._lock = threading.Lock()
        # When the check that is running now began; None while no check runs.
        self._begun_s: float | None = None
        # The time at which the latest check ended; None before that.
        self._ended_s: float | None = None
        self._failure = ""

    def reason(self) -> str:
        """Return why the model is not ready, or an empty string if it is ready. Never blocks."""
        now_s = monotonic()
        with self._lock:
            if self._begun_s is not None:
                if now_s - self._begun_s >= CHECK_LIMIT_S:
                    return f"its check has not returned for {CHECK_LIMIT_S:g} s"
            elif self._ended_s is None or now_s - self._ended_s >= CHECK_EVERY_S:
                self._begun_s = now_s
                threading.Thread(target=self._run, name=f"{self._owner} check", daemon=True).start()
            return "its check has not returned yet" if self._ended_s is None else self._failure

    def _run(self) -> None:
        failure = ""
        try:
            self._check()
        except Exception as exc:
            failure = f"its check failed: {type(exc).__name__}: {exc}"
            if failure != self._failure:  # if a check fails repeatedly, log it once
                _logger.exception("%s: the check failed", self._owner)
        with self._lock:
            self._failure = failure
            self._begun_s, self._ended_s = None, monotonic()

    def forget(self) -> None:
        """Discard the result of the last health check, because the model has been unloaded."""
        with self._lock:
            self._ended_s, self._failure = None, ""
