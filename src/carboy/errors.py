"""The error classes of carboy, in one tree.

    CarboyError                     status  slug                  also a
    ├── ConfigError                 500     config-invalid        ValueError
    │   ├── ConfigFileError         500     config-file-invalid   whatever Flask raises there
    │   ├── ProjectError            500     project-invalid
    │   └── ConfigSourceError       500     config-source-unset   RuntimeError
    ├── SetupError                  500     setup-invalid         AssertionError
    │   ├── SetupFinishedError      500     setup-finished
    │   └── EndpointConflictError   500     endpoint-conflict
    ├── ServingError                500     serving-invalid       RuntimeError
    │   ├── AddressError            500     address-unusable
    │   └── DebuggerExposedError    500     debugger-exposed
    ├── ContextError                500     context-missing       RuntimeError
    ├── SessionUnavailableError     500     session-unavailable   RuntimeError
    ├── InputError                  422     input-invalid         ValueError
    │   ├── MalformedInputError     400     input-malformed
    │   ├── InputTooLargeError      413     input-too-large
    │   └── UnsupportedInputError   415     input-unsupported
    ├── SignatureError              500     signature-invalid     TypeError
    ├── ModelLoadError              503     model-load            RuntimeError
    ├── UnavailableError            503     model-unavailable     RuntimeError
    │   ├── QueueFullError          503     queue-full
    │   ├── QueuedTooLongError      503     queued-too-long       TimeoutError
    │   ├── LoadingError            503     model-loading         TimeoutError
    │   ├── StuckError              503     model-stuck
    │   ├── RefusedClusterError     503     cluster-refused
    │   └── ClosedError             503     model-closed
    ├── DeadlineError               504     deadline              TimeoutError
    ├── ReplicaLostError            503     replica-lost          RuntimeError
    ├── UnreadError                 408     stream-unread         TimeoutError
    ├── CancelledError              499     cancelled             RuntimeError
    ├── AnswerError                 500     answer-invalid        TypeError
    ├── WrongAnswerError            500     answer-wrong          ValueError
    ├── CrashError                  500     prediction-crashed    RuntimeError
    ├── ControlError                500     control-failed        RuntimeError
    │   ├── ControlClientError      500     control-no-server
    │   ├── ControlRequestError     500     control-refused
    │   └── WorkerAnswerError       500     worker-no-answer
    ├── BulkFileError               500     bulk-file-invalid     ValueError
    ├── SimulationError             500     simulation-invalid    ValueError
    ├── ModelFileError              500     model-file-invalid    ValueError
    │   ├── NoRoomError             500     no-room
    │   └── UnreachableSourceError  500     source-unreachable
    ├── StarterError                500     project-not-created   ValueError
    ├── DeploymentError             500     deployment-invalid    RuntimeError
    ├── DocumentationError          500     documentation-invalid ValueError
    └── YAMLMissingError            500     yaml-missing          ImportError

`status` is the HTTP status of the response if no handler handles the error. `code` is the same
number under Werkzeug's name, for handlers of `Exception` that return `getattr(error, "code", 500)`.
`slug` is a stable identifier that programs can compare; it is the member `code` of the problem
details (RFC 9457) that a client gets. Each class also derives from the built-in exception (last
column) that Flask raises in the same case, so an `except` written for Flask still catches it. A
message says what was asked, where, what was expected, what was found, and what to do. Clients see
the message of an error with a 4xx status; of a 5xx they see only the status and the slug.

`UnavailableError` means that no prediction was computed: sending the request again is safe, and
`retry_after_s` says when to do so. `DeadlineError` means that the deadline passed while the
prediction was computed. `CancelledError` is never sent, because the client has disconnected. This
module imports no other module of carboy.
"""

from __future__ import annotations

import typing as t


class CarboyError(Exception):
    """Base class of all errors that carboy itself raises."""

    status: t.ClassVar[int] = 500
    code: t.ClassVar[int] = 500
    slug: t.ClassVar[str] = "internal"

    def __init_subclass__(cls, **options: t.Any) -> None:
        """Set both `status` and `code` of a subclass, which may define only one of them."""
        super().__init_subclass__(**options)
        own = vars(cls)
        cls.status = cls.code = own.get("status", own.get("code", cls.status))
        if not isinstance(cls.status, int):
            raise TypeError(
                f"{cls.__qualname__}: expected the number of an HTTP status as `status` and `code`,"
                f" got {cls.status!r}. A word for programs to compare is its `slug`."
            )


class ConfigError(CarboyError, ValueError):
    """A value or source of the configuration cannot be used."""

    slug = "config-invalid"


