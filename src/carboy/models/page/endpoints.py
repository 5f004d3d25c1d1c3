"""The URLs of a model's page: GET of the model returns the page, and the assets are below its URL.

The assets are below the model's URL and not at one URL of the app, so that whatever gives access to
the model (a gateway, a blueprint's host, a login) also gives access to the assets.
"""

from __future__ import annotations

import posixpath
import typing as t
from urllib.parse import quote

from carboy.core.securityheaders import HEADERS, policy
from carboy.globals import request

from . import files
from .rendering import describe, render

if t.TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from carboy.models.collection import Model

FOLDER = "_page"
# The config key that switches the models' pages on or off.
CONFIG_KEY = "MODEL_PAGES"
# Cache assets for one year: their URLs contain a digest of the content, so they never change.
_CACHE_ONE_YEAR = "public, max-age=31536000, immutable"
_POLICY = policy()


class PageApp(t.Protocol):
    """The members of an app that the pages of models use."""

    config: t.Any
    models: t.Any
    response_class: t.Any
    url_map: t.Any
    view_functions: t.Any

    def add_url_rule(self, rule: str, endpoint: str, view_func: t.Any, **options: t.Any) -> None:
        """Register a view function for a URL, with the arguments of `Flask.add_url_rule`."""


def add_files(app: PageApp, rule: str, name: str, *, subdomain: str | None = None) -> None:
    """Add the URLs of the page's assets below the model's rule."""

    def show(**named: t.Any) -> Response:
        return _show_file(app, **named)

    # Hide the page from the OpenAPI document. `carboy.openapi.operation(hidden=True)` does the
    # same, but this layer may not import it.
    show.__openapi_marks__ = {"hidden": True}  # type: ignore[attr-defined]
    app.add_url_rule(
        f"{rule.rstrip('/')}/{FOLDER}/<digest>/<path:name>",
        f"{name}:page",  # cannot collide: no view function's name contains a colon
        show,
        methods=["GET"],
        subdomain=subdomain,
    )


def show_model(app: PageApp, model: Model, metadata: Response) -> Response:
    """Respond to GET: with the HTML page if the client prefers HTML, else with `metadata` as
    JSON.
    """
    if not app.config[CONFIG_KEY]:
        return metadata
    accepted = request.accept_mimetypes
    if accepted.best_match(["application/json", "text/html"]) != "text/html":
        metadata.vary.add("Accept")
        return metadata
    response: Response = app.response_class(
        _html(app, model), mimetype="text/html", headers=HEADERS
    )
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Cache-Control"] = "no-cache"
    response.vary.add("Accept")
    return response


# Pages of the app that models link to, by their endpoints; a higher layer registers them.
_DOCUMENTS = {"openapi_docs": "API documentation", "openapi_json": "OpenAPI document"}


def _links(app: PageApp, model: Model) -> dict[str, str]:
    """Return the URLs of other pages of the app: `/`, the other models, the documentation.

    They are relative, because a proxy may serve the app below a prefix.
    """
    paths = {"Home": "/"} if app.url_map.bind("").test("/", "GET") else {}
    paths |= {name: each.rule for name, each in app.models.items()}
    for endpoint, title in _DOCUMENTS.items():
        for rule in app.url_map.iter_rules(endpoint) if endpoint in app.view_functions else ():
            paths[title] = rule.rule
    here = posixpath.dirname(request.path)
    return {
        text: posixpath.relpath(path, here) + ("/" if path.endswith("/") else "")
        for text, path in paths.items()
        if path != model.rule
    }


def _html(app: PageApp, model: Model) -> bytes:
    found = files.load()
    # A URL relative to the page also works if a proxy serves the app below a prefix.
    here = request.path.rpartition("/")[2]
    below = f"./{quote(here)}/{FOLDER}" if here else f"./{FOLDER}"
    return render(
        describe(model),
        path=request.root_path + request.path,
        files=f"{below}/{found.digest}",
        modules=found.modules,
        links=_links(app, model),
    )


def _show_file(app: PageApp, *, digest: str, name: str) -> Response:
    found = files.load()
    file = found.by_name.get(name) if app.config[CONFIG_KEY] else None
    if file is None:
        return t.cast(
            "Response",
            app.response_class("There is no such file.\n", status=404, mimetype="text/plain"),
        )
    accepts_gzip = request.accept_encodings["gzip"] > 0
    response: Response = app.response_class(
        file.zipped if accepts_gzip else file.data, content_type=file.media_type, headers=HEADERS
    )
    if accepts_gzip:
        response.headers["Content-Encoding"] = "gzip"
    response.vary.add("Accept-Encoding")
    # During an upgrade of carboy, a page of one version may load an asset from a worker of the
    # other version. That response must not be cached.
    response.headers["Cache-Control"] = _CACHE_ONE_YEAR if digest == found.digest else "no-store"
    return response
