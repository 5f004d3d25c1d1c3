"""How a batch becomes calls of `predict`, and what it returns one result per prediction.

    batch=1     `predict(x=1)`, one call per prediction
    batch=32    `predict(x=[1, 2, 3])`, a list with one entry per prediction, or
                one array stacked of all of them, where the type is `Tensor["float32", "n", 3]`, or
                one table of the rows of all of them, where the type is `DataFrame`

What a client gets does not depend on the other clients of its batch: arrays of different shapes and
tables of different columns are computed in calls of their own, and a batch that fails is split
until only the failing prediction fails.
"""

from __future__ import annotations

import typing as t
from collections import deque
from functools import partial
from operator import itemgetter

from carboy.errors import AnswerError

if t.TYPE_CHECKING:
    from collections import abc as cabc
    from contextvars import Context

    Predict: t.TypeAlias = cabc.Callable[..., t.Any]
    Arguments: t.TypeAlias = cabc.Mapping[str, t.Any]
    #: Computes a batch; returns as many results as it gets, or raises.
    Compute: t.TypeAlias = cabc.Callable[[cabc.Sequence[Arguments]], t.Any]

T = t.TypeVar("T")


# --- arguments -----------------------------------------------------------------------------------


def one_by_one(predict: Predict) -> Compute:
    """Compute batches of one prediction."""

    def compute(batch: cabc.Sequence[Arguments]) -> list[t.Any]:
        (arguments,) = batch
        return [predict(**arguments)]

    return compute


def in_context(context: Context, compute: Compute) -> Compute:
    """`compute`, run in a context."""
    return partial(t.cast("t.Any", context.run), compute)


