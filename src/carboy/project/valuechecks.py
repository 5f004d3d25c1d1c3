"""Refuse values of the right type that the part of Flask or carboy that uses the key could not use.

Without this, each request would fail, or be refused, by a value that was taken in silence.
"""

from __future__ import annotations

import math
import typing as t

from werkzeug.utils import import_string

from ..config import OWN_KEYS
from ..errors import ConfigError


def check_value(key: str, value: t.Any, source: str) -> None:
    """Check the value of a config key. None and "" count as not set.

    Args:
        key: the key.
        value: its value, which has the type of the key.
        source: where the value comes from.

    Raises:
        ConfigError: the value cannot be used.
    """
    own, of_flask = OWN_KEYS.get(key), _CHECKS_OF_FLASK.get(key)
    name = own.check if own is not None else ""
    if not (name or of_flask) or value in (None, ""):
        return
    if name:
        import_string(name)(key, value, source)
    elif of_flask is not None and (reason := of_flask(value)):
        raise ConfigError(f"{key} from {source}: {reason}.")


def _check_hosts(hosts: t.Iterable[str]) -> str:
    hosts = [each for each in hosts if each] or hosts  # Werkzeug passes over an empty one
    wrong = [each for each in hosts if not _is_host(each)]
    if not wrong:
        return ""
    return (
        f"{wrong[0]!r} is no host: no request matches it. Write names such as 'a.org',"
        " '.a.org' for all its subdomains, too, or None to allow each host"
    )


def _is_host(host: str) -> bool:
    name = host.removeprefix(".").partition(":")[0]
    try:
        name.encode("idna")  # as Werkzeug does, which trusts no host at all if this fails
    except UnicodeError:
        return False
    return bool(host.strip(".")) and not set("*/ \t") & set(host)


def _check_limit(value: int) -> str:
    return "" if value >= 0 else f"expected a number from 0 on, or None for no limit, got {value}"


def _check_seconds(value: t.Any) -> str:
    is_number = not isinstance(value, float) or math.isfinite(value)
    return "" if is_number else f"expected a number of seconds, got {value}"


_CHECKS_OF_FLASK: t.Final[dict[str, t.Callable[[t.Any], str]]] = {
    "TRUSTED_HOSTS": _check_hosts,
    "MAX_CONTENT_LENGTH": _check_limit,
    "MAX_FORM_MEMORY_SIZE": _check_limit,
    "MAX_FORM_PARTS": _check_limit,
    "PERMANENT_SESSION_LIFETIME": _check_seconds,
    "SEND_FILE_MAX_AGE_DEFAULT": _check_seconds,
}
