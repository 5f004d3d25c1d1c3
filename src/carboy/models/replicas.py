"""Where a model's object lives and computes. For now: in this process.

A replica is all that a scheduler will see of a model: it runs and it closes. Processes of their
own, several versions beside each other and whole batches come behind the same two methods.
"""

from __future__ import annotations

import inspect
import threading
import traceback
import typing as t

from carboy.core.annotations import signature_of
from carboy.errors import ModelLoadError, SignatureError

if t.TYPE_CHECKING:
    from collections import abc as cabc


class Replica(t.Protocol):
    """One loaded copy of a model."""

    def run(self, arguments: cabc.Mapping[str, t.Any]) -> t.Any:
        """One call of `predict`. Any thread; what `predict` raises comes through unchanged."""

    def close(self) -> None:
        """Give back what the model holds. Nothing runs on it afterwards."""


class Source:
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
        """`predict`, to be called by names also where its signature has a `/`."""
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
        warm: called with `predict` before the replica is used; raises if it cannot be.
    """

    def __init__(
        self,
        source: Source,
        *,
        owner: str,
        warm: cabc.Callable[[cabc.Callable[..., t.Any]], object] | None = None,
    ) -> None:
        self._source = source
        self._owner = owner
        self._warm = warm
        self._lock = threading.Lock()
        self._predict: cabc.Callable[..., t.Any] | None = (
            None if source.is_class or warm is not None else source.by_name(source.predict)
        )
        self._object: t.Any = None
        self._failed = 0  # attempts
        self._failure: ModelLoadError | None = None

    @property
    def loaded(self) -> bool:
        return self._predict is not None

    def load(self) -> cabc.Callable[..., t.Any]:
        """Build the object unless that is done.

        A failed attempt is shared by all who waited for it, and the next caller tries again: the
        missing file may be there by then.
        """
        seen = self._failed
        with self._lock:
            if self._predict is not None:
                return self._predict
            if self._failed != seen and self._failure is not None:
                raise self._failure
            try:
                self._predict = self._build()
            except ModelLoadError as exc:
                self._failed += 1
                self._failure = exc
                raise
            return self._predict

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

    def run(self, arguments: cabc.Mapping[str, t.Any]) -> t.Any:
        predict = self._predict or self.load()
        return predict(**arguments)

    def check(self) -> None:
        """Call the model's own `check`, if it has one; what that raises comes through."""
        self.load()
        check = getattr(self._object, "check", None)
        if check is not None:
            check()

    def close(self) -> None:
        """Call the model's own `close`, if it has one, and forget the object."""
        with self._lock:
            closing, self._object = self._object, None
            if self._source.is_class:
                self._predict = None
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
    """Name the line of the user's own file that failed, not one deep inside a library."""
    frames = traceback.extract_tb(exc.__traceback__)
    home = getattr(inspect.getmodule(target), "__file__", None)
    own = [frame for frame in frames if frame.filename == home] or frames[-1:]
    place = f"{own[-1].filename}, line {own[-1].lineno}" if own else "an unknown line"
    return ModelLoadError(
        f"{owner} could not be loaded: {doing}{type(exc).__name__}: {exc} ({place})"
    )
