"""The messages by which workers lease the tokens of rate limits from the supervisor.

a worker  --"lease" [scope, amount, period_s, client]-->                       the supervisor
          <--"lease" [scope, amount, period_s, client, tokens, left, next_s]--
"""

from __future__ import annotations

import typing as t
from functools import partial

from ...access.tokensources import CountedRate, use_source

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ...access.tokenleases import LeasedTokens, TokenLender
    from .childprocess import ChildProcess
    from .supervisorlink import SupervisorLink

LEASE = "lease"


class TokenLoans:
    """Lends tokens to the workers of a server, on the thread of the supervisor's loop.

    Args:
        borrowers: returns how many workers there are.
    """

    def __init__(self, borrowers: cabc.Callable[[], int]) -> None:
        self._borrowers = borrowers
        self._lender: TokenLender | None = None

    def watch(self, process: ChildProcess) -> None:
        """Lend tokens to a worker process."""
        process.handlers[LEASE] = partial(self._lend, process)

    def _lend(self, process: ChildProcess, payload: tuple[str, int, int, str]) -> None:
        if self._lender is None:
            # Imported with the first rate limit: most apps have none.
            from ...access.tokenleases import TokenLender

            self._lender = TokenLender()
        *fields, client = payload
        rate = CountedRate(*t.cast("tuple[str, int, int]", fields))
        process.send(LEASE, [*payload, *self._lender.lend(rate, client, self._borrowers())])


def borrow_from(control: SupervisorLink) -> None:
    """Let the rate limits of this worker process lease their tokens from the supervisor."""
    use_source(partial(_borrower, control), shared=True)


def _borrower(control: SupervisorLink) -> LeasedTokens:
    from ...access.tokenbuckets import Taken
    from ...access.tokenleases import LeasedTokens

    source = LeasedTokens(lambda rate, client: control.report(LEASE, [*rate, client]))

    def receive(payload: list[t.Any]) -> None:
        scope, amount, period_s, client, *loan = payload
        source.receive(CountedRate(scope, amount, period_s), client, Taken(*loan))

    control.on(LEASE, receive)
    return source
