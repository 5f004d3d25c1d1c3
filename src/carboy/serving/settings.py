"""How an app is served: where, with how many, and how much of each request.

An option beats the environment, and the environment beats the default:

    host     --host     CARBOY_SERVE_HOST     HOST                127.0.0.1; 0.0.0.0 if PORT is set
    port     --port     CARBOY_SERVE_PORT     PORT                8000
    workers  --workers  CARBOY_SERVE_WORKERS  WEB_CONCURRENCY     one per CPU, at most 8
    threads  --threads  CARBOY_SERVE_THREADS                      16
    max_body --max-body CARBOY_SERVE_MAX_BODY                     64M

`HOST`, `PORT` and `WEB_CONCURRENCY` are what platforms (Heroku, Cloud Run, ...) set; such a
platform sends its requests over a network, hence the other default for the host.
"""

from __future__ import annotations

import os
import re
import socket
import typing as t
from dataclasses import asdict, dataclass

from ..errors import AddressError, ServingError

if t.TYPE_CHECKING:
    import collections.abc as cabc

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000
# An upload of a photograph or a batch of tensors fits, a disk image does not. nginx's default is 1
# MiB, Apache's 1 GiB.
DEFAULT_MAX_BODY_BYTES = 64 * 1024 * 1024
# Views that wait (for a database, another service, NumPy without the GIL) need more threads than
# CPUs. Idle ones cost nothing: they are started when all others are busy. A text view is as fast
# with 32 as with 2 (bench/serve.py).
DEFAULT_THREADS = 16
# Each worker is a copy of the app and its models, so a machine of 64 CPUs should be asked for.
MOST_DEFAULT_WORKERS = 8
# Above the 60 s for which load balancers (AWS, nginx's upstream keepalive) keep a connection, so
# that it is they who close it, and never while they send a request on it.
KEEP_ALIVE_S = 75.0
# Open connections per worker, the idle ones too. What is beyond waits in the system's queue.
CONNECTIONS = 4096
# Descriptors that the app may need beside the connections.
SPARE_DESCRIPTORS = 256
BACKLOG = 2048
# gunicorn's, and the time Kubernetes gives.
GRACE_S = 30.0
# Between the signal to stop and the closing of the socket, answers ask their clients to connect
# anew; a client that sends one request after the other has got such an answer by then.
FAREWELL_S = 0.5


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a supervisor and its workers need to know. `host` is an address."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    workers: int = 1
    threads: int = DEFAULT_THREADS
    max_body_bytes: int | None = DEFAULT_MAX_BODY_BYTES
    connections: int = CONNECTIONS
    backlog: int = BACKLOG
    keep_alive_s: float = KEEP_ALIVE_S
    grace_s: float = GRACE_S
    farewell_s: float = FAREWELL_S

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def as_dict(self) -> dict[str, t.Any]:
        return asdict(self)


def make_settings(
    *,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    threads: int | None = None,
    max_body: int | str | None = None,
    grace_s: float | None = None,
    environ: cabc.Mapping[str, str] = os.environ,
) -> Settings:
    """Fill in from the environment and the machine what was not given, and check it all.

    Raises:
        AddressError: the host has no address, or the port is none.
        ServingError: another value is of no use.
    """
    host_source = port_source = "the option"
    if port is None and (text := environ.get("PORT")):
        port, port_source = _to_int(text, "PORT"), "the environment variable PORT"
    if host is None and (host := environ.get("HOST")):
        host_source = "the environment variable HOST"
    elif host is None and port_source != "the option":
        host = "0.0.0.0"  # noqa: S104  # see the module's docstring
    if workers is None and (text := environ.get("WEB_CONCURRENCY")):
        workers = _to_int(text, "WEB_CONCURRENCY")
    port = DEFAULT_PORT if port is None else port
    if not 0 <= port <= 65535:
        raise AddressError(f"Port {port} (from {port_source}) is out of range: 0 to 65535.")
    return Settings(
        host=resolve(host or DEFAULT_HOST, host_source),
        port=port,
        workers=_at_least(0, default_workers() if workers is None else workers, "workers"),
        threads=_at_least(1, DEFAULT_THREADS if threads is None else threads, "threads"),
        max_body_bytes=parse_size(DEFAULT_MAX_BODY_BYTES if max_body is None else max_body),
        connections=_affordable_connections(),
        grace_s=GRACE_S if grace_s is None else grace_s,
    )


def resolve(host: str, source: str = "the option") -> str:
    """The address of a host, which must be this machine's for a server to listen on it."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise AddressError(
            f"The host {host!r} (from {source}) has no address"
            f" ({getattr(exc, 'strerror', None) or exc}). Use 127.0.0.1 for this machine alone, or"
            " 0.0.0.0 for all its networks."
        ) from None
    # "localhost" is ::1 too, which fewer clients try.
    found.sort(key=lambda info: info[0] != socket.AF_INET)
    return str(found[0][4][0])


_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def parse_size(size: int | str) -> int | None:
    """Bytes in `64M`, `1.5 GiB`, `1000`; None (no limit) for 0."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?\s*", str(size).lower())
    if match is None:
        raise ServingError(
            f"{size!r} is no size of a body. Write it like 64M, 1.5G or 500K, or 0 for no limit."
        )
    return int(float(match[1]) * _UNITS[match[2]]) or None


def format_size(size_bytes: int | None) -> str:
    if size_bytes is None:
        return "any size"
    for unit in ("bytes", "KiB", "MiB"):
        if size_bytes < 1024 or size_bytes % 1024:
            return f"{size_bytes} {unit}"
        size_bytes //= 1024
    return f"{size_bytes} GiB"


def default_workers() -> int:
    """One per CPU that this process may use: of its affinity, and of its container's quota."""
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # pragma: no cover  # macOS
        cpus = os.cpu_count() or 1
    quota = _cgroup_cpus()
    if quota is not None:
        cpus = min(cpus, max(1, round(quota)))
    return min(cpus, MOST_DEFAULT_WORKERS)


def _cgroup_cpus(root: str = "/sys/fs/cgroup") -> float | None:
    """CPUs that the container's quota allows; None if it has none."""
    try:
        with open(f"{root}/cpu.max") as file:  # cgroup v2
            quota, period = file.read().split()
    except (OSError, ValueError):
        try:
            with (
                open(f"{root}/cpu/cpu.cfs_quota_us") as quota_file,  # cgroup v1
                open(f"{root}/cpu/cpu.cfs_period_us") as period_file,
            ):
                quota, period = quota_file.read(), period_file.read()
        except OSError:
            return None
    try:
        return int(quota) / int(period) if int(quota) > 0 else None
    except (ValueError, ZeroDivisionError):
        return None  # "max"


def _affordable_connections() -> int:
    try:
        import resource
    except ImportError:  # pragma: no cover  # Windows
        return CONNECTIONS
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return CONNECTIONS
    return max(64, min(CONNECTIONS, hard - SPARE_DESCRIPTORS))


def raise_descriptor_limit(connections: int) -> None:
    """Let this process have so many connections: the usual soft limit is for 1,024 files."""
    try:
        import resource
    except ImportError:  # pragma: no cover  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _to_int(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ServingError(
            f"The environment variable {name} is {text!r}; expected a whole number."
        ) from None


def _at_least(least: int, value: int, name: str) -> int:
    if value < least:
        raise ServingError(f"{value} {name} cannot serve; at least {least}.")
    return value
