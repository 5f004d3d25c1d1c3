"""Connect this process with a Ray cluster, as a driver of the raylet on its machine.

Who can connect to a Ray cluster can run any program on it, and who can read its network sees the
inputs of all clients. So a cluster is refused that other machines can reach without more than its
address.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import re
import signal
import socket
import typing as t
from importlib.util import find_spec

from carboy.core.logmasking import get_masked_logger
from carboy.errors import RefusedClusterError, ServingError, UnavailableError

from .greeting import fault_of

if t.TYPE_CHECKING:
    from collections import abc as cabc

# Ray's time limits in this process, for which it has only variables. They hold if they are set
# before Ray is imported.
_LIMITS = {
    # By default Ray ends a driver with the process if the cluster's head is silent for a minute. A
    # web worker must live on, and answer 503 or what needs no replica.
    "RAY_gcs_rpc_server_reconnect_timeout_s": str(10 * 365 * 86400),
    # By default `ray.init` asks a head node that does not answer 20 times, each time for 40 s.
    "RAY_py_gcs_connect_timeout_s": "10",
    "RAY_NUM_REDIS_GET_RETRIES": "2",
    # How long `ray.init` looks for the node of this machine, a minute by default.
    "RAY_gcs_server_request_timeout_seconds": "20",
}
# What is not sent with the folder of the app, in the form of `.gitignore`. `codedigest` must not
# compare it, either.
_NOT_SENT = (
    *(".git", "*.sock", "__pycache__", "node_modules", ".venv", "venv"),
    *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox"),
)
# More than `struct sigaction` takes on any system; this process only keeps it.
_SIGACTION_BYTES = 512
_logger = get_masked_logger("carboy.models")
START_HINT = (
    "Start one: `ray start --head --dashboard-host 127.0.0.1` for a cluster of this machine, or"
    " `ray start --address HOST:6379` to join one."
)


class RayPlace(t.NamedTuple):
    """The cluster of an app, and what is allowed.

    Attributes:
        address: HOST:PORT of the head node; "" for RAY_ADDRESS, or else the node that runs on this
            machine.
        namespace: where the actors of the app are.
        uploads_code: whether the folder of the app is sent to the nodes.
        allows_plaintext: whether other machines may be reached without TLS.
        allows_dashboard: whether other machines may reach the dashboard.
    """

    address: str
    namespace: str
    uploads_code: bool = False
    allows_plaintext: bool = False
    allows_dashboard: bool = False

    @property
    def where(self) -> str:
        """The address, for messages."""
        return self.address or os.environ.get("RAY_ADDRESS") or "the Ray node of this machine"


def default_namespace(target: str | None) -> str:
    """Return the namespace of an app that names none."""
    return "carboy-" + re.sub(r"[^\w.-]+", "-", target or "app").strip("-")


def require_ray() -> None:
    """Raises ServingError if Ray is not installed."""
    if find_spec("ray") is None:
        raise ServingError(
            "--on ray needs the package ray, which is not installed. Install it:"
            " pip install 'carboy[ray]'"
        )


class Connected(t.NamedTuple):
    """What a connection has told.

    Attributes:
        package: the URI of the folder that was sent to the cluster; "" without one.
    """

    package: str


def limit_waits() -> None:
    """Bound how long Ray waits for a cluster in this process. Call it before Ray is imported, which
    the module of an app may do.
    """
    for name, value in _LIMITS.items():
        os.environ.setdefault(name, value)


def connect(place: RayPlace, folder: str) -> Connected:
    """Connect this process, which must not be connected. Takes about a minute at most, and longer
    only to send a large folder.

    Args:
        folder: the folder with the code of the app.

    Raises:
        RefusedClusterError: the cluster must not be used.
        UnavailableError: it cannot be reached.
    """
    limit_waits()
    address = place.address or os.environ.get("RAY_ADDRESS") or "auto"
    if address.startswith("ray://"):  # of RAY_ADDRESS: the setting refuses it before
        raise RefusedClusterError(PROXIED)
    if address != "auto":
        _refuse_others(address)
    try:
        if address == "auto" and (found := _address_here()):
            _refuse_others(found)
        return _init(place, address, folder)
    except UnavailableError:
        disconnect()
        raise
    except Exception as exc:
        disconnect()
        raise _unreachable(place, exc) from exc


PROXIED = (
    "'ray://' is the address of Ray's proxy, which would copy each batch once more. Start a Ray"
    " node on the machine of the web server (`ray start --address HOST:6379`), and name the head"
    " node itself: --ray-address HOST:6379"
)


def _init(place: RayPlace, address: str, folder: str) -> Connected:
    import ray

    _keep_quiet()
    # Otherwise Ray leaves out what `.gitignore` names: generated code, settings, files of models.
    os.environ.setdefault("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "1")
    environment = {"working_dir": folder, "excludes": list(_NOT_SENT)}
    with _sigterm_kept():
        context = ray.init(
            address=address,
            namespace=place.namespace,
            log_to_driver=False,
            configure_logging=False,
            runtime_env=environment if place.uploads_code else None,
        )
    _refuse_open_dashboard(place, context.address_info.get("webui_url") or "")
    refuse_plaintext(place, [each["NodeManagerAddress"] for each in ray.nodes() if each["Alive"]])
    if not place.uploads_code:
        return Connected("")
    return Connected(str(ray.get_runtime_context().runtime_env["working_dir"]))


def _keep_quiet() -> None:
    """Let Ray write nothing into the log of the server: the controller says what becomes of
    replicas, and this module why the cluster cannot be used.
    """
    from ray._private import worker

    logging.getLogger("ray").setLevel(logging.ERROR)
    # Ray prints what raylets say, such as pages about one that has died, and has no setting for it.
    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = _note_message


def _note_message(data: dict[str, t.Any], **_: t.Any) -> None:
    _logger.debug("Ray: %s", "\n".join(data.get("lines") or ()))


@contextlib.contextmanager
def _sigterm_kept() -> cabc.Iterator[None]:
    """Let SIGTERM do after this block what it did before. Ray's handler writes a stack, in native
    code, and ends the process; `signal.signal` could undo that on the main thread only.
    """
    import ctypes  # each server imports this module, also without Ray

    libc = ctypes.CDLL(None)
    before = ctypes.create_string_buffer(_SIGACTION_BYTES)
    libc.sigaction(signal.SIGTERM, None, before)
    try:
        yield
    finally:
        libc.sigaction(signal.SIGTERM, before, None)


def disconnect() -> None:
    """End the connection, if there is one, and let Ray forget what it knows of the cluster: after
    `ray.init` has failed half way, it would ask the next cluster as if it were the same.
    """
    import ray

    ray.shutdown()


def _address_here() -> str:
    """Return which cluster `ray.init` would find on this machine, which may have ended; "" if this
    version of Ray does not tell.

    Raises:
        ConnectionError: there is none.
    """
    try:
        from ray._private.services import canonicalize_bootstrap_address
    except ImportError:
        return ""
    return canonicalize_bootstrap_address("auto") or ""


def _refuse_others(address: str) -> None:
    """Raise UnavailableError unless what listens at the address may be a head node."""
    try:
        fault = fault_of(address, tls=_uses_tls())
    except (OSError, ValueError) as exc:
        raise UnavailableError(
            f"The Ray cluster cannot be reached: nobody answers at {address} ({exc}). {START_HINT}"
        ) from None
    if fault:
        raise UnavailableError(
            f"The Ray cluster cannot be reached: {address} accepts connections, but does not greet"
            f" as the head node of Ray: {fault}. Name the port that `ray start --head` shows (6379"
            " by default): --ray-address HOST:6379; if it is that port, start the head node again."
        )


def _uses_tls() -> bool:
    return os.environ.get("RAY_USE_TLS", "").lower() in ("1", "true")


def _unreachable(place: RayPlace, exc: Exception) -> UnavailableError:
    text = " ".join(filter(None, map(_sentence, (exc, exc.__cause__))))
    if "uthenticat" in f"{type(exc).__name__}{exc}{exc.__cause__}{exc.__context__}":
        hint = "The cluster wants a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or its file."
    elif "ersion mismatch" in str(exc):
        text = " ".join(str(exc).split())
        hint = "Install the same versions of Ray and Python on all nodes."
    elif "node info" in str(exc.__cause__):
        hint = (
            "The cluster needs a Ray node on this machine, which is not there, or has just ended:"
            f" `ray start --address {place.address or 'HOST:6379'}`."
        )
    else:
        hint = START_HINT
    return UnavailableError(f"The Ray cluster cannot be used: {place.where}: {text} {hint}")


def _sentence(exc: BaseException | None) -> str:
    """Return the first line of a message, or the error's class, with a full stop."""
    if exc is None:
        return ""
    return (first_line(exc) or type(exc).__name__).rstrip(".:") + "."


