"""Questions between the supervisor and its worker processes, by messages. A thread of the one asks,
and the other answers.

    put ----> the supervisor's loop --"question" [number, topic, arguments]--> `Control` in a worker
                                                                                            |
    Future <-- the supervisor's loop <--"answer" [number, error, value]--------------- `Answers`

A worker answers from the thread that reads the supervisor's messages, so that it answers while all
its other threads are busy. It cannot answer while native code holds the GIL, or if it is stopped.
What takes long, such as loading a model, is done by another thread (`answered_apart`).

The words are the same in the other direction: a view in a worker asks the supervisor to do
something in all workers.
"""

from __future__ import annotations

import itertools
import threading
import typing as t
from concurrent.futures import Future
from functools import partial

from ...core.masking import mask_text
from ...errors import ControlError, WorkerAnswerError

if t.TYPE_CHECKING:
    import collections.abc as cabc

    #: Answers the questions of one topic: takes the arguments, and returns a value for JSON, or a
    #: future of it.
    Answering = cabc.Callable[[dict[str, t.Any]], object]

QUESTION, ANSWER = "question", "answer"


class Questions:
    """The questions that other processes have not answered yet. Thread-safe.

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
        """Ask a process; return the future of its answer."""
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
    """Answers the questions of another process.

    Args:
        report: sends that process a message: a word and its payload.
        topics: the functions that answer, by topic.
    """

    def __init__(
        self, report: cabc.Callable[[str, t.Any], object], topics: cabc.Mapping[str, Answering]
    ) -> None:
        self._report = report
        self._topics = topics

    def answer(self, payload: tuple[int, str, dict[str, t.Any]]) -> None:
        """Answer the question of a message `question`: now, or when the future is done that the
        function for its topic returns.
        """
        number, topic, arguments = payload
        try:
            found = self._topics[topic](arguments)
        except Exception as exc:  # noqa: BLE001  # who asks must get the reason of any failure
            self._send(number, exc, None)
            return
        if isinstance(found, Future):
            found.add_done_callback(partial(self._send_settled, number))
        else:
            self._send(number, None, found)

    def _send_settled(self, number: int, settled: Future[t.Any]) -> None:
        failure = settled.exception()
        self._send(number, failure, None if failure else settled.result())

    def _send(self, number: int, failure: BaseException | None, value: object) -> None:
        error = ""
        if failure is not None:
            # The errors of control requests say alone what is wrong.
            is_plain = isinstance(failure, ControlError)
            text = str(failure) if is_plain else f"{type(failure).__name__}: {failure}"
            error = mask_text(text)
        self._report(ANSWER, [number, error, value])


def answered_apart(function: Answering) -> Answering:
    """Let a function that takes long answer on a thread of its own."""

    def answer(arguments: dict[str, t.Any]) -> Future[t.Any]:
        future: Future[t.Any] = Future()
        run = partial(_settle, future, function, arguments)
        threading.Thread(target=run, name="carboy-answer", daemon=True).start()
        return future

    return answer


def _settle(future: Future[t.Any], function: Answering, arguments: dict[str, t.Any]) -> None:
    try:
        future.set_result(function(arguments))
    except Exception as exc:  # noqa: BLE001  # who asks must get the reason of any failure
        future.set_exception(exc)
