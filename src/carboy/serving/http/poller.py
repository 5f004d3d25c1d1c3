"""Which sockets have something to do: one thread waits for the system's answer, any may change
what is asked.
"""

from __future__ import annotations

import selectors
import socket
import typing as t
from collections import deque

# The numbers of <poll.h> and <sys/epoll.h>.
READ, WRITE = 0x1, 0x4

Events = list[tuple[int, int]]


class Poller(t.Protocol):
    """Masks are of READ and WRITE; what is there is told again until it is taken."""

    def add(self, fd: int, mask: int) -> None: ...

    def change(self, fd: int, mask: int) -> None: ...

    def remove(self, fd: int) -> None: ...

    def wait(self, timeout_s: float) -> Events:
        """What has something to do; empty when woken, or after the timeout. For one thread."""

    def wake(self) -> None: ...

    def close(self) -> None: ...


class _Waker:
    """A socket that is readable once it was called."""

    def __init__(self) -> None:
        self._here, self._there = socket.socketpair()
        self._here.setblocking(False)
        self._there.setblocking(False)
        self.fd = self._here.fileno()

    def call(self) -> None:
        try:
            self._there.send(b"\0")
        except BlockingIOError:
            pass  # it was called often enough

    def hush(self) -> None:
        try:
            while self._here.recv(4096):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        self._here.close()
        self._there.close()


class Epoll:
    """Linux. The kernel takes changes while a thread waits."""

    def __init__(self) -> None:
        from select import epoll

        self._epoll = epoll()
        self._waker = _Waker()
        self.add = self._epoll.register
        self.change = self._epoll.modify
        self.remove = self._epoll.unregister
        self.add(self._waker.fd, READ)

    def wait(self, timeout_s: float) -> Events:
        events = self._epoll.poll(timeout_s)
        for event in events:
            if event[0] == self._waker.fd:
                self._waker.hush()
                return [each for each in events if each is not event]
        return events

    def wake(self) -> None:
        self._waker.call()

    def close(self) -> None:
        self._epoll.close()
        self._waker.close()


class Portable:
    """Elsewhere. Changes are made by the thread that waits, which is woken for them."""

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        self._selector = selector or selectors.DefaultSelector()
        self._waker = _Waker()
        self._selector.register(self._waker.fd, selectors.EVENT_READ)
        self._changes: deque[tuple[int, int | None]] = deque()

    def change(self, fd: int, mask: int) -> None:
        self._changes.append((fd, mask))
        self.wake()

    add = change

    def remove(self, fd: int) -> None:
        self._changes.append((fd, None))
        self.wake()

    def wait(self, timeout_s: float) -> Events:
        while self._changes:
            self._apply(*self._changes.popleft())
        events: Events = []
        for key, ready in self._select(timeout_s):
            if key.fd == self._waker.fd:
                self._waker.hush()
                continue
            mask = READ if ready & selectors.EVENT_READ else 0
            events.append((key.fd, mask | (WRITE if ready & selectors.EVENT_WRITE else 0)))
        return events

    def _select(self, timeout_s: float) -> list[tuple[selectors.SelectorKey, int]]:
        try:
            return self._selector.select(timeout_s)
        except (OSError, ValueError):  # one was closed just now; that it is removed follows
            return []

    def _apply(self, fd: int, mask: int | None) -> None:
        known = fd in self._selector.get_map()
        wanted = selectors.EVENT_READ if mask and mask & READ else 0
        wanted |= selectors.EVENT_WRITE if mask and mask & WRITE else 0
        try:
            if known and wanted:
                self._selector.modify(fd, wanted)
            elif known:
                self._selector.unregister(fd)
            elif wanted:
                self._selector.register(fd, wanted)
        except (OSError, ValueError):
            pass  # it was closed meanwhile

    def wake(self) -> None:
        self._waker.call()

    def close(self) -> None:
        self._selector.close()
        self._waker.close()


def make_poller() -> Poller:
    try:
        return t.cast("Poller", Epoll())
    except ImportError:  # pragma: no cover  # macOS, Windows
        return t.cast("Poller", Portable())


# One that needs no descriptor: there may be none left.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


def wait_for(sock: socket.socket, mask: int, timeout_s: float) -> bool:
    """Let the calling thread sleep until one socket can be read or written; False: not in time."""
    with _Selector() as selector:
        wanted = selectors.EVENT_READ if mask & READ else 0
        wanted |= selectors.EVENT_WRITE if mask & WRITE else 0
        selector.register(sock, wanted)
        return bool(selector.select(timeout_s))
