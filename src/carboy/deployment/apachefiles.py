"""`carboy apache`: the configuration of Apache in front of the app.

`apache_text` also makes the configuration that lets Apache run the app itself, by mod_wsgi.
"""

from __future__ import annotations

import os
import typing as t
from urllib.parse import quote as encoded

from ..errors import DeploymentError
from .generatedfiles import GeneratedFile
from .generators import Generated, generator, render
from .website import Website, make_website, website_options

if t.TYPE_CHECKING:
    from ..serving.http.address import Address
    from .facts import Facts, StaticFolder

PATH = "deploy/apache.conf"
# Modules that both kinds of configuration use, by the names that Debian's a2enmod takes.
_MODULES = ("alias", "deflate", "filter", "headers", "mime", "reqtimeout", "setenvif")
# Types of static files and responses that are worth compressing.
_COMPRESSED = (
    "text/html text/css text/plain text/csv text/javascript application/javascript"
    " application/json application/problem+json image/svg+xml"
)
# What has a meaning in a quoted argument of Apache's configuration, or in an expression.
_NOT_IN_PATHS = frozenset("\"'\\$%")


@generator("apache", short_help="Write the configuration of Apache in front of the app.")
@website_options
def apache_command(facts: Facts, **options: t.Any) -> Generated:
    """Write deploy/apache.conf: Apache in front of the app.

    Apache includes the file as it does all files of /etc/apache2/sites-enabled. It sends static
    files itself and passes all other requests on to `carboy serve`.
    """
    website = make_website(facts, **options)
    modules = ["proxy", "proxy_http"]
    text = apache_text(website, command="carboy apache", modules=modules, app=proxied_app(website))
    steps = f"Serve the app with: {website.serve_command}\n{install_steps(website, PATH, modules)}"
    return Generated([GeneratedFile(PATH, text)], steps)


def apache_text(website: Website, *, command: str, modules: list[str], app: str) -> str:
    """Return the configuration of a website.

    Args:
        command: the command that writes it, for the comment.
        modules: the modules that `app` needs.
        app: the directives by which requests reach the app.
    """
    facts = website.facts
    settings = facts.settings
    return render(
        "apache.conf.jinja",
        command=command,
        modules=" ".join(_all_modules(website, modules)),
        app=app,
        website=website,
        names=_names(website),
        listen=[line for line in map(_listen, _addresses(website)) if line],
        http=_virtual_host(website.listen),
        https=_virtual_host(website.listen_tls),
        https_port="" if website.listen_tls.port == 443 else f":{website.listen_tls.port}",
        certificate=website.certificate and tuple(map(quote_path, website.certificate)),
        head_time=_seconds(settings.head_timeout_s),
        pause_time=_seconds(settings.stall_timeout_s),
        compressed=_COMPRESSED,
        folders=[_folder(folder) for folder in website.static_folders],
        cache_control=_cache_control(facts.static_max_age_s),
    )


def install_steps(website: Website, path: str, modules: list[str]) -> str:
    """Say how a file becomes part of Debian's Apache."""
    site = website.facts.name
    return (
        f"Then, on Debian: a2enmod {' '.join(_all_modules(website, modules))} && ln -s"
        f" {os.path.join(website.facts.root, path)} /etc/apache2/sites-available/{site}.conf &&"
        f" a2dissite 000-default && a2ensite {site} && apachectl configtest && apachectl graceful"
    )


def _all_modules(website: Website, modules: list[str]) -> list[str]:
    return sorted([*_MODULES, *modules, *(["http2", "ssl"] if website.certificate else [])])


def proxied_app(website: Website) -> str:
    """Return the directives that pass requests on to `carboy serve`."""
    facts = website.facts
    waits = _waits(website)
    whole_wait, whole_upgrade = waits.pop("/")
    return render(
        "apache-proxy.jinja",
        body_limit=facts.body_limit,
        url=_upstream_url(website.upstream, facts.name),
        wait=_seconds(whole_wait),
        upgrade=whole_upgrade,
        # The longest first: a URL is looked up among those that the file has named before it.
        routes=[
            (prefix, _seconds(wait), upgrade)
            for prefix, (wait, upgrade) in sorted(waits.items(), reverse=True)
        ],
        # Shorter than the app's, so that the app never closes a connection on which Apache is just
        # sending a request.
        idle_time=_seconds(min(60.0, max(1.0, facts.settings.keep_alive_s - 5))),
        forwarded=_forwarded(website),
    )


