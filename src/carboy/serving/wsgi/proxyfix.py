"""Find out whether an application reads the headers of proxies, such as X-Forwarded-For, by the
middleware `ProxyFix` of Werkzeug.

With the setting `proxy`, the server itself reads these headers before it calls the application. If
the application is wrapped in `ProxyFix` as well, what `ProxyFix` finds replaces what the server has
found. So the user is warned.
"""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc

# The usual names of the attribute in which a middleware keeps the application that it calls.
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
    """Return whether an application is wrapped in `ProxyFix`, or in a subclass of it."""
    return find_proxy_fix(app) is not None


def find_proxy_fix(app: object) -> object | None:
    """Return the object of `ProxyFix`, or of a subclass, in which an application is wrapped. (The
    class is recognised by its name.)
    """
    return next((layer for layer in _layers(app) if _is_proxy_fix(type(layer))), None)


def _is_proxy_fix(cls: type) -> bool:
    return "ProxyFix" in (each.__name__ for each in cls.__mro__)


def _layers(app: object) -> cabc.Iterator[object]:
    """Yield `app`; if it is a middleware, then the application that it calls, and so on inwards.

    A middleware is followed only if it keeps its application in one of the attributes `_INNER`.
    """
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
