"""A batch that fails is split until only the culprit fails. Arithmetic only.

Of n items with one bad one, at most 2 * log2(n) further calls find it. A model that is simply
broken must not be called 2n times per batch, so the calls are counted: after
`max_calls(n)` what is still together fails together.
"""

from __future__ import annotations

import typing as t
from collections import deque

from ...errors import AnswerError

if t.TYPE_CHECKING:
    from collections import abc as cabc

T = t.TypeVar("T")


def max_calls(size: int) -> int:
    """Calls of `predict` for one batch, the first included: 1 for 1, 21 for 32 items.

    Enough to find two bad items wherever they are.
    """
    return 1 + 4 * (size - 1).bit_length()


def isolate(
    compute: cabc.Callable[[list[T]], t.Any],
    items: list[T],
    *,
    wanted: cabc.Callable[[T], bool] = lambda item: True,
) -> list[t.Any]:
    """Compute a batch; each item gets its own result, or its own exception as its result.

    Args:
        compute: gives as many results as it gets items, or raises. An exception among the results
            is the failure of that item.
        items: at least one.
        wanted: asked before a further call; who is not wanted any more gets None.
    """
    try:
        return rows(compute(items), len(items))
    except BaseException as exc:  # noqa: BLE001 - whatever it is, the callers must hear of it
        if len(items) == 1 or not _may_split(exc):
            return [exc] * len(items)
        failure = exc
    try:
        # Not in the handler: each failure of a part would bring those before it into the log.
        return _split(compute, items, failure, wanted)
    finally:
        del failure  # its traceback keeps this frame


def _split(
    compute: cabc.Callable[[list[T]], t.Any],
    items: list[T],
    exc: BaseException,
    wanted: cabc.Callable[[T], bool],
) -> list[t.Any]:
    results: list[t.Any] = [None] * len(items)
    calls = max_calls(len(items)) - 1
    # Largest parts first: when the calls run out, what was spared is spared.
    failed: deque[tuple[range, BaseException]] = deque([(range(len(items)), exc)])
    while failed:
        part, why = failed.popleft()
        if len(part) == 1 or calls < 2 or not _may_split(why):
            for i in part:
                results[i] = why
            continue
        middle = len(part) // 2
        for half in (part[:middle], part[middle:]):
            there = [i for i in half if wanted(items[i])]
            if not there:
                continue
            calls -= 1
            try:
                found = rows(compute([items[i] for i in there]), len(there))
            except BaseException as again:  # noqa: BLE001 - as above
                failed.append((half, again))
            else:
                for i, result in zip(there, found, strict=True):
                    results[i] = result
    return results


def rows(answer: t.Any, size: int) -> list[t.Any]:
    """What `predict` returned for `size` items, one by one.

    Raises:
        AnswerError: not a sequence, or not of that length.
    """
    if type(answer) is not list:
        answer = _as_list(answer)
    if len(answer) != size:
        raise AnswerError(
            f"predict got {size} item(s) and returned {len(answer)} result(s). With `batch` above 1"
            " it returns one result per item, in their order.",
            of_items=True,
        )
    return t.cast("list[t.Any]", answer)


def _as_list(answer: t.Any) -> list[t.Any]:
    if hasattr(answer, "to_dict") and hasattr(answer, "columns"):  # a table: iterating gives names
        return t.cast("list[t.Any]", answer.to_dict("records"))
    unusable = isinstance(answer, (str, bytes, bytearray, dict, set, frozenset))
    if unusable or not hasattr(answer, "__len__") or not hasattr(answer, "__getitem__"):
        raise AnswerError(
            f"predict returned {type(answer).__module__}.{type(answer).__qualname__}. With `batch`"
            " above 1 it returns a list, or an array whose first side is the batch."
        )
    try:
        return list(answer)
    except TypeError as exc:  # an array without sides has a length by name only
        raise AnswerError(f"predict returned an array without a batch side: {exc}.") from exc


def _may_split(exc: BaseException) -> bool:
    """An answer of a wrong type would be wrong for each item; an interrupt is meant for all.

    Not so a panic in Rust, or an exit: they are no `Exception`, and still the fault of one item.
    """
    if isinstance(exc, AnswerError):
        return exc.of_items
    return not isinstance(exc, KeyboardInterrupt)
