"""An API key as it is stored: who has it, what it allows, and the hash of its text."""

from __future__ import annotations

import dataclasses
import re
import typing as t
from datetime import UTC, datetime

from carboy.core.keyform import PREFIX

from .keytext import digest_of, id_of, is_digest, is_id, is_whole
from .rates import parse_rates

if t.TYPE_CHECKING:
    from collections import abc as cabc

# Names appear in the access log and as labels, where these characters need no quotes.
_WHOLE_RECORD = "Copy the whole record that `carboy keys new NAME --print` prints."
_NAME = re.compile(r"[\w.@-]{1,64}", re.ASCII)
_MEMBERS: t.Final = ("name", "id", "sha256", "created", "models", "rate", "expires", "revoked")


@dataclasses.dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret.

    Attributes:
        name: who has the key; the access log has it.
        id: the part of the key that is public.
        digest: the SHA-256 of the whole key, in hexadecimal digits.
        models: the names of the models that the key may use, and nothing else; None for all models
            and routes.
        rate: how often the key may be used, such as "100/minute"; None without a limit.
        created: when the key was made; None if that is not known.
        expires: from when on the key is refused; None for never.
        revoked: when the key was revoked; None if it was not.
    """

    name: str
    id: str
    digest: str = dataclasses.field(repr=False)
    models: frozenset[str] | None = None
    rate: str | None = None
    created: datetime | None = None
    expires: datetime | None = None
    revoked: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        return self.revoked is None and (self.expires is None or now < self.expires)

    def allows_model(self, name: str) -> bool:
        return self.models is None or name in self.models

    def to_record(self) -> dict[str, t.Any]:
        """Return the key as plain JSON values."""
        times = {"created": self.created, "expires": self.expires, "revoked": self.revoked}
        return {
            "name": self.name,
            "id": self.id,
            "sha256": self.digest,
            "models": None if self.models is None else sorted(self.models),
            "rate": self.rate,
            **{name: None if at is None else at.isoformat() for name, at in times.items()},
        }

    @classmethod
    def from_text(cls, name: str, key: str) -> ApiKey:
        """Return the record of a key whose text is known. Raises ValueError."""
        check_name(name)
        if not is_whole(key):
            raise ValueError(
                f"The key {name!r} is not one that `carboy keys new` prints, or part of it is"
                " missing. Other texts are refused, because they may be guessed."
            )
        return cls(name, t.cast("str", id_of(key)), digest_of(key))

    @classmethod
    def from_record(cls, record: object) -> ApiKey:
        """Return the key that `to_record` has written. Raises ValueError."""
        if not isinstance(record, dict):
            raise ValueError(  # noqa: TRY004 - as for each other mistake in a record
                f"A key is an object with the member 'name', not {type(record).__name__}."
            )
        name = check_name(record.get("name"))
        if unknown := [member for member in record if member not in _MEMBERS]:
            raise ValueError(
                f"The key {name!r} has the unknown member {unknown[0]!r}. Its members are"
                f" {', '.join(_MEMBERS)}."
            )
        return cls(
            name,
            _id(record.get("id"), name),
            _digest(record.get("sha256"), name),
            models=_models(record.get("models"), name),
            rate=_rate(record.get("rate"), name),
            created=_time(record, "created"),
            expires=_time(record, "expires"),
            revoked=_time(record, "revoked"),
        )


def check_name(name: object) -> str:
    """Return the name of a key. Raises ValueError if it cannot be one."""
    if isinstance(name, str) and PREFIX in name:
        # Its text is not shown: it may be a key, or a part of one.
        raise ValueError(f"The name of a key contains {PREFIX!r}, as keys do: write NAME=KEY.")
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise ValueError(
        f"{name!r} cannot be the name of a key: expected 1 to 64 letters, digits, '_', '-', '.' or"
        " '@'."
    )


def keys_of(records: cabc.Iterable[object]) -> dict[str, ApiKey]:
    """Return keys by their ids. Raises ValueError for a record that is not valid, and for two with
    the same id.
    """
    by_id: dict[str, ApiKey] = {}
    for record in records:
        key = record if isinstance(record, ApiKey) else ApiKey.from_record(record)
        if key.id in by_id:
            raise ValueError(
                f"The keys {by_id[key.id].name!r} and {key.name!r} have the same id. Remove one of"
                " them."
            )
        by_id[key.id] = key
    return by_id


def _id(value: object, name: str) -> str:
    if isinstance(value, str) and is_id(value):
        return value
    raise ValueError(
        f"The key {name!r} has no member 'id' with 12 letters and digits. {_WHOLE_RECORD}"
    )


def _digest(value: object, name: str) -> str:
    if isinstance(value, str) and is_digest(value):
        return value
    raise ValueError(
        f"The key {name!r} has no member 'sha256' with 64 hexadecimal digits in lower case."
        f" {_WHOLE_RECORD}"
    )


def _models(value: object, name: str) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
        raise ValueError(
            f"The member 'models' of the key {name!r} is {value!r}: expected a list of the names of"
            " models, or null for all of them."
        )
    return frozenset(value)


def _rate(value: t.Any, name: str) -> str | None:
    """Return the rate of a key. Raises ValueError if it is not valid."""
    if value is None:
        return None
    try:
        rates = parse_rates(value)
    except ValueError as exc:
        raise ValueError(f"The rate of the key {name!r}: {exc}.") from None
    if any(rate.by != "key" for rate in rates):
        raise ValueError(
            f"The rate of the key {name!r}, {value!r}, must count by key. Leave out 'by ...'."
        )
    return ", ".join(map(str, rates)) if isinstance(value, list) else value


def _time(record: dict[str, t.Any], member: str) -> datetime | None:
    value = record.get(member)
    if value is None:
        return None
    try:
        return parse_time(value)
    except ValueError as exc:
        raise ValueError(f"The member {member!r} of the key {record['name']!r}: {exc}") from None


def parse_time(value: object) -> datetime:
    """Return a time that a text names, such as "2027-01-31" or "2027-01-31T12:00:00+01:00".

    Without a time of day it is midnight, and without an offset UTC.

    Raises:
        ValueError: the text names no time.
    """
    try:
        found = datetime.fromisoformat(t.cast("str", value))
    except (TypeError, ValueError):
        raise ValueError(
            f"{value!r} is no date: expected one such as '2027-01-31' or '2027-01-31T12:00:00Z'."
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
