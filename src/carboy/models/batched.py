"""Derive the types of a single prediction from the types of a `predict` that takes batches.

In `def predict(self, image: list[Image], top: list[int]) -> list[Digit]`, one prediction takes an
`image` and a `top`, and returns a `Digit`. Instead of a list, a parameter may be

    Tensor["float32", "n", 3, "h", "w"]    one array for the batch: the arrays of all predictions,
                                           stacked along a new first dimension
    DataFrame                              one table with the rows of all predictions

`carboy.models.queue.calls` makes these lists, arrays and tables, and calls `predict` with them.
"""

from __future__ import annotations

import inspect
import types
import typing as t
from collections import abc as cabc

from carboy.contract.answers import STREAMS
from carboy.contract.hints import is_record, is_scalar, is_union, shown, strip
from carboy.contract.signature import read_hints, read_predict
from carboy.contract.values.registry import kind_of
from carboy.contract.values.tables import is_table
from carboy.contract.values.tensor import without_first
from carboy.core.annotations import signature_of
from carboy.errors import SignatureError

from .queue.calls import Columns

if t.TYPE_CHECKING:
    from carboy.contract.operation import Operation

_SEQUENCES = (list, cabc.Sequence, cabc.MutableSequence, cabc.Collection, cabc.Iterable)


def columns_of(predict: cabc.Callable[..., t.Any], *, owner: str) -> Columns:
    """Return the object that combines the arguments of all predictions in a batch into one call of
    `predict`.
    """
    hints = read_hints(predict, owner=owner)
    names = list(signature_of(inspect.unwrap(predict)).parameters)
    return Columns(
        tuple(name for name in names if name in hints),
        stacked=[name for name in names if without_first(hints.get(name)) is not None],
        table=joined_parameter(hints, owner=owner),
    )


def joined_parameter(hints: cabc.Mapping[str, t.Any], *, owner: str) -> str | None:
    """Return the name of the parameter of `predict` that takes the rows of all predictions as one
    table; None if there is no such parameter.

    Raises:
        SignatureError: there are several such parameters.
    """
    found = [name for name, kind in hints.items() if name != "return" and is_table(kind)]
    if len(found) > 1:
        raise SignatureError(
            f"{owner}: with `batch` above 1 the rows of all requests are joined to one table, which"
            f" {' and '.join(found)} cannot both be. Write `list[DataFrame]` to get one table per"
            " request."
        )
    return found[0] if found else None


def item_operation(predict: cabc.Callable[..., t.Any], *, owner: str) -> Operation:
    """Return the typed signature (`Operation`) of a single prediction, for a `predict` that takes
    batches.

    Raises:
        SignatureError: a parameter is not a list, a Tensor with a free first dimension, or a
            DataFrame; or it has a default; or the return type describes a single result.
    """
    # Take the types of one prediction (`Image | Pixels`) out of those of the batch (`list[Image |
    # Pixels]`) before `read_predict` is called. Otherwise `read_predict` would pass the list to
    # msgspec, which does not support lists of such types.
    hints = read_hints(predict, owner=owner)
    annotations = {}
    for parameter in signature_of(inspect.unwrap(predict)).parameters.values():
        if parameter.default is not parameter.empty:
            raise SignatureError(
                f"{owner}: with `batch` above 1 the parameter {parameter.name!r} is a list with one"
                " entry per request, so it cannot have a default. Remove the default, or use a"
                " record (a Struct, a dataclass) whose field has the default."
            )
        # If a parameter has no type, `read_predict` reports that at the end of this function.
        if parameter.name in hints:
            annotations[parameter.name] = _entry_type(hints[parameter.name], parameter.name, owner)
    returns = hints.get("return", t.Any)
    _refuse_one_result(returns, owner)
    result = returns
    if joined_parameter(hints, owner=owner) is None:
        result = _result_entry_type(returns)
    _refuse_streams(predict, returns, result, owner)
    # If all rows are joined to one table, each prediction gets the results of its own rows. They
    # have the same type as the results of all rows.
    annotations["return"] = result
    return read_predict(_copy_with(predict, annotations), owner=owner)


