"""Many tables as one, and its answer cut back: a batched `predict` that takes a `DataFrame`.

    @app.model("/risk", batch=32)
    class Risk:
        def predict(self, people: DataFrame[Person]) -> numpy.ndarray: ...

is called once with the rows of all requests, and answers each row; a request gets the answers of
its rows. `list[DataFrame]` is one table per request instead.

Tables are put together only when their columns and dtypes are the same, which declared ones always
are: what a request is answered must not depend on who else asked. Arithmetic only.
"""

from __future__ import annotations

import typing as t

from carboy.contract.values.tables import is_table
from carboy.errors import SignatureError

from ...errors import AnswerError

if t.TYPE_CHECKING:
    from collections import abc as cabc


def joined_parameter(annotations: cabc.Mapping[str, t.Any], *, owner: str) -> str | None:
    """The parameter of a batched `predict` that is one table for all requests, if there is one.

    Raises:
        SignatureError: there are several, whose rows could not be told apart.
    """
    found = [name for name, kind in annotations.items() if name != "return" and is_table(kind)]
    if len(found) > 1:
        raise SignatureError(
            f"{owner}: with `batch` above 1 the rows of all requests are one table, and"
            f" {' and '.join(found)} cannot both be. Write `list[DataFrame]`: one per request."
        )
    return found[0] if found else None


def run_joined(
    run: cabc.Callable[[dict[str, t.Any]], t.Any],
    names: tuple[str, ...],
    items: cabc.Sequence[tuple[t.Any, ...]],
    *,
    table: str,
) -> list[t.Any]:
    """Compute the items of one batch; one answer for each, in their order.

    Args:
        run: takes the arguments of `predict` by name.
        names: of the parameters, in the order in which an item has them. All but the table are
            lists, with one entry per request.
        table: the parameter that is one table.

    Raises:
        AnswerError: not as many answers as rows.
    """
    at = names.index(table)
    answers: list[t.Any] = [None] * len(items)
    for part in alike(columns_of(item[at]) for item in items):
        arguments: dict[str, t.Any] = {
            name: [items[i][k] for i in part] for k, name in enumerate(names) if k != at
        }
        tables = [items[i][at] for i in part]
        arguments[table] = concat(tables)
        for i, answer in zip(part, cut(run(arguments), list(map(len, tables))), strict=True):
            answers[i] = answer
    return answers


def alike(kinds: cabc.Iterable[cabc.Hashable]) -> list[list[int]]:
    """The numbers of those of one kind, which may be put together; in order of appearance."""
    groups: dict[cabc.Hashable, list[int]] = {}
    for i, kind in enumerate(kinds):
        groups.setdefault(kind, []).append(i)
    return list(groups.values())


def columns_of(table: t.Any) -> cabc.Hashable:
    """What must be the same of tables that are put together."""
    return tuple(table.columns), tuple(map(str, table.dtypes))


def concat(tables: cabc.Sequence[t.Any]) -> t.Any:
    """One table of the rows of all, numbered anew."""
    if len(tables) == 1:
        return tables[0]
    import pandas as pd

    return pd.concat(tables, ignore_index=True)


def cut(answer: t.Any, sizes: cabc.Sequence[int]) -> list[t.Any]:
    """The answer of a table in parts of these sizes.

    A table, a Series, an array or a list, with one entry for each row. An exception in a list is
    the failure of the request whose row it stands for.

    Raises:
        AnswerError: it is none of these, or not of that length.
    """
    rows = sum(sizes)
    if not hasattr(answer, "__len__") or isinstance(answer, (str, bytes, bytearray, dict, set)):
        raise AnswerError(
            f"predict got a table and returned {type(answer).__module__}."
            f"{type(answer).__qualname__}. With `batch` above 1 it returns one answer for each row:"
            " a list, an array, a Series or a DataFrame."
        )
    if len(answer) != rows:
        raise AnswerError(
            f"predict got a table of {rows} row(s) and returned {len(answer)} answer(s). With"
            " `batch` above 1 it returns one for each row, in their order.",
            of_items=True,
        )
    parts, start = [], 0
    for size in sizes:
        parts.append(_part(answer, start, start + size))
        start += size
    return parts


def _part(answer: t.Any, start: int, stop: int) -> t.Any:
    if hasattr(answer, "iloc"):
        return answer.iloc[start:stop].reset_index(drop=True)
    part = answer[start:stop]
    if isinstance(part, (list, tuple)):
        return next((each for each in part if isinstance(each, Exception)), part)
    return part