class ConfigFileError(ConfigError):
    """A configuration file cannot be parsed.

    The error is also an instance of the original error's class: `SyntaxError` for a Python file,
    `json.JSONDecodeError` or `tomllib.TOMLDecodeError` for data, `TypeError` for a file that does
    not contain a mapping. The original error is the `__cause__`.
    """

    slug = "config-file-invalid"

    filename: str
    line: int | None


class ProjectError(ConfigError):
    """`app.config.from_project()` cannot use the configuration of the project.

    The text names each problem, with the file and line, or the variable, and what to do.
    """

    slug = "project-invalid"


class ConfigSourceError(ConfigError, RuntimeError):
    """The environment variable that should name the configuration file is not set."""

    slug = "config-source-unset"


class SetupError(CarboyError, AssertionError):
    """The application was configured or assembled incorrectly."""

    slug = "setup-invalid"


class SetupFinishedError(SetupError):
    """A method that registers something was called after the first request was handled."""

    slug = "setup-finished"


class EndpointConflictError(SetupError):
    """Two view functions were registered for the same endpoint."""

    slug = "endpoint-conflict"


class DeploymentError(CarboyError, RuntimeError):
    """Files for the deployment of an app cannot be generated or written. `diff` shows how files
    that exist differ from the generated ones.
    """

    slug = "deployment-invalid"

    def __init__(self, message: str, *, diff: str = "") -> None:
        super().__init__(message)
        self.diff = diff


class ServingError(CarboyError, RuntimeError):
    """The app cannot be served with the given options."""

    slug = "serving-invalid"


class AddressError(ServingError):
    """The server cannot listen on a host or port."""

    slug = "address-unusable"


class DebuggerExposedError(ServingError):
    """The debugger was enabled on an address that other machines can reach."""

    slug = "debugger-exposed"


class ContextError(CarboyError, RuntimeError):
    """An application or request context is required, but none is active."""

    slug = "context-missing"


class SessionUnavailableError(CarboyError, RuntimeError):
    """A program has written to the session, but no secret key is set."""

    slug = "session-unavailable"


# The longest text of an error about the input. It may quote names and paths of the client, which
# may be as long as the body, and is sent, logged and joined with others.
_MAX_TEXT = 4000


def _shortened(text: str) -> str:
    if len(text) <= _MAX_TEXT:
        return text
    return f"{text[: _MAX_TEXT // 2]} ... {text[-_MAX_TEXT // 2 :]}"


class Fault(t.NamedTuple):
    """A value in the input that is not valid: its path, what was expected, and what was found.

    `path` is written as in msgspec's messages: `$` is the root of the body, `$.flower.sepal_width`
    a member, `$[3]` an item.
    """

    path: str
    expected: str
    got: str | None = None

    def shortened(self) -> Fault:
        got = None if self.got is None else _shortened(self.got)
        return Fault(_shortened(self.path), _shortened(self.expected), got)


class InputError(CarboyError, ValueError):
    """The input of a request is not valid. A model's `predict` may raise this error too. The client
    gets the message.
    """

    status = 422
    slug = "input-invalid"

    def __init__(self, detail: str, *, faults: t.Sequence[Fault] = ()) -> None:
        self.detail = _shortened(detail)
        super().__init__(self.detail)
        self.faults = tuple(each.shortened() for each in faults)

    @classmethod
    def at(cls, path: str, *, expected: str, got: str | None = None, hint: str = "") -> t.Self:
        """Create an error about one value in the input, which says what was expected."""
        came = f", got {got}" if got else ""
        detail = f"Expected {expected}{came} - at `{path}`." + (f" {hint}" if hint else "")
        return cls(detail, faults=[Fault(path, expected, got)])

    def below(self, path: str) -> t.Self:
        """Return this error with other paths. The error is about an input that is only a part of
        the body; `path` says where this part is, and is put before the paths of the error.
        """
        faults = [fault._replace(path=path + fault.path[1:]) for fault in self.faults]
        return type(self)(self.detail.replace("`$", f"`{path}"), faults=faults)


class MalformedInputError(InputError):
    """The body does not follow its media type, for example invalid JSON."""

    status = 400
    slug = "input-malformed"


class InputTooLargeError(InputError):
    """The input exceeds a size limit."""

    status = 413
    slug = "input-too-large"


class UnsupportedInputError(InputError):
    """The body, or a file in it, has a media type that is not accepted as input."""

    status = 415
    slug = "input-unsupported"


def together(errors: list[InputError]) -> InputError:
    """Return one error that combines several errors of one body, with the lowest of their statuses
    (400, 413, 415, 422).
    """
    if len(errors) == 1:
        return errors[0]
    worst = min(errors, key=lambda error: error.status)
    return type(worst)(
        " ".join(error.detail for error in errors),
        faults=[fault for error in errors for fault in error.faults],
    )


