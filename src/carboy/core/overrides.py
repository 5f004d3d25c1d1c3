"""Decide which steps of handling a request can be skipped, because no user has overridden them.

Each step is a method. It must be called if a user has overridden it in a subclass, replaced it on
an instance, or patched it on the class. `find_overrides` inspects an app once, and again after each
change that `ChangeTracked` or `Dispatcher.__setattr__` counts. Registries (hooks, signals, error
handlers) may change without notice and are read on every request. Patching a method on one of
Werkzeug's own classes is not noticed: patch carboy's subclass instead.
"""

from __future__ import annotations

import typing as t

from ..config import ConfigAttribute, are_changes_counted
from ..ctx import AppContext, RequestContext, _AppCtxGlobals
from ..json.provider import DefaultJSONProvider
from ..sessions import SecureCookieSessionInterface
from ..wrappers import Request, Response
from .changetracking import ChangeTracked

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..access.browserrules import BrowserRules
    from ..access.table import AccessTable
    from ..sessions import SessionCookie
    from .dispatch import Dispatcher

# The methods of an app that the fast path (`carboy.core.fastpath`) does not call. It is used only
# if none of them is overridden.
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
_REQUEST = ("__init__", "close", "trusted_hosts")
# Methods and attributes of other classes that the fast path does not use. If one of them is
# patched, the fast path is not used.
_PARTS: tuple[tuple[type, tuple[str, ...]], ...] = (
    (AppContext, _APP_CONTEXT),
    (
        RequestContext,
        ("__init__", "match_request", "pop", "push", "request", "session", "_session"),
    ),
    (Response, ("__init__", "_is_original", "default_mimetype")),
)
_SESSION = tuple(n for n in dir(SecureCookieSessionInterface) if not n.startswith("_"))
_JSON = ("response",)

# Attributes of an app that decide which steps can be skipped. An assignment to one of them makes
# the cached `Overrides` of all apps invalid.
TRACKED_ATTRIBUTES = frozenset(
    {
        *_STEPS,
        *("app_ctx_globals_class", "config", "json", "request_class", "response_class"),
        *("session_interface", "subdomain_matching", "url_map"),
    }
)


def _read_attributes(cls: type, names: tuple[str, ...]) -> tuple[t.Any, ...]:
    return tuple(getattr(cls, name) for name in names)


_original_parts = tuple(_read_attributes(cls, names) for cls, names in _PARTS)
_original_app_context = _read_attributes(AppContext, _APP_CONTEXT)
_original_request = _read_attributes(Request, _REQUEST)
_original_session = _read_attributes(SecureCookieSessionInterface, _SESSION)
_original_json = _read_attributes(DefaultJSONProvider, _JSON)


class Overrides:
    """Which steps of handling a request can be skipped for an app.

    An instance is valid as long as the counter `ChangeTracked.changes` equals its attribute
    `changes`.
    """

    __slots__ = (
        "access",
        "browsers",
        "changes",
        "fast_path",
        "json",
        "kept_config",
        "lazy_request",
        "lazy_session",
        "match",
        "one_context",
        "session_cookie",
        "trusted_hosts",
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
        kept_config: bool,
        trusted_hosts: cabc.Collection[str] | None,
        browsers: BrowserRules,
        access: AccessTable | None,
    ) -> None:
        self.changes = changes
        #: What the app lets web pages do.
        self.browsers = browsers
        #: Whether `carboy.core.fastpath` may handle the whole request.
        self.fast_path = fast_path
        #: Whether the compiled URL matcher may be used instead of Werkzeug's `MapAdapter`.
        self.match = match
        #: Whether one object may be both the request context and the app context.
        self.one_context = one_context
        #: Whether the request object may be created on first access.
        self.lazy_request = lazy_request
        #: Whether the session may be opened on first access.
        self.lazy_session = lazy_session
        #: Whether a dict or list may be sent as JSON without creating a response object.
        self.json = json
        #: Whether values of the config may be cached until `ChangeTracked.changes` grows.
        self.kept_config = kept_config
        #: The value of the config key `TRUSTED_HOSTS`, usually a list. It is the same object as in
        #: the config, so that changes in place are noticed.
        self.trusted_hosts = trusted_hosts
        #: Decides whether a request may reach its view; None if all requests may.
        self.access = access
        #: The settings for reading the session's cookie. None if they were not read yet, or must be
        #: read on each request because they may change without notice.
        self.session_cookie: SessionCookie | None = None
        #: The synchronous views by endpoint, which can be called without asking `ensure_sync`.
        self.views: dict[str, t.Callable[..., t.Any]] = {}


def find_overrides(app: Dispatcher) -> Overrides:
    """Find which steps are overridden: on the app, its class, or its parts (request, session,
    JSON).

    This takes 10 us.
    """
    changes = ChangeTracked.changes
    own = vars(app)
    cls = type(app)
    changed = {name for name in _STEPS if name in own or getattr(cls, name) is not _steps[name]}
    interface = app.session_interface
    lazy_session = (
        type(interface) is SecureCookieSessionInterface
        and not vars(interface)
        and _read_attributes(SecureCookieSessionInterface, _SESSION) == _original_session
    )
    kept_config = are_changes_counted(app.config) and all(
        isinstance(getattr(cls, name), ConfigAttribute)
        for name in ("secret_key", "permanent_session_lifetime")
    )
    match = (
        "create_url_adapter" not in changed
        and not app.subdomain_matching
        and kept_config  # else a later assignment of TRUSTED_HOSTS would not be noticed
        # A user may have assigned a `Map` of Werkzeug, which lacks `fast_match`.
        and hasattr(app.url_map, "fast_match")
    )
    one_context = (
        "app_context" not in changed
        and app.app_ctx_globals_class is _AppCtxGlobals
        and _read_attributes(AppContext, _APP_CONTEXT) == _original_app_context
    )
    lazy_request = (
        app.request_class is Request and _read_attributes(Request, _REQUEST) == _original_request
    )
    return Overrides(
        kept_config=kept_config,
        trusted_hosts=app.config["TRUSTED_HOSTS"],
        browsers=app._find_browser_rules(),
        access=app._find_access(),
        changes=changes,
        fast_path=(
            match
            and one_context
            and lazy_request
            and not changed
            and app.response_class is Response
            and tuple(_read_attributes(part, names) for part, names in _PARTS) == _original_parts
        ),
        match=match,
        one_context=one_context,
        lazy_request=lazy_request,
        lazy_session=lazy_session,
        json=(
            type(app.json) is DefaultJSONProvider
            and "response" not in vars(app.json)
            and _read_attributes(DefaultJSONProvider, _JSON) == _original_json
        ),
    )


_steps: dict[str, t.Any] = {}


def record_original_steps(cls: type) -> None:
    """Record the methods of `cls` as the originals. A method that differs from its original is
    overridden.
    """
    _steps.update({name: getattr(cls, name) for name in _STEPS})
