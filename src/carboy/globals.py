"""The current app and request, and the proxies that refer to them.

One context variable holds a pair: the active app context and, while a request is handled, the
request context. Flask uses two context variables. A single one is faster, because setting or
resetting a variable copies a part of the tree in which Python stores them. `_cv_app` and
`_cv_request` give access to the members of the pair under Flask's names. As in Flask, the two
contexts are independent: if an app context ends before the request that began in it, the pair is
`(None, request context)`.
"""

from __future__ import annotations

import typing as t
from contextvars import ContextVar, Token

from werkzeug.local import LocalProxy as _LocalProxy

from .errors import ContextError

if t.TYPE_CHECKING:
    from .app import Carboy
    from .ctx import AppContext, RequestContext, _AppCtxGlobals
    from .sessions import SessionMixin
    from .wrappers import Request

# The type of the active pair: app context and request context, of which at least one is not None.
# If no context is active, `_cv` is unset or None.
Active: t.TypeAlias = "tuple[AppContext | None, RequestContext | None]"

_cv: ContextVar[Active | None] = ContextVar("carboy.context")

# Two booleans: whether a context has set the app context, and the request context, of the active
# pair.
APP = (True, False)
REQUEST = (False, True)
BOTH = (True, True)

NOTHING_ACTIVE: Active = (None, None)


def is_ended(context: AppContext | None) -> bool:
    """Return whether a context has ended: its last `pop` has run, perhaps in another thread."""
    return context is not None and not context._cv_tokens


def give_back(token: Token[Active | None], members: tuple[bool, bool]) -> None:
    """Undo a `_cv.set` for the app context, the request context, or both.

    `_cv` holds a pair of both contexts. Where `members` has True, the context that was active
    before the `set` becomes active again, or None if that context has ended in the meantime.

    Raises:
        ValueError: the token belongs to another thread or `contextvars.Context`.
    """
    now = _cv.get(None)
    _cv.reset(token)
    before = _cv.get(None)
    if before is None and (members is BOTH or now is None):
        # PERF: in most cases no other context was active before, and nothing remains to be done
        return
    old_app, old_request = before or NOTHING_ACTIVE
    app_ctx, request_ctx = now or NOTHING_ACTIVE
    if members[0]:
        app_ctx = None if is_ended(old_app) else old_app
    if members[1]:
        request_ctx = None if is_ended(old_request) else old_request
    if app_ctx is not old_app or request_ctx is not old_request:
        nothing = app_ctx is None and request_ctx is None
        _cv.set(None if nothing else (app_ctx, request_ctx))


_no_app_msg = """\
Working outside of application context.

This code needs the current app (for `current_app`, `g`, `url_for`, a model, an extension), but no
app is active here. In views, hooks and CLI commands one is active; elsewhere push a context:

    with app.app_context():
        ..."""

_no_req_msg = """\
Working outside of request context.

This code needs the current request (for `request`, `session`), but none is being handled here.
In views and hooks there is one; in a test or a shell create one:

    with app.test_request_context("/path"):
        ...

A thread started by a view needs `copy_current_request_context`."""

_UNSET: t.Any = object()
T = t.TypeVar("T")


_find_attribute = object.__getattribute__


class LocalProxy(_LocalProxy[T]):
    """The class of `request`, `g` and so on: Werkzeug's proxy, made faster by `_proxy`."""

    __slots__ = ()

    def __init__(self, find: t.Callable[[], T]) -> None:
        super().__init__(find)
        # Assign `find` itself. Werkzeug would wrap it in a function that raises Werkzeug's error,
        # which is less helpful than that of `find`.
        object.__setattr__(self, "_get_current_object", find)


_PROXY_MEMBERS = frozenset(dir(LocalProxy))


