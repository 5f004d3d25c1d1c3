"""`carboy nginx`: the configuration of nginx in front of the app."""

from __future__ import annotations

import os
import shlex
import typing as t

from ..errors import DeploymentError
from .generatedfiles import GeneratedFile
from .generators import Generated, generator, render
from .website import COMPRESSED_TYPES, Website, make_website, website_options

if t.TYPE_CHECKING:
    from ..serving.http.address import Address
    from .facts import Facts, StaticFolder
    from .specialroutes import SpecialRoute

PATH = "deploy/nginx.conf"


@generator("nginx", short_help="Write the configuration of nginx in front of the app.")
@website_options
def nginx_command(facts: Facts, **options: t.Any) -> Generated:
    """Write deploy/nginx.conf: nginx in front of the app.

    nginx includes the file in its block `http`, as it does all files of /etc/nginx/conf.d. It
    sends static files itself and passes all other requests on to `carboy serve`.
    """
    website = make_website(facts, **options)
    file = shlex.quote(os.path.join(facts.root, PATH))
    steps = (
        f"Serve the app with: {website.serve_command}\n"
        f"Then, on Debian: ln -s {file} /etc/nginx/conf.d/{facts.name}.conf && nginx -t &&"
        " systemctl reload nginx"
    )
    return Generated([GeneratedFile(PATH, nginx_text(website))], steps)


def nginx_text(
    website: Website, *, command: str = "carboy nginx", served_by: str | None = None
) -> str:
    """Return the configuration, which is for nginx's block `http`.

    Args:
        website: the website.
        command: the command that writes it, for the comment at its top.
        served_by: what serves the app; by default `website.serve_command`.

    Raises:
        DeploymentError: nginx cannot do what the app needs.
    """
    facts = website.facts
    settings = facts.settings
    _refuse_x_sendfile(facts)
    return render(
        "nginx.conf.jinja",
        website=website,
        command=command,
        served_by=served_by or website.serve_command,
        name=facts.name,
        variable=_variable(facts.name),
        names=" ".join(website.hosts) or "_",
        upstreams=[quote_path(str(address)) for address in website.upstreams],
        listen=_listen(website.listen),
        listen_tls=_listen(website.listen_tls),
        redirect=f"https://$host{website.https_port}",
        certificate=website.certificate and tuple(map(quote_path, website.certificate)),
        body_limit=facts.body_limit or 0,
        compressed=COMPRESSED_TYPES,
        wait=_seconds(website.wait_s),
        head_time=_seconds(settings.head_timeout_s),
        pause_time=_seconds(settings.stall_timeout_s),
        idle_time=_seconds(website.idle_s),
        forwarded=_forwarded(website),
        # Streams need no location of their own, because nginx buffers no response of the app.
        routes=[_route(route) for route in website.special_routes if route.wait_s > website.wait_s],
        folders=[_folder(folder) for folder in website.static_folders],
        sends_root=any(folder.url == "/" for folder in website.static_folders),
        cache_control=website.cache_control,
        hides_dotfiles=website.hides_dotfiles,
    )


def _refuse_x_sendfile(facts: Facts) -> None:
    if facts.app.config["USE_X_SENDFILE"]:
        raise DeploymentError(
            "USE_X_SENDFILE is set, but nginx does not send the file that X-Sendfile names, so that"
            " clients would get nothing. Remove that key; carboy serve sends files by sendfile."
        )


def _variable(name: str) -> str:
    """Return the beginning of the names of all variables in the file. A name must not begin with a
    digit: `$1` is a group of a regular expression.
    """
    return "carboy_" + name.replace("-", "_")


def quote(text: str) -> str:
    """Return a text as an argument in nginx's configuration."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def quote_path(path: str) -> str:
    """Return the path of a file as an argument in nginx's configuration.

    Raises:
        DeploymentError: the path contains `$`, with which variables begin in nginx.
    """
    if "$" in path:
        raise DeploymentError(
            f"nginx cannot use a path that contains '$': {path}. Rename the folder."
        )
    return quote(path)


def _listen(address: Address) -> list[str]:
    if address.host:
        return [str(address)]
    return [str(address.port), f"[::]:{address.port}"]


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f}s" if seconds >= 10 else f"{seconds * 1000:.0f}ms"


def _forwarded(website: Website) -> list[tuple[str, str]]:
    """Return the headers about the client that nginx sets, with their values: "" removes one."""
    headers = website.client_headers(
        {
            "X-Forwarded-For": "$remote_addr",
            "X-Forwarded-Proto": "$scheme",
            "X-Forwarded-Host": f"${_variable(website.facts.name)}_host",
            "X-Forwarded-Port": "$server_port",
            # Without the host, because a client can write a comma, and another element, into it.
            "Forwarded": "for=$remote_addr;proto=$scheme",
        }
    )
    lines = [
        (name, value if headers.replace else f"$http_{name.lower().replace('-', '_')}, {value}")
        for name, value in (*headers.values.items(), *((name, "") for name in headers.removed))
    ]
    return [(name, f'"{value}"') for name, value in lines]


def _route(route: SpecialRoute) -> tuple[str, str, str]:
    """Return the arguments of `location`, the time limit, and the rule for a comment."""
    place = f"~ {quote(f'^{route.path}$')}" if route.is_pattern else f"= {quote(route.path)}"
    return place, _seconds(route.wait_s), " ".join(route.rule.split())


def _folder(folder: StaticFolder) -> tuple[str, str]:
    """Return the arguments of `location` and of `alias`."""
    # `^~` keeps locations with regular expressions from taking requests for these files. A folder
    # at / must not have it, because no location with a regular expression would get requests then.
    place = quote(folder.url) if folder.url == "/" else f"^~ {quote(folder.url)}"
    return place, quote_path(os.path.join(folder.folder, ""))
