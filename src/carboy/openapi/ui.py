"""Serve the OpenAPI document and its pages: JSON, YAML, Swagger UI, ReDoc.

The scripts of the pages come from the package `offapi`, whose code is never imported. The pages
work offline: their Content-Security-Policy allows no other host.
"""

from __future__ import annotations

import posixpath
import typing as t
from functools import lru_cache, partial

from carboy.core.ownpages import HEADERS, html_page, navigation, policy, relative_url

from ..errors import ConfigError, YAMLMissingError
from .formats import to_json, to_yaml

if t.TYPE_CHECKING:
    import collections.abc as cabc
    from logging import Logger

    from werkzeug.routing import Rule
    from werkzeug.wrappers import Response

# The URLs of the document and its pages: the config key that holds the path, and the endpoint. An
# empty path or None disables the URL.
PATHS = (
    ("OPENAPI_DOCS_PATH", "openapi_docs"),
    ("OPENAPI_REDOC_PATH", "openapi_redoc"),
    ("OPENAPI_JSON_PATH", "openapi_json"),
    ("OPENAPI_YAML_PATH", "openapi_yaml"),
)

# How long browsers may cache the pages' scripts, which change only when packages are upgraded.
_ASSET_AGE_S = 86_400

_BODY = """\
{links}
<div id="{name}" data-url="{url}"></div>
<noscript>This page needs JavaScript. The document itself: <a href="{url}">{url}</a></noscript>"""


class DocumentationPage(t.NamedTuple):
    """A page that shows the document, such as Swagger UI: its name, its title, and its files in
    loading order.
    """

    name: str
    title: str
    #: Maps the name of a file in its URL to the package that contains the file, and its path there.
    files: dict[str, tuple[str, str]]
    #: Files that a script of the page loads, so that the HTML does not refer to them.
    imported: frozenset[str] = frozenset()


SWAGGER = DocumentationPage(
    "swagger-ui",
    "{title}: try it",
    {
        "swagger-ui.css": ("offapi", "swagger_style.css"),
        "page.css": ("carboy", "openapi/assets/page.css"),
        "swagger-ui.js": ("offapi", "swagger_bundle.js"),
        "start.js": ("carboy", "openapi/assets/swagger.js"),
    },
)
REDOC = DocumentationPage(
    "redoc",
    "{title}",
    {
        "page.css": ("carboy", "openapi/assets/page.css"),
        "redoc.js": ("offapi", "redoc.js"),
        "start.mjs": ("carboy", "openapi/assets/redoc.mjs"),
    },
    frozenset({"redoc.js"}),
)
_PAGES = {"openapi_docs": SWAGGER, "openapi_redoc": REDOC}
# The texts of the links to the URLs of the document. Other pages of carboy show these links.
_TITLES = {
    "openapi_docs": "API documentation",
    "openapi_redoc": "API reference",
    "openapi_json": "OpenAPI document",
}


class DocumentedApp(t.Protocol):
    """The attributes and methods of an app that this module uses, for type checkers."""

    config: t.Any
    response_class: t.Any
    view_functions: dict[str, t.Any]
    url_map: t.Any
    blueprints: dict[str, t.Any]
    logger: Logger
    debug: bool

    def add_url_rule(
        self, rule: str, endpoint: str | None = None, view_func: t.Any = None, **options: t.Any
    ) -> None:
        """Add a URL rule, like the method of a Flask app."""

    def ensure_sync(self, func: t.Any) -> t.Any:
        """Convert a coroutine function to one that blocks until the coroutine has ended, like the
        method of a Flask app.
        """

    def openapi(self) -> dict[str, t.Any]:
        """Return the OpenAPI document."""


def add_routes(app: DocumentedApp) -> None:
    """Add the URLs of the document and its pages, except URLs for which the app has its own rule.

    A rule of the app with a variable, such as `/<slug>`, may also match `/docs`. The page at
    `/docs` would then replace what the app shows at this URL. So in this case it is added only if
    the author has set the config key `OPENAPI_ENABLED`, and not because the app has typed views.
    """
    hidden: list[str] = []
    for key, endpoint in PATHS:
        path = app.config[key]
        if not path or endpoint in app.view_functions:
            continue
        check_path(key, path, "the configuration")
        page = _PAGES.get(endpoint)
        rule = _find_own(app, path, page)
        if rule is None or (_has_variables(rule) and app.config["OPENAPI_ENABLED"]):
            _add_url(app, path, endpoint, page)
        elif _has_variables(rule):
            hidden.append(f"{path} by {rule.rule!r}")
    if hidden:
        app.logger.warning(
            "The app's own rules hide its OpenAPI document and pages: %s. Give them other URLs"
            " (OPENAPI_JSON_PATH, OPENAPI_DOCS_PATH, ...), or set OPENAPI_ENABLED: if True, they"
            " precede rules with variables; if False, there are none.",
            ", ".join(hidden),
        )


