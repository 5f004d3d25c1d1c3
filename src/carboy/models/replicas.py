"""Where a model's object lives and computes: in this process, so far.

`Replica` is all that the queue knows of it, so that a model may compute in a process of its own, or
on another machine, behind the same three methods. `InProcess` builds the object and calls it here.
`Checkup` asks the object's own `check`, for readiness probes.
"""

from __future__ import annotations

import inspect
import logging
import threading
import traceback
import typing as t
from time import monotonic

from carboy.core.annotations import signature_of
from carboy.errors import ModelLoadError, SignatureError

from .queue.calls import one_by_one

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .queue.calls import Arguments, Compute

# Kubernetes probes every 10 s where nothing else is said (periodSeconds).
CHECK_EVERY_S = 5.0
# A check looks at a file, a device, a connection; what takes longer does not work.
CHECK_LIMIT_S = 10.0

_logger = logging.getLogger("carboy.models")


class Replica(t.Protocol):
    """One copy of a model, wherever it computes. All methods are called from any thread."""

    def load(self) -> object:
        """Build the model unless that is done. Raises ModelLoadError."""

    def compute(self, batch: cabc.Sequence[Arguments]) -> t.Any:
        """Compute a batch, and load first where that was not done.

        Args:
            batch: the arguments of each prediction, by name. At most `concurrency` batches compute
                at the same time; of a `predict` that yields, a batch is one prediction.

        Returns:
            One result per prediction, in their order. An exception among them is the failure of
            that prediction. Of a `predict` that yields, the one result is an iterator, which is
            read on the thread that called this.

        Raises:
            What `predict` raises: the batch is split, and its parts are computed again.
        """

    def close(self) -> None:
        """Let go of what the model holds. Nothing computes; the next `compute` loads again."""


class ModelSource:
    """What the user decorated: a class to build, or a function that is ready as it is."""

    def __init__(self, target: t.Any, *, owner: str) -> None:
        self.target = target
        self.is_class = inspect.isclass(target)
        self.predict = self._find_predict(owner)
        inner = inspect.unwrap(self.predict)
        if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
            raise SignatureError(
                f"{owner}: `predict` is `async def`, but predictions run on threads."
                " Write `def`; what computes does not wait."
            )
        self.yields = inspect.isgeneratorfunction(inner)
        self.has_check = self.is_class and callable(getattr(target, "check", None))
        self._positional = _positional_only(inner)
        if self.is_class:
            _refuse_arguments(target, owner)

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
        return predict

    def by_name(self, predict: cabc.Callable[..., t.Any]) -> cabc.Callable[..., t.Any]:
        """`predict` as a function of named arguments, also where its signature has a `/`."""
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
    """A replica in this process, built when first needed and only once, by any thread.

    Args:
        bind: makes the function that computes batches by calls of the object's `predict`.
        warm: called with `predict` before the replica is used; raises if it cannot be used.

    Attributes:
        compute: as of `Replica`. PERF: the attribute holds the function itself once the model is
            loaded, so that no batch asks again whether it is.
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
        self._failed = 0  # attempts
        self._failure: ModelLoadError | None = None
        self.loaded = not source.is_class and warm is None
        self.compute = self._load_and_compute
        if self.loaded:
            self.compute = bind(source.by_name(source.predict))

    def _load_and_compute(self, batch: cabc.Sequence[Arguments]) -> t.Any:
        return self.load()(batch)

    def load(self) -> Compute:
        """Build the object unless that is done; returns `compute`.

        A failed attempt is shared by all who waited for it, and the next caller tries again: the
        missing file may be there by then.
        """
        seen = self._failed
        with self._lock:
            if self.loaded:
                return self.compute
            if self._failed != seen and self._failure is not None:
                raise self._failure
            try:
                self.compute = compute = self._bind(self._build())
            except ModelLoadError as exc:
                self._failed += 1
                self._failure = exc
                raise
            self.loaded = True
            return compute

    def _build(self) -> cabc.Callable[..., t.Any]:
        source, model = self._source, None
        predict = source.predict
        if source.is_class:
            try:
                model = source.target()
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
        """Run the model's own `check`, if it has one; raises what `check` raises."""
        self.load()
        check = getattr(self._object, "check", None)
        if check is not None:
            check()

    def close(self) -> None:
        """Call the model's own `close`, if it has one, and forget the object."""
        with self._lock:
            closing, self._object = self._object, None
            if self._source.is_class:
                self.loaded = False
                self.compute = self._load_and_compute
        _close(closing)


