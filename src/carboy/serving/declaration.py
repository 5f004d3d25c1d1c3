"""What a setting of the server consists of: the format of its values, its help text, and the names
of its option, argument and environment variables.

Module `settings` contains the settings themselves.
"""

from __future__ import annotations

import math
import os
import re
import typing as t
from dataclasses import dataclass, field
from ipaddress import IPv6Network, ip_address, ip_network

from ..core.bytesizes import format_size, parse_size
from ..core.processmemory import resident_bytes
from ..errors import AddressError, ServingError
from ..models.raycluster.rayconnection import PROXIED
from . import machine
from .http.address import Address, parse_address
from .management.controlpath import parse_control

if t.TYPE_CHECKING:
    import collections.abc as cabc

T = t.TypeVar("T")

PREFIX = "CARBOY_SERVE_"
# The largest number of trusted proxies through which a request may pass, one after another. Real
# requests pass through fewer.
MAX_PROXIES = 32


class ValueFormat(t.NamedTuple):
    """How the value of a setting is converted from text and to text.

    The text is what the user wrote in an option, an environment variable or an argument.

    Attributes:
        parse: converts text to a value; raises ValueError if the text is not valid. If the
            ValueError has an argument, it is shown as a detail of the error message.
        expected: describes valid values in error messages.
        metavar: the placeholder of the value in `--help`.
        write: converts a value to text for the documentation; the inverse of `parse`.
        error: the class of the error for a value that is not valid.
    """

    parse: cabc.Callable[[str], t.Any]
    expected: str
    metavar: str
    write: cabc.Callable[[t.Any], str] = str
    error: type[ServingError] = ServingError


class Given(t.NamedTuple):
    """The value of a setting as the user wrote it, and what an error message says about it.

    Attributes:
        value: the value, which may not be valid.
        source: where the value was set, such as "the option --port".
        advice: what the user can do if the value is not valid.
        by_platform: whether a variable of a hosting platform, such as PORT, has set the value.
    """

    value: object
    source: str
    advice: str = "Correct it, or leave it out."
    by_platform: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the server: a field of `Settings`, and the names and texts that belong to it.

    Attributes:
        field: the name of the field.
        default: the default value, unless there is `compute`.
        format: the text format of the values.
        help: one sentence for `--help` and the documentation.
        short: a one-letter option such as "-p"; empty if there is none.
        platforms: the environment variables by which hosting platforms (Heroku, Cloud Run, ...)
            set the value.
        variable: a shorter name of the environment variable; empty if there is none.
        compute: returns the default value if it depends on the machine, such as the number of CPUs.
        computed: describes the result of `compute` for `--help` and the documentation.
        several: whether the option may be given several times. In text, commas separate the values.
    """

    field: str
    default: t.Any
    format: ValueFormat
    help: str
    short: str = ""
    platforms: tuple[str, ...] = ()
    variable: str = ""
    compute: cabc.Callable[[], t.Any] | None = None
    computed: str = ""
    several: bool = False

    @property
    def argument(self) -> str:
        """The keyword argument of `app.serve()` that sets this setting, such as `max_body`."""
        return self.field.removesuffix("_bytes")

    @property
    def option(self) -> str:
        """The option of `carboy serve` that sets this setting, such as `--max-body`."""
        return "--" + self.argument.removesuffix("_s").replace("_", "-")

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that set this setting; if several of them are set, the first in
        this order counts.
        """
        name = self.argument.upper()
        others = filter(None, (self.variable, *self.platforms))
        return (PREFIX + name, f"FLASK_SERVE_{name}", *others)

    @property
    def default_text(self) -> str:
        return self.computed or self.format.write(self.default)

    def parse(self, given: Given) -> t.Any:
        """Convert the value that the user has set for this setting from text.

        Raises:
            ServingError: the value is not valid.
        """
        value = given.value
        text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        try:
            return self.format.parse(text)
        except ValueError as exc:
            detail = f" ({exc})" if exc.args else ""
            shown = text if isinstance(value, tuple) else value
            raise self.format.error(
                f"Setting {self.argument!r}: expected {self.format.expected}, got {shown!r}"
                f"{detail} from {given.source}. {given.advice} The default is"
                f" {self.default_text}."
            ) from None


