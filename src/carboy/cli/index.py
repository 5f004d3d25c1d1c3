"""The page at `/` of the development server, for an app with models that has no view for `/`."""

from __future__ import annotations

import html
import secrets
import typing as t

from ..core.ownviews import is_own_view
from ..core.securityheaders import HEADERS, policy
from ..globals import current_app

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from werkzeug.routing import Rule
    from werkzeug.wrappers import Response

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}"
    "h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}li{margin:.25rem 0}"
    "small{opacity:.75}:root{color-scheme:light dark}"
)
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title>
<link rel="icon" href="data:,">
<style nonce="{nonce}">{style}</style>
</head>
<body>
<h1>{name}</h1>
<p>The app has no view for this URL. In development its URLs are listed here.</p>
{sections}
</body>
</html>
"""
_DOCUMENTS = {
    "openapi_docs": "try every endpoint",
    "openapi_redoc": "read the documentation",
    "openapi_json": "the OpenAPI document",
}


def add_index(app: t.Any) -> None:
    """Add a page at `/` to an app with models, unless a rule of the app matches `/`."""
    # Not an app of carboy: any WSGI app may be run.
    if not getattr(app, "__dict__", {}).get("models"):
        return
    if app.url_map.host_matching or any(rule.rule == "/" for rule in app.url_map.iter_rules()):
        return
    _show.__openapi_marks__ = {"hidden": True}  # type: ignore[attr-defined]
    app.add_url_rule("/", "carboy_index", _show, methods=["GET"])


def _show() -> Response:
    app: t.Any = current_app._get_current_object()  # type: ignore[attr-defined]
    nonce = secrets.token_urlsafe(16)
    page = _PAGE.format(
        name=html.escape(app.name), nonce=nonce, style=_STYLE, sections="\n".join(_sections(app))
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
        [(rule, _DOCUMENTS[rule.endpoint]) for rule in rules if rule.endpoint in _DOCUMENTS],
    )


def _section(title: str, entries: list[tuple[Rule, str]]) -> str:
    if not entries:
        return ""
    lines = "\n".join(f"<li>{_line(rule, about)}</li>" for rule, about in entries)
    return f"<h2>{title}</h2>\n<ul>\n{lines}\n</ul>"


def _line(rule: Rule, about: str) -> str:
    methods = rule.methods or {"GET"}
    shown = f"<code>{html.escape(rule.rule)}</code>"
    if "GET" in methods and not rule.arguments and not rule.subdomain:
        # Relative, so that it also works if a proxy serves the app below a prefix.
        shown = f'<a href="{html.escape(rule.rule[1:])}">{shown}</a>'
    others = ", ".join(sorted(methods - {"GET", "HEAD", "OPTIONS"}))
    first = about.strip().partition("\n")[0]
    parts = [shown, others and f"<small>{others}</small>", html.escape(first)]
    return " ".join(part for part in parts if part)
