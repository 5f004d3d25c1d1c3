"""The client of the models' socket: a process that has batches to compute asks a supervisor there
for the replicas of its models.
"""

from __future__ import annotations

import array
import collections
import contextlib
import os
import socket
import threading
import time
import typing as t
import weakref
from concurrent.futures import Future

from carboy.core.forks import change_in_child
from carboy.core.logmasking import get_masked_logger
from carboy.core.messagelines import LineReader, encode_line
from carboy.core.runtimefolders import user_name
from carboy.errors import ModelLoadError, UnavailableError

from .remote import RemoteReplicas

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from carboy.contract.operation import Operation

    from ..options import Options
    from .supervision import (
        GivesBack,
        Granted,
        Hangs,
        Holds,
        NotGranted,
        ReplicasChanged,
        ReplicaUser,
        Resumes,
        WantedReplicas,
    )

# How often a process looks for a new supervisor after the connection to the last one has ended.
RECONNECT_S = 1.0
_CHUNK_BYTES = 65536
_MAX_FDS = 64
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

_Grant = tuple["Granted", int]
_logger = get_masked_logger("carboy.models")


class _OtherApp(Exception):  # noqa: N818  # caught in this module
    """The supervisor serves another app; the text says which."""


class _UsedReplicas(t.NamedTuple):
    """Replicas that this process uses, and what is told when it gets others."""

    want: WantedReplicas
    user: ReplicaUser


