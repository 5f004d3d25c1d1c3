"""The error classes of carboy, in one tree.

    CarboyError                     status  slug                  also a
    ├── ConfigError                 500     config-invalid        ValueError
    │   ├── ConfigFileError         500     config-file-invalid   whatever Flask raises there
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
    │   └── ClosedError             503     model-closed
    ├── DeadlineError               504     deadline              TimeoutError
    ├── UnreadError                 408     stream-unread         TimeoutError
    ├── CancelledError              499     cancelled             RuntimeError
    ├── AnswerError                 500     answer-invalid        TypeError
    ├── CrashError                  500     prediction-crashed    RuntimeError
    ├── BulkFileError               500     bulk-file-invalid     ValueError
    ├── DocumentationError          500     documentation-invalid ValueError
    └── YAMLMissingError            500     yaml-missing          ImportError

`status` is the HTTP status of the response if no handler handles the error. `code` is the same
number under Werkzeug's name, for handlers of `Exception` that return `getattr(error, "code", 500)`.
`slug` is a stable word that programs can compare; problem details have it as their member `code`.
Each class is also the built-in exception that Flask raises at the same
place, so an `except` written for Flask still catches it. A message says what was asked, where, what
was expected and got, and what to do. Clients see the message of a 4xx; of a 5xx they see only the
status and the slug.

`UnavailableError` means that nothing was computed: sending the request again is safe, and
`retry_after_s` says when. `DeadlineError` means that the deadline passed during the computation.
`CancelledError` is never sent, since the client has disconnected. Nothing here imports another
module of carboy.
"""

from __future__ import annotations

import typing as t


class CarboyError(Exception):
    """Base of all errors that carboy itself raises."""

    status: t.ClassVar[int] = 500
    code: t.ClassVar[int] = 500
    slug: t.ClassVar[str] = "internal"

    def __init_subclass__(cls, **options: t.Any) -> None:
        """Keep `status` and `code` equal, whichever of them a subclass sets."""
        super().__init_subclass__(**options)
        own = vars(cls)
        cls.status = cls.code = own.get("status", own.get("code", cls.status))
        if not isinstance(cls.status, int):
            raise TypeError(
                f"{cls.__qualname__}: expected the number of an HTTP status as `status` and `code`,"
                f" got {cls.status!r}. A word for programs to compare is its `slug`."
            )


class ConfigError(CarboyError, ValueError):
    """A configuration value or source cannot be used."""

    slug = "config-invalid"


class ConfigFileError(ConfigError):
    """A configuration file cannot be parsed.

    The class raised is also the original error's class: `SyntaxError` for a Python file,
    `json.JSONDecodeError` or `tomllib.TOMLDecodeError` for data, `TypeError` for a file that holds
    no mapping. The original error is the `__cause__`.
    """

    slug = "config-file-invalid"

    filename: str
    line: int | None


class ConfigSourceError(ConfigError, RuntimeError):
    """The environment variable that names the configuration is not set."""

    slug = "config-source-unset"


class SetupError(CarboyError, AssertionError):
    """The application was configured or assembled incorrectly."""

    slug = "setup-invalid"


class SetupFinishedError(SetupError):
    """A setup method was called after the first request was handled."""

    slug = "setup-finished"


class EndpointConflictError(SetupError):
    """Two view functions claim the same endpoint."""

    slug = "endpoint-conflict"


class ServingError(CarboyError, RuntimeError):
    """The app cannot be served with these options."""

    slug = "serving-invalid"


class AddressError(ServingError):
    """The server cannot listen on a host or port."""

    slug = "address-unusable"


class DebuggerExposedError(ServingError):
    """The debugger was requested on an address that other machines can reach."""

    slug = "debugger-exposed"


class ContextError(CarboyError, RuntimeError):
    """An application or request context is required and none is active."""

    slug = "context-missing"


class SessionUnavailableError(CarboyError, RuntimeError):
    """The session was written to although no secret key is set."""

    slug = "session-unavailable"


class Fault(t.NamedTuple):
    """One place in the input that is not valid.

    `path` is msgspec's form (`$.flower.sepal_width`, `$[3]`), from the root of the body.
    """

    path: str
    expected: str
    got: str | None = None


