"""Questions to worker processes, by messages: what a thread of the supervisor asks, and how a
worker answers.

    put ----> the supervisor's loop --"question" [number, topic, arguments]--> `Control` in a worker
                                                                                            |
    Future <-- the supervisor's loop <--"answer" [number, error, value]--------------- `Answers`

A worker answers from the thread that reads the supervisor's messages, so that it answers while all
its other threads are busy. It cannot answer while native code holds the GIL, or if it is stopped.
"""

from __future__ import annotations

import itertools
import threading
import typing as t
from concurrent.futures import Future

from ...core.masking import mask_text
from ...errors import WorkerAnswerError

if t.TYPE_CHECKING:
    import collections.abc as cabc

    #: Answers the questions of one topic: takes the arguments, and returns a value for JSON.
    Answering = cabc.Callable[[dict[str, t.Any]], object]

QUESTION, ANSWER = "question", "answer"


class Questions:
    """The questions that worker processes have not answered yet. Thread-safe.

    Args:
        send: called with a process id and the payload of a message `question`; sends it to that
            process, if it still exists.
    """

    def __init__(self, send: cabc.Callable[[int, list[t.Any]], object]) -> None:
        self._send = send
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._unanswered: dict[int, tuple[int, Future[t.Any]]] = {}

    def put(self, pid: int, topic: str, **arguments: t.Any) -> Future[t.Any]:
        """Ask a worker process; return the future of its answer."""
        future: Future[t.Any] = Future()
        with self._lock:
            number = next(self._numbers)
            self._unanswered[number] = pid, future
        self._send(pid, [number, topic, arguments])
        return future

    def receive(self, payload: tuple[int, str, t.Any]) -> None:
        """Settle the question that a message `answer` belongs to."""
        number, error, value = payload
        with self._lock:
            _, future = self._unanswered.pop(number, (0, None))
        if future is None:
            return
        if error:
            future.set_exception(WorkerAnswerError(error))
        else:
            future.set_result(value)

    def forget_all_but(self, pids: cabc.Container[int | None]) -> None:
        """Settle the questions to processes that have ended."""
        with self._lock:
            gone = [number for number, (pid, _) in self._unanswered.items() if pid not in pids]
        for number in gone:
            self.receive((number, "the process has ended", None))


class Answers:
    """Answers the supervisor's questions in a worker.

    Args:
        report: sends the supervisor a message: a word and its payload.
        topics: the functions that answer, by topic.
    """

    def __init__(
        self, report: cabc.Callable[[str, t.Any], object], topics: cabc.Mapping[str, Answering]
    ) -> None:
        self._report = report
        self._topics = topics

    def answer(self, payload: tuple[int, str, dict[str, t.Any]]) -> None:
        """Answer the question of a message `question`."""
        number, topic, arguments = payload
        error, value = "", None
        try:
            value = self._topics[topic](arguments)
        except Exception as exc:  # noqa: BLE001  # the supervisor must get the reason of any failure
            error = mask_text(f"{type(exc).__name__}: {exc}")
        self._report(ANSWER, [number, error, value])
