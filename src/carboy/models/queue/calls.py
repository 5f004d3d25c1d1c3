"""Convert a batch to calls of `predict`, and its return value to one result per prediction.

    batch=1     `predict(x=1)`, one call per prediction
    batch=32    `predict(x=[1, 2, 3])` with a list, which has one entry per prediction; with one
                stacked array if the type is `Tensor["float32", "n", 3]`; or with one table of all
                rows if the type is `DataFrame`

A result does not depend on the other predictions of its batch: arrays of different shapes and
tables of different columns are computed in separate calls, and a batch that fails is split until
only the failing prediction fails. The parts are computed from the inputs that the clients sent
(`retries` keeps them), because `predict` may have changed its arguments.
"""

from __future__ import annotations

import typing as t
from collections import abc as cabc
from collections import deque
from functools import partial
from operator import itemgetter

from carboy.errors import AnswerError, ContextError

if t.TYPE_CHECKING:
    from contextvars import Context

    Predict: t.TypeAlias = cabc.Callable[..., t.Any]
    Arguments: t.TypeAlias = cabc.Mapping[str, t.Any]
    #: Computes a batch; returns one result per entry, or raises.
    Compute: t.TypeAlias = cabc.Callable[[cabc.Sequence[Arguments]], t.Any]

T = t.TypeVar("T")


# --- arguments -----------------------------------------------------------------------------------


def one_by_one(predict: Predict) -> Compute:
    """Return a function that computes batches of one prediction by calling `predict`."""

    def compute(batch: cabc.Sequence[Arguments]) -> list[t.Any]:
        (arguments,) = batch
        return [predict(**arguments)]

    return compute


def in_context(context: Context, compute: Compute) -> Compute:
    """Return a function that calls `compute` in the given `contextvars` context."""
    return partial(t.cast("t.Any", context.run), compute)


class ColumnBatch(cabc.Sequence[dict[str, t.Any]]):
    """A batch that another process has sent: the values of each parameter together.

    Args:
        columns: by parameter, a list with a value for each prediction, or an array whose rows these
            values are.
        size: the number of predictions.
    """

    def __init__(self, columns: dict[str, t.Any], size: int) -> None:
        self.columns = columns
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, i: t.Any) -> t.Any:
        if isinstance(i, slice):
            return [self[each] for each in range(*i.indices(self._size))]
        if not -self._size <= i < self._size:  # there may be no column that raises this
            raise IndexError(i)
        return {name: column[i] for name, column in self.columns.items()}

    def as_called(self, stacked: cabc.Sequence[str]) -> dict[str, t.Any] | None:
        """Return the arguments for one call of `predict` with the whole batch; None if the values
        of a parameter that takes one array are several arrays.

        Args:
            stacked: the parameters that take one array; the others take a list.
        """
        found = {}
        for name, column in self.columns.items():
            is_array = hasattr(column, "dtype")
            if name in stacked and not is_array:
                return None
            found[name] = list(column) if is_array and name not in stacked else column
        return found