def _proxy(find: t.Callable[[], t.Any]) -> t.Any:
    """Return a proxy that stands for whatever object `find` returns.

    PERF: each proxy has its own class, whose methods call `find`. Werkzeug's proxy calls a
    descriptor, a closure and a partial for each operation, which takes four times as long.
    `__getattr__` instead of `__getattribute__` would take twice as long, because Python would first
    look up each attribute on the proxy itself.
    """

    def __getattribute__(self: object, name: str) -> t.Any:  # noqa: N807
        if name in _PROXY_MEMBERS:
            return _find_attribute(self, name)
        return getattr(find(), name)

    def __setattr__(self: object, name: str, value: t.Any) -> None:  # noqa: N807
        setattr(find(), name, value)

    def __getitem__(self: object, key: t.Any) -> t.Any:  # noqa: N807
        return find()[key]

    def __setitem__(self: object, key: t.Any, value: t.Any) -> None:  # noqa: N807
        find()[key] = value

    def __contains__(self: object, key: t.Any) -> bool:  # noqa: N807
        return key in find()

    methods = (__getattribute__, __setattr__, __getitem__, __setitem__, __contains__)
    members: dict[str, t.Any] = {"__slots__": (), "__doc__": LocalProxy.__doc__}
    members |= {method.__name__: method for method in methods}
    return type("LocalProxy", (LocalProxy,), members)(find)


def _find_app_ctx() -> AppContext:
    active = _cv.get(None)
    if active is None or (ctx := active[0]) is None:
        raise ContextError(_no_app_msg)
    _keep_g(active)
    return ctx


def _keep_g(active: Active) -> None:
    """Let the active app context keep its `g`, because a program gets it. The program may push it
    in another thread, perhaps after the request has ended, and finds the same `g` there.
    """
    app_ctx, request_ctx = active
    if request_ctx is not None and request_ctx is app_ctx:
        request_ctx._keeps_g = True


def _find_app() -> Carboy:
    active = _cv.get(None)
    if active is None or (ctx := active[0]) is None:
        raise ContextError(_no_app_msg)
    return ctx.app


def _find_g() -> _AppCtxGlobals:
    active = _cv.get(None)
    if active is None or (ctx := active[0]) is None:
        raise ContextError(_no_app_msg)
    return ctx.g


def _find_request_ctx() -> RequestContext:
    active = _cv.get(None)
    if active is None or (ctx := active[1]) is None:
        raise ContextError(_no_req_msg)
    return ctx


def _find_request() -> Request:
    active = _cv.get(None)
    if active is None or (ctx := active[1]) is None:
        raise ContextError(_no_req_msg)
    return ctx.request


def _find_session() -> SessionMixin:
    return _find_request_ctx().session


class _ContextVarView(t.Generic[T]):
    """One member of the pair in `_cv`, with the methods of a `ContextVar`, which it is in Flask."""

    __slots__ = ("_index", "name")

    def __init__(self, name: str, index: int) -> None:
        self.name = name
        self._index = index

    def get(self, default: t.Any = _UNSET) -> T:
        active = _cv.get(None)
        value = None if active is None else active[self._index]
        if active is not None and value is not None:
            if self._index == 0:
                _keep_g(active)
            return t.cast(T, value)
        if default is _UNSET:
            raise LookupError(self)
        return t.cast(T, default)

    def set(self, value: T) -> Token[Active | None]:
        app_ctx, request_ctx = _cv.get(None) or NOTHING_ACTIVE
        pair = (value, request_ctx) if self._index == 0 else (app_ctx, value)
        return _cv.set(t.cast(Active, pair))

    def reset(self, token: Token[Active | None]) -> None:
        give_back(token, REQUEST if self._index else APP)


_cv_app: _ContextVarView[AppContext] = _ContextVarView("carboy.app_ctx", 0)
_cv_request: _ContextVarView[RequestContext] = _ContextVarView("carboy.request_ctx", 1)

app_ctx: AppContext = _proxy(_find_app_ctx)
current_app: Carboy = _proxy(_find_app)
g: _AppCtxGlobals = _proxy(_find_g)

request_ctx: RequestContext = _proxy(_find_request_ctx)
request: Request = _proxy(_find_request)
session: SessionMixin = _proxy(_find_session)
