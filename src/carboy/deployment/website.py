"""What the configurations of nginx, Apache and Caddy have in common: the options of their commands,
and the website that these options and the facts of the app describe.
"""

from __future__ import annotations

import os
import re
import shlex
import typing as t
from dataclasses import dataclass

import click

from ..access.webaddresses import host_in_ascii
from ..errors import DeploymentError
from ..serving.http.address import Address, parse_address
from .generators import option_group
from .serversettings import refuse_changing_port

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .facts import Facts, StaticFolder
    from .specialroutes import SpecialRoute

# Types of static files and responses that are worth compressing, besides text/html.
COMPRESSED_TYPES = (
    "text/css text/plain text/csv text/javascript application/javascript application/json"
    " application/problem+json image/svg+xml"
)
# A host name as in DNS, or an address, of IPv6 in brackets; with a dot or `*.` before a name, all
# names below it, too.
_HOST = re.compile(
    r"(?:\*?\.)?[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?(?:\.[a-z0-9_-]*[a-z0-9])*|\[[0-9a-f:.]+\]",
    re.IGNORECASE,
)

# What is before the port: a name, an IPv4 or IPv6 address, or `*`.
_IN_ADDRESSES = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(%\w+)?|\*")


class CertificateFiles(t.NamedTuple):
    """Absolute paths of files in PEM format; they need not exist on this machine."""

    cert: str
    key: str


class ClientHeaders(t.NamedTuple):
    """The headers by which a web server tells the app who the client is.

    Attributes:
        values: what the web server writes into each header.
        replace: whether it replaces what clients have sent. One of several proxies appends to it
            instead, so that the app finds the values of all of them.
        removed: the headers of clients that it does not pass on.
    """

    values: dict[str, str]
    replace: bool
    removed: tuple[str, ...]


@dataclass(frozen=True)
class Website:
    """An app as a web server offers it to clients.

    Attributes:
        facts: what the app says about itself.
        hosts: the names of the website; empty if it answers to any name. `*.shop.example` stands
            for all names below shop.example, `.shop.example` for that name, too.
        upstreams: where the web server reaches the app; several addresses are those of several
            servers, which share the requests.
        listen: the address for HTTP; without a host, all addresses of the machine.
        listen_tls: the address for HTTPS.
        certificate: None if there is no HTTPS.
        wait_s: how many seconds the web server waits for the app, except on special routes.
        static_folders: those whose files the web server sends itself.
    """

    facts: Facts
    hosts: tuple[str, ...]
    upstreams: tuple[Address, ...]
    listen: Address
    listen_tls: Address
    certificate: CertificateFiles | None
    wait_s: float
    static_folders: tuple[StaticFolder, ...]

    @property
    def special_routes(self) -> list[SpecialRoute]:
        """The routes that need other settings than the rest of the app."""
        return self.facts.special_routes(self.wait_s)

    @property
    def host_patterns(self) -> list[str]:
        """The hosts, each as web servers without the notation `.shop.example` write it: this one is
        two of them, shop.example and *.shop.example.
        """
        return [
            pattern
            for host in self.hosts
            for pattern in ([host[1:], f"*{host}"] if host.startswith(".") else [host])
        ]

    @property
    def https_port(self) -> str:
        """What follows the host in URLs of the website: ":8443", or "" for the port of HTTPS."""
        return "" if self.listen_tls.port == 443 else f":{self.listen_tls.port}"

    @property
    def idle_s(self) -> float:
        """How many seconds the web server keeps an idle connection to the app: fewer than the app
        does, which would otherwise close it when the web server is just sending a request.
        """
        return min(60.0, max(1.0, self.facts.settings.keep_alive_s - 5))

    @property
    def cache_control(self) -> str:
        """The header Cache-Control of static files."""
        max_age_s = self.facts.static_max_age_s
        return "no-cache" if max_age_s is None else f"public, max-age={max_age_s}"

    @property
    def hides_dotfiles(self) -> bool:
        """Whether static files with a part of their path that begins with a dot are answered with
        404, as the app does.
        """
        return not self.facts.app.config.get("STATIC_DOTFILES")

    def client_headers(self, values: cabc.Mapping[str, str]) -> ClientHeaders:
        """Return the headers about the client that the web server sends to the app.

        Args:
            values: what the web server writes into each of the headers, in its own notation.
        """
        trusted = self.facts.trusted_headers
        sent = dict(values)
        if "forwarded" not in trusted.names:
            del sent["Forwarded"]
        unsent = tuple(name for name in ("X-Forwarded-Prefix", "Forwarded") if name not in sent)
        return ClientHeaders(sent, trusted.is_only_proxy, unsent if trusted.is_only_proxy else ())

    @property
    def serve_command(self) -> str:
        """The commands that serve the app as the web server expects it: one for each upstream."""
        return ", and with: ".join(map(self._serve_command, self.upstreams))

    def _serve_command(self, upstream: Address) -> str:
        bind = () if upstream == self.facts.address else ("--bind", str(upstream))
        proxy = () if self.facts.trusts_proxies else ("--proxy", "1")
        return shlex.join([*self.facts.serve_command, *bind, *proxy])