class InputError(CarboyError, ValueError):
    """The input is not valid. `predict` may raise this error too; the client gets its message."""

    status = 422
    slug = "input-invalid"

    def __init__(self, detail: str, *, faults: t.Sequence[Fault] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = tuple(faults)

    @classmethod
    def at(cls, path: str, *, expected: str, got: str | None = None, hint: str = "") -> t.Self:
        """Return an error for one place in the input, with what was expected there."""
        came = f", got {got}" if got else ""
        detail = f"Expected {expected}{came} - at `{path}`." + (f" {hint}" if hint else "")
        return cls(detail, faults=[Fault(path, expected, got)])

    def below(self, path: str) -> t.Self:
        """Return the same error for a value that stands at `path` of a larger body."""
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
    """The media type of the body, or of a file, cannot be read as the expected input."""

    status = 415
    slug = "input-unsupported"


def together(errors: list[InputError]) -> InputError:
    """Combine the errors of one body into one; the lowest status (400 before 415 and 422) wins."""
    if len(errors) == 1:
        return errors[0]
    worst = min(errors, key=lambda error: error.status)
    return type(worst)(
        " ".join(error.detail for error in errors),
        faults=[fault for error in errors for fault in error.faults],
    )


class SignatureError(CarboyError, TypeError):
    """The signature of a view or of `predict` cannot be served."""

    slug = "signature-invalid"


class ModelLoadError(CarboyError, RuntimeError):
    """Building the model's object, or its first prediction, failed; the cause is chained.

    The message is written by the model's author. The client gets only the status and the slug.
    """

    status = 503
    slug = "model-load"


class UnavailableError(CarboyError, RuntimeError):
    """The model does not accept this prediction now, and has not computed it.

    `retry_after_s` is the number of seconds after which a client should try again.
    """

    status = 503
    slug = "model-unavailable"

    def __init__(self, detail: str, *, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s


class QueueFullError(UnavailableError):
    """The model's queue is full."""

    slug = "queue-full"


class QueuedTooLongError(UnavailableError, TimeoutError):
    """The deadline passed while the prediction was waiting in the queue."""

    slug = "queued-too-long"


class LoadingError(UnavailableError, TimeoutError):
    """The deadline passed while the model was being loaded."""

    slug = "model-loading"


class StuckError(UnavailableError):
    """`predict` has computed for longer than the deadline of any prediction in its batch allows."""

    slug = "model-stuck"


class ClosedError(UnavailableError):
    """The model is being unloaded, or its server is stopping."""

    slug = "model-closed"


class DeadlineError(CarboyError, TimeoutError):
    """The deadline passed while `predict` was computing. Its result will be dropped."""

    status = 504
    slug = "deadline"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class UnreadError(CarboyError, TimeoutError):
    """A stream was aborted because its client did not read it for too long."""

    status = 408
    slug = "stream-unread"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class CancelledError(CarboyError, RuntimeError):
    """The prediction was cancelled by its caller, or the client disconnected."""

    status: t.ClassVar[int] = 499
    slug = "cancelled"


class AnswerError(CarboyError, TypeError):
    """`predict` returned something other than one valid result per item.

    `of_items` is true if the number of results is wrong.
    """

    slug = "answer-invalid"

    def __init__(self, detail: str, *, of_items: bool = False) -> None:
        super().__init__(detail)
        self.of_items = of_items


class CrashError(CarboyError, RuntimeError):
    """`predict` raised a `BaseException`, such as `SystemExit` or a panic in a Rust library.

    The original exception is the `__cause__`.
    """

    slug = "prediction-crashed"


class BulkFileError(CarboyError, ValueError):
    """A file of inputs cannot be read; raised by `carboy models predict`."""

    slug = "bulk-file-invalid"


class DocumentationError(CarboyError, ValueError):
    """The documentation that an author wrote for a view cannot be read."""

    status = 500
    slug = "documentation-invalid"


class YAMLMissingError(CarboyError, ImportError):
    """YAML cannot be read or written, because PyYAML is not installed."""

    status = 500
    slug = "yaml-missing"
