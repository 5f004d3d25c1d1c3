"""Report the parts of a view that cannot be documented, and build the rest of the document.

One docstring that is not YAML, or one type without a schema, must not take away the document of all
other views. Each part of a description is therefore read by `attempt`.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..errors import CarboyError

T = t.TypeVar("T")


class DocumentationFault(t.NamedTuple):
    """A part of a view that the document lacks, with the reason."""

    #: The endpoint, the function, and the place of its source.
    view: str
    part: str
    reason: str

    def __str__(self) -> str:
        return f"The document lacks {self.part} of {self.view}: {self.reason}"


@dataclasses.dataclass(slots=True)
class FaultCollector:
    """The faults of a document, in the order in which they are found."""

    found: list[DocumentationFault] = dataclasses.field(default_factory=list)

    def add(self, view: str, part: str, error: Exception) -> None:
        fault = DocumentationFault(view, part, reason_of(error))
        if fault not in self.found:
            self.found.append(fault)

    def attempt(self, view: str, part: str, read: t.Callable[[], T], otherwise: T) -> T:
        """Read a part of a description; if that fails, add a fault and return `otherwise`."""
        try:
            return read()
        except Exception as exc:  # noqa: BLE001 - authors' YAML, types and objects fail in any way
            self.add(view, part, exc)
            return otherwise


def reason_of(error: Exception) -> str:
    """Return the message of an error, with its class if the error is not carboy's own."""
    return str(error) if isinstance(error, CarboyError) else f"{type(error).__name__}: {error}"