def check_path(key: str, value: str, source: str) -> None:
    """Refuse a value that is no path of a URL. (flask-smorest reads OPENAPI_JSON_PATH and
    OPENAPI_REDOC_PATH, too, and takes paths without a slash. So these two are checked only if
    carboy adds URLs.)

    Raises:
        ConfigError: the value does not begin with a slash.
    """
    if not value.startswith("/"):
        raise ConfigError(
            f"{key} from {source}: expected the path of a URL, such as '/docs', or None for no such"
            f" URL, got {value!r}."
        )


def _add_url(app: DocumentedApp, path: str, endpoint: str, page: DocumentationPage | None) -> None:
    if page is None:
        show = _show_json if endpoint == "openapi_json" else _show_yaml
        _add(app, path, endpoint, partial(show, app, path))
    else:
        _add(app, path, endpoint, partial(_show_page, app, page, path))
        assets = f"{path.rstrip('/')}/assets/<name>"
        _add(app, assets, f"{endpoint}_assets", partial(_show_asset, app, page))


def _find_own(app: DocumentedApp, path: str, page: DocumentationPage | None) -> Rule | None:
    """Return a rule of the app that already matches a URL that is to be added, or None.

    For a page, the URLs of its scripts and styles are checked as well.
    """
    if page is None:
        return _find_rule(app, path)
    assets = (f"{path.rstrip('/')}/assets/{name}" for name in page.files)
    for url in (path, *assets):
        if (rule := _find_rule(app, url)) is not None:
            return rule
    # A page such as Swagger UI shows the OpenAPI document. If a rule with a variable matches the
    # document's URL, the page would get the answer of some view instead. A rule without variables
    # probably belongs to a document that the app has made itself, which the page can show.
    rule = _find_rule(app, app.config["OPENAPI_JSON_PATH"] or path)
    return rule if rule is not None and _has_variables(rule) else None


def _has_variables(rule: Rule) -> bool:
    """Return whether a rule has variables, so that it matches many URLs. Rules for static files do
    not count, because each file has one URL.
    """
    return bool(rule.arguments) and rule.endpoint.rpartition(".")[2] != "static"


def _find_rule(app: DocumentedApp, path: str) -> Rule | None:
    """Return the app's rule that matches GET for a path, if necessary with a trailing slash, or
    None.
    """
    from werkzeug.exceptions import HTTPException
    from werkzeug.routing import RequestRedirect

    adapter = app.url_map.bind("localhost")
    try:
        rule, arguments = adapter.match(path, "GET", return_rule=True)
    except RequestRedirect:
        return None if path.endswith("/") else _find_rule(app, f"{path}/")
    # If no rule matches, or a URL converter raises an error, the path is free.
    except (HTTPException, ValueError):
        return None
    return None if _is_missing_file(app, rule, arguments) else rule


def _is_missing_file(app: DocumentedApp, rule: Rule, arguments: dict[str, t.Any]) -> bool:
    """Return whether a rule serves static files, and there is no file of the requested name."""
    import os

    from werkzeug.security import safe_join

    blueprint, _, name = rule.endpoint.rpartition(".")
    if name != "static" or "filename" not in arguments:
        return False
    owner = app.blueprints.get(blueprint) if blueprint else app
    folder = getattr(owner, "static_folder", None)
    file = None if folder is None else safe_join(folder, arguments["filename"])
    return file is None or not os.path.isfile(file)


def _add(app: DocumentedApp, path: str, endpoint: str, view: cabc.Callable[..., Response]) -> None:
    from .marks import operation

    # A function and not a `partial`, because tools identify a view by its `__name__`, which a
    # `partial` lacks.
    def show(**arguments: t.Any) -> t.Any:
        own = _own_rule(app, path, endpoint)
        # If the app has added a rule for this path after carboy added its own, as tests do, call
        # the view of the app's rule.
        if own is not None:
            return app.ensure_sync(app.view_functions[own.endpoint])()
        return view(**arguments)

    page = _PAGES.get(endpoint)
    if page is None or (not _missing(page) and app.config["OPENAPI_JSON_PATH"]):
        show.page_title = _TITLES.get(endpoint, "")  # type: ignore[attr-defined]
    access = app.config.get("OPENAPI_ACCESS")
    app.add_url_rule(path, endpoint, operation(hidden=True)(show), methods=["GET"], access=access)


def _own_rule(app: DocumentedApp, path: str, endpoint: str) -> Rule | None:
    """Return the app's own rule for exactly this path, with or without a trailing slash, or
    None.
    """
    for rule in app.url_map.iter_rules():
        at_path = not rule.arguments and rule.rule.rstrip("/") == path.rstrip("/")
        if at_path and rule.endpoint != endpoint:
            return t.cast("Rule", rule)
    return None


