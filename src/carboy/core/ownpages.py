"""What the HTML pages that carboy adds to an app share: HTML head, navigation, security headers.

They are the pages of models, the pages of the OpenAPI document (Swagger UI, ReDoc), and in
development the list of the app's URLs. They load nothing from other hosts and contain no inline
scripts, so their Content-Security-Policy can be strict.
"""

from __future__ import annotations

import posixpath
import typing as t
from html import escape
from urllib.parse import quote

from ..globals import _find_request_ctx
from .nosniff import NOSNIFF

HEADERS = {
    NOSNIFF[0]: NOSNIFF[1],
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}

# `blob:` is allowed because pages show images by such URLs: files chosen by the user, and images in
# responses.
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob: data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
{head}
</head>
<body>
{body}
</body>
</html>
"""


def policy(**more: str) -> str:
    """Return the Content-Security-Policy of a page: the rules for all pages, extended by `more`.

    Args:
        more: further allowed sources, by directive: `font_src="'self'"`, `style_src="'nonce-...'"`.
    """
    directives = dict(_POLICY)
    for name, sources in more.items():
        key = name.replace("_", "-")
        directives[key] = " ".join(filter(None, (directives.get(key), sources)))
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())


def html_page(title: str, *, head: str, body: str) -> str:
    """Return the HTML of a whole page. `title` is text; `head` and `body` are HTML to insert."""
    return _PAGE.format(title=escape(title), head=head, body=body)


def relative_url(path: str) -> str:
    """Return the URL of a path of the app, relative to the URL of the current request.

    A relative URL also works behind a proxy that serves the app below a path prefix without telling
    the app.
    """
    here = posixpath.dirname(_find_request_ctx().request.path)
    found = quote(posixpath.relpath(path, here))
    return f"{found}/" if path.endswith("/") else found


def navigation() -> str:
    """Return links to the other pages of the app, as HTML; "" if there are none.

    These are the page at `/`, and the pages whose view function has an attribute `page_title`.
    """
    ctx = _find_request_ctx()
    own: t.Any = ctx.request.url_rule
    adapter: t.Any = ctx.url_adapter
    paths = {"Home": "/"} if adapter.test("/", "GET") else {}
    for rule in ctx.app.url_map.iter_rules():
        title = getattr(ctx.app.view_functions.get(rule.endpoint), "page_title", "")
        if title and (rule.subdomain, rule.host) == (own.subdomain, own.host):
            paths[title] = rule.rule
    items = "".join(
        f'<a href="{escape(relative_url(path))}">{escape(title)}</a>\n'
        for title, path in paths.items()
        if path != own.rule
    )
    return f'<nav aria-label="This app">\n{items}</nav>' if items else ""
