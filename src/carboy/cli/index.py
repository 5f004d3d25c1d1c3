"""The list of models and views at `/` of the development server, for an app with models and no view
at `/`.
"""

from __future__ import annotations

import secrets
import typing as t
from html import escape

from ..core.ownpages import HEADERS, html_page, policy, relative_url
from ..core.ownviews import is_own_view
from ..globals import current_app

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from werkzeug.routing import Rule
    from werkzeug.wrappers import Response

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}"
    "h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}li{margin:.25rem 0}"
    "small{opacity:.75}"
)
_WHY = "<p>The app has no view for this URL. In development its URLs are listed here.</p>"


def add_index(app: t.Any) -> None:
    """Add a page at `/`, which lists models and views, to an app with models, unless a rule of the
    app matches `/`.
    """
    # `app` may be any WSGI application. Only an app of carboy has models.
    if not getattr(app, "__dict__", {}).get("models"):
        return
    if app.url_map.host_matching or any(rule.rule == "/" for rule in app.url_map.iter_rules()):
        return
    _show.__openapi_marks__ = {"hidden": True}  # type: ignore[attr-defined]
    app.add_url_rule("/", "carboy_index", _show, methods=["GET"])


def _show() -> Response:
    app: t.Any = current_app._get_current_object()  # type: ignore[attr-defined]
    nonce = secrets.token_urlsafe(16)
    page = html_page(
        app.name,
        head=f'<link rel="icon" href="data:,">\n<style nonce="{nonce}">{_STYLE}</style>',
        body="\n".join((f"<h1>{escape(app.name)}</h1>", _WHY, *_sections(app))),
    )
    response: Response = app.response_class(page, mimetype="text/html", headers=HEADERS)
    response.headers["Content-Security-Policy"] = policy(style_src=f"'nonce-{nonce}'")
    return response


def _sections(app: t.Any) -> cabc.Iterator[str]:
    views = app.view_functions
    models = {
        name: model for name, view in views.items() if (model := getattr(view, "model", None))
    }
    rules = [r for r in app.url_map.iter_rules() if r.endpoint.rpartition(".")[2] != "static"]
    yield _section(
        "Models",
        [(rule, models[rule.endpoint].doc) for rule in rules if rule.endpoint in models],
    )
    yield _section(
        "Views",
        [
            (rule, views[rule.endpoint].__doc__ or "")
            for rule in rules
            if rule.endpoint not in models and not is_own_view(views.get(rule.endpoint))
        ],
    )
    yield _section(
        "Documentation",
        [
            (rule, title)
            for rule in rules
            if rule.endpoint not in models
            if (title := getattr(views.get(rule.endpoint), "page_title", ""))
        ],
    )


def _section(title: str, entries: list[tuple[Rule, str]]) -> str:
    if not entries:
        return ""
    lines = "\n".join(f"<li>{_line(rule, about)}</li>" for rule, about in entries)
    return f"<h2>{title}</h2>\n<ul>\n{lines}\n</ul>"


def _line(rule: Rule, about: str) -> str:
    methods = rule.methods or {"GET"}
    shown = f"<code>{escape(rule.rule)}</code>"
    if "GET" in methods and not rule.arguments and not rule.subdomain:
        shown = f'<a href="{escape(relative_url(rule.rule))}">{shown}</a>'
    others = ", ".join(sorted(methods - {"GET", "HEAD", "OPTIONS"}))
    first = about.strip().partition("\n")[0]
    parts = [shown, others and f"<small>{others}</small>", escape(first)]
    return " ".join(part for part in parts if part)