# --- the document ------------------------------------------------------------------------------


def _show_json(app: DocumentedApp, path: str) -> Response:
    return _make_response(app, to_json(_served(app, path)), "application/json")


def _show_yaml(app: DocumentedApp, path: str) -> Response:
    try:
        text = to_yaml(_served(app, path))
    except YAMLMissingError as exc:
        return _make_response(app, f"{exc}\n", "text/plain", status=404)
    # RFC 9512 defines this media type of YAML.
    return _make_response(app, text, "application/yaml")


def _served(app: DocumentedApp, path: str) -> dict[str, t.Any]:
    """Return the document to send. If its author has named no server, the app's root URL is added
    as its server.

    The root is relative to the URL of the document, because a proxy may strip a path prefix without
    telling the app. Without a server in the document, clients would send requests to the root of
    the host. Source: OpenAPI 3.1.1, "Server Object": relative URLs are resolved against the
    document's URL.
    """
    document = app.openapi()
    if "servers" in document:
        return document
    root = posixpath.relpath("/", posixpath.dirname(path))
    top = {key: document[key] for key in ("openapi", "info")}
    return {**top, "servers": [{"url": root, "description": "This server"}], **document}


# --- the pages ---------------------------------------------------------------------------------


def _show_page(app: DocumentedApp, page: DocumentationPage, path: str) -> Response:
    from secrets import token_urlsafe

    from markupsafe import escape

    missing = _missing(page)
    json_path = app.config["OPENAPI_JSON_PATH"]
    if missing or not json_path:
        return _make_response(app, _explain_missing_files(missing, page), "text/plain", status=404)
    title = app.openapi()["info"]["title"]
    nonce = token_urlsafe(16)
    assets = (f"{path}/assets/{name}" for name in page.files if name not in page.imported)
    html = html_page(
        page.title.format(title=title),
        head="\n".join(
            (
                f'<meta property="csp-nonce" nonce="{nonce}">',
                '<link rel="icon" href="data:,">',
                *(_link(relative_url(asset)) for asset in assets),
            )
        ),
        body=_BODY.format(links=navigation(), name=page.name, url=escape(relative_url(json_path))),
    )
    response = _make_response(app, html, "text/html")
    response.headers["Content-Security-Policy"] = _policy(app, nonce)
    return response


def _link(url: str) -> str:
    if url.endswith(".css"):
        return f'<link rel="stylesheet" href="{url}">'
    kind = 'type="module"' if url.endswith(".mjs") else "defer"
    return f'<script {kind} src="{url}"></script>'


def _policy(app: DocumentedApp, nonce: str) -> str:
    """Return the Content-Security-Policy of a page, which allows requests to the servers in the
    document.
    """
    servers = [server.get("url", "") for server in app.openapi().get("servers", ())]
    others = ["/".join(url.split("/")[:3]) for url in servers if "://" in url and "{" not in url]
    return policy(
        # ReDoc inserts inline styles with this nonce, which it finds in the `<meta>` element
        # `csp-nonce`.
        style_src=f"'nonce-{nonce}'",
        font_src="'self' data:",
        connect_src=" ".join(dict.fromkeys(others)),
    )


def _show_asset(app: DocumentedApp, page: DocumentationPage, name: str) -> Response:
    from carboy.helpers import send_file

    file = _find(*page.files[name]) if name in page.files else None
    if file is None:
        return _make_response(app, "There is no such file.\n", "text/plain", status=404)
    response = send_file(file, max_age=_ASSET_AGE_S, conditional=True)
    response.headers.update(HEADERS)
    return response


@lru_cache(maxsize=32)
def _find(package: str, name: str) -> str | None:
    """Return the path of a file in a package, without importing the package; None if there is
    none.
    """
    import os
    from importlib.util import find_spec

    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = os.path.join(spec.submodule_search_locations[0], *name.split("/"))
    return path if os.path.isfile(path) else None


def _missing(page: DocumentationPage) -> list[str]:
    return [
        f"{package}/{name}" for package, name in page.files.values() if not _find(package, name)
    ]


def _explain_missing_files(missing: list[str], page: DocumentationPage) -> str:
    if not missing:
        return f"{page.name} needs the document: OPENAPI_JSON_PATH is switched off.\n"
    return (
        f"{page.name} is not installed: {', '.join(missing)} is missing."
        " Run: pip install 'carboy[docs]'\n"
    )


def _make_response(app: DocumentedApp, body: str, mimetype: str, *, status: int = 200) -> Response:
    return t.cast(
        "Response", app.response_class(body, status=status, mimetype=mimetype, headers=HEADERS)
    )