# --------------------------------------------------------------------------------- numbers


def _parse_whole(least: int, most: float = math.inf) -> cabc.Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,18}", text.strip()) or not least <= int(text) <= most:
            raise ValueError
        return int(text)

    return parse


def _parse_workers(text: str) -> int:
    number = _parse_whole(0)(text)
    if number and not machine.HAS_WORKERS:
        raise ValueError("this system has no worker processes: only 0 is possible")
    return number


def _parse_connections(text: str) -> int:
    number, affordable = _parse_whole(1)(text), machine.affordable_connections()
    if number > affordable == machine.SELECTED_CONNECTIONS:
        raise ValueError(f"this system can wait for {affordable}")
    if number > affordable:
        raise ValueError(
            f"the hard limit of open files, which 'ulimit -Hn' shows, allows {affordable} and"
            f" {machine.SPARE_DESCRIPTORS} files of the app"
        )
    return number


def _parse_management(text: str) -> str:
    """Return the address of the management listener as HOST:PORT; the host may be left out."""
    if not text.strip():
        raise ValueError
    host, _, port = text.strip().rpartition(":")
    number = _parse_whole(0, 65535)(port)
    address = machine.resolve(host.removeprefix("[").removesuffix("]") or "127.0.0.1")
    return str(Address(address, number))


def _parse_seconds(least: float) -> cabc.Callable[[str], float]:
    def parse(text: str) -> float:
        if not re.fullmatch(r"\d{1,9}(\.\d*)?|\.\d+", text.strip()) or float(text) < least:
            raise ValueError
        return float(text)

    return parse


# ------------------------------------------------------------------------ addresses and files


def _parse_bind(text: str) -> tuple[str, ...]:
    """Return the addresses in a list, with the IP addresses of hosts, as `str(Address)` writes
    them.
    """
    addresses = [_resolve(parse_address(part.strip())) for part in text.split(",")]
    found = [str(address) for address in addresses]
    for address in found:
        if found.count(address) > 1:
            raise ValueError(f"{address} is named twice")
    return tuple(found)


def _resolve(address: Address) -> Address:
    return address if address.path else address._replace(host=machine.resolve(address.host))


def _parse_mode(text: str) -> str:
    # The owner must be allowed to read and write. So the number 0o660 is refused, too, whose text
    # is 432, if a program gives it in place of the text 660.
    if not re.fullmatch(r"0?[67][0-7]{2}", text.strip()):
        raise ValueError
    return text.strip()[-3:]


def _parse_file(text: str) -> str:
    if not text:
        raise ValueError
    return os.path.abspath(text)


# --------------------------------------------------------------------------------- proxies


def _parse_proxies(text: str) -> str:
    if re.fullmatch(r"\d{1,2}", text.strip()):
        return str(_parse_whole(0, MAX_PROXIES)(text))
    return ",".join(_parse_network(part.strip()) for part in text.split(","))


def _parse_network(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f:.]+(/[0-9.]+)?", text):
        raise ValueError(f"{text!r} is not an address" if text else "an address is empty")
    network = ip_network(text, strict=False)
    address = text.partition("/")[0]
    if network.num_addresses > 1 and network.network_address != ip_address(address):
        raise ValueError(f"{address} is not the first address of the network {network}")
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        # An address such as ::ffff:192.0.2.1 would match no proxy: the server writes the address of
        # a proxy that connects by IPv4 as 192.0.2.1, even if the server listens on `::`.
        raise ValueError(f"write {text} as an address of IPv4")
    return str(network) if network.num_addresses > 1 else str(network.network_address)


# The names that the setting `proxy_headers` uses for the headers of proxies: "for" for
# X-Forwarded-For, "proto" for X-Forwarded-Proto and so on, and "forwarded" for the header
# Forwarded. The value of the setting has them in this order.
_X_FORWARDED = ("for", "proto", "host", "port", "prefix")
_FORWARDED = "forwarded"


