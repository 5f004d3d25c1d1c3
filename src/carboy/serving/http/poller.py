"""Wait until sockets are readable or writable: one thread waits, while any thread may change which
sockets are watched, and for what.

The server decides what happens on a ready socket.
"""

from __future__ import annotations

import selectors
import socket
import typing as t
from collections import deque
from time import perf_counter

# The values of POLLIN and POLLOUT in <poll.h>, which equal EPOLLIN and EPOLLOUT in <sys/epoll.h>.
READ, WRITE = 0x1, 0x4

Events = list[tuple[int, int]]


class Poller(t.Protocol):
    """Watches file descriptors. Each call of `wait` reports all that are ready, also those that it
    has reported before (level-triggered). A mask is a combination of READ and WRITE.
    """

    def add(self, fd: int, mask: int) -> None: ...

    def change(self, fd: int, mask: int) -> None: ...

    def remove(self, fd: int) -> None: ...

    def wait(self, timeout_s: float) -> Events:
        """Wait for ready descriptors, and return pairs of descriptor and mask; none after `wake` or
        the timeout.

        Only one thread may wait at a time.
        """

    def wake(self) -> None: ...

    def close(self) -> None: ...


class _Waker:
    """A pair of sockets by which a thread wakes the thread that waits in a poller: `call` makes one
    socket readable, unless it is readable already.

    After each wait, the thread that waited must first call `clear` and then look for work. So the
    work of each `call` is found: if `call` came before the end of `clear`, by that search; if it
    came later, because it makes the socket readable again.
    """

    def __init__(self) -> None:
        self._here, self._there = socket.socketpair()
        self._here.setblocking(False)
        self._there.setblocking(False)
        self._called = False
        self.fd = self._here.fileno()

    def call(self) -> None:
        if self._called:  # PERF: send one byte for many calls, because sending takes 1 us
            return
        self._called = True
        try:
            self._there.send(b"\0")
        except OSError:
            # The buffer is full, so a byte that wakes the poller is in it already; or the poller is
            # closed, and this thread has been occupied by a request that was cut off.
            pass

    def clear(self) -> None:
        try:
            while self._here.recv(4096):
                pass
        except BlockingIOError:
            pass
        # Reset the flag after the loop: otherwise a `call` during the loop would send a byte that
        # `recv` removes.
        self._called = False

    def close(self) -> None:
        self._here.close()
        self._there.close()


class Epoll:
    """A poller for Linux, whose epoll lets any thread change what is watched while another one
    waits.
    """

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
                self._waker.clear()
                return [each for each in events if each is not event]
        return events

    def wake(self) -> None:
        self._waker.call()

    def close(self) -> None:
        self._epoll.close()
        self._waker.close()


class Portable:
    """A poller for other systems: a change is put into a queue, and the waiting thread is woken to
    apply it.
    """

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
                self._waker.clear()
                continue
            mask = READ if ready & selectors.EVENT_READ else 0
            events.append((key.fd, mask | (WRITE if ready & selectors.EVENT_WRITE else 0)))
        return events

    def _select(self, timeout_s: float) -> list[tuple[selectors.SelectorKey, int]]:
        try:
            return self._selector.select(timeout_s)
        # Ignore the error of a watched socket that another thread has closed. That thread will call
        # `remove`.
        except (OSError, ValueError):
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
            pass  # another thread has closed the socket, so that it is no longer watched anyway

    def wake(self) -> None:
        self._waker.call()

    def close(self) -> None:
        self._selector.close()
        self._waker.close()


def make_poller() -> Poller:
    try:
        return t.cast("Poller", Epoll())
    except ImportError:  # epoll does not exist on macOS and Windows
        return t.cast("Poller", Portable())


# The kind of selector by which `wait_for` waits. poll and select, unlike epoll and kqueue, need no
# file descriptor of their own, which is important if the limit of open files is reached.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


def wait_for(sock: socket.socket, mask: int, timeout_s: float | None) -> bool:
    """Block the calling thread until a socket is ready for `mask`; returns False at the timeout, if
    there is one.
    """
    with _Selector() as selector:
        wanted = selectors.EVENT_READ if mask & READ else 0
        wanted |= selectors.EVENT_WRITE if mask & WRITE else 0
        selector.register(sock, wanted)
        return bool(selector.select(timeout_s))


# For how many seconds a thread polls for new requests before it sleeps: to wake a sleeping
# processor takes 10 to 100 us, and its caches are cold then.
SPIN_S = 0.0001
# The upper limit of the credit, by which `SpinWait` decides whether to poll. It is small, so that
# polling ends soon after clients stop sending requests.
MAX_CREDIT = 16
# While polling is switched off (the credit is 0), `SpinWait` polls only once in this many calls, to
# find out whether polling succeeds again.
TRY_EVERY = 64


class SpinWait:
    """Polls without sleeping (busy-polls) for a moment before the thread sleeps, as long as this
    usually finds the next request.

    A counter, the credit, decides whether to poll: each success adds 1, each failure subtracts 2.
    """

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._turns = self._credit = 0

    def wait(self) -> Events | None:
        """Poll for up to `SPIN_S`. Returns None if nothing is ready, or if polling is switched off,
        because it has usually found nothing (the credit is 0).
        """
        self._turns += 1
        if not (self._credit or self._turns % TRY_EVERY == 0):
            return None
        until_s = perf_counter() + SPIN_S
        while True:
            events = self._poller.wait(0)
            if events:
                self._credit = min(self._credit + 1, MAX_CREDIT)
                return events
            if perf_counter() > until_s:
                self._credit = max(self._credit - 2, 0)
                return None
