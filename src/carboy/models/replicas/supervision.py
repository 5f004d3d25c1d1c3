"""The messages by which a supervisor starts and watches the processes of replicas, and tells other
processes where the replicas are.

    supervisor <--> process of a replica   on a socket pair that the process inherits
    supervisor <--> client                 on the models' socket, a listening Unix socket

A client is a process that has batches to compute: a web worker of `carboy serve`, or a process of
another server. Batches go from the client to the replica directly; see the modules `tokens` and
`frames`. On both sockets each message is a line of JSON, `[word, payload]`.

From the process of a replica to the supervisor:

    ready     `Ready`: the model is loaded, and the first token is written
    failed    text: why the model could not be loaded; the process ends
    alive     null: answers `alive?`
    checked   text: answers `check?` with the reason why the model is not ready, or ""
    broken    text: the device or the model fails for good, so that another process must replace
              this one

From the supervisor to the process of a replica:

    alive?    null: the process answers at once, even while `predict` computes
    check?    null: the process calls the method `check` of the model
    renew     null: the process writes a new token, unless it computes a batch; the old one is void
    drain     null: the process finishes its batch, writes no further token, and ends

From a client to the supervisor:

    want      `Want`: the client needs a version of a model
    hangs     `Hangs`: a replica computes a batch for longer than it may; the supervisor kills it

From the supervisor to a client:

    granted   `Granted`: sent when the first replica is ready, with the reading end of the pipe for
              tokens as an attached file descriptor (SCM_RIGHTS)
    refused   `NotGranted`: there is no such version, or it could not be loaded

When a process of a replica has ended, the supervisor removes its socket, so that a token of it that
is still in the pipe leads nowhere. When a client has disconnected, which may have had a token in
its hand, the supervisor sends `renew` to the replicas of all versions that the client has got.
"""

from __future__ import annotations

import json
import os
import typing as t

if t.TYPE_CHECKING:
    from collections import abc as cabc


class Ready(t.TypedDict):
    """What a replica says of the model that it has loaded."""

    #: How long loading took, in seconds.
    took_s: float
    #: How much the memory of the process grew by; 0 if the system does not tell.
    loaded_bytes: int
    #: The cards of the saved models that were opened, as `Card.to_dict` returns them.
    cards: list[dict[str, t.Any]]


class Want(t.TypedDict):
    """Asks for the replicas of a model."""

    model: str
    #: The version; "" for the one that serves.
    version: str


class Hangs(t.TypedDict):
    """Reports a replica that computes a batch for longer than its deadline allows."""

    model: str
    version: str
    replica: int
    took_s: float


class Granted(t.TypedDict):
    """Where the replicas of a version are."""

    model: str
    version: str
    #: The folder with the sockets of the replicas; see `socket_path`.
    folder: str
    #: How many batches all replicas compute at the same time when each of them is alive.
    places: int
    #: What the first replica has reported.
    about: Ready


class NotGranted(t.TypedDict):
    """Why a client does not get the replicas of a version."""

    model: str
    version: str
    reason: str


class ReplicaJob(t.TypedDict):
    """What the process of a replica must know, beside the app that it loads."""

    model: str
    version: str
    #: The identifier of the process, which is in its tokens and in the name of its socket. It is
    #: never used again by the same supervisor.
    replica: int
    #: The listening socket to which clients connect.
    listener_fd: int
    #: The writing end of the pipe for tokens.
    tokens_fd: int
    #: The file that is locked while a batch computes on the device; "" if nothing else computes
    #: there.
    device_lock: str


class ReplicaDirectory(t.Protocol):
    """A client's connection to the models' socket. Thread-safe."""

    def want(self, model: str, version: str) -> tuple[Granted, int]:
        """Block until a replica is ready. Returns where the replicas are, and the reading end of
        the pipe for tokens, which then belongs to the caller.

        Raises:
            ModelLoadError: there is no such version, or it could not be loaded.
        """

    def report(self, hangs: Hangs) -> None:
        """Tell the supervisor that a replica hangs. Returns at once."""


def socket_path(folder: str, replica: int) -> str:
    """Return the path of the socket on which a replica listens."""
    return os.path.join(folder, f"{replica}.sock")


def device_lock_path(folder: str, device: str) -> str:
    """Return the path of the file that replicas lock while they compute on a device."""
    safe = "".join(each if each.isalnum() else "-" for each in device)
    return os.path.join(folder, f"device-{safe}.lock")


def encode_line(word: str, payload: object = None) -> bytes:
    """Return a message as a line of JSON."""
    return json.dumps([word, payload]).encode() + b"\n"


class LineReader:
    """Splits what arrives on a socket into messages."""

    def __init__(self) -> None:
        self._unread = b""

    def feed(self, data: bytes) -> cabc.Iterator[tuple[str, t.Any]]:
        """Yield the messages that are complete with `data`."""
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            word, payload = json.loads(line)
            yield word, payload
