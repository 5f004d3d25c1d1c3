"""From items to what a batched `predict` takes, and from its types to those of one item.

`def predict(self, image: list[Image], top: list[int]) -> list[Digit]` reads: one prediction takes
an `image` and a `top` and gives a `Digit`. Beside lists there are

    Tensor["float32", "n", 3, "h", "w"]    the leading free side is the batch: one array, stacked
    DataFrame                              the rows of all requests as one table (see `joining`)

Arrays of different shapes cannot be stacked. Items are then put together by shape, and `predict` is
called once for each: what a request is answered does not depend on who else asked.
"""

from __future__ import annotations

import inspect
import types
import typing as t
from collections import abc as cabc

from carboy.contract.hints import shown
from carboy.contract.values.tables import is_table
from carboy.contract.values.tensor import without_first
from carboy.core.annotations import signature_of
from carboy.errors import SignatureError

from ..schema import Interface, compile_interface, read_hints
from .isolation import rows
from .joining import alike, joined_parameter, run_joined

Run: t.TypeAlias = "cabc.Callable[[dict[str, t.Any]], t.Any]"

_SEQUENCES = (list, cabc.Sequence, cabc.MutableSequence, cabc.Collection, cabc.Iterable)


class Columns:
    """How the items of a batch become arguments. Thread-safe.

    Args:
        names: of the parameters, in the order in which an item has them.
        stacked: those that are one array for all items.
        table: the one that is a table of the rows of all items.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        *,
        stacked: cabc.Collection[str] = (),
        table: str | None = None,
    ) -> None:
        self.names = names
        self._stacked = tuple(i for i, name in enumerate(names) if name in stacked)
        self._table = table

    @classmethod
    def of(cls, predict: cabc.Callable[..., t.Any], *, owner: str) -> t.Self:
        """By the types of a batched `predict`, as `item_interface` reads them."""
        hints = read_hints(predict, owner=owner)
        names = list(signature_of(inspect.unwrap(predict)).parameters)
        stacked = [name for name in names if without_first(hints.get(name)) is not None]
        return cls(
            tuple(name for name in names if name in hints),
            stacked=stacked,
            table=joined_parameter(hints, owner=owner),
        )

    def run(self, run: Run, items: cabc.Sequence[tuple[t.Any, ...]]) -> t.Any:
        """What `predict` returns for a batch: one row per item, in their order.

        Args:
            run: calls `predict` with arguments by name.
            items: values in the order of `names`.
        """
        if self._table is not None:
            return run_joined(run, self.names, items, table=self._table)
        if not self._stacked:
            return run(self._lists(items))
        groups = alike(map(self._shapes, items))
        if len(groups) == 1:
            return run(self._arguments(items))
        answers: list[t.Any] = [None] * len(items)
        for group in groups:
            found = rows(run(self._arguments([items[i] for i in group])), len(group))
            for i, answer in zip(group, found, strict=True):
                answers[i] = answer
        return answers

    def _lists(self, items: cabc.Sequence[tuple[t.Any, ...]]) -> dict[str, t.Any]:
        if len(self.names) == 1:
            return {self.names[0]: [item[0] for item in items]}
        lists = zip(*items, strict=True)
        return {name: list(column) for name, column in zip(self.names, lists, strict=True)}

    def _arguments(self, items: cabc.Sequence[tuple[t.Any, ...]]) -> dict[str, t.Any]:
        import numpy as np

        arguments = self._lists(items)
        for at in self._stacked:
            arguments[self.names[at]] = np.stack(arguments[self.names[at]])
        return arguments

    def _shapes(self, item: tuple[t.Any, ...]) -> tuple[t.Any, ...]:
        # A script may hand over lists where requests have arrays.
        return tuple([getattr(item[at], "shape", None) for at in self._stacked])


def item_interface(predict: cabc.Callable[..., t.Any], *, owner: str) -> Interface:
    """What one prediction takes and gives, for a `predict` that takes lists.

    Raises:
        SignatureError: a parameter is not a list, or has a default, which no list could have.
    """
    # As a whole, the lists may be what msgspec cannot read (`list[Image | Pixels]`).
    hints = read_hints(predict, owner=owner)
    annotations = {}
    for parameter in signature_of(inspect.unwrap(predict)).parameters.values():
        if parameter.default is not parameter.empty:
            raise SignatureError(
                f"{owner}: with `batch` above 1 the parameter {parameter.name!r} is a list with one"
                " entry per request, and a default says nothing about one entry. Leave it out; use"
                " a record (a Struct, a dataclass) whose field has the default."
            )
        if parameter.name in hints:  # compile_interface says it of those that have no type
            annotations[parameter.name] = _entry(hints[parameter.name], parameter.name, owner)
    returns = hints.get("return", t.Any)
    if joined_parameter(hints, owner=owner) is None:
        returns = _entry_of_answer(returns, owner)
    annotations["return"] = returns  # of joined tables, each request has a part of that type
    return compile_interface(_with(predict, annotations), owner=owner)


def _entry(annotation: t.Any, name: str, owner: str) -> t.Any:
    tensor = without_first(annotation)
    if tensor is not None:
        return tensor[1]
    if is_table(annotation):
        return annotation
    bare = annotation
    if t.get_origin(bare) is t.Annotated:
        bare = t.get_args(bare)[0]
    entries = t.get_args(bare)
    if t.get_origin(bare) not in _SEQUENCES or len(entries) != 1:
        raise SignatureError(
            f"{owner}: with `batch` above 1 `predict` takes lists, one entry per request, but the"
            f" parameter {name!r} is {shown(annotation)}. Write `{name}: list[...]`, or a Tensor"
            ' whose first side is free (`Tensor["float32", "n", 3]`), or leave `batch` at 1.'
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
    tensor = without_first(annotation)
    return t.Any if tensor is None else tensor[1]


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
