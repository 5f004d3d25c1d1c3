"""`carboy apache`: the configuration of Apache, which passes requests on to `carboy serve`, or runs
the app itself by mod_wsgi.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import typing as t
from urllib.parse import quote as encoded

import click

from ..errors import DeploymentError
from .generatedfiles import GeneratedFile
from .generators import Generated, generator, render
from .serveroptions import websocket_advice
from .website import COMPRESSED_TYPES, Website, make_website, website_options
from .wsgifile import wsgi_file, wsgi_path

if t.TYPE_CHECKING:
    from ..serving.http.address import Address
    from .facts import Facts, StaticFolder

PATH = "deploy/apache.conf"
# Modules of Apache that the configuration needs, with --mod-wsgi and without.
_MODULES = ("alias", "deflate", "filter", "headers", "mime", "reqtimeout", "setenvif")
# Characters that have a meaning in a quoted argument of Apache's configuration, in an expression,
# or in the pattern that <Directory> takes.
_NOT_IN_PATHS = frozenset("\"'\\$%*?[]")


@generator("apache", short_help="Write the configuration of Apache in front of the app.")
@website_options
@click.option("--mod-wsgi", is_flag=True, help="Let Apache run the app itself, by mod_wsgi.")
def apache_command(facts: Facts, *, mod_wsgi: bool, **options: t.Any) -> Generated:
    """Write deploy/apache.conf: Apache in front of the app.

    Apache includes the file as it does all files of /etc/apache2/sites-enabled. It sends static
    files itself and passes all other requests on to `carboy serve`. With --mod-wsgi, Apache runs
    the app in processes of its own, which import it by the file NAME.wsgi. This file is written as
    well.
    """
    if mod_wsgi and options["upstreams"]:
        raise DeploymentError(
            "--mod-wsgi and --upstream exclude each other: with --mod-wsgi, Apache runs the app"
            " itself."
        )
    website = make_website(facts, **options)
    file = GeneratedFile(PATH, apache_text(website, mod_wsgi=mod_wsgi))
    install = _install_steps(website, mod_wsgi=mod_wsgi)
    if mod_wsgi:
        advice = websocket_advice(facts, "mod_wsgi")
        return Generated([wsgi_file(facts), file], f"On {install}{advice}")
    return Generated([file], f"Serve the app with: {website.serve_command}\nThen, on {install}")


def apache_text(website: Website, *, mod_wsgi: bool = False) -> str:
    """Return the configuration of a website, whose app Apache runs itself if `mod_wsgi` is set."""
    facts = website.facts
    settings = facts.settings
    if len(website.upstreams) > 1:
        raise DeploymentError(
            "carboy writes no configuration of Apache for several servers of an app: pass one"
            " --upstream, or use 'carboy nginx' or 'carboy caddy'."
        )
    return render(
        "apache.conf.jinja",
        modules=" ".join(_modules(website, mod_wsgi=mod_wsgi)),
        mod_wsgi=mod_wsgi,
        app=_app_run_by_apache(website) if mod_wsgi else _app_behind_apache(website),
        website=website,
        names=_names(website),
        listen=[line for line in map(_listen, _addresses(website)) if line],
        http=_virtual_host(website.listen),
        https=_virtual_host(website.listen_tls),
        https_port=website.https_port,
        certificate=website.certificate and tuple(map(quote_path, website.certificate)),
        head_time=_seconds(settings.head_timeout_s),
        pause_time=_seconds(settings.stall_timeout_s),
        compressed=f"text/html {COMPRESSED_TYPES}",
        folders=[
            _folder(folder)
            for folder in website.static_folders
            # `Alias "/"` would take all requests away from mod_wsgi.
            if not (mod_wsgi and folder.url == "/")
        ],
        cache_control=website.cache_control,
        hides_dotfiles=website.hides_dotfiles,
    )


def _install_steps(website: Website, *, mod_wsgi: bool) -> str:
    """Say how the file becomes part of Debian's Apache."""
    name = website.facts.name
    file = shlex.quote(os.path.join(website.facts.root, PATH))
    package = "apt install libapache2-mod-wsgi-py3 && " if mod_wsgi else ""
    return (
        f"Debian: {package}a2enmod {' '.join(_modules(website, mod_wsgi=mod_wsgi))} && ln -s"
        f" {file} /etc/apache2/sites-available/{name}.conf &&"
        f" a2dissite 000-default && a2ensite {name} && apachectl configtest && apachectl graceful"
    )


def _modules(website: Website, *, mod_wsgi: bool) -> list[str]:
    """Return the modules of Apache that the configuration needs, by the names that the command
    a2enmod takes.
    """
    for_app = ["wsgi"] if mod_wsgi else ["proxy", "proxy_http"]
    return sorted(
        [*_MODULES, *for_app, *(["http2", "rewrite", "ssl"] if website.certificate else [])]
    )