class ModelsSocketClient:
    """Asks the supervisor that listens on a Unix socket for replicas. Thread-safe.

    The connection is opened when it is first needed. If it ends, the replicas that this process
    uses go on for it; a process that the supervisor has not started waits for the next supervisor,
    on the same socket, and then gets other replicas for these.

    Args:
        find: returns the path of the socket. Raises UnavailableError if there is none.
        generation: how many reloads the supervisor had been asked for when it started this process;
            None if it has not started it.
        compares_app: whether the supervisor must serve an app of the same name, in the same folder.
    """

    def __init__(
        self,
        find: cabc.Callable[[], str],
        generation: int | None = None,
        *,
        compares_app: bool = True,
    ) -> None:
        self._find = find
        self._generation = generation
        self._compares_app = compares_app
        # The socket from which this process has got replicas, and no other, which may be that of
        # another app; "" before.
        self._path = ""
        # Whether a thread looks for the next supervisor.
        self._is_looking = False
        self._lock = threading.Lock()
        self._connection: _Connection | None = None
        #: By key, the versions that this process uses, or waits for.
        self._held: dict[str, _UsedReplicas] = {}
        #: By key, also those that it has released, which it may want again.
        self._users: weakref.WeakValueDictionary[str, ReplicaUser] = weakref.WeakValueDictionary()
        change_in_child(self, ModelsSocketClient.forget_parent)

    def forget_parent(self) -> None:
        """Close the connection of the parent process, in a forked child process: a thread of the
        parent reads it, and the supervisor must see its death.
        """
        self._lock = threading.Lock()  # another thread of the parent may have held it
        if self._connection is not None:
            self._connection.close_in_child()
            self._connection = None
        self._held = {}
        self._is_looking = False  # the thread that looked is in the parent

    def make(
        self,
        want: WantedReplicas,
        options: Options,
        operation: Operation,
        *,
        owner: str,
        streams: bool,
    ) -> RemoteReplicas:
        """Return the replicas of a version of a model, which are not started yet."""
        if options.resources or options.most_replicas != options.least_replicas:
            _logger.info(
                "%s: there are %d replicas on this machine; the bound %d, and resources=..., count"
                " with --on ray",
                *(owner, want["replicas"], options.most_replicas),
            )
        return RemoteReplicas(
            want, self, operation, owner=owner, streams=streams, retry=options.retry
        )

    def want(self, want: WantedReplicas, user: ReplicaUser) -> _Grant:
        """Block until the replicas of a version of a model are ready. Returns where they are, and
        the reading end of the pipe for their tokens, which then belongs to the caller.

        Args:
            user: what is told of changes from then on.

        Raises:
            ModelLoadError: there is no such version, or it could not be loaded.
            UnavailableError: no supervisor answers.
        """
        want = {**want, "generation": self._generation}
        if not self._compares_app:
            want["app"] = want["folder"] = ""
        with self._lock:  # before the answer: the connection may end just after it
            self._held[want["key"]] = _UsedReplicas(want, user)
            self._users[want["key"]] = user
        try:
            connection = self._connected()
            granted = connection.want(want).result()
        except BaseException as exc:
            with self._lock:
                self._held.pop(want["key"], None)
                if isinstance(exc, _OtherApp) and not self._path:
                    self._connection = None  # the next attempt may find that of this app
            if isinstance(exc, _OtherApp):
                connection.end()
                raise UnavailableError(str(exc)) from None
            raise
        if self._generation is None:
            self._path = connection.path
        return granted

    def report(self, hangs: Hangs) -> None:
        """Tell the supervisor that a replica hangs. Returns at once."""
        self._send("hangs", hangs)

    def release(self, release: GivesBack) -> None:
        """Tell the supervisor that this process does not need a version any more. Returns at
        once.
        """
        with self._lock:
            self._held.pop(release["key"], None)
        self._send("release", release)

    def _send(self, word: str, payload: object) -> None:
        with self._lock:
            connection = self._connection
        if connection is not None and not connection.is_closed:
            connection.send(word, payload)

    def _connected(self) -> _Connection:
        with self._lock:
            if self._connection is None or self._connection.is_closed:
                path = self._path or self._find()
                self._connection = _Connection(path, self._on_lost, self._on_order)
            return self._connection

    def _on_order(self, word: str, order: Holds | Resumes | ReplicasChanged) -> None:
        """Tell the user of a version what the supervisor says of it. Called on the thread of the
        connection.
        """
        with self._lock:
            user = self._users.get(order["key"])
        if user is None:
            return
        if word == "hold":
            user.hold(t.cast("Holds", order)["limit_s"])
        elif word == "resume":
            user.resume()
        else:
            user.set_ready(t.cast("ReplicasChanged", order)["is_ready"])

    def _on_lost(self) -> None:
        """Look for the next supervisor. Called on the thread of the connection that has ended.

        A process that the supervisor has started need not: it ends as well.
        """
        with self._lock:
            if self._is_looking:
                return
            self._is_looking = True
        try:
            self._look()
        except BaseException:
            self._is_looking = False
            raise

    def _look(self) -> None:
        pause_s, told = 0.0, ""
        while held := self._list_held():
            time.sleep(pause_s)
            pause_s = RECONNECT_S
            try:
                connection = self._connected()
                for each in held:
                    _move(each, connection)
            except UnavailableError:  # it has not been started yet, or has ended again
                continue
            except _OtherApp as exc:
                if str(exc) != told:
                    told = str(exc)
                    _logger.error("%s", told)  # noqa: TRY400  # the message has the reason
                continue
            with self._lock:
                if not connection.is_closed:
                    self._is_looking = False
                    return

    def _list_held(self) -> list[_UsedReplicas]:
        """Return what the next supervisor is asked for. If that is nothing, nobody looks for it."""
        with self._lock:
            held = list(self._held.values()) if self._generation is None else []
            self._is_looking = bool(held)
            return held