class SignatureError(CarboyError, TypeError):
    """The signature of a view or of a model's `predict` is not supported."""

    slug = "signature-invalid"


class ModelLoadError(CarboyError, RuntimeError):
    """A model could not be loaded: creating its object or its first prediction failed; see
    `__cause__`.

    The client gets only the status and the slug, because the message contains text of the model's
    author.
    """

    status = 503
    slug = "model-load"


class UnavailableError(CarboyError, RuntimeError):
    """A model cannot compute a prediction at present; nothing was computed.

    `retry_after_s` is the number of seconds after which the client should send the request again.
    """

    status = 503
    slug = "model-unavailable"

    def __init__(self, detail: str, *, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s


class RefusedClusterError(UnavailableError):
    """A cluster must not be used, whether or not it can be reached."""

    slug = "cluster-refused"


class QueueFullError(UnavailableError):
    """A prediction was refused because its model's queue is full."""

    slug = "queue-full"


class QueuedTooLongError(UnavailableError, TimeoutError):
    """The deadline of a prediction passed while it was waiting in the model's queue."""

    slug = "queued-too-long"


class LoadingError(UnavailableError, TimeoutError):
    """The deadline of a prediction passed while its model was being loaded."""

    slug = "model-loading"


class StuckError(UnavailableError):
    """The model is blocked by a call of `predict` that still runs although all deadlines in its
    batch have passed.
    """

    slug = "model-stuck"


class ClosedError(UnavailableError):
    """A prediction was refused because its model is being unloaded or the server is stopping."""

    slug = "model-closed"


class DeadlineError(CarboyError, TimeoutError):
    """The deadline of a prediction passed while `predict` was running. The result is discarded."""

    status = 504
    slug = "deadline"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class ReplicaLostError(CarboyError, RuntimeError):
    """The process that computed a prediction has ended before it had the result. Whether the
    prediction was computed is unknown.
    """

    status = 503
    slug = "replica-lost"


class UnreadError(CarboyError, TimeoutError):
    """A stream was ended because its client had not read it for too long."""

    status = 408
    slug = "stream-unread"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class CancelledError(CarboyError, RuntimeError):
    """A prediction was cancelled by its caller, or because the client disconnected."""

    status: t.ClassVar[int] = 499
    slug = "cancelled"


class AnswerError(CarboyError, TypeError):
    """A view or a model's `predict` has returned a value that does not fit the return type.

    For a `predict` that takes batches, the error may also mean that the number of results differs
    from the number of inputs; then `of_items` is true.
    """

    slug = "answer-invalid"

    def __init__(self, detail: str, *, of_items: bool = False) -> None:
        super().__init__(detail)
        self.of_items = of_items


class WrongAnswerError(CarboyError, ValueError):
    """A model gives another answer to a golden example than the expected one."""

    slug = "answer-wrong"


class CrashError(CarboyError, RuntimeError):
    """A model's `predict` raised an exception that does not derive from `Exception`, such as
    `SystemExit` or a panic in Rust.

    The original exception is the `__cause__`.
    """

    slug = "prediction-crashed"


class ControlError(CarboyError, RuntimeError):
    """A running server cannot be controlled as asked for, by `carboy ctl` or another program."""

    slug = "control-failed"


class ControlClientError(ControlError):
    """There is no server that does the request."""

    slug = "control-no-server"


class ControlRequestError(ControlError):
    """The server cannot do the request."""

    slug = "control-refused"


class WorkerAnswerError(ControlError):
    """A worker could not answer a question of its supervisor; the text is its reason."""

    slug = "worker-no-answer"


class BulkFileError(CarboyError, ValueError):
    """A file of inputs for the command `carboy models predict` cannot be read."""

    slug = "bulk-file-invalid"


class SimulationError(CarboyError, ValueError):
    """What `carboy models simulate` was asked for cannot be simulated."""

    slug = "simulation-invalid"


class ModelFileError(CarboyError, ValueError):
    """A model cannot be saved, or a saved model cannot be loaded."""

    slug = "model-file-invalid"


class NoRoomError(ModelFileError):
    """There is no room on the disk for the files of a version of a model."""

    slug = "no-room"


class UnreachableSourceError(ModelFileError):
    """The store of a model's versions does not answer, or refuses access."""

    slug = "source-unreachable"


class StarterError(CarboyError, ValueError):
    """A new project cannot be created."""

    slug = "project-not-created"


class DocumentationError(CarboyError, ValueError):
    """The documentation that an author has written for a view cannot be parsed."""

    status = 500
    slug = "documentation-invalid"


class YAMLMissingError(CarboyError, ImportError):
    """YAML cannot be read or written, because PyYAML is not installed."""

    status = 500
    slug = "yaml-missing"
