"""Take from Python what Windows or macOS lacks, before a program begins.

A test puts this folder first in PYTHONPATH of the programs that it starts, and their child
processes inherit it. The environment variable ELSEWHERE is the name of the system. For "macos" only
what macOS lacks is missing; for "windows" also what Windows lacks, and what Windows refuses raises
the error that it raises there. `sys.platform` stays as it is, because Python's own modules read it.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import re
import select
import selectors
import signal
import socket
import subprocess
import sys
import typing as t

# These modules of Python are others on Windows. Import them before what they need is hidden.
import asyncio  # noqa: F401  # isort: skip
import concurrent.futures.process  # noqa: F401  # isort: skip
import faulthandler  # isort: skip
import getpass  # noqa: F401  # isort: skip
import http.server  # noqa: F401  # isort: skip
import multiprocessing.util  # noqa: F401  # isort: skip
import pathlib  # noqa: F401  # isort: skip
import shutil  # noqa: F401  # isort: skip
import tempfile  # isort: skip

MACOS_LACKS: dict[t.Any, str] = {
    os: """
        eventfd fdatasync memfd_create pidfd_open posix_fadvise posix_fallocate sched_getaffinity
        O_DIRECT O_TMPFILE
    """,
    select: "epoll",
    selectors: "EpollSelector",
    signal: "sigtimedwait sigwaitinfo",
    socket: "AF_NETLINK AF_PACKET MSG_NOSIGNAL SO_PEERCRED TCP_KEEPIDLE",
}
# Windows lacks these, and what macOS lacks.
MODULES = "fcntl grp posix_ipc pty pwd resource syslog termios tty"
SIGNALS = "HUP QUIT USR1 USR2 CHLD ALRM PIPE WINCH CONT STOP TSTP TTIN TTOU KILL"
WINDOWS_LACKS: dict[t.Any, str] = {
    os: """
        chown fchmod fchown fork forkpty getegid geteuid getgid getloadavg getpgid getuid killpg
        lchown lockf mkfifo mknod nice posix_spawn posix_spawnp pread preadv pwrite pwritev
        register_at_fork sched_yield sendfile set_blocking setgid setsid setuid sync sysconf uname
        wait3 wait4 waitid
        O_CLOEXEC O_DIRECTORY O_DSYNC O_NOCTTY O_NOFOLLOW O_NONBLOCK O_SYNC
    """,
    select: "poll POLLIN POLLOUT",
    selectors: "PollSelector",
    signal: """
        alarm getitimer pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending sigwait
    """,
    socket: "AF_UNIX CMSG_LEN MSG_DONTWAIT SCM_RIGHTS SO_REUSEPORT recv_fds send_fds",
    faulthandler: "register unregister",
}
ALLOWED_SIGNALS = {signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGINT, signal.SIGSEGV}
ALLOWED_SIGNALS |= {signal.SIGTERM}
# Windows changes line breaks in files that are opened by `os.open` without this flag. The number is
# that of a flag which Linux ignores.
O_BINARY = 0x8000
FORBIDDEN_IN_NAMES = re.compile(r'[<>:"|?*]')


def hide(lacking: dict[t.Any, str]) -> None:
    for module, names in lacking.items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)


def become_macos() -> None:
    hide(MACOS_LACKS)
    tempfile._O_TMPFILE_WORKS = False  # type: ignore[attr-defined]
    selectors.DefaultSelector = selectors.PollSelector  # type: ignore[misc]


def become_windows() -> None:
    hide(MACOS_LACKS)
    WINDOWS_LACKS[signal] += " ".join(f" SIG{name}" for name in SIGNALS.split())
    hide(WINDOWS_LACKS)
    for name in MODULES.split():
        sys.modules[name] = None  # type: ignore[assignment]  # raises ImportError
    selectors.DefaultSelector = selectors.SelectSelector  # type: ignore[misc]
    tempfile.TemporaryFile = tempfile.NamedTemporaryFile  # type: ignore[assignment]
    subprocess._USE_POSIX_SPAWN = False  # type: ignore[attr-defined]
    os.O_BINARY = O_BINARY  # type: ignore[attr-defined]
    os.supports_dir_fd = set()
    os.supports_follow_symlinks = set()
    refuse()


# ----------------------------------------------------------------------- what Windows refuses


def refuse() -> None:
    replace(signal, "signal", _signal)
    replace(socket, "socketpair", _socketpair)
    replace(select, "select", _select)
    replace(subprocess.Popen, "__init__", _popen)
    replace(subprocess.Popen, "send_signal", _send_signal)
    subprocess.Popen.kill = subprocess.Popen.terminate  # type: ignore[method-assign]
    replace(os, "symlink", _symlink)
    replace(os, "rename", _rename)
    for name in ("rename", "replace", "remove", "unlink"):
        replace(os, name, _not_open)
    for where, name in ((builtins, "open"), (io, "open"), (os, "open"), (os, "mkdir")):
        replace(where, name, _named)
    for where in (builtins, io):
        replace(where, "open", _open)
    replace(os, "open", _open_descriptor)
    for name in ("sendmsg", "recvmsg", "recvmsg_into", "sendmsg_afalg"):
        setattr(socket.socket, name, property(_lacking))


def replace(where: t.Any, name: str, by: t.Callable[..., t.Any]) -> None:
    real = getattr(where, name)
    setattr(where, name, lambda *args, **kwargs: by(real, *args, **kwargs))


def _lacking(sock: object) -> t.NoReturn:
    raise AttributeError("this socket has no messages with ancillary data")


def _signal(real: t.Any, number: int, handler: t.Any) -> t.Any:
    if number not in ALLOWED_SIGNALS:
        raise ValueError("invalid signal value")
    return real(number, handler)


def _send_signal(real: t.Any, process: t.Any, number: int) -> None:
    if number != signal.SIGTERM:
        raise ValueError(f"Unsupported signal: {number}")
    real(process, number)


def _popen(real: t.Any, process: t.Any, *args: t.Any, **kwargs: t.Any) -> None:
    assert not kwargs.get("pass_fds"), "pass_fds not supported on Windows."
    if kwargs.get("preexec_fn") is not None:
        raise ValueError("preexec_fn is not supported on Windows platforms")
    real(process, *args, **kwargs)


def _socketpair(real: object, *_: object) -> tuple[socket.socket, socket.socket]:
    """As Python does on Windows."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = socket.create_connection(listener.getsockname())
        return here, listener.accept()[0]