class _Connection:
    """One connection with a supervisor, and the thread that reads it.

    Args:
        path: the path of the socket.
        on_lost: called when the connection has ended.
        on_order: called with the word and the payload of messages that answer none of this process.

    Raises:
        UnavailableError: nobody listens at the path.
    """

    def __init__(
        self,
        path: str,
        on_lost: cabc.Callable[[], object],
        on_order: cabc.Callable[[str, t.Any], object],
    ) -> None:
        self.path = path
        self._on_lost = on_lost
        self._on_order = on_order
        self.is_closed = False
        self._lock = threading.Lock()
        self._wanted: dict[str, list[Future[_Grant]]] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(path)
        except OSError as exc:
            self._socket.close()
            raise UnavailableError(
                f"The replicas of the model cannot be reached: nobody answers on {path}"
                f" ({exc.strerror}). Start `carboy models serve`, or the server that had created"
                " this socket."
            ) from None
        _refuse_other_users(path, self._socket)
        threading.Thread(target=self._read, name="carboy replicas", daemon=True).start()

    def want(self, want: WantedReplicas) -> Future[_Grant]:
        granted: Future[_Grant] = Future()
        with self._lock:
            if self.is_closed:
                granted.set_exception(self._lost())
                return granted
            self._wanted.setdefault(want["key"], []).append(granted)
        self.send("want", want)
        return granted

    def send(self, word: str, payload: object) -> None:
        try:
            with self._lock:
                self._socket.sendall(encode_line(word, payload))
        except OSError:
            pass  # the supervisor has died: `_read` notices that too

    def end(self) -> None:
        """Let the thread that reads the connection end it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close_in_child(self) -> None:
        """Close the descriptor, in a forked child process. The connection of the parent goes on."""
        self._socket.close()

    def _read(self) -> None:
        lines, fds = LineReader(), collections.deque[int]()
        try:
            while data := self._receive(fds):
                for word, payload in lines.feed(data):
                    if word in ("hold", "resume", "changed"):
                        self._on_order(word, payload)
                    else:
                        self._settle(word, payload, fds)
        except (OSError, ValueError, LookupError, TypeError):
            pass  # the supervisor has died, or another program listens there
        with self._lock:
            self.is_closed = True
            left = [future for futures in self._wanted.values() for future in futures]
            self._wanted.clear()
        self._socket.close()
        for fd in fds:
            os.close(fd)
        for future in left:
            future.set_exception(self._lost())
        self._on_lost()

    def _receive(self, fds: collections.deque[int]) -> bytes:
        """Receive data, and the descriptors that are attached to it. Only this process may have
        them: programs that the app starts must not keep a pipe open.
        """
        size = array.array("i").itemsize * _MAX_FDS
        data, attached, _, _ = self._socket.recvmsg(
            _CHUNK_BYTES, socket.CMSG_SPACE(size), _CLOSE_ON_EXEC
        )
        for level, kind, content in attached:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers = array.array("i")
                numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
                fds.extend(numbers)
        return data

    def _settle(
        self, word: str, payload: Granted | NotGranted, fds: collections.deque[int]
    ) -> None:
        with self._lock:
            waiting = self._wanted.pop(payload["key"], [])
        if word == "granted":
            granted, fd = t.cast("Granted", payload), fds.popleft()
            for future in waiting:
                future.set_result((granted, os.dup(fd)))
            os.close(fd)
        else:
            refused = t.cast("NotGranted", payload)
            # A supervisor of an earlier version of carboy does not send it.
            is_other_app = refused.get("is_other_app", False)
            failure: type[Exception] = _OtherApp if is_other_app else ModelLoadError
            reason = refused["reason"]
            if is_other_app:
                reason = f"{reason} Its socket is {self.path}."
            for future in waiting:
                future.set_exception(failure(reason))

    def _lost(self) -> UnavailableError:
        return UnavailableError(
            f"The replicas of the model cannot be reached: the supervisor that listened on"
            f" {self.path} has ended."
        )


def _move(used: _UsedReplicas, connection: _Connection) -> None:
    """Let the user of replicas use those of another supervisor, or with other code. Raises
    UnavailableError if the connection ends.
    """
    try:
        granted = connection.want(used.want).result()
    except ModelLoadError as exc:
        _logger.error(  # noqa: TRY400  # the message has the reason
            "The next replicas cannot be used, and those that this process uses go on only until"
            " their supervisor ends them: %s",
            exc,
        )
    else:
        used.user.moved(*granted)


def _refuse_other_users(path: str, sock: socket.socket) -> None:
    """Send no inputs to a program of another user: in a shared folder, anybody can create a file
    of this name. Raises UnavailableError.
    """
    owner = os.stat(path).st_uid
    if owner not in (os.geteuid(), 0):
        sock.close()
        raise UnavailableError(
            f"The replicas of the model are not used: the socket {path} belongs to"
            f" {user_name(owner)}, and this process runs as {user_name(os.geteuid())}. Run both as"
            " the same user."
        )
