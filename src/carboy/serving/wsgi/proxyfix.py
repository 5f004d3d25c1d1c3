"""Find out whether a program reads the headers of proxies by itself, by Werkzeug's `ProxyFix`.

With the setting `proxy` the server does the same before it calls the application. If both do it,
`ProxyFix` replaces what the server has found.
"""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc

# The attributes in which middleware keeps the application that it calls.
_INNER = ("wsgi_app", "app", "_app", "application")
TWICE = (
    "the app is wrapped in ProxyFix, and --proxy is set: both read the headers of proxies, and what"
    " ProxyFix finds counts. Remove ProxyFix from the app, or leave out --proxy"
)
INSTEAD = (
    "the app is wrapped in ProxyFix, so that each prediction occupies a thread while it waits. With"
    " --proxy instead of ProxyFix, the server reads the headers of proxies, and none does"
)


def has_proxy_fix(app: object) -> bool:
    """Return whether an application is wrapped in `ProxyFix`, or a class of that name."""
    return any(
        "ProxyFix" in (cls.__name__ for cls in type(layer).__mro__) for layer in _layers(app)
    )


def _layers(app: object) -> cabc.Iterator[object]:
    """Yield an application and the middleware around it, as far as its attributes tell."""
    seen: list[object] = []
    waiting = [app]
    while waiting:
        layer = waiting.pop()
        if any(layer is each for each in seen):
            continue
        seen.append(layer)
        yield layer
        own = getattr(layer, "__dict__", {})
        waiting += [own[name] for name in _INNER if name in own]
