"""The security headers of the HTML pages that carboy makes: of a model, and of the OpenAPI
document.

The pages load nothing from other hosts and contain no inline scripts, so their
Content-Security-Policy can be strict.
"""

from __future__ import annotations

HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}

# `blob:` is allowed for images, because pages show files that the user has chosen, and images from
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


def policy(**more: str) -> str:
    """Return the Content-Security-Policy of a page.

    Args:
        more: further allowed sources, by directive: `font_src="'self'"`, `style_src="'nonce-...'"`.
    """
    directives = dict(_POLICY)
    for name, sources in more.items():
        key = name.replace("_", "-")
        directives[key] = " ".join(filter(None, (directives.get(key), sources)))
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())
