"""An event loop for tests of the queue: it waits for file descriptors, and calls functions."""

from __future__ import annotations

import select
import socket
import threading
import typing as t
from collections import deque


class LoopThread:
    """A `ResultLoop` on a thread of its own."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._calls: deque[t.Callable[[], object]] = deque()
        self._functions: dict[int, t.Callable[[], object]] = {}
        self._wake, self._wakes = socket.socketpair()
        self._epoll.register(self._wakes, select.EPOLLIN)
        self._is_over = False
        self._thread = threading.Thread(target=self._run)
        self._users: list[t.Any] = []
        self.failures: list[BaseException] = []
        #: How many further descriptors cannot be watched.
        self.refused = 0

    def __enter__(self) -> t.Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._is_over:
            return
        self.call(self._end)
        self._thread.join()
        for user in self._users:
            user.loop_ended()
        for each in (self._epoll, self._wake, self._wakes):
            each.close()
        assert not self.failures

    def _end(self) -> None:
        self._is_over = True

    def _run(self) -> None:
        while not self._is_over or self._calls:
            for fd, _ in self._epoll.poll():
                try:
                    if fd in self._functions:
                        self._functions[fd]()
                    elif fd == self._wakes.fileno():
                        self._wakes.recv(64)
                    while self._calls:
                        self._calls.popleft()()
                except BaseException as exc:  # noqa: BLE001  # the test must learn of it
                    self.failures.append(exc)

    @property
    def is_running(self) -> bool:
        return not self._is_over

    def call(self, work: t.Callable[[], object]) -> None:
        self._calls.append(work)
        self._wake.send(b"\0")

    @property
    def ident(self) -> int | None:
        return self._thread.ident

    def tell_at_end(self, user: t.Any) -> None:
        self._users.append(user)

    def call_when_readable(self, fd: int, call: t.Callable[[], object] | None) -> None:
        if call is not None:
            if self._is_over or self.refused:
                self.refused = max(0, self.refused - 1)
                raise OSError("not watched")
            if fd not in self._functions:
                self._epoll.register(fd, select.EPOLLIN)
            self._functions[fd] = call
        elif self._functions.pop(fd, None) is not None and not self._epoll.closed:
            self._epoll.unregister(fd)
