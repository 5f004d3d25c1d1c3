"""A shadow: a version that computes the requests of clients once more, for comparison.

    answer is sent --> offer --> kept --> model is idle --> shadow computes --> compare, count
                         `--> skipped: too much is kept already

Clients do not wait for it: their requests are decoded again, computed and compared on other
threads, after they were answered, and only while no other prediction waits or computes. So a busy
model compares some of its requests only.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
import threading
import typing as t
from collections import deque

import msgspec

from carboy.contract.answers import encode
from carboy.core.logmasking import get_masked_logger
from carboy.errors import UnavailableError

from ..agreement import DEFAULT_TOLERANCE, difference, distance

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ..model import Model
    from ..queue.calls import Arguments
    from ..queue.ticket import Ticket
    from .modelversion import ModelVersion

    Decode = cabc.Callable[[], "Arguments | list[Arguments]"]

# How many requests are kept for comparison, and how many bytes their bodies may have together. The
# answers are kept as well; their size is not known.
MOST_KEPT = 256
MOST_KEPT_BYTES = 32 * 2**20
# How many of the largest differences are kept, and how much of their inputs and answers.
WORST = 10
_SHOWN_CHARACTERS = 1000
# The latest times, from which percentiles are computed.
_TIMES = 1000
# How long the thread waits until it looks again whether the model is idle; and how long it waits
# for the next request before it sleeps. PERF: waking it takes 10 us or more, which the thread that
# answers clients would pay for each request.
_PAUSE_S = 0.005

_logger = get_masked_logger("carboy.models")


class Difference(t.NamedTuple):
    """A request to which the shadow has given another answer. Differences are ordered by distance,
    and then by age.
    """

    distance: float
    number: int
    found: dict[str, str]


@dataclasses.dataclass(slots=True)
class _Counts:
    """The counts of a shadow's answers, compared with those of one version."""

    against: str
    compared: int = 0
    agreed: int = 0
    failed: int = 0
    skipped: int = 0
    served_s: deque[float] = dataclasses.field(default_factory=lambda: deque(maxlen=_TIMES))
    shadow_s: deque[float] = dataclasses.field(default_factory=lambda: deque(maxlen=_TIMES))
    worst: list[Difference] = dataclasses.field(default_factory=list)


class _Kept(t.NamedTuple):
    """A request that was answered.

    Attributes:
        counts: those of the version that has answered it.
    """

    decode: Decode
    release: cabc.Callable[[], object]
    answer: t.Any
    took_s: float
    size_bytes: int
    counts: _Counts


