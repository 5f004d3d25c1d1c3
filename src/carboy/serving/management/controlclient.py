"""The client of the control socket: finds the socket of a running server, and sends it requests."""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
import stat
import typing as t

from ...core.runtimefolders import is_reachable, runtime_folders, served_sockets, user_name
from ...errors import ControlClientError
from .controlpath import OFF, SUFFIX
from .controlrequests import ANSWER_S, LOOP_S, PREFIX
from .managementserver import SERVER_NAME

# How long a server may take to answer. A server that is stopped (SIGSTOP) does not answer at all.
RESPONSE_S = ANSWER_S + LOOP_S + 5.0


class ControlClient:
    """Sends requests to the control socket at a path.

    Raises:
        ControlClientError: nobody answers there, or the server refuses the request.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def request(
        self, name: str, *, timeout_s: float | None = RESPONSE_S, **arguments: t.Any
    ) -> dict[str, t.Any]:
        """Send a control request, such as "status", and return the response.

        Args:
            timeout_s: how long the server may take; None if it may load models meanwhile.
        """
        status, content = self._exchange("POST", PREFIX + name, arguments, timeout_s)
        if status != 200:
            raise ControlClientError(str(content.get("error", f"The server answered {status}.")))
        return content

    def exists(self) -> bool:
        """Return whether a server listens on the socket."""
        return is_reachable(self.path)

    def _exchange(
        self, method: str, path: str, arguments: dict[str, t.Any], timeout_s: float | None
    ) -> tuple[int, dict[str, t.Any]]:
        connection = _UnixConnection(self.path, timeout_s)
        try:
            connection.request(method, path, json.dumps(arguments))
            response = connection.getresponse()
            body = response.read()
            if response.headers.get("Server") != SERVER_NAME:
                raise ControlClientError(
                    f"The program that listens on {self.path} is not a carboy server."
                )
            return response.status, json.loads(body)
        except TimeoutError:
            raise ControlClientError(
                f"The server has not answered on {self.path} within {timeout_s:g} s. It may be"
                " stopped (SIGSTOP), or its machine is overloaded."
            ) from None
        except (OSError, ValueError, http.client.HTTPException) as exc:
            raise ControlClientError(explain_unreachable(exc, self.path)) from None
        finally:
            connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket."""

    def __init__(self, path: str, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def explain_unreachable(exc: Exception, path: str) -> str:
    """Return why a control socket cannot be used, and what to do."""
    if isinstance(exc, PermissionError):
        return _explain_permission(path)
    if isinstance(exc, FileNotFoundError):
        return (
            f"There is no control socket {path}. Start the server, or name the path that its"
            " --control has."
        )
    if isinstance(exc, ConnectionRefusedError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return f"{path} is not a socket. Name the path that the server's --control has."
        return f"Nobody listens on {path}: the server that created it has died. Start it again."
    if isinstance(exc, OSError) and exc.errno != errno.EPIPE:
        return f"The control socket {path} cannot be used: {exc.strerror or exc}."
    return f"The program that listens on {path} does not answer as a carboy server does."


def _explain_permission(path: str) -> str:
    try:
        owner = os.stat(path).st_uid
    except OSError:  # a folder above it is closed to this user
        return (
            f"{user_name(os.geteuid())} may not look into {os.path.dirname(path)}. Run this command"
            " as the user of the server: sudo -u USER carboy ctl ..."
        )
    return (
        f"The server of {path} runs as {user_name(owner)}, and only this user and root may control"
        f" it. You are {user_name(os.geteuid())}. Run this command as that user: sudo -u"
        f" '#{owner}' carboy ctl ..."
    )


# ---------------------------------------------------------------------------------- finding


def find_control_socket(path: str | None, port: int | None = None) -> str:
    """Return the path of the control socket to use.

    Args:
        path: the path that the user has named; None to look for running servers of this user.
        port: chooses the server that listens on this port.

    Raises:
        ControlClientError: no server runs, or several do.
    """
    if path == OFF:
        raise ControlClientError(
            "The control socket is off (CARBOY_SERVE_CONTROL). Start the server without --control"
            " off, or name its path by --socket."
        )
    if path is not None:
        return os.path.abspath(os.path.expanduser(path))
    found = [each for each in served_sockets(SUFFIX) if port is None or _has_port(each, port)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ControlClientError(_explain_none(port))
    servers = "\n".join(f"    --socket {each}" for each in found)
    raise ControlClientError(
        f"{len(found)} servers of {user_name(os.geteuid())} are running. Choose one by --port or"
        f" --socket:\n\n{servers}"
    )


def _has_port(path: str, port: int) -> bool:
    return path.endswith(f":{port}{SUFFIX}")


def _explain_none(port: int | None) -> str:
    on_port = "" if port is None else f" on port {port}"
    return (
        f"No server of {user_name(os.geteuid())} is running{on_port} (no control socket in"
        f" {', '.join(runtime_folders())}). If the server runs as another user, run this command as"
        " that user: sudo -u USER carboy ctl ... If it was started with --control, or in another"
        " container, name the path by --socket."
    )
