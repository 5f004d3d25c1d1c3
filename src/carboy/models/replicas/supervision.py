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
    checked   text: answers `check?` with the reason why the model is not ready, or ""
    computes  number: answers `computes?` with the seconds since the current batch has begun; 0 if
              there is none
    broken    text: the device or the model fails for good, so that another process must replace
              this one

From the supervisor to the process of a replica:

    check?    null: the process calls the method `check` of the model
    computes? null: a client has reported that the process hangs, perhaps too late
    renew     null: the process writes a new token in place of one with which no batch has come
    drain     null: the process finishes its batch, writes no further token, and ends

From a client to the supervisor:

    want      `WantedReplicas`: the client needs a version of a model
    hangs     `Hangs`: a replica computes a batch for longer than it may; the supervisor kills it
    release   `GivesBack`: the client does not need the version any more, or, after `hold`, not for
              now; when no client does, the supervisor ends its replicas

From the supervisor to a client:

    granted   `Granted`: sent when all replicas have been ready once, with the reading end of the
              pipe for tokens as an attached file descriptor (SCM_RIGHTS)
    refused   `NotGranted`: there is no such version, or it could not be loaded
    hold      `Holds`: another version needs the memory of this one. The client lets new predictions
              wait, and releases the version when those before are computed
    resume    `Resumes`: the other version could not be loaded. The client wants this one again
    changed   `ReplicasChanged`: whether any replica of the version is ready, if that has changed

When a process of a replica has ended, the supervisor removes its socket, so that a token of it that
is still in the pipe leads nowhere. When a client has disconnected, which may have had a token in
its hand, the supervisor sends `renew` to the replicas of all versions that the client has got.
"""

from __future__ import annotations

import os
import typing as t

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ..options import Options


#: The environment variable that names the models' socket, for `carboy models serve` and for its
#: clients.
VARIABLE = "CARBOY_MODELS_SOCKET"


class AppIdentity(t.NamedTuple):
    """Tells one app of a user from another.

    Attributes:
        name: the name of the app.
        folder: the folder of its code, without links.
    """

    name: str
    folder: str

    def why_other(self, want: WantedReplicas) -> str:
        """Return why a client that wants replicas gets none from a supervisor that serves this app;
        "" if it runs the same app.
        """
        has_other_name = bool(self.name and want["app"]) and self.name != want["app"]
        has_other_folder = bool(self.folder and want["folder"]) and self.folder != want["folder"]
        if not (has_other_name or has_other_folder):
            return ""
        runs = f"the app {want['app']!r}" if has_other_name else "another one of this name"
        return (
            f"`carboy models serve` serves the app {self.name!r}, and this process runs {runs}."
            f" Start `carboy models serve` for it, and name the socket of each app by {VARIABLE}."
        )


#: Stands for an app that is not known.
NO_APP: t.Final = AppIdentity("", "")


class Ready(t.TypedDict):
    """A replica's report about the model that it has loaded."""

    #: How long loading took, in seconds.
    took_s: float
    #: How much the memory of the process grew by; 0 if the system does not tell.
    loaded_bytes: int
    #: The cards of the saved models that were opened, as `Card.to_dict` returns them.
    cards: list[dict[str, t.Any]]


class WantedReplicas(t.TypedDict):
    """Asks for the replicas of a version of a model. The supervisor starts them if they do not run;
    it runs no user code, so the client tells it what the app has declared.
    """

    #: Identifies the version of the model in all messages. It changes with the files of the
    #: version: a folder may be replaced by one of the same name.
    key: str
    #: The name of the app, and the folder of its code; "" if the client does not want them to be
    #: compared with those of the app that the supervisor serves.
    app: str
    folder: str
    model: str
    #: The version; "" if the model has none.
    version: str
    #: What the version is called in the metrics: as `version`, or else what the class of the model
    #: or its card says; "" if nothing does.
    label: str
    #: The folder from which this version is loaded; "" if the model has none.
    source: str
    #: How many reloads of the code the supervisor had been asked for when the client was started;
    #: None for a client that the supervisor has not started.
    generation: int | None
    replicas: int
    #: The devices that the replicas use in turn.
    devices: list[str]
    device_lock: bool
    max_rss_bytes: int | None
    start_timeout_s: float
    #: Whether the class of the model has a method `check`.
    has_check: bool
    #: The size of the version's files; 0 if that is unknown.
    files_bytes: int
    #: The version that is served while this one is loaded, by its key; "" if there is none.
    beside: str
    #: How long predictions may wait while the version `beside` ends first, if there is no memory
    #: for both; None if they may not.
    hold_s: float | None