# The options of all web servers, for `make_website`.
website_options = option_group(
    click.option(
        "--server-name",
        "names",
        metavar="HOST",
        multiple=True,
        help="A host name of the website; may be repeated.  [default: those in TRUSTED_HOSTS]",
    ),
    click.option(
        "--upstream",
        "upstreams",
        metavar="ADDRESS",
        multiple=True,
        help="Where the app is served, such as 127.0.0.1:8000 or unix:/run/shop/app.sock; may be"
        " repeated for nginx and Caddy, which share the requests among several servers."
        "  [default: CARBOY_SERVE_BIND, else 127.0.0.1:8000]",
    ),
    click.option(
        "--listen",
        metavar="[HOST:]PORT",
        default="80",
        show_default=True,
        help="Port for HTTP; on all addresses of the machine, unless HOST is one of them.",
    ),
    click.option(
        "--listen-tls",
        metavar="[HOST:]PORT",
        default="443",
        show_default=True,
        help="Port for HTTPS, in the same form.",
    ),
    click.option(
        "--tls-cert",
        metavar="FILE",
        help="File of the certificate (PEM). With it, HTTP is redirected to HTTPS.",
    ),
    click.option(
        "--tls-key",
        metavar="FILE",
        help="File of the key of the certificate, if it is not in the same file.",
    ),
    click.option(
        "--timeout",
        type=click.IntRange(1, 7 * 24 * 3600),
        metavar="SECONDS",
        help="How long a view may take.  [default: 60, but longer than --view-timeout of 'carboy"
        " serve']",
    ),
    click.option(
        "--static/--no-static",
        default=True,
        help="Whether the web server sends static files itself. With --no-static, the app sends"
        " them, so that its hooks see these requests.  [default: static]",
    ),
)


def make_website(
    facts: Facts,
    *,
    names: cabc.Sequence[str] = (),
    upstreams: cabc.Sequence[str] = (),
    listen: str = "80",
    listen_tls: str = "443",
    tls_cert: str | None = None,
    tls_key: str | None = None,
    timeout: int | None = None,
    static: bool = True,
) -> Website:
    """Return the website that the facts of an app and the options of a command describe.

    Raises:
        DeploymentError: an option is not valid, or contradicts the app's settings.
    """
    if facts.settings.tls_cert and not upstreams and not facts.address.path:
        raise DeploymentError(
            "The server of the app speaks HTTPS itself (CARBOY_SERVE_TLS_CERT). Behind a web server"
            " it speaks HTTP: remove that setting, and pass --tls-cert here."
        )
    return Website(
        facts,
        tuple(map(_check_host, names)) or _trusted_hosts(facts),
        _upstreams(facts, upstreams),
        _read_port("--listen", listen),
        _read_port("--listen-tls", listen_tls),
        _certificate(facts.root, tls_cert, tls_key),
        timeout or facts.wait_s,
        tuple(facts.static_folders) if static else (),
    )


def _upstreams(facts: Facts, texts: cabc.Sequence[str]) -> tuple[Address, ...]:
    if not texts:
        refuse_changing_port(facts.address)
    addresses = tuple(map(_read_upstream, texts)) or (facts.address,)
    for address in addresses:
        if not facts.trusts_connections_from(address.host):
            raise DeploymentError(
                f"CARBOY_PROXY={facts.settings.proxy} does not contain {address.host}, from which"
                " the web server connects to the app, so that the app would ignore what it says of"
                " clients. Add that address, or use a Unix socket: --upstream unix:/run/app.sock."
            )
        if addresses.count(address) > 1:
            raise DeploymentError(f"--upstream {address} is given twice.")
    return addresses


def _read_upstream(text: str) -> Address:
    address = _read_address("--upstream", text)
    if not address.path and not address.port:
        raise DeploymentError(f"--upstream {text!r}: expected a port from 1 to 65535.")
    return address


def _trusted_hosts(facts: Facts) -> tuple[str, ...]:
    hosts = (_in_ascii(each, "TRUSTED_HOSTS") for each in facts.hosts)
    return tuple(filter(_HOST.fullmatch, hosts))


def _check_host(text: str) -> str:
    host = _in_ascii(text, "--server-name")
    if _HOST.fullmatch(host) is None:
        raise DeploymentError(
            f"--server-name {text!r}: expected a host name, such as shop.example or *.shop.example."
        )
    return host


def _in_ascii(host: str, where: str) -> str:
    try:
        return host_in_ascii(host)
    except ValueError as exc:
        raise DeploymentError(f"{where}: {host!r} {exc}") from None


def _read_address(option: str, text: str) -> Address:
    try:
        address = parse_address(text)
    except ValueError as exc:
        raise DeploymentError(
            f"{option}: {exc}. Expected an address, such as 127.0.0.1:8000."
        ) from None
    if not text.isprintable() or not (address.path or _IN_ADDRESSES.fullmatch(address.host)):
        raise DeploymentError(
            f"{option} {text!r}: expected an address, such as 127.0.0.1:8000 or shop.example:8000."
        )
    return address


def _read_port(option: str, text: str) -> Address:
    address = _read_address(option, f"*:{text}" if text.isdecimal() else text)
    if address.path or not address.port:
        raise DeploymentError(f"{option} {text!r}: expected a port, such as 80 or 127.0.0.1:8080.")
    return address._replace(host="") if address.host == "*" else address


def _certificate(root: str, cert: str | None, key: str | None) -> CertificateFiles | None:
    if not cert:
        if key:
            raise DeploymentError("--tls-key needs --tls-cert: the file of the certificate.")
        return None
    return CertificateFiles(os.path.join(root, cert), os.path.join(root, key or cert))
