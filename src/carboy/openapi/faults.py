"""Report which parts of a view cannot be documented, so that the rest of the document can be built.

Invalid YAML in one docstring, or one type without a schema, must not prevent the documentation of
all other views. So each part of a description is read by `attempt`, which catches exceptions.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..errors import CarboyError

T = t.TypeVar("T")


class DocumentationFault(t.NamedTuple):
    """A part of a view that the document does not describe, and the reason."""

    #: How messages name the view: by its endpoint, its function, and the function's file and line.
    view: str
    part: str
    reason: str

    def __str__(self) -> str:
        return f"The document lacks {self.part} of {self.view}: {self.reason}"


@dataclasses.dataclass(slots=True)
class FaultCollector:
    """Collects faults (parts of views that cannot be documented) in the order in which they are
    found.
    """

    found: list[DocumentationFault] = dataclasses.field(default_factory=list)

    def add(self, view: str, part: str, error: Exception) -> None:
        fault = DocumentationFault(view, part, reason_of(error))
        if fault not in self.found:
            self.found.append(fault)

    def attempt(self, view: str, part: str, read: t.Callable[[], T], otherwise: T) -> T:
        """Return the result of `read`, which reads one part of a description.

        If `read` raises an exception, add a fault and return `otherwise`.
        """
        try:
            return read()
        except Exception as exc:  # noqa: BLE001 - authors' YAML, types and objects fail in any way
            self.add(view, part, exc)
            return otherwise


def reason_of(error: Exception) -> str:
    """Return the message of an error, which begins with the name of its class unless carboy raised
    it.
    """
    return str(error) if isinstance(error, CarboyError) else f"{type(error).__name__}: {error}"