def _close(model: t.Any) -> None:
    if model is not None and hasattr(model, "close"):
        model.close()


def _positional_only(predict: cabc.Callable[..., t.Any]) -> tuple[tuple[str, t.Any], ...]:
    """Names and defaults of the parameters before a `/`, without `self`."""
    found = [p for p in signature_of(predict).parameters.values() if p.kind is p.POSITIONAL_ONLY]
    return tuple((p.name, p.default) for p in found if p.name != "self")


def _refuse_arguments(target: type, owner: str) -> None:
    try:
        parameters = signature_of(target).parameters.values()
    except ValueError:  # a class built in C says nothing; building it will
        return
    needed = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if needed:
        raise SignatureError(
            f"{owner}: {target.__qualname__}() needs {', '.join(needed)}, but carboy builds it"
            " without arguments. Give each a default, or read it from config in `__init__`."
        )


def _load_error(owner: str, doing: str, target: t.Any, exc: Exception) -> ModelLoadError:
    """Name the line of the user's own file that failed, not a line deep inside a library."""
    frames = traceback.extract_tb(exc.__traceback__)
    home = getattr(inspect.getmodule(target), "__file__", None)
    own = [frame for frame in frames if frame.filename == home] or frames[-1:]
    place = f"{own[-1].filename}, line {own[-1].lineno}" if own else "an unknown line"
    return ModelLoadError(
        f"{owner} could not be loaded: {doing}{type(exc).__name__}: {exc} ({place})"
    )


class Health(t.NamedTuple):
    """Whether all models of an app are ready; `reasons` says by name why a model is not."""

    ready: bool
    reasons: dict[str, str]


class Checkup:
    """Runs the own `check` of one model, on a thread beside `predict`, every few seconds.

    A probe gets the result of the last run, since a probe must not wait. A check that does not come
    back is a failure, too.
    """

    def __init__(self, check: cabc.Callable[[], object], *, owner: str) -> None:
        self._check = check
        self._owner = owner
        self._lock = threading.Lock()
        self._begun_s: float | None = None  # of the check that runs
        self._ended_s: float | None = None  # of the last check
        self._failure = ""

    def reason(self) -> str:
        """Why the model is not ready; empty if it is. Never waits."""
        now_s = monotonic()
        with self._lock:
            if self._begun_s is not None:
                if now_s - self._begun_s >= CHECK_LIMIT_S:
                    return f"its check has not come back for {CHECK_LIMIT_S:g} s"
            elif self._ended_s is None or now_s - self._ended_s >= CHECK_EVERY_S:
                self._begun_s = now_s
                threading.Thread(target=self._run, name=f"{self._owner} check", daemon=True).start()
            return "its check has not come back yet" if self._ended_s is None else self._failure

    def _run(self) -> None:
        failure = ""
        try:
            self._check()
        except Exception as exc:
            failure = f"its check failed: {type(exc).__name__}: {exc}"
            if failure != self._failure:  # not again at each probe
                _logger.exception("%s: the check failed", self._owner)
        with self._lock:
            self._failure = failure
            self._begun_s, self._ended_s = None, monotonic()

    def forget(self) -> None:
        """Drop what the check said: the model was unloaded."""
        with self._lock:
            self._ended_s, self._failure = None, ""