def _parse_proxy_headers(text: str) -> str:
    names = [part.strip().lower().removeprefix("x-forwarded-") for part in text.split(",")]
    for name in names:
        if name not in (*_X_FORWARDED, _FORWARDED):
            raise ValueError(f"{name!r} is none of these")
    if _FORWARDED in names and not {_FORWARDED, "prefix"}.issuperset(names):
        raise ValueError("forwarded contains the address, scheme and host itself")
    return ",".join(name for name in (*_X_FORWARDED, _FORWARDED) if name in names)


# ----------------------------------------------------------------------------------- words


def _parse_choice(*choices: str) -> cabc.Callable[[str], str]:
    def parse(text: str) -> str:
        if text.strip().lower() not in choices:
            raise ValueError
        return text.strip().lower()

    return parse


_YES, _NO = ("yes", "true", "on", "1"), ("no", "false", "off", "0")


def _parse_yes_or_no(text: str) -> bool:
    word = text.strip().lower()
    if word not in (*_YES, *_NO):
        raise ValueError
    return word in _YES


def _write_yes_or_no(value: bool) -> str:
    return _YES[0] if value else _NO[0]


# ------------------------------------------------------------------------------------- Ray


def _parse_ray_address(text: str) -> str:
    address = text.strip()
    if address.startswith("ray://"):
        raise ValueError(PROXIED)
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536 or "/" in host:
        raise ValueError
    return address


def _parse_ray_namespace(text: str) -> str:
    if not re.fullmatch(r"[\w.-]+", text.strip()):
        raise ValueError
    return text.strip()


# ----------------------------------------------------------------------------------- sizes


def _parse_size_from(least_bytes: int) -> cabc.Callable[[str], int]:
    def parse(text: str) -> int:
        size_bytes = parse_size(text)
        if size_bytes < least_bytes:
            raise ValueError
        return size_bytes

    return parse


def _parse_resident_size(text: str) -> int | None:
    size_bytes = parse_size(text)
    if size_bytes and resident_bytes() is None:
        raise ValueError("this system does not tell how much memory a process uses: only 0 works")
    return size_bytes or None


def _write_size(size_bytes: int | None) -> str:
    number, unit = format_size(size_bytes or 0).split()
    return number if unit == "bytes" else number + unit[0]


# ----------------------------------------------------------------- the types of the fields