class GivesBack(t.TypedDict):
    """Gives the replicas of a version back."""

    key: str


class Hangs(t.TypedDict):
    """Reports a replica that computes a batch for longer than its deadline allows, or that has sent
    something that is no message.
    """

    key: str
    replica: int
    #: How long it has computed the batch, in seconds; 0 if it has sent something else.
    took_s: float


class Granted(t.TypedDict):
    """Where the replicas of a version are."""

    key: str
    #: The folder with the sockets of the replicas; see `socket_path`.
    folder: str
    #: What the first replica has reported.
    about: Ready


class NotGranted(t.TypedDict):
    """Why a client does not get the replicas of a version."""

    key: str
    reason: str
    #: Whether the supervisor serves another app: then it will have no replicas for this client.
    is_other_app: bool


class Holds(t.TypedDict):
    """Lets the predictions for a version wait, because another one needs its memory."""

    key: str
    #: How long they may wait.
    limit_s: float


class Resumes(t.TypedDict):
    """Lets a version go on that was held."""

    key: str


class ReplicasChanged(t.TypedDict):
    """Says whether any replica of a version is ready."""

    key: str
    is_ready: bool


class ReplicaJob(t.TypedDict):
    """The task of a replica's process: the model that it loads, and how clients reach it."""

    model: str
    version: str
    #: The folder from which this version is loaded; "" if the model has none.
    source: str
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


class ReplicaUser(t.Protocol):
    """The part of a client that uses the replicas of one version; the supervisor calls its
    methods.
    """

    def moved(self, granted: Granted, fd: int) -> object:
        """Use other replicas from then on, because the supervisor that has started these was
        replaced, or has loaded new code.
        """

    def hold(self, limit_s: float) -> object:
        """Let new predictions wait, and release the version when those before are computed. Returns
        at once.
        """

    def resume(self) -> object:
        """Want the version again, and compute the predictions that wait. Returns at once."""

    def set_ready(self, is_ready: bool) -> object:
        """Note whether any replica is ready."""


class ReplicaDirectory(t.Protocol):
    """A client's connection to the models' socket. Thread-safe."""

    def want(self, want: WantedReplicas, user: ReplicaUser) -> tuple[Granted, int]:
        """Block until the replicas are ready. Returns where they are, and the reading end of the
        pipe for tokens, which then belongs to the caller.

        Args:
            user: what is told of changes from then on.

        Raises:
            ModelLoadError: there is no such version, or it could not be loaded.
            UnavailableError: no supervisor answers.
        """

    def report(self, hangs: Hangs) -> None:
        """Tell the supervisor that a replica hangs. Returns at once."""

    def release(self, release: GivesBack) -> None:
        """Tell the supervisor that this process does not need a version any more. Returns at
        once.
        """


class Link(t.Protocol):
    """The connection of a replica's process with its supervisor."""

    #: Functions that are called when the supervisor has died.
    on_orphaned: list[cabc.Callable[[], object]]

    def on(self, word: str, function: cabc.Callable[[t.Any], object]) -> None:
        """Let a function be called with the payload of each message that has this word. It must
        return soon.
        """

    def report(self, word: str, payload: object = None) -> None:
        """Send the supervisor a message. Thread-safe."""


def wanted_replicas(
    model: str,
    options: Options,
    *,
    version: str = "",
    label: str = "",
    source: str = "",
    files: str = "",
    files_bytes: int = 0,
    has_check: bool = False,
    app: AppIdentity = NO_APP,
) -> WantedReplicas:
    """Return the message that asks for the replicas of a model with these options.

    Args:
        files: changes with the files of the version.
        files_bytes: their size; 0 if that is unknown.
        app: the app that has declared the model.
    """
    return WantedReplicas(
        key=f"{model} {version} {files}",
        app=app.name,
        folder=app.folder,
        model=model,
        version=version,
        label=label,
        source=source,
        generation=None,
        replicas=options.least_replicas or 1,
        devices=list(options.devices),
        device_lock=options.device_lock,
        max_rss_bytes=options.max_rss_bytes,
        start_timeout_s=options.start_timeout_s,
        has_check=has_check,
        files_bytes=files_bytes,
        beside="",
        hold_s=None,
    )


def socket_path(folder: str, replica: int) -> str:
    """Return the path of the socket on which a replica listens."""
    return os.path.join(folder, f"{replica}.sock")


def device_lock_path(folder: str, device: str) -> str:
    """Return the path of the file that replicas lock while they compute on a device."""
    safe = "".join(each if each.isalnum() else "-" for each in device)
    return os.path.join(folder, f"device-{safe}.lock")