def _app_run_by_apache(website: Website) -> str:
    """Return the directives by which mod_wsgi runs the app."""
    facts = website.facts
    script = wsgi_path(facts)
    return render(
        "apache-wsgi.jinja",
        name=facts.name,
        body_limit=facts.body_limit,
        threads=facts.settings.threads,
        wait=_seconds(facts.longest_wait_s(website.wait_s)),
        root=quote_path(facts.root),
        script=quote_path(os.path.join(facts.root, script)),
        script_name=script,
        python_home=quote_path(sys.prefix) if sys.prefix != sys.base_prefix else "",
    )


def _app_behind_apache(website: Website) -> str:
    """Return the directives that pass requests on to `carboy serve`."""
    facts = website.facts
    waits = _waits(website)
    whole_wait, whole_upgrade = waits.pop("/")
    return render(
        "apache-proxy.jinja",
        body_limit=facts.body_limit,
        url=_upstream_url(website.upstreams[0], facts.name),
        wait=_seconds(whole_wait),
        upgrade=whole_upgrade,
        # Longer ones first: a URL would otherwise share the settings of an earlier one with which
        # it begins.
        routes=[
            (prefix, _seconds(wait), upgrade)
            for prefix, (wait, upgrade) in sorted(waits.items(), reverse=True)
        ],
        idle_time=_seconds(website.idle_s),
        forwarded=_forwarded(website),
    )


def _waits(website: Website) -> dict[str, tuple[float, bool]]:
    """Return, for beginnings of paths, how many seconds Apache waits for the app, and whether it
    lets connections become WebSockets. Apache has these settings for beginnings of URLs only, and
    not for patterns.
    """
    found = {"/": (website.wait_s, False)}
    for route in website.special_routes:
        fixed = route.rule.partition("<")[0] if route.is_pattern else route.path
        prefix = encoded(fixed, safe="/-._~!&()*+,;=:@")
        wait, upgrade = found.get(prefix, (0.0, False))
        found[prefix] = max(wait, route.wait_s), upgrade or route.websocket
    return found


def _upstream_url(address: Address, name: str) -> str:
    """Return the URL by which Apache connects to the app, without a path, in the notation of
    `ProxyPass`.
    """
    if not address.path:
        return f"http://{address}"
    return f"unix:{_checked_path(address.path)}|http://{name}"


def _forwarded(website: Website) -> list[str]:
    """Return the directives for headers about the client."""
    headers = website.client_headers(
        {
            "X-Forwarded-For": "%{REMOTE_ADDR}",
            "X-Forwarded-Proto": "%{REQUEST_SCHEME}",
            "X-Forwarded-Host": "%{HTTP_HOST}",
            "X-Forwarded-Port": "%{SERVER_PORT}",
            # Without the host, because a client can write a comma, and another element, into it.
            "Forwarded": "for=%{REMOTE_ADDR};proto=%{REQUEST_SCHEME}",
        }
    )
    how = "set" if headers.replace else "append"
    return [
        *(f'RequestHeader {how} {name} "expr={value}"' for name, value in headers.values.items()),
        *(f"RequestHeader unset {name}" for name in headers.removed),
    ]


# ------------------------------------------------------------------------------ parts of both kinds


def _names(website: Website) -> list[str]:
    """Return the names of the website. A website that answers to any name gets that of the project,
    because Apache would otherwise look up a name for its address in DNS. As the only website, or
    the first one, it still gets the requests for all hosts that no other website has.
    """
    # Apache compares IPv6 addresses without their brackets.
    names = [host.strip("[]") for host in website.host_patterns] or [website.facts.name]
    # Apache uses the first name in redirects, where it must not be a pattern.
    return sorted(names, key=lambda name: name.startswith("*"))


def _addresses(website: Website) -> list[Address]:
    return [website.listen, *([website.listen_tls] if website.certificate else [])]


def _listen(address: Address) -> str:
    """Return the argument of the directive `Listen` for an address; "" for ports 80 and 443, on
    which Debian's Apache listens already.
    """
    if address.host:
        return str(address)
    return "" if address.port in {80, 443} else str(address.port)


def _virtual_host(address: Address) -> str:
    return str(address) if address.host else f"*:{address.port}"


def _seconds(seconds: float) -> str:
    """Return a time limit in whole seconds, because some directives take no fractions; at least 1,
    because 0 means no limit in some of them.
    """
    return str(max(1, round(seconds)))


def _folder(folder: StaticFolder) -> tuple[str, str, str]:
    """Return the URL of a static folder, this URL as a regular expression, and the path of the
    folder.
    """
    url = _checked_path(folder.url)
    return url, re.escape(url), _checked_path(folder.folder)


def quote_path(path: str) -> str:
    return f'"{_checked_path(path)}"'


def _checked_path(path: str) -> str:
    """Return a path that may be written between quotes.

    Raises:
        DeploymentError: the path contains a character that has a meaning between quotes.
    """
    if not path.isprintable() or _NOT_IN_PATHS.intersection(path):
        raise DeploymentError(
            "Apache cannot use a path that contains a line break or one of"
            f" {' '.join(sorted(_NOT_IN_PATHS))}: {path!r}. Rename it."
        )
    return path
