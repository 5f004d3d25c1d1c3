"""The URLs of a model's page: GET of the model returns the page, and the assets are below its URL.

The assets are below the model's URL and not at one URL of the app, so that a gateway, a subdomain
or a login through which people reach the model also lets them reach the assets.
"""

from __future__ import annotations

import typing as t

from werkzeug.exceptions import HTTPException

from carboy.access.accessdeclaration import AccessDeclaration, Purpose
from carboy.core.identity import ADMISSION
from carboy.core.ownpages import HEADERS, navigation, policy, relative_url
from carboy.globals import request

from . import files
from .rendering import describe, render, render_asking

if t.TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from carboy.access.guard import Admission
    from carboy.core.problemdetails import Problem
    from carboy.models.collection import Model

FOLDER = "_page"
# The config key that switches the models' pages on or off.
CONFIG_KEY = "MODEL_PAGES"
# Cache assets for one year: their URLs contain a digest of the content, so they never change.
_CACHE_ONE_YEAR = "public, max-age=31536000, immutable"
_POLICY = policy()


class PageApp(t.Protocol):
    """The methods and attributes of an app that the pages of models use."""

    config: t.Any
    response_class: t.Any

    def add_url_rule(self, rule: str, endpoint: str, view_func: t.Any, **options: t.Any) -> None:
        """Register a view function for a URL, with the arguments of `Flask.add_url_rule`."""


def add_files(app: PageApp, rule: str, name: str, *, subdomain: str | None = None) -> None:
    """Add the URLs of the page's assets below the model's rule."""

    def show(**named: t.Any) -> Response:
        return _show_file(app, **named)

    # Hide the URL of the assets from the OpenAPI document, as
    # `carboy.openapi.operation(hidden=True)` would. The package `carboy.models` may not import
    # `carboy.openapi`, which builds on it.
    show.__openapi_marks__ = {"hidden": True}  # type: ignore[attr-defined]
    app.add_url_rule(
        f"{rule.rstrip('/')}/{FOLDER}/<digest>/<path:name>",
        f"{name}:page",  # no function's name has a colon, so no other view has this name
        show,
        methods=["GET"],
        subdomain=subdomain,
        access=AccessDeclaration(purpose=Purpose("asset")),
    )


def show_model(app: PageApp, model: Model, metadata: Response) -> Response:
    """Respond to GET: with the HTML page if the client prefers HTML, else with `metadata` as
    JSON.
    """
    if not app.config[CONFIG_KEY]:
        return metadata
    if not _wants_page():
        metadata.vary.add("Accept")
        return metadata
    admission: Admission | None = request.environ.get(ADMISSION)
    return _page(app, _html(model, keyed=admission is not None and admission.keyed))


def ask_for_key(app: PageApp, model: Model, problem: Problem) -> Problem | HTTPException:
    """Return the response to a request for a model's page that is refused for lack of a key: a page
    that asks for it. Programs get the problem; so do people who have sent too many requests.
    """
    is_page = app.config[CONFIG_KEY] and request.method in ("GET", "HEAD") and _wants_page()
    if not is_page or problem.code not in (401, 403):
        return problem
    files_url = _files_url(model, files.load().digest)
    html = render_asking(path=_shown_path(), files=files_url)
    response = _page(app, html, status=problem.code)
    response.headers.extend(problem.headers)
    error = HTTPException(problem.description, response)
    error.code = problem.code
    return error


def _wants_page() -> bool:
    accepted = request.accept_mimetypes
    return accepted.best_match(["application/json", "text/html"]) == "text/html"


def _page(app: PageApp, html: str, *, status: int | None = 200) -> Response:
    response: Response = app.response_class(
        html, status=status, mimetype="text/html", headers=HEADERS
    )
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Cache-Control"] = "no-cache"
    response.vary.add("Accept")
    return response


def _html(model: Model, *, keyed: bool) -> str:
    found = files.load()
    return render(
        {**describe(model), "keyed": keyed},
        path=_shown_path(),
        files=_files_url(model, found.digest),
        modules=found.modules,
        links=navigation(),
        cards=model.cards,
    )


def _shown_path() -> str:
    return request.root_path + request.path


def _files_url(model: Model, digest: str) -> str:
    return relative_url(f"{model.rule.rstrip('/')}/{FOLDER}/{digest}")


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
    # During an upgrade of carboy, workers of two versions run, and a page of one version may load
    # an asset from a worker of the other. That response must not be cached.
    response.headers["Cache-Control"] = _CACHE_ONE_YEAR if digest == found.digest else "no-store"
    return response
