"""Clients that ask for predictions all the time, and remember what went wrong."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import typing as t
import urllib.parse

if t.TYPE_CHECKING:
    from collections import abc as cabc

# More than a prediction may take after a replica was lost.
_PATIENCE_S = 90.0


class Answer(t.NamedTuple):
    """What the model of `tests/deployed/ray/app.py` answers."""

    value: float
    node: str
    pid: int


def ask(url: str, x: float) -> tuple[int, t.Any]:
    """Ask for one prediction on a connection of its own, and return the status and the content."""
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_PATIENCE_S)
    with contextlib.closing(connection):
        connection.request("POST", "/double", json.dumps(x), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def predict(url: str, x: float = 21.0) -> Answer:
    """Return the answer to a prediction, which must succeed."""
    status, content = ask(url, x)
    assert status == 200, content
    found = Answer(**content)
    assert found.value == 2 * x
    return found


class SteadyLoad:
    """Clients that each send one request after the other.

    Attributes:
        answers: all answers.
        failures: what was no answer, or a wrong one: the status and the content, or the error.
    """

    def __init__(self, urls: cabc.Sequence[str], clients: int) -> None:
        self.answers: list[Answer] = []
        self.failures: list[object] = []
        self._ends = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(urls[i % len(urls)], i), daemon=True)
            for i in range(clients)
        ]

    def _run(self, url: str, client: int) -> None:
        x = float(client)
        while not self._ends.is_set():
            try:
                self.answers.append(predict(url, x))
            except (AssertionError, OSError, http.client.HTTPException, ValueError) as exc:
                self.failures.append(exc)
                self._ends.wait(0.05)
            x += 1.0

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join(_PATIENCE_S)
            assert not thread.is_alive(), "a request is not answered"

    def nodes_since(self, number: int) -> set[str]:
        """Return the addresses of the nodes that have computed since the answer with a number."""
        return {each.node for each in self.answers[number:]}


@contextlib.contextmanager
def steady_load(*urls: str, clients: int = 6) -> cabc.Iterator[SteadyLoad]:
    load = SteadyLoad(urls, clients)
    load.start()
    try:
        yield load
    finally:
        load.end()
