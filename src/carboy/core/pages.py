"""What carboy's own pages may do in a browser, and the headers they share.

They bring all they need along: nothing is loaded from elsewhere, and no code stands in the page.
"""

from __future__ import annotations

HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}

# `blob:` is how a page shows a picture that somebody chose, or that came as an answer.
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


def policy(**more: str) -> str:
    """The Content-Security-Policy of a page.

    Args:
        more: further sources by directive: `font_src="'self'"`, `style_src="'nonce-...'"`.
    """
    directives = dict(_POLICY)
    for name, sources in more.items():
        key = name.replace("_", "-")
        directives[key] = " ".join(filter(None, (directives.get(key), sources)))
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())
