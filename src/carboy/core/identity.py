"""Who has sent a request, as the app, the access log and limits on rates see it."""

from __future__ import annotations

import dataclasses
import typing as t

if t.TYPE_CHECKING:
    from carboy.access.apikey import ApiKey


#: The key in the WSGI environ of what a guard has decided about the request: a
#: `carboy.access.guard.Admission`.
ADMISSION: t.Final = "carboy.admission"


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """Who has sent a request: `request.identity`.

    Attributes:
        address: the IP address of the client; None if it is not known.
        key: the API key that the route has asked for; None if it asks for none.
    """

    address: str | None = None
    key: ApiKey | None = None

    @property
    def log_fields(self) -> dict[str, t.Any]:
        """What the access log says of the client, beside its address."""
        return {} if self.key is None else {"key": self.key.name}