def _select(real: t.Any, *lists: t.Any) -> t.Any:
    *watched, timeout_s = lists if len(lists) == 4 else (*lists, None)
    if not any(watched):
        raise OSError(10022, "An invalid argument was supplied")
    for each in (each for some in watched for each in some):
        try:
            socket.socket(fileno=os.dup(each if isinstance(each, int) else each.fileno())).close()
        except OSError as exc:
            if exc.errno == errno.ENOTSOCK:
                raise OSError(10038, "This is not a socket") from None
            raise
    return real(*watched, timeout_s)


def _symlink(real: object, *_: object, **__: object) -> t.NoReturn:
    raise OSError(errno.EPERM, "A required privilege is not held by the client")


def _rename(real: t.Any, source: t.Any, target: t.Any) -> None:
    if os.path.exists(target):
        raise FileExistsError(errno.EEXIST, "The file already exists", os.fspath(target))
    real(source, target)


def _not_open(real: t.Any, *paths: t.Any, **kwargs: t.Any) -> t.Any:
    """A file that is open has no other name and is not removed."""
    descriptors = "/proc/self/fd"
    for path in paths:
        for fd in os.listdir(descriptors):
            try:
                is_open = os.path.samefile(path, os.path.join(descriptors, fd))
            except OSError:
                continue
            if is_open and _caller_is_carboy():
                raise PermissionError(errno.EACCES, "The file is open", os.fspath(path))
    return real(*paths, **kwargs)


def _named(real: t.Any, path: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
    if isinstance(path, (str, os.PathLike)) and FORBIDDEN_IN_NAMES.search(os.fspath(path)):
        raise OSError(errno.EINVAL, "Invalid argument", os.fspath(path))
    return real(path, *args, **kwargs)


def _open(real: t.Any, file: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
    """On Windows, the default encoding of text files is that of the country."""
    mode = args[0] if args else kwargs.get("mode", "r")
    if "b" not in mode and not kwargs.get("encoding") and len(args) < 3 and _caller_is_carboy():
        raise EncodingWarning(f"{file!r} is opened without an encoding")
    if (opener := kwargs.get("opener")) is not None:
        kwargs["opener"] = lambda path, flags: opener(path, flags | O_BINARY)
    return real(file, *args, **kwargs)


def _open_descriptor(real: t.Any, path: t.Any, flags: int, *args: t.Any, **kwargs: t.Any) -> int:
    writes = flags & (os.O_WRONLY | os.O_RDWR)
    if writes and not flags & O_BINARY and _caller_is_carboy():
        raise AssertionError(f"os.open({path!r}) needs O_BINARY on Windows")
    return t.cast("int", real(path, flags, *args, **kwargs))


def _caller_is_carboy() -> bool:
    frame = sys._getframe(1)
    while frame is not None and frame.f_globals["__name__"] in (__name__, "pathlib", "io"):
        frame = frame.f_back
    return frame is not None and frame.f_globals["__name__"].partition(".")[0] == "carboy"


{"macos": become_macos, "windows": become_windows}[os.environ["ELSEWHERE"]]()
