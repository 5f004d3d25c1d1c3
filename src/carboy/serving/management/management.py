"""The management of a server, in its supervisor: opens the management sockets, and answers on them.

the control socket      a Unix socket for the server's user: probes, pages, requests of
                        `carboy ctl`
--management            a TCP address: probes and pages only
"""

from __future__ import annotations

import errno
import socket
import typing as t
from functools import partial
from ipaddress import ip_address

from ...errors import AddressError
from .. import log, machine
from ..http.address import address_of, parse_address
from .controlpath import OFF, ControlSocket, default_path
from .controlrequests import ControlRequests
from .health import ServerHealth
from .managementserver import ManagementServer, Page
from .modelcontrol import ModelControl
from .questions import ANSWER, QUESTION, Answers, Questions

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..http.address import Address
    from ..process.childprocess import ChildProcess
    from ..process.workerprocess import WorkerProcess
    from ..settings import Settings
    from .controlrequests import Managed
    from .managementserver import PageFunction
    from .probes import Verdict

BACKLOG = 128


class Management:
    """Answers probes and control requests from threads of the supervisor.

    Args:
        server: the supervisor.
        settings: those of the server; its port is the one that it listens on.
        pages: further functions that answer GET, by URL path.

    Raises:
        AddressError: a socket cannot be opened. The text says why, and what to do.
    """

    def __init__(
        self,
        server: Managed,
        settings: Settings,
        pages: cabc.Mapping[str, PageFunction] | None = None,
    ) -> None:
        self._server = server
        self._questions = Questions(self._send_question)
        self._models = ModelControl(server, self._questions)
        self._health = health = ServerHealth(
            server.state,
            self._questions,
            server.ask,
            least_models=settings.min_models,
            current=self._models.rollout.current,
        )
        self._requests = ControlRequests(server, self._questions, health, self._models.rollout)
        self._pages: dict[str, PageFunction] = dict(pages or {})
        for path, probe in health.probes().items():
            self._pages[path] = partial(_page, probe)
        self._control = _open_control_socket(settings)
        try:
            self._listener = _open_listener(settings.management)
        except AddressError:
            if self._control is not None:
                self._control.close()
            raise
        self._servers: list[ManagementServer] = []

    def about(self) -> list[str]:
        """Return lines for the log that say where the management listens."""
        lines = []
        if self._control is not None:
            lines.append(f"control socket: {self._control.path} (carboy ctl)")
        if self._listener is not None:
            address = address_of(self._listener)
            paths = " ".join(self._pages)
            others = "" if ip_address(address.host).is_loopback else ", for other machines too"
            lines.append(f"management: {address.url(tls=False)} ({paths}{others})")
        return lines

    def start(self) -> None:
        """Answer requests from now on, on threads of this process."""
        if self._control is not None:
            commands = self._requests.commands()
            self._servers.append(ManagementServer(self._control.socket, self._pages, commands))
        if self._listener is not None:
            self._servers.append(ManagementServer(self._listener, self._pages))
        for each in self._servers:
            each.start()

    def stop(self) -> None:
        for each in self._servers:
            each.stop()
        if self._control is not None:
            self._control.close()
        if self._listener is not None:
            self._listener.close()

    # --- called by the supervisor's loop ----------------------------------------------------------

    def watch(self, process: WorkerProcess) -> None:
        """Receive the answers of a worker process, and answer its questions."""
        process.handlers[ANSWER] = self._questions.receive
        process.handlers[QUESTION] = Answers(
            partial(self._send, process), self._models.topics()
        ).answer

    def welcome(self, process: WorkerProcess) -> None:
        """Prepare a worker process that has just become ready, and let it check its models, so that
        the result is known when a probe comes.
        """
        self._requests.prepare(process.pid)
        self._models.prepare(process.pid)
        self._health.ask(process.pid)

    def watch_replica(self, process: ChildProcess) -> None:
        """Receive the answers of the process of a replica."""
        process.handlers[ANSWER] = self._questions.receive

    def welcome_replica(self, process: ChildProcess) -> None:
        """Prepare the process of a replica that has just become ready."""
        self._requests.prepare(process.pid)

    def _send(self, process: WorkerProcess, word: str, payload: object) -> None:
        self._server.ask(partial(process.send, word, payload))

    def about_models(self, generation: int) -> dict[str, t.Any]:
        """Return what a worker process must know of models when it starts: which of them it must
        not load, and which versions the others serve.

        Args:
            generation: how many reloads have been asked for.
        """
        versions = self._models.rollout.known(generation)
        return {"unloaded": self._models.unloaded(), "versions": versions}

    def note_death(self, process: WorkerProcess, how: str) -> bool:
        """Note that a worker process has died that was not asked to stop; see
        `ModelRollout.note_death`.
        """
        return self._models.rollout.note_death(process, how)

    def note_versions(self, versions: cabc.Mapping[str, str]) -> None:
        """Note which versions of models a worker serves that has loaded the app."""
        self._models.rollout.note_loaded(versions)

    def _send_question(self, pid: int, payload: list[t.Any]) -> None:
        self._server.ask(partial(self._deliver, pid, payload))

    def _deliver(self, pid: int, payload: list[t.Any]) -> None:
        process = self._server.find_process(pid)
        if process is None:
            self._questions.receive((payload[0], "the process has ended", None))
        else:
            process.send(QUESTION, payload)


def _page(probe: cabc.Callable[[], Verdict]) -> Page:
    verdict = probe()
    return Page(verdict.status, verdict.body())


# ----------------------------------------------------------------------------------- sockets


def _open_control_socket(settings: Settings) -> ControlSocket | None:
    """Open the control socket. If no path for it is set and no folder can be used by default, log
    the reason and return None: a container may have a read-only file system.
    """
    if settings.control == OFF:
        return None
    path = settings.control
    if not path:
        try:
            # An address with a port, if there is one, so that `carboy ctl --port` finds the server.
            addresses = sorted(settings.addresses, key=lambda address: bool(address.path))
            path = default_path(str(addresses[0]))
        except AddressError as exc:
            log.logger.warning(
                "'carboy ctl' cannot reach this server: %s Name a path by --control, or set it to"
                " 'off'",
                exc,
            )
            return None
    return ControlSocket(path)


def _open_listener(address: str) -> socket.socket | None:
    """Listen on the TCP address of the setting `management`; None if it is not set."""
    if not address:
        return None
    wanted = parse_address(address)
    listener = socket.socket(wanted.family, socket.SOCK_STREAM)
    try:
        machine.bind_exclusively(listener, (wanted.host, wanted.port))
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        raise AddressError(_explain_listen(exc, wanted)) from None
    return listener


def _explain_listen(exc: OSError, address: Address) -> str:
    find = ""
    if exc.errno == errno.EADDRINUSE:
        find = f"Find who uses the port by 'ss -ltnp sport = :{address.port}', or "
    advice = f"{find}choose another address by --management"
    return (
        f"Cannot listen on {address} for probes: {exc.strerror}. {advice[0].upper()}{advice[1:]}."
    )
