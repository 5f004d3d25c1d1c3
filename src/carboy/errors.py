"""Every error class of carboy, in one tree.

    CarboyError                     status  code                  also a
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
    └── SessionUnavailableError     500     session-unavailable   RuntimeError

`status` is the HTTP status a client sees when nothing handles the error, `code` a word that stays
the same for programs to compare. Each class is also the built-in exception that Flask raises at the
same place, so an `except` written for Flask still catches it. A message says what was asked, where,
what was expected and got, and what to do. Nothing here imports another module of carboy.
"""

from __future__ import annotations

import typing as t


class CarboyError(Exception):
    """Root of all errors that carboy itself raises."""

    status: t.ClassVar[int] = 500
    code: t.ClassVar[str] = "internal"


class ConfigError(CarboyError, ValueError):
    """A configuration value or source cannot be used."""

    code = "config-invalid"


class ConfigFileError(ConfigError):
    """A configuration file cannot be read as one.

    Raised as a subclass that is also the original error's class: `SyntaxError` for a Python file,
    `json.JSONDecodeError` or `tomllib.TOMLDecodeError` for data, `TypeError` for a file that holds
    no mapping. The original error is the `__cause__`.
    """

    code = "config-file-invalid"

    filename: str
    line: int | None


class ConfigSourceError(ConfigError, RuntimeError):
    """The environment does not say where the configuration is."""

    code = "config-source-unset"


class SetupError(CarboyError, AssertionError):
    """The application was put together wrongly."""

    code = "setup-invalid"


class SetupFinishedError(SetupError):
    """Something was registered after the first request was handled."""

    code = "setup-finished"


class EndpointConflictError(SetupError):
    """Two view functions claim the same endpoint."""

    code = "endpoint-conflict"


class ServingError(CarboyError, RuntimeError):
    """The app cannot be served as was asked."""

    code = "serving-invalid"


class AddressError(ServingError):
    """A host or port cannot be listened on."""

    code = "address-unusable"


class DebuggerExposedError(ServingError):
    """The debugger was asked for on an address that others can reach."""

    code = "debugger-exposed"


class ContextError(CarboyError, RuntimeError):
    """Something that needs an application or request context was used without one."""

    code = "context-missing"


class SessionUnavailableError(CarboyError, RuntimeError):
    """The session was written to although no secret key is set."""

    code = "session-unavailable"
