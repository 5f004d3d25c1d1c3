"""The class or function from which a model is built, and perhaps the folder of a saved model."""

from __future__ import annotations

import inspect
import pathlib
import typing as t

from carboy.contract.signature import predict_at
from carboy.core.annotations import signature_of
from carboy.errors import SignatureError

if t.TYPE_CHECKING:
    from collections import abc as cabc

_KEYWORD_ONLY, _VAR_KEYWORD = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD


class ModelSource:
    """The object below `@app.model`: a class with a method `predict`, or a function that predicts.

    Args:
        folder: the option `source` of the model; None if the class gets no argument.
    """

    def __init__(self, target: t.Any, *, owner: str, folder: str | None = None) -> None:
        self.target = target
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
        if not self.is_class and not hasattr(self.target, "__qualname__"):
            raise SignatureError(
                f"{owner}: expected a class with a method `predict`, or a function; got an object"
                f" of the class {type(self.target).__qualname__}, which can be called and has no"
                " name. Write `def predict(...)` with types, which calls it."
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

    def build(self, folder: str | None) -> t.Any:
        """Create the object of the class.

        Args:
            folder: the folder of a saved model, which the class gets as an argument; None if it
                gets no argument.

        Raises:
            ModelFileError: the files in the folder are not those on its card, or have changed while
                they were read.
        """
        if folder is None:
            return self.target()
        from ..saved.loadmodel import reading_folder

        with reading_folder(folder):
            return self.target(pathlib.Path(folder))

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
