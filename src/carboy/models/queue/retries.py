"""Keep the original inputs of a batch, to call `predict` again after the first call has failed.

`predict` may change its inputs in place, as is usual with pandas. If a batch fails, its parts are
computed again, and they must be computed from what the clients sent, or the results would be wrong.
For a request, the body is decoded again, which costs nothing unless a batch fails. The arguments of
a Python call (`submit`, `map`) are copied before the first call of `predict`.
"""

from __future__ import annotations

import copy
import datetime as dt
import decimal
import typing as t
import uuid

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .calls import Arguments
    from .ticket import Ticket

T = t.TypeVar("T")

# Types whose values are immutable, so that they need no copy.
_ATOMS = frozenset(
    {
        *(bool, bytes, complex, float, int, str, type(None)),
        *(dt.date, dt.datetime, dt.time, dt.timedelta),
        *(decimal.Decimal, uuid.UUID),
    }
)


class BatchInputs:
    """The original inputs of one batch. Create this before the first call of `predict`, which may
    change the inputs in place.
    """

    def __init__(self, tickets: cabc.Sequence[Ticket]) -> None:
        self._tickets = tickets
        self._copies: list[Arguments | Exception | None] = [
            None if ticket.can_decode else _copy_or_error(ticket.arguments) for ticket in tickets
        ]

    def is_wanted(self, i: int) -> bool:
        """Whether the prediction at position `i` of the batch still needs a result."""
        return not self._tickets[i].settled

    def renew(self, i: int) -> Arguments:
        """Return the arguments of the prediction at position `i` as they were before the first call
        of `predict`, which may have changed them.

        Raises:
            Exception: the arguments cannot be copied.
        """
        kept = self._copies[i]
        if kept is None:
            return self._tickets[i].decode_again()
        if isinstance(kept, Exception):
            raise kept
        return copied(kept)


def _copy_or_error(arguments: Arguments) -> Arguments | Exception:
    try:
        return copied(arguments)
    except Exception as exc:  # noqa: BLE001  # `renew` raises it
        return exc.with_traceback(None)


def copied(value: T) -> T:
    """Return a deep copy of a value.

    PERF: 1,000 numbers in a list take 14 us instead of the 200 us of `copy.deepcopy`.
    """
    return t.cast("T", _copied(value))


def _copied(value: t.Any) -> t.Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is list:
        if _ATOMS.issuperset(map(type, value)):
            return value.copy()
        return list(map(_copied, value))
    if kind is dict:
        return {key: _copied(each) for key, each in value.items()}
    if kind.__module__.startswith("PIL."):
        return value.copy()  # an image; `deepcopy` would encode and decode its pixels
    return copy.deepcopy(value)