Host = t.Annotated[
    str,
    ValueFormat(
        machine.resolve,
        "an address or name of this machine, such as 127.0.0.1 (this machine alone) or 0.0.0.0 (all"
        " its networks)",
        "ADDRESS",
        error=AddressError,
    ),
]
Port = t.Annotated[
    int,
    ValueFormat(
        _parse_whole(0, 65535), "a whole number from 0 to 65535", "PORT", error=AddressError
    ),
]
Bind = t.Annotated[
    tuple[str, ...],
    ValueFormat(
        _parse_bind,
        "addresses such as 0.0.0.0:8000, [::1]:8000 or unix:/run/app.sock",
        "ADDRESS",
        ",".join,
        error=AddressError,
    ),
]
Mode = t.Annotated[
    str, ValueFormat(_parse_mode, "permissions as for chmod, such as 660 or 666", "MODE")
]
File = t.Annotated[str, ValueFormat(_parse_file, "the path of a file", "FILE")]
Count = t.Annotated[int, ValueFormat(_parse_whole(1), "a whole number, at least 1", "N")]
# `listen` takes a C int.
Backlog = t.Annotated[
    int, ValueFormat(_parse_whole(1, 2**31 - 1), "a whole number from 1 to 2147483647", "N")
]
OptionalCount = t.Annotated[
    int | None,
    ValueFormat(
        lambda text: _parse_whole(0)(text) or None,
        "a whole number, or 0 for no limit",
        "N",
        lambda number: str(number or 0),
    ),
]
Workers = t.Annotated[int | None, ValueFormat(_parse_workers, "a whole number, at least 0", "N")]
MemoryLimit = t.Annotated[
    int | None, ValueFormat(parse_size, "a size such as 512M or 2G, or 0 for no limit", "SIZE")
]
Connections = t.Annotated[int, ValueFormat(_parse_connections, "a whole number, at least 1", "N")]
WholeNumber = t.Annotated[int, ValueFormat(_parse_whole(0), "a whole number, at least 0", "N")]
ControlPath = t.Annotated[
    str,
    ValueFormat(
        parse_control,
        "a path for a Unix socket, such as /run/shop/control.sock, or off",
        "PATH",
        error=AddressError,
    ),
]
ManagementAddress = t.Annotated[
    str,
    ValueFormat(
        _parse_management,
        "an address of this machine with a port, such as 127.0.0.1:9000",
        "ADDRESS:PORT",
        error=AddressError,
    ),
]
Size = t.Annotated[
    int, ValueFormat(_parse_size_from(1), "a size such as 64K, 1.5M or 1G", "SIZE", _write_size)
]
# The limit on the size of request line and headers must be at least 1K: not even the headers of a
# browser fit into less. RFC 9112 (section 3) recommends to support request lines of at least 8,000
# bytes; a smaller limit is for operators who know their clients.
HeadSize = t.Annotated[
    int,
    ValueFormat(_parse_size_from(1024), "a size of at least 1K, such as 16K", "SIZE", _write_size),
]
OptionalSize = t.Annotated[
    int | None,
    ValueFormat(
        lambda text: parse_size(text) or None,
        "a size such as 500K, 64M or 1.5G, or 0 for no limit",
        "SIZE",
        _write_size,
    ),
]
ResidentSize = t.Annotated[
    int | None,
    ValueFormat(
        _parse_resident_size,
        "a size such as 500M or 1.5G, or 0 for no limit",
        "SIZE",
        _write_size,
    ),
]
Proxies = t.Annotated[
    str,
    ValueFormat(
        _parse_proxies,
        "the number of proxies in front of the server, such as 1, or their addresses and networks,"
        " such as 10.0.0.0/8,192.0.2.1",
        "PROXIES",
    ),
]
ProxyHeaders = t.Annotated[
    str,
    ValueFormat(
        _parse_proxy_headers,
        "some of for, proto, host, port and prefix, such as for,proto; or forwarded, or"
        " forwarded,prefix",
        "NAMES",
    ),
]
AccessLogFormat = t.Annotated[
    str,
    ValueFormat(_parse_choice("auto", "off", "text", "json"), "auto, off, text or json", "FORMAT"),
]
YesOrNo = t.Annotated[bool, ValueFormat(_parse_yes_or_no, "yes or no", "YES", _write_yes_or_no)]
ReplicasOn = t.Annotated[str, ValueFormat(_parse_choice("local", "ray"), "local or ray", "PLACE")]
RayAddress = t.Annotated[
    str,
    ValueFormat(
        _parse_ray_address, "host and port of the head node, such as 10.0.0.5:6379", "HOST:PORT"
    ),
]
RayNamespace = t.Annotated[
    str, ValueFormat(_parse_ray_namespace, "letters, digits, '_', '-' and '.'", "NAME")
]
RayCode = t.Annotated[str, ValueFormat(_parse_choice("same", "upload"), "same or upload", "WAY")]
Seconds = t.Annotated[
    float,
    ValueFormat(_parse_seconds(0), "a number of seconds, at least 0", "SECONDS", "{:g}".format),
]
Timeout = t.Annotated[
    float,
    ValueFormat(
        _parse_seconds(0.001), "a number of seconds, at least 0.001", "SECONDS", "{:g}".format
    ),
]


def declare(default: T, help: str, **more: t.Any) -> T:
    """Return a dataclass field, by which the class `Settings` declares a setting. `more` are values
    for the attributes of `Setting`, such as `short`.
    """
    return field(default=default, metadata={"help": help, **more})
