"""What can go wrong with types and input: a branch of the tree in `carboy.errors`.

    CarboyError                     status  code                  also a
    ├── InputError                  422     input-invalid         ValueError
    │   ├── MalformedInputError     400     input-malformed
    │   ├── InputTooLargeError      413     input-too-large
    │   └── UnsupportedInputError   415     input-unsupported
    ├── SignatureError              500     signature-invalid     TypeError
    └── ModelLoadError              503     model-load            RuntimeError

The first four are the sender's: the client gets the message and the places. The others are the
author's, found at registration and, for models, at loading.
"""

from __future__ import annotations

import typing as t

from carboy.errors import CarboyError


class Fault(t.NamedTuple):
    """One place of the input that does not fit.

    `path` is msgspec's form (`$.flower.sepal_width`, `$[3]`), from the root of the body.
    """

    path: str
    expected: str
    got: str | None = None


class InputError(CarboyError, ValueError):
    """The input cannot be used. `predict` may raise it too, and the client gets the message."""

    status = 422
    code = "input-invalid"

    def __init__(self, detail: str, *, faults: t.Sequence[Fault] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = tuple(faults)

    @classmethod
    def at(cls, path: str, *, expected: str, got: str | None = None, hint: str = "") -> t.Self:
        """The usual case: one place, one expectation."""
        came = f", got {got}" if got else ""
        detail = f"Expected {expected}{came} - at `{path}`." + (f" {hint}" if hint else "")
        return cls(detail, faults=[Fault(path, expected, got)])

    def below(self, path: str) -> t.Self:
        """The same, seen from outside: what was at `$` stands at `path`."""
        faults = [fault._replace(path=path + fault.path[1:]) for fault in self.faults]
        return type(self)(self.detail.replace("`$", f"`{path}"), faults=faults)


class MalformedInputError(InputError):
    """The body is not what its media type says."""

    status = 400
    code = "input-malformed"


class InputTooLargeError(InputError):
    """More than we are willing to read."""

    status = 413
    code = "input-too-large"


class UnsupportedInputError(InputError):
    """No way to read this kind of body, or of file, as the input that is wanted."""

    status = 415
    code = "input-unsupported"


def together(errors: list[InputError]) -> InputError:
    """Several refusals of one body as one; what cannot be read at all decides the status."""
    if len(errors) == 1:
        return errors[0]
    worst = min(errors, key=lambda error: error.status)
    return type(worst)(
        " ".join(error.detail for error in errors),
        faults=[fault for error in errors for fault in error.faults],
    )


class SignatureError(CarboyError, TypeError):
    """The signature of a view or of `predict` cannot be served as it is written."""

    code = "signature-invalid"


class ModelLoadError(CarboyError, RuntimeError):
    """Building the model's object, or its first prediction, failed; the cause is chained.

    The message is the author's. A client is told no more than the status and the code.
    """

    status = 503
    code = "model-load"