class Columns:
    """How the arguments of a batch become the arguments of one call. Thread-safe.

    Args:
        names: the parameters of `predict`.
        stacked: parameters that are one array for the whole batch.
        table: the parameter that is one table of the rows of the whole batch.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        *,
        stacked: cabc.Collection[str] = (),
        table: str | None = None,
    ) -> None:
        self.names = names
        self._stacked = tuple(name for name in names if name in stacked)
        self._table = table

    def bind(self, predict: Predict) -> Compute:
        """The function that computes batches by calls of `predict`."""
        getters = [(name, itemgetter(name)) for name in self.names]

        def compute(batch: cabc.Sequence[Arguments]) -> t.Any:
            columns = {}
            for name, get in getters:
                columns[name] = list(map(get, batch))
            return predict(**columns)

        if self._table is not None:
            return lambda batch: self._joined(predict, batch)
        if self._stacked:
            return lambda batch: self._by_shape(predict, batch)
        return compute

    def _by_shape(self, predict: Predict, batch: cabc.Sequence[Arguments]) -> t.Any:
        groups = group_alike(map(self._shapes, batch))
        if len(groups) == 1:
            return predict(**self._stack(batch))
        results: list[t.Any] = [None] * len(batch)
        for group in groups:
            found = rows(predict(**self._stack([batch[i] for i in group])), len(group))
            for i, result in zip(group, found, strict=True):
                results[i] = result
        return results

    def _stack(self, batch: cabc.Sequence[Arguments]) -> dict[str, t.Any]:
        import numpy as np

        columns: dict[str, t.Any] = {
            name: [arguments[name] for arguments in batch] for name in self.names
        }
        for name in self._stacked:
            columns[name] = np.stack(columns[name])
        return columns

    def _shapes(self, arguments: Arguments) -> tuple[t.Any, ...]:
        # A script may hand over lists where requests have arrays.
        return tuple([getattr(arguments[name], "shape", None) for name in self._stacked])

    def _joined(self, predict: Predict, batch: cabc.Sequence[Arguments]) -> list[t.Any]:
        table = t.cast("str", self._table)
        results: list[t.Any] = [None] * len(batch)
        for group in group_alike(columns_and_types(arguments[table]) for arguments in batch):
            tables = [batch[i][table] for i in group]
            columns = {
                name: [batch[i][name] for i in group] for name in self.names if name != table
            }
            columns[table] = concat(tables)
            parts = cut(predict(**columns), list(map(len, tables)))
            for i, part in zip(group, parts, strict=True):
                results[i] = part
        return results


def group_alike(kinds: cabc.Iterable[cabc.Hashable]) -> list[list[int]]:
    """The positions of equal kinds, which may be computed together, in order of appearance."""
    groups: dict[cabc.Hashable, list[int]] = {}
    for i, kind in enumerate(kinds):
        groups.setdefault(kind, []).append(i)
    return list(groups.values())


# --- tables --------------------------------------------------------------------------------------


def columns_and_types(table: t.Any) -> cabc.Hashable:
    """What must be equal for tables to be joined; for declared tables it always is."""
    return tuple(table.columns), tuple(map(_type_of_column, table.dtypes))


def _type_of_column(dtype: t.Any) -> cabc.Hashable:
    """What tells apart dtypes: of categories also which ones, in their order, which gives codes.

    pandas joins other categories to a column of text.
    """
    if dtype.name == "category":
        return tuple(dtype.categories), dtype.ordered
    return str(dtype)


def concat(tables: cabc.Sequence[t.Any]) -> t.Any:
    """One table of the rows of all tables, numbered anew."""
    if len(tables) == 1:
        return tables[0]
    import pandas as pd

    return pd.concat(tables, ignore_index=True)


def cut(result: t.Any, sizes: cabc.Sequence[int]) -> list[t.Any]:
    """Cut the result of a joined table into parts of these sizes.

    Args:
        result: a table, a Series, an array or a list, with one entry for each row. An exception in
            a list is the failure of the prediction to which its row belongs.
        sizes: rows of each prediction.

    Raises:
        AnswerError: the result is none of these, or not of that length.
    """
    total = sum(sizes)
    if not hasattr(result, "__len__") or isinstance(result, (str, bytes, bytearray, dict, set)):
        raise AnswerError(
            f"predict got a table and returned {type(result).__module__}."
            f"{type(result).__qualname__}. With `batch` above 1 it returns one answer for each row:"
            " a list, an array, a Series or a DataFrame."
        )
    if len(result) != total:
        raise AnswerError(
            f"predict got a table of {total} row(s) and returned {len(result)} answer(s). With"
            " `batch` above 1 it returns one for each row, in their order.",
            of_items=True,
        )
    parts, start = [], 0
    for size in sizes:
        parts.append(_part(result, start, start + size))
        start += size
    return parts


def _part(result: t.Any, start: int, stop: int) -> t.Any:
    if hasattr(result, "iloc"):
        return result.iloc[start:stop].reset_index(drop=True)
    part = result[start:stop]
    if isinstance(part, (list, tuple)):
        return next((each for each in part if isinstance(each, Exception)), part)
    return part


# --- results -------------------------------------------------------------------------------------


def rows(result: t.Any, size: int) -> list[t.Any]:
    """What `predict` returned for `size` predictions, one by one.

    Raises:
        AnswerError: it is not a sequence, or not of that length.
    """
    if type(result) is not list:
        result = _as_list(result)
    if len(result) != size:
        raise AnswerError(
            f"predict got {size} item(s) and returned {len(result)} result(s). With `batch` above 1"
            " it returns one result per item, in their order.",
            of_items=True,
        )
    return t.cast("list[t.Any]", result)


def _as_list(result: t.Any) -> list[t.Any]:
    if hasattr(result, "to_dict") and hasattr(result, "columns"):  # a table: iterating gives names
        return t.cast("list[t.Any]", result.to_dict("records"))
    unusable = isinstance(result, (str, bytes, bytearray, dict, set, frozenset))
    if unusable or not hasattr(result, "__len__") or not hasattr(result, "__getitem__"):
        raise AnswerError(
            f"predict returned {type(result).__module__}.{type(result).__qualname__}. With `batch`"
            " above 1 it returns a list, or an array whose first side is the batch."
        )
    try:
        return list(result)
    except TypeError as exc:  # an array without sides has a length by name only
        raise AnswerError(f"predict returned an array without a batch side: {exc}.") from exc


# --- failures ------------------------------------------------------------------------------------


def max_calls(size: int) -> int:
    """Calls of `predict` for one batch, the first included: 1 for 1, 21 for 32 predictions.

    Enough to find two failing predictions wherever they are. A model that is simply broken must not
    be called 2n times per batch of n.
    """
    return 1 + 4 * (size - 1).bit_length()


def isolate(
    compute: cabc.Callable[[list[T]], t.Any],
    batch: list[T],
    *,
    is_wanted: cabc.Callable[[int], bool] = lambda i: True,
) -> list[t.Any]:
    """Compute a batch; each entry gets its own result, or its own exception as its result.

    Of n entries with a failing one, at most 2 * log2(n) further calls find it. After `max_calls(n)`
    calls the entries that are still together fail together.

    Args:
        compute: returns as many results as it gets entries, or raises. An exception among the
            results is the failure of that entry.
        batch: at least one entry.
        is_wanted: whether the entry at a position is still to be computed, asked before each
            further call; an entry that is not gets None.
    """
    try:
        result = compute(batch)
        if type(result) is list and len(result) == len(batch):  # PERF: as most do
            return result
        return rows(result, len(batch))
    except BaseException as exc:  # noqa: BLE001 - the clients must hear of it whatever it is
        if len(batch) == 1 or not _may_split(exc):
            return [exc] * len(batch)
        failure = exc
    try:
        # Not in the handler: each failure of a part would bring those before it into the log.
        return _split(compute, batch, failure, is_wanted)
    finally:
        del failure  # its traceback keeps this frame


def _split(
    compute: cabc.Callable[[list[T]], t.Any],
    batch: list[T],
    exc: BaseException,
    is_wanted: cabc.Callable[[int], bool],
) -> list[t.Any]:
    results: list[t.Any] = [None] * len(batch)
    calls = max_calls(len(batch)) - 1
    # Largest parts first: when the calls run out, every part has been split equally often.
    failed: deque[tuple[range, BaseException]] = deque([(range(len(batch)), exc)])
    while failed:
        part, why = failed.popleft()
        if len(part) == 1 or calls < 2 or not _may_split(why):
            for i in part:
                results[i] = why
            continue
        middle = len(part) // 2
        for half in (part[:middle], part[middle:]):
            there = [i for i in half if is_wanted(i)]
            if not there:
                continue
            calls -= 1
            try:
                found = rows(compute([batch[i] for i in there]), len(there))
            except BaseException as again:  # noqa: BLE001 - as above
                failed.append((half, again))
            else:
                for i, result in zip(there, found, strict=True):
                    results[i] = result
    return results


def _may_split(exc: BaseException) -> bool:
    """Whether a batch that failed so may be split.

    A result of a wrong type would be wrong for each part, and an interrupt is meant for all. A
    panic in Rust, or an exit, is no `Exception` and still the fault of one prediction.
    """
    if isinstance(exc, AnswerError):
        return exc.of_items
    return not isinstance(exc, KeyboardInterrupt)
