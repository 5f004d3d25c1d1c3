"""Which steps of handling a request may be left out, because nobody has changed them.

Every step is a method that users override, replace or patch, on the class or the instance; then it
must be called. `find_overrides` looks once, and again after each change that `ChangeTracked` counts
or `Carboy.__setattr__` sees. What is kept in registries (hooks, signals, error handlers) is none of
this: it is read on every request. Nor are Werkzeug's own classes: replace a method on carboy's.
"""

from __future__ import annotations

import typing as t

from ..ctx import AppContext, RequestContext, _AppCtxGlobals
from ..json.provider import DefaultJSONProvider
from ..sessions import SecureCookieSessionInterface
from ..wrappers import Request, Response
from .changetracking import ChangeTracked

if t.TYPE_CHECKING:
    from .dispatch import Dispatcher

# What the fast path stands in for.
_STEPS = (
    "app_context",
    "create_url_adapter",
    "dispatch_request",
    "do_teardown_appcontext",
    "do_teardown_request",
    "ensure_sync",
    "finalize_request",
    "full_dispatch_request",
    "make_response",
    "preprocess_request",
    "process_response",
    "request_context",
)
_APP_CONTEXT = ("__init__", "_make_url_adapter", "g", "pop", "push", "url_adapter")
_REQUEST = ("__init__", "close")
_PARTS: tuple[tuple[type, tuple[str, ...]], ...] = (
    (AppContext, _APP_CONTEXT),
    (
        RequestContext,
        ("__init__", "match_request", "pop", "push", "request", "session", "_session"),
    ),
    (Response, ("__init__", "_way_out_is_ours", "default_mimetype")),
)
_SESSION = tuple(n for n in dir(SecureCookieSessionInterface) if not n.startswith("_"))
_JSON = ("response",)

# Attributes of an app that decide about its overrides, besides the steps.
DECISIVE = frozenset(
    {
        *_STEPS,
        *("app_ctx_globals_class", "json", "request_class", "response_class"),
        *("session_interface", "subdomain_matching", "url_map"),
    }
)


def _look(cls: type, names: tuple[str, ...]) -> tuple[t.Any, ...]:
    return tuple(getattr(cls, name) for name in names)


_shipped_parts = tuple(_look(cls, names) for cls, names in _PARTS)
_shipped_app_context = _look(AppContext, _APP_CONTEXT)
_shipped_request = _look(Request, _REQUEST)
_shipped_session = _look(SecureCookieSessionInterface, _SESSION)
_shipped_json = _look(DefaultJSONProvider, _JSON)


class Overrides:
    """What an app may leave out, as of `changes`."""

    __slots__ = (
        "changes",
        "fast_path",
        "json",
        "lazy_request",
        "lazy_session",
        "match",
        "one_context",
        "views",
    )

    def __init__(
        self,
        *,
        changes: int,
        fast_path: bool,
        match: bool,
        one_context: bool,
        lazy_request: bool,
        lazy_session: bool,
        json: bool,
    ) -> None:
        self.changes = changes
        #: All of the request may be handled by `carboy.core.fastpath`.
        self.fast_path = fast_path
        #: The compiled matcher may be asked without a URL adapter.
        self.match = match
        #: A request context may be its own app context.
        self.one_context = one_context
        #: The request may be made when it is touched.
        self.lazy_request = lazy_request
        #: The session may be opened when it is touched.
        self.lazy_session = lazy_session
        #: JSON may go out without a response object.
        self.json = json
        #: Views known to be no coroutine functions, by endpoint.
        self.views: dict[str, t.Callable[..., t.Any]] = {}


def find_overrides(app: Dispatcher) -> Overrides:
    """Look at the app's class, instance and parts; about 10 us."""
    changes = ChangeTracked.changes
    own = vars(app)
    cls = type(app)
    changed = {name for name in _STEPS if name in own or getattr(cls, name) is not _steps[name]}
    interface = app.session_interface
    lazy_session = (
        type(interface) is SecureCookieSessionInterface
        and not vars(interface)
        and _look(SecureCookieSessionInterface, _SESSION) == _shipped_session
    )
    match = (
        "create_url_adapter" not in changed
        and not app.subdomain_matching
        and hasattr(app.url_map, "fast_match")  # the user may have put in a map of Werkzeug's
    )
    one_context = (
        "app_context" not in changed
        and app.app_ctx_globals_class is _AppCtxGlobals
        and _look(AppContext, _APP_CONTEXT) == _shipped_app_context
    )
    lazy_request = app.request_class is Request and _look(Request, _REQUEST) == _shipped_request
    return Overrides(
        changes=changes,
        fast_path=(
            match
            and one_context
            and lazy_request
            and not changed
            and app.response_class is Response
            and tuple(_look(part, names) for part, names in _PARTS) == _shipped_parts
        ),
        match=match,
        one_context=one_context,
        lazy_request=lazy_request,
        lazy_session=lazy_session,
        json=(
            type(app.json) is DefaultJSONProvider
            and "response" not in vars(app.json)
            and _look(DefaultJSONProvider, _JSON) == _shipped_json
        ),
    )


_steps: dict[str, t.Any] = {}


def remember_steps(cls: type) -> None:
    """Take the methods of `cls` as those that the overrides stand in for."""
    _steps.update({name: getattr(cls, name) for name in _STEPS})