class Columns:
    """Combines the arguments of all predictions in a batch into one call of `predict`. Thread-safe.

    Args:
        names: the parameters of `predict`.
        stacked: the parameters that are passed as one array for the whole batch.
        table: the parameter that is passed as one table with the rows of the whole batch.
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
        """Return a function that computes a batch with as few calls of `predict` as possible."""
        getters = [(name, itemgetter(name)) for name in self.names]

        def compute(batch: cabc.Sequence[Arguments]) -> t.Any:
            if type(batch) is ColumnBatch:
                return predict(**t.cast("dict[str, t.Any]", batch.as_called(())))
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
        if type(batch) is ColumnBatch and (call := batch.as_called(self._stacked)) is not None:
            return predict(**call)
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
        # A list, which callers of `model.map` may pass instead of an array, has no shape.
        # Predictions with lists form a group of their own.
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
    """Return the positions of equal keys in groups: [[0, 2], [1]] for the keys a, b, a. `predict`
    is called once per group, because inputs with different keys (shapes, columns) cannot be joined.
    """
    groups: dict[cabc.Hashable, list[int]] = {}
    for i, kind in enumerate(kinds):
        groups.setdefault(kind, []).append(i)
    return list(groups.values())


# --- tables --------------------------------------------------------------------------------------


def columns_and_types(table: t.Any) -> cabc.Hashable:
    """Return a key that is equal for tables with the same columns and types, which can be
    joined.
    """
    return tuple(table.columns), tuple(map(_type_of_column, table.dtypes))


def _type_of_column(dtype: t.Any) -> cabc.Hashable:
    """Return a key that is equal for column types (dtypes) that pandas joins without a change.

    The key of a categorical type contains its categories in order: pandas makes a column of text
    when it joins columns whose categories differ.
    """
    if dtype.name == "category":
        return tuple(dtype.categories), dtype.ordered
    return str(dtype)


def concat(tables: cabc.Sequence[t.Any]) -> t.Any:
    """Join the rows of all tables to one table, with a new index."""
    if len(tables) == 1:
        return tables[0]
    import pandas as pd

    return pd.concat(tables, ignore_index=True)


def cut(result: t.Any, sizes: cabc.Sequence[int]) -> list[t.Any]:
    """Split the result for a joined table (the rows of several predictions) into one part each.

    Args:
        result: a table, Series, array or list with one entry per row. An exception among them is
            the failure of the prediction that the row belongs to.
        sizes: the number of rows of each prediction.

    Raises:
        AnswerError: the result has another type or length.
    """
    total = sum(sizes)
    if not hasattr(result, "__len__") or isinstance(result, (str, bytes, bytearray, dict, set)):
        raise AnswerError(
            f"predict got a table and returned {type(result).__module__}."
            f"{type(result).__qualname__}. With `batch` above 1 it must return one result per row:"
            " a list, an array, a Series or a DataFrame."
        )
    if len(result) != total:
        raise AnswerError(
            f"predict got a table of {total} row(s) and returned {len(result)} result(s). With"
            " `batch` above 1 it must return one result per row, in the same order.",
            of_items=True,
        )
    parts, start = [], 0
    for size in sizes:
        parts.append(_part(result, start, start + size))
        start += size
    return parts


def _part(result: t.Any, start: int, stop: int) -> t.Any:
    if hasattr(result, "iloc"):
        part = result.iloc[start:stop].reset_index(drop=True)
    else:
        part = result[start:stop]
    return next((each for each in _objects(part) if isinstance(each, Exception)), part)


def _objects(part: t.Any) -> cabc.Iterable[t.Any]:
    """Return the entries of a list, or of a Series or array of Python objects, among which
    exceptions may be. Other results contain no exceptions: return nothing for them.
    """
    if isinstance(part, (list, tuple)):
        return part
    is_column = getattr(part, "ndim", 0) == 1 and part.dtype.kind == "O"
    return t.cast("cabc.Iterable[t.Any]", part) if is_column else ()


# --- results -------------------------------------------------------------------------------------


def rows(result: t.Any, size: int) -> list[t.Any]:
    """Convert the return value of `predict` to a list of `size` results.

    Raises:
        AnswerError: the value is not a sequence, or has another length.
    """
    if type(result) is not list:
        result = _as_list(result)
    if len(result) != size:
        raise AnswerError(
            f"predict got {size} item(s) and returned {len(result)} result(s). With `batch` above 1"
            " it must return one result per item, in the same order.",
            of_items=True,
        )
    return t.cast("list[t.Any]", result)


def _as_list(result: t.Any) -> list[t.Any]:
    # A DataFrame becomes one record per row: iterating over it would yield its column names.
    if hasattr(result, "to_dict") and hasattr(result, "columns"):
        return t.cast("list[t.Any]", result.to_dict("records"))
    unusable = isinstance(result, (str, bytes, bytearray, dict, set, frozenset))
    if unusable or not hasattr(result, "__len__") or not hasattr(result, "__getitem__"):
        raise AnswerError(
            f"predict returned {type(result).__module__}.{type(result).__qualname__}. With `batch`"
            " above 1 it must return a list, or an array whose first dimension is the batch."
        )
    try:
        return list(result)
    except TypeError as exc:  # `list` refuses an array without dimensions
        raise AnswerError(
            f"predict returned an array without a batch dimension: {exc}. With `batch` above 1 its"
            " first dimension must be the batch."
        ) from exc


# --- failures ------------------------------------------------------------------------------------


def max_calls(size: int) -> int:
    """Return the limit on calls of `predict` per batch: 1 for 1 prediction, 21 for 32.

    The limit suffices to find any two failing predictions by halving the batch. Without a limit, a
    model that always fails would be called 2n times for n predictions.
    """
    return 1 + 4 * (size - 1).bit_length()


_NO_REQUEST = (
    "This happened in `predict`. A batch belongs to no request: with `batch` above 1, with"
    " `replicas`, which compute in other processes, and if Python code calls the model outside of a"
    " view, `predict` has no `request`. Pass what it needs as a parameter of `predict`."
)


def isolate(
    compute: cabc.Callable[[list[T]], t.Any],
    batch: list[T],
    *,
    is_wanted: cabc.Callable[[int], bool] = lambda i: True,
    renew: cabc.Callable[[int], T] | None = None,
) -> list[t.Any]:
    """Compute a batch; returns one result per entry, which is an exception if the entry failed.

    With one failing entry among n, at most 2 * log2(n) additional calls find it. After
    `max_calls(n)` calls, the entries that were not yet computed separately fail together.

    Args:
        compute: returns one result per entry, or raises. An exception among the results is the
            failure of that entry.
        batch: at least one entry.
        is_wanted: called with a position before each further call; returns False if the entry need
            not be computed any more; its result is then None.
        renew: called with a position before each further call; returns the original entry, because
            the first call may have changed it in place. If `renew` raises, the entry fails like the
            batch. By default, entries are assumed to be unchanged.
    """
    try:
        result = compute(batch)
        # PERF: a list of the right length need not pass through `rows`
        if type(result) is list and len(result) == len(batch):
            return result
        return rows(result, len(batch))
    except BaseException as exc:  # noqa: BLE001  # clients must learn of any failure
        if isinstance(exc, ContextError):
            exc.add_note(_NO_REQUEST)
        if len(batch) == 1 or not _may_split(exc):
            return [exc] * len(batch)
        failure = exc
    try:
        # Split the batch after the `except` block has ended. In the block, Python would attach this
        # failure to each later one as its `__context__`, and log both.
        return _split(compute, renew or batch.__getitem__, len(batch), failure, is_wanted)
    finally:
        del failure  # break a reference cycle: the failure's traceback refers to this frame


def _split(
    compute: cabc.Callable[[list[T]], t.Any],
    renew: cabc.Callable[[int], T],
    size: int,
    exc: BaseException,
    is_wanted: cabc.Callable[[int], bool],
) -> list[t.Any]:
    results: list[t.Any] = [None] * size
    calls = max_calls(size) - 1
    # The part that failed first is split first, so that all parts are about equally small when no
    # calls remain.
    failed: deque[tuple[range, BaseException]] = deque([(range(size), exc)])
    while failed:
        part, why = failed.popleft()
        if len(part) == 1 or calls < 2 or not _may_split(why):
            for i in part:
                results[i] = why
            continue
        middle = len(part) // 2
        for half in (part[:middle], part[middle:]):
            there, entries = [], []
            for i in filter(is_wanted, half):
                try:
                    entries.append(renew(i))
                    there.append(i)
                except Exception as unable:  # noqa: BLE001  # the entry fails
                    results[i] = _explain(why, unable)
            if not there:
                continue
            calls -= 1
            try:
                found = rows(compute(entries), len(there))
            except BaseException as again:  # noqa: BLE001  # split further
                failed.append((half, again))
            else:
                for i, result in zip(there, found, strict=True):
                    results[i] = result
    try:
        return results
    finally:
        del results, exc, why  # break a reference cycle: the tracebacks refer to this frame


def _explain(failure: BaseException, exc: Exception) -> BaseException:
    """Add a note to a batch's failure that says why its inputs could not be computed one by one."""
    note = (
        "Other inputs of its batch failed with it: predict may have changed them, and they cannot"
        f" be computed again because they cannot be copied ({type(exc).__name__}: {exc})."
    )
    if note not in getattr(failure, "__notes__", ()):
        failure.add_note(note)
    return failure


def _may_split(exc: BaseException) -> bool:
    """Whether to split a batch that failed with `exc`, to find out which of its predictions failed.

    Not split are results of a wrong type, which would be wrong for each part too, and a
    KeyboardInterrupt, which concerns the whole program. A panic in Rust or a `SystemExit` may be
    caused by one prediction, so the batch is split, though neither is an `Exception`.
    """
    if isinstance(exc, AnswerError):
        return exc.of_items
    return not isinstance(exc, KeyboardInterrupt)