def _entry_type(annotation: t.Any, name: str, owner: str) -> t.Any:
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


def _refuse_streams(
    predict: cabc.Callable[..., t.Any], returns: t.Any, result: t.Any, owner: str
) -> None:
    """Refuse a `predict` that yields, or one of whose results is a stream.

    Args:
        returns: its return type.
        result: the type of one result.

    Raises:
        SignatureError: it is so.
    """
    # A list is an `Iterable`, so `returns` may be one.
    kinds = {_origin(returns)} - {cabc.Iterable} | {_origin(result)}
    if inspect.isgeneratorfunction(inspect.unwrap(predict)) or not kinds.isdisjoint(STREAMS):
        raise SignatureError(
            f"{owner}: with `batch` above 1 `predict` returns one result per entry, all at once,"
            " and cannot yield. Return a list, or leave `batch` at 1."
        )


def _origin(annotation: t.Any) -> t.Any:
    bare = strip(annotation)
    return t.get_origin(bare) or bare


def _refuse_one_result(annotation: t.Any, owner: str) -> None:
    """Refuse a return type that cannot hold one result per prediction of a batch.

    Raises:
        SignatureError: the type describes a single result, such as a number or a dict.
    """
    bare = strip(annotation)
    if is_union(bare):
        is_single = all(map(_is_one_result, t.get_args(bare)))
    else:
        is_single = _is_one_result(annotation)
    if is_single:
        shape = f"list[{shown(annotation)}]"
        raise SignatureError(
            f"{owner}: with `batch` above 1 `predict` returns one result per entry, but its return"
            f" type is {shown(annotation)}. Write `-> {shape}`, or a Tensor whose first side is"
            ' free (`Tensor["float32", "n", 3]`), or leave `batch` at 1.'
        )


def _is_one_result(annotation: t.Any) -> bool:
    """Return whether an annotation describes one result and not a sequence of results."""
    bare, origin = strip(annotation), _origin(annotation)
    if origin in (str, bytes, dict, set, frozenset, None, types.NoneType, *_MAPPINGS):
        return True
    if without_first(annotation) is not None or is_table(annotation):
        return False
    return is_scalar(bare) or is_record(origin) or kind_of(annotation) is not None


_MAPPINGS = (cabc.Mapping, cabc.MutableMapping, cabc.Set)


def _result_entry_type(annotation: t.Any) -> t.Any:
    """Return the type of one result: `Digit` for `list[Digit]`, `Tensor["float32", 3]` for
    `Tensor["float32", "n", 3]`, and `Any` if the annotation does not say.
    """
    bare = strip(annotation)
    entries = [each for each in t.get_args(bare) if each is not Ellipsis]
    if t.get_origin(bare) in (*_SEQUENCES, tuple) and len(entries) == 1:
        return entries[0]
    tensor = without_first(annotation)
    return t.Any if tensor is None else tensor[1]


def _copy_with(predict: cabc.Callable[..., t.Any], annotations: dict[str, t.Any]) -> t.Any:
    """Return a copy of `predict` with other annotations, for code that reads the types of a
    function. The copy is never called.
    """
    inner = inspect.unwrap(predict)
    # Only a function that is written in Python can be copied: others have no `__code__`.
    if not isinstance(inner, types.FunctionType):
        raise SignatureError(f"`predict` is {type(inner).__name__}; write it with `def`.")
    copy = types.FunctionType(
        inner.__code__, inner.__globals__, inner.__name__, None, inner.__closure__
    )
    copy.__qualname__ = inner.__qualname__
    copy.__module__ = inner.__module__
    copy.__annotations__ = annotations
    if (signature := inner.__dict__.get("__signature__")) is not None:
        copy.__dict__["__signature__"] = signature
    return copy