def _waits(website: Website) -> dict[str, tuple[float, bool]]:
    """Return how long Apache waits for the app, and whether it lets connections become WebSockets,
    by the beginning of the path: Apache has these settings for beginnings of URLs only.
    """
    found = {"/": (website.wait_s, False)}
    for route in website.special_routes:
        fixed = route.rule.partition("<")[0] if route.is_pattern else route.path
        prefix = encoded(fixed, safe="/-._~!$&'()*+,;=:@")
        wait, upgrade = found.get(prefix, (0.0, False))
        found[prefix] = max(wait, route.wait_s), upgrade or route.websocket
    return found


def _upstream_url(address: Address, name: str) -> str:
    """Return the URL of the app without a path, as Apache writes it."""
    if not address.path:
        return f"http://{address}"
    return f"unix:{_checked_path(address.path)}|http://{name}"


def _forwarded(website: Website) -> list[str]:
    """Return the directives for headers about the client.

    The only proxy replaces what clients have sent. One of several proxies appends, so that the app
    finds the values of all of them.
    """
    trusted = website.facts.trusted_headers
    own = {
        "X-Forwarded-For": "%{REMOTE_ADDR}",
        "X-Forwarded-Proto": "%{REQUEST_SCHEME}",
        "X-Forwarded-Host": "%{HTTP_HOST}",
        "X-Forwarded-Port": "%{SERVER_PORT}",
    }
    if "forwarded" in trusted.names:
        # Without the host, in which a client could write a further element.
        own["Forwarded"] = "for=%{REMOTE_ADDR};proto=%{REQUEST_SCHEME}"
    how = "set" if trusted.is_only_proxy else "append"
    lines = [f'RequestHeader {how} {name} "expr={value}"' for name, value in own.items()]
    if trusted.is_only_proxy:
        untold = [name for name in ("X-Forwarded-Prefix", "Forwarded") if name not in own]
        lines += [f"RequestHeader unset {name}" for name in untold]
    return lines


# ------------------------------------------------------------------------------ parts of both kinds


def _names(website: Website) -> list[str]:
    """Return the names of the website, `.shop.example` as two."""
    found = []
    for host in website.hosts:
        found += [host[1:], f"*{host}"] if host.startswith(".") else [host]
    # The first is used as a name of the server, which has no wildcard.
    return sorted(found, key=lambda host: host.startswith("*"))


def _addresses(website: Website) -> list[Address]:
    return [website.listen, *([website.listen_tls] if website.certificate else [])]


def _listen(address: Address) -> str:
    """Return the argument of `Listen`; "" for the ports on which Debian's Apache listens anyway."""
    if address.host:
        return str(address)
    return "" if address.port in {80, 443} else str(address.port)


def _virtual_host(address: Address) -> str:
    return str(address) if address.host else f"*:{address.port}"


def _seconds(seconds: float) -> str:
    """Write a time limit in whole seconds, which all directives take; at least one, because zero
    means no limit to some.
    """
    return str(max(1, round(seconds)))


def _folder(folder: StaticFolder) -> tuple[str, str, str]:
    """Return the URL of a folder, the URL as a regular expression, and the path."""
    import re

    return folder.url, re.escape(folder.url), _checked_path(folder.folder)


def _cache_control(seconds: int | None) -> str:
    return "no-cache" if seconds is None else f"public, max-age={seconds}"


def quote_path(path: str) -> str:
    return f'"{_checked_path(path)}"'


def _checked_path(path: str) -> str:
    """Return a path that may be written between quotes.

    Raises:
        DeploymentError: it contains what has a meaning there.
    """
    if _NOT_IN_PATHS.intersection(path):
        raise DeploymentError(
            f"Apache cannot use a path that contains one of {' '.join(sorted(_NOT_IN_PATHS))}:"
            f" {path}. Rename the folder."
        )
    return path
