"""`carboy caddy`: the configuration of Caddy in front of the app."""

from __future__ import annotations

import re
import typing as t

import click

from ..errors import DeploymentError
from .generatedfiles import GeneratedFile
from .generators import Generated, generator, render
from .website import make_website, website_options

if t.TYPE_CHECKING:
    from ..serving.http.address import Address
    from .facts import Facts, StaticFolder
    from .specialroutes import SpecialRoute
    from .website import Website

PATH = "deploy/Caddyfile"
# The value of `trusted_proxies` that makes whatever connects to Caddy a trusted proxy.
_ALL_NETWORKS = "0.0.0.0/0 ::/0"


@generator("caddy", short_help="Write the configuration of Caddy in front of the app.")
@website_options
@click.option(
    "--auto-https/--no-auto-https",
    default=None,
    help="Whether Caddy gets a certificate from Let's Encrypt for each host name.  [default: if"
    " there are host names, and no --tls-cert]",
)
def caddy_command(facts: Facts, *, auto_https: bool | None, **options: t.Any) -> Generated:
    """Write deploy/Caddyfile: Caddy in front of the app.

    Caddy sends static files itself and passes all other requests on to 'carboy serve'.
    """
    website = make_website(facts, **options)
    steps = (
        f"Serve the app with: {website.serve_command}\n"
        f"Then, on Debian: cp {PATH} /etc/caddy/Caddyfile && systemctl reload caddy"
    )
    text = caddyfile_text(website, automatic=_is_automatic(website, auto_https))
    return Generated([GeneratedFile(PATH, text)], steps)


def _is_automatic(website: Website, wanted: bool | None) -> bool:
    """Return whether Caddy gets the certificates itself, from Let's Encrypt.

    Args:
        website: the website.
        wanted: the option `--auto-https`; None if it is not given.

    Raises:
        DeploymentError: Caddy cannot get certificates for this website.
    """
    if wanted is None:
        wanted = bool(website.hosts) and website.certificate is None
    if not wanted:
        return False
    if website.certificate is not None:
        raise DeploymentError("--auto-https and --tls-cert exclude each other: leave out one.")
    if not website.hosts:
        raise DeploymentError("--auto-https needs the host names of the website: --server-name.")
    if broad := [host for host in website.hosts if host.startswith(("*", "."))]:
        raise DeploymentError(
            f"Caddy gets no certificate for all names below one, as in {broad[0]!r}, without a"
            " plugin for the DNS provider. Name each host by --server-name, or pass --tls-cert or"
            " --no-auto-https."
        )
    return True


def caddyfile_text(website: Website, *, automatic: bool = False) -> str:
    """Return the whole configuration of Caddy.

    Args:
        website: the website.
        automatic: whether Caddy gets certificates for the hosts of the website.
    """
    facts = website.facts
    settings = facts.settings
    is_secure = automatic or website.certificate is not None
    listen = website.listen_tls if is_secure else website.listen
    return render(
        "Caddyfile.jinja",
        website=website,
        name=facts.name,
        automatic=automatic,
        is_secure=is_secure,
        site=_site(website, listen, "https" if is_secure else "http", automatic=automatic),
        listen=listen,
        redirect=f"{{host}}{website.https_port}",
        certificate=website.certificate and tuple(map(quote, website.certificate)),
        body_limit=facts.body_limit,
        head_time=_seconds(settings.head_timeout_s),
        upstreams=list(map(_upstream, website.upstreams)),
        wait=_seconds(website.wait_s),
        idle_time=_seconds(website.idle_s),
        proxies=_proxies(website),
        forwarded=_forwarded(website, listen.port),
        routes=[_route(route) for route in website.special_routes],
        folders=[_folder(folder) for folder in website.static_folders],
        cache_control=website.cache_control,
        hides_dotfiles=website.hides_dotfiles,
    )


def _site(website: Website, listen: Address, scheme: str, *, automatic: bool) -> str:
    """Return the addresses of the site in the Caddyfile. The last of them has no host: it gets the
    requests for hosts that no other site of the Caddyfile has.
    """
    if automatic:
        return ", ".join(website.hosts)
    port = f":{listen.port}"
    return ", ".join(f"{scheme}://{host}{port}" for host in (*website.host_patterns, ""))


def _upstream(address: Address) -> str:
    return quote(f"unix/{address.path}" if address.path else str(address))


def _seconds(seconds: float) -> str:
    return f"{seconds:g}s"


def _proxies(website: Website) -> str:
    """Return the networks of the proxies in front of Caddy. Caddy appends to the headers about the
    client that they send. Return "" if Caddy is the only proxy: it then replaces these headers.
    """
    if website.facts.trusted_headers.is_only_proxy:
        return ""
    proxies = website.facts.settings.proxy
    return _ALL_NETWORKS if proxies.isdecimal() else proxies.replace(",", " ")


def _forwarded(website: Website, port: int) -> list[str]:
    """Return the lines that set or remove headers about the client. Caddy sets X-Forwarded-For,
    -Proto and -Host without such a line.
    """
    trusted = website.facts.trusted_headers
    own = "for={remote_host};proto={scheme}"  # without the host, which the client chooses
    if not trusted.is_only_proxy:
        if "forwarded" not in trusted.names:
            return []
        return [f'Forwarded "{{header.Forwarded}}, {own}"']
    forwarded = f'Forwarded "{own}"' if "forwarded" in trusted.names else "-Forwarded"
    return [f"X-Forwarded-Port {port}", "-X-Forwarded-Prefix", forwarded]


def _route(route: SpecialRoute) -> tuple[str, str, str]:
    """Return the regular expression for the path of a route, its time limit, and its rule for a
    comment.
    """
    path = route.path if route.is_pattern else re.escape(route.path)
    return quote(f"^{path}$"), _seconds(route.wait_s), " ".join(route.rule.split())


class _Folder(t.NamedTuple):
    pattern: str  # matches the path of a URL; its group is the path within the folder
    prefix: str
    root: str


def _folder(folder: StaticFolder) -> _Folder:
    prefix = folder.url.rstrip("/")
    pattern = quote(f"^{re.escape(prefix)}/(.*[^/])$")
    return _Folder(pattern, prefix and _path(prefix), _path(folder.folder))


def _path(path: str) -> str:
    """Return a path as one word of a Caddyfile, in which `{` does not begin a placeholder."""
    return quote(path.replace("{", r"\{"))


def quote(text: str) -> str:
    """Return a text as one word of a Caddyfile: as it is, or in quotes.

    Raises:
        DeploymentError: the text has both kinds of quotes.
    """
    if re.fullmatch(r"[\w./:@+=,-]+", text):
        return text
    if "`" not in text:
        return f"`{text}`"
    if '"' not in text:
        return f'"{text}"'
    raise DeploymentError(f'Caddy cannot read a text with both ` and ": {text!r}. Rename it.')