class ShadowComparison:
    """Compares the answers of a version with those that clients have got. Thread-safe.

    Args:
        model: the model, whose current version answers the clients.
        version: the version whose answers are compared.
    """

    def __init__(self, model: Model, version: ModelVersion) -> None:
        self._model = model
        #: The version whose answers are compared.
        self.version = version
        self._counts = _Counts(model.current.name)
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._kept: deque[_Kept] = deque()
        self._kept_bytes = 0
        self._wake, self._stopped = threading.Event(), threading.Event()
        self._sleeps = True
        threading.Thread(target=self._run, name=f"Model {model.name!r} shadow", daemon=True).start()

    def offer(
        self,
        ticket: Ticket,
        decode: Decode,
        answer: t.Any,
        size_bytes: int,
        release: cabc.Callable[[], object] = lambda: None,
    ) -> None:
        """Keep a request that was answered, unless too many are kept. Returns at once.

        Args:
            ticket: the prediction.
            decode: decodes the request once more. May be called on another thread, after the
                request has ended.
            answer: what was sent; a list if the request asks for several predictions.
            size_bytes: the size of the request's body.
            release: called when the request is not needed any more.
        """
        with self._lock:
            if ticket.version != self._model.current.name:  # a canary, or the version before
                return
            if self._counts.against != ticket.version:
                self._counts = _Counts(ticket.version)
            full = len(self._kept) >= MOST_KEPT or self._kept_bytes + size_bytes > MOST_KEPT_BYTES
            if full or self._stopped.is_set():
                self._counts.skipped += 1
                return
            self._kept_bytes += size_bytes
            took_s = ticket.ended_s - ticket.began_s
            self._kept.append(_Kept(decode, release, answer, took_s, size_bytes, self._counts))
        if self._sleeps:
            self._wake.set()

    def skip(self) -> None:
        """Count a request that cannot be compared."""
        with self._lock:
            self._counts.skipped += 1

    def stop(self) -> None:
        """Compare nothing any more."""
        self._stopped.set()
        self._wake.set()

    # --- comparing -----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.clear()
            if not self._kept:
                self._sleeps = True
                # None was added since, and `stop` has not been called before `clear`.
                if not self._kept and not self._stopped.is_set():
                    self._wake.wait()
                self._sleeps = False
            while self._kept and not self._stopped.is_set():
                if self._model.current.queue.is_idle:
                    try:
                        self._compare_some()
                    except Exception:
                        _logger.exception("%s: cannot compare", self.version.queue.owner)
                else:
                    self._stopped.wait(_PAUSE_S)
            self._stopped.wait(_PAUSE_S)
        while self._kept:
            self._take().release()

    def _take(self) -> _Kept:
        with self._lock:
            kept = self._kept.popleft()
            self._kept_bytes -= kept.size_bytes
        return kept

    def _compare_some(self) -> None:
        """Compute as many requests as fit into a batch, and compare the answers. Those that another
        version has answered than those that are counted now are left out.
        """
        taken = [self._take() for _ in range(min(len(self._kept), self._model.options.batch))]
        submitted = [
            (kept, self._submit(kept) if kept.counts is self._counts else []) for kept in taken
        ]
        for kept, tickets in submitted:
            for i, (answer, ticket) in enumerate(tickets):
                ticket.wait()
                self._compare(kept, i, answer, ticket)
            kept.release()

    def _submit(self, kept: _Kept) -> list[tuple[t.Any, Ticket]]:
        """Queue the predictions of a request; return them with the answers that were sent. A
        request that cannot be read again counts as failed.
        """
        queue = self.version.queue
        try:
            decoded: t.Any = kept.decode()
            several = type(decoded) is list
            entries = decoded if several else [decoded]
            answers = kept.answer if several else [kept.answer]
            # A request may ask for as many predictions as the queue takes, and others wait there.
            tickets = [queue.submit(each, deadline_s=None, ignore_limit=True) for each in entries]
            return list(zip(answers, tickets, strict=True))
        except UnavailableError:  # the version is being closed, or hangs
            with self._lock:
                kept.counts.skipped += 1
            return []
        except Exception:
            _logger.exception("%s: a request was not compared", self.version.queue.owner)
            kept.counts.compared += 1
            kept.counts.failed += 1
            return []

    def _compare(self, kept: _Kept, i: int, served: t.Any, ticket: Ticket) -> None:
        counts = kept.counts
        counts.compared += 1
        try:
            expected, got = self._plain(served), self._plain(ticket.result())
        # `predict` has failed, or its answer does not fit the return type.
        except Exception as exc:  # noqa: BLE001  # what a comparison is to find
            counts.failed += 1
            said = f"{type(exc).__name__}: {exc}"
            self._note(math.inf, kept, i, {"difference": said, "served": _shown(served)})
            return
        counts.served_s.append(kept.took_s)
        counts.shadow_s.append(ticket.ended_s - ticket.began_s)
        if said := difference(expected, got, DEFAULT_TOLERANCE):
            about = {"difference": said, "served": _shown(expected), "shadow": _shown(got)}
            self._note(distance(expected, got), kept, i, about)
        else:
            counts.agreed += 1

    def _plain(self, value: t.Any) -> t.Any:
        """Return an answer as clients get it in JSON."""
        return msgspec.json.decode(self._model.answers.encode_json(value))

    def _note(self, far: float, kept: _Kept, i: int, about: dict[str, str]) -> None:
        """Keep a difference, if it is among the worst, with its input."""
        worst = kept.counts.worst
        if len(worst) == WORST and far <= worst[0].distance:
            return
        # Decode the input once more: `predict` may have changed it, or read its file.
        decoded: t.Any = kept.decode()
        about["input"] = _shown(decoded[i] if type(decoded) is list else decoded)
        entry = Difference(far, -next(self._numbers), about)
        with self._lock:
            if len(worst) == WORST:
                heapq.heapreplace(worst, entry)
            else:
                heapq.heappush(worst, entry)

    # --- looking -------------------------------------------------------------------------------

    def report(self) -> dict[str, t.Any]:
        """Return what was found, as plain JSON values."""
        with self._lock:
            counts = self._counts
            worst = [each.found for each in sorted(counts.worst, reverse=True)]
        compared = counts.compared
        return {
            "version": self.version.name,
            "against": counts.against,
            "compared": compared,
            "agreed": counts.agreed,
            "agreement": counts.agreed / compared if compared else None,
            "failed": counts.failed,
            "skipped": counts.skipped,
            "served_ms": _percentiles_ms(counts.served_s),
            "shadow_ms": _percentiles_ms(counts.shadow_s),
            "worst": worst,
        }


def _shown(value: t.Any) -> str:
    try:
        text = encode(value).decode()
    except Exception:  # noqa: BLE001  # a value that JSON does not have
        text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _percentiles_ms(times_s: cabc.Iterable[float]) -> dict[str, float]:
    """Return the median and the 99th percentile of the latest times of `predict`."""
    found = sorted(times_s)
    if not found:
        return {}
    return {
        name: round(1000 * found[min(len(found) - 1, int(share * len(found)))], 3)
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }
