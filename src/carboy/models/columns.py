"""From items to the lists that a batched `predict` takes, and from its types to those of one item.

`def predict(self, images: list[Image], top: list[int]) -> list[Digit]` reads: one prediction takes
an `image` and a `top` and gives a `Digit`. The names stay as they are.
"""

from __future__ import annotations

import inspect
import types
import typing as t
from collections import abc as cabc

from carboy.contract.faults import SignatureError

from .schema import Interface, compile_interface, read_hints

_SEQUENCES = (list, cabc.Sequence, cabc.MutableSequence, cabc.Collection, cabc.Iterable)


def columns(
    names: tuple[str, ...], items: cabc.Sequence[tuple[t.Any, ...]]
) -> dict[str, list[t.Any]]:
    """One list per parameter, in the order of the items."""
    if len(names) == 1:
        return {names[0]: [item[0] for item in items]}
    return {
        name: list(column) for name, column in zip(names, zip(*items, strict=True), strict=True)
    }


def item_interface(predict: cabc.Callable[..., t.Any], *, owner: str) -> Interface:
    """What one prediction takes and gives, for a `predict` that takes lists.

    Raises:
        SignatureError: a parameter is not a list, or has a default, which no list could have.
    """
    # As a whole, the lists may be what msgspec cannot read (`list[Image | Pixels]`).
    hints = read_hints(predict, owner=owner)
    annotations = {}
    for parameter in inspect.signature(inspect.unwrap(predict)).parameters.values():
        if parameter.default is not parameter.empty:
            raise SignatureError(
                f"{owner}: with `batch` above 1 the parameter {parameter.name!r} is a list with one"
                " entry per request, and a default says nothing about one entry. Leave it out; use"
                " a record (a Struct, a dataclass) whose field has the default."
            )
        if parameter.name in hints:  # compile_interface says it of those that have no type
            annotations[parameter.name] = _entry(hints[parameter.name], parameter.name, owner)
    annotations["return"] = _entry_of_answer(hints.get("return", t.Any), owner)
    return compile_interface(_with(predict, annotations), owner=owner)


def _entry(annotation: t.Any, name: str, owner: str) -> t.Any:
    bare = annotation
    if t.get_origin(bare) is t.Annotated:
        bare = t.get_args(bare)[0]
    entries = t.get_args(bare)
    if t.get_origin(bare) not in _SEQUENCES or len(entries) != 1:
        raise SignatureError(
            f"{owner}: with `batch` above 1 `predict` takes lists, one entry per request, but the"
            f" parameter {name!r} is {annotation!r}. Write `{name}: list[...]`, or leave `batch`"
            " at 1."
        )
    return entries[0]


def _entry_of_answer(annotation: t.Any, owner: str) -> t.Any:
    """`list[Digit]` -> Digit; of an array nothing is known of one row but that it is one."""
    entries = t.get_args(annotation)
    if t.get_origin(annotation) in (cabc.Iterator, cabc.Generator):
        raise SignatureError(
            f"{owner}: with `batch` above 1 `predict` returns one result per entry, all at once,"
            " and cannot give them one by one. Return a list, or leave `batch` at 1."
        )
    if t.get_origin(annotation) in _SEQUENCES and len(entries) == 1:
        return entries[0]
    return t.Any


def _with(predict: cabc.Callable[..., t.Any], annotations: dict[str, t.Any]) -> t.Any:
    """A function like `predict` to look at, with other types. It is never called."""
    inner = inspect.unwrap(predict)
    if not isinstance(inner, types.FunctionType):  # compile_interface has refused all others
        raise SignatureError(f"`predict` is {type(inner).__name__}; write it with `def`.")
    copy = types.FunctionType(
        inner.__code__, inner.__globals__, inner.__name__, None, inner.__closure__
    )
    copy.__qualname__ = inner.__qualname__
    copy.__module__ = inner.__module__
    copy.__annotations__ = annotations
    return copy
