"""Who has sent a request, as the app, the access log and limits on rates see it."""

from __future__ import annotations

import dataclasses
import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc

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
        identify_user: returns who the user is; None if the app does not know its users.
    """

    address: str | None = None
    key: ApiKey | None = None
    identify_user: cabc.Callable[[], str] | None = dataclasses.field(
        default=None, repr=False, compare=False
    )

    _user: str | None = dataclasses.field(default=None, init=False, repr=False, compare=False)

    @property
    def user(self) -> str:
        """Who the user is, as the function of `app.identify_user` says; "" if it names none."""
        if self._user is None:
            found = "" if self.identify_user is None else self.identify_user()
            object.__setattr__(self, "_user", found)
        return self._user or ""

    @property
    def log_fields(self) -> dict[str, t.Any]:
        """What the access log says of the client, beside its address: the user, if somebody has
        asked for it.
        """
        fields = {"key": self.key and self.key.name, "user": self._user}
        return {name: value for name, value in fields.items() if value}