def first_line(exc: BaseException) -> str:
    """Return the first line of an error's message that is not empty; "" if there is none."""
    return next(filter(None, map(str.strip, str(exc).splitlines())), "")


# --- what is refused ---------------------------------------------------------------------------


def _refuse_open_dashboard(place: RayPlace, url: str) -> None:
    """Raise RefusedClusterError if other machines can reach the dashboard, which runs any program
    that a client sends. One that listens on all addresses has the address of its node here.
    """
    host = url.removeprefix("http://").rpartition(":")[0].strip("[]")
    if not host or place.allows_dashboard or _is_loopback(host):
        return
    raise RefusedClusterError(
        f"The dashboard of the Ray cluster is open: it listens on {url}, where other machines can"
        " reach it and let it run any program. Start the head node with `--dashboard-host"
        " 127.0.0.1`; or, if a firewall or a network policy protects it, allow it:"
        " --ray-allow-dashboard yes."
    )


def refuse_plaintext(place: RayPlace, nodes: cabc.Iterable[str]) -> None:
    """Raise RefusedClusterError if batches would be sent to other machines without TLS.

    Args:
        place: the cluster.
        nodes: the addresses of its nodes.
    """
    if place.allows_plaintext or _uses_tls():
        return
    if others := sorted(each for each in nodes if not _is_of_this_machine(each)):
        raise RefusedClusterError(
            "The Ray cluster is not encrypted: it has nodes on other machines"
            f" ({', '.join(others[:3])}), to which batches would be sent as plain text. Set"
            " RAY_USE_TLS=1 with certificates for all nodes and for this server; or, if the network"
            " between them is private, allow it: --ray-allow-plaintext yes."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_of_this_machine(host: str) -> bool:
    if _is_loopback(host):
        return True
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True
