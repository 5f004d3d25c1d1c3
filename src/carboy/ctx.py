"""The app context and the request context, which are active while a request is handled.

`AppContext` holds the app and `g`. `RequestContext` also holds a request, and is its own app
context unless a context of the same app is already active (for example in a test's `with
app.app_context()`). Request, session and URL adapter are created on first access, because most
views use none of them.

The active app context and request context form a pair (`carboy.globals`). They may end in any
order, because each context restores only its own member of the pair. If a context ends in another
thread than it began in, that thread cannot change the pair of the first thread, which therefore
removes the context itself when it activates the next one.

Not thread-safe, except that an active context may be pushed again in another thread
(`stream_with_context`, `copy_current_request_context`). `carboy.core.routing` decides which rule
matches; `carboy.core.dispatch` decides how the request is handled.
"""

from __future__ import annotations

import sys
import typing as t
from contextlib import suppress
from functools import lru_cache, update_wrapper

from werkzeug.exceptions import HTTPException

from .core.changetracking import ChangeTracked
from .core.deletion import DeletableAttributes
from .core.flasknames import flask_names
from .errors import ContextError
from .globals import APP, BOTH, NOTHING_ACTIVE, REQUEST, _cv, give_back, is_ended
from .helpers import _split_blueprint_path
from .signals import appcontext_popped, appcontext_pushed, appcontext_tearing_down
from .wrappers import Request

if t.TYPE_CHECKING:
    from contextvars import Token
    from types import TracebackType

    from _typeshed.wsgi import WSGIEnvironment
    from werkzeug.routing import MapAdapter, Rule

    from . import typing as ft
    from .app import Carboy
    from .globals import Active
    from .sessions import SessionMixin

    # A call of `push`: the token with which `pop` undoes it; the app context that was activated
    # together with this context, or None; and the pair that became active.
    _Push: t.TypeAlias = tuple[Token[Active | None], "AppContext | None", Active]

_sentinel: t.Any = object()
F = t.TypeVar("F", bound=t.Callable[..., t.Any])


class _AppCtxGlobals:
    """The class of `g`: a namespace to which a program may assign any attribute, during one app
    context.
    """

    # Defined only so that type checkers accept any attribute of `g`.
    def __getattr__(self, name: str) -> t.Any:
        raise AttributeError(name)

    def __setattr__(self, name: str, value: t.Any) -> None:
        self.__dict__[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self.__dict__[name]
        except KeyError:
            raise AttributeError(name) from None

    def get(self, name: str, default: t.Any | None = None) -> t.Any:
        """Return the attribute `name`; `default` if it is missing."""
        return self.__dict__.get(name, default)

    def pop(self, name: str, default: t.Any = _sentinel) -> t.Any:
        """Remove and return `name`; raise `KeyError` if it is missing and no default is given."""
        if default is _sentinel:
            return self.__dict__.pop(name)
        return self.__dict__.pop(name, default)

    def setdefault(self, name: str, default: t.Any = None) -> t.Any:
        """Return the attribute `name`; if it is missing, assign `default` to it first."""
        return self.__dict__.setdefault(name, default)

    def __contains__(self, item: str) -> bool:
        return item in self.__dict__

    def __iter__(self) -> t.Iterator[str]:
        return iter(self.__dict__)

    def __repr__(self) -> str:
        active = _cv.get(None)
        if active is not None and active[0] is not None:
            return f"<flask.g of {active[0].app.name!r}>"
        return object.__repr__(self)


@lru_cache(maxsize=4096)
def _scopes(endpoint: str) -> tuple[str | None, ...]:
    name = endpoint.rpartition(".")[0]
    return (*_split_blueprint_path(name), None) if name else (None,)


def _active_request_context(asked_by: str) -> RequestContext:
    active = _cv.get(None)
    if active is None or (ctx := active[1]) is None:
        raise ContextError(
            f"{asked_by!r} needs an active request, and none is being handled here."
            " Call it from a view or a hook."
        )
    return ctx


def after_this_request(f: ft.AfterRequestCallable[t.Any]) -> ft.AfterRequestCallable[t.Any]:
    """Register a function that is called as `f(response)` after the view, for the current request
    only.

    The function must return the response to send: the same one or another. `after_this_request` may
    be used as a decorator.
    """
    _active_request_context("after_this_request")._after_request_functions.append(f)
    return f


def copy_current_request_context(f: F) -> F:
    """Return a function that calls `f`, in any thread, with a copy of the current request's context
    active.

    The copy shares the request and the session with the original. In another thread, each call has
    a `g` of its own, which ends with the call.
    """
    ctx = _active_request_context("copy_current_request_context").copy()

    def wrapper(*args: t.Any, **kwargs: t.Any) -> t.Any:
        with ctx:
            return ctx.app.ensure_sync(f)(*args, **kwargs)

    return t.cast(F, update_wrapper(wrapper, f))


def has_request_context() -> bool:
    """Return whether the current thread or task handles a request, so that `request` and `session`
    can be used.
    """
    active = _cv.get(None)
    return active is not None and active[1] is not None


def has_app_context() -> bool:
    """Return whether an app context is active in this thread or task, so that `current_app` and `g`
    can be used.
    """
    active = _cv.get(None)
    return active is not None and active[0] is not None


def _drop_ended() -> Active | None:
    """Return the active pair of app and request context, or None.

    Contexts that this thread has activated and another thread has ended are removed first.
    """
    while (active := _cv.get(None)) is not None:
        ended = next((context for context in active if is_ended(context)), None)
        if ended is None:
            break
        if ended._ended_elsewhere:
            token, members = ended._ended_elsewhere.pop()
            # A thread can reset a context variable only to a value that it has set itself. In any
            # other thread, `give_back` raises ValueError.
            with suppress(ValueError):
                give_back(token, members)
                continue
        pair = [None if context is ended else context for context in active]
        _cv.set(t.cast("Active", tuple(pair)) if any(pair) else None)
    return active


class AppContext(DeletableAttributes, metaclass=ChangeTracked):
    """The app context: an app and its `g`, active between `push` and `pop`, or inside `with`."""

    # PERF: the defaults are attributes of the class, so that creating a context need not assign
    # them.
    _g: _AppCtxGlobals | None = None
    _url_adapter: MapAdapter | None = _sentinel
    # The calls of `push` that a thread must still undo, because another thread has ended this
    # context. None if there are none.
    _ended_elsewhere: list[tuple[Token[Active | None], tuple[bool, bool]]] | None = None

    def __init__(self, app: Carboy) -> None:
        self.app = app
        self._cv_tokens: list[_Push] = []
        if app.app_ctx_globals_class is not _AppCtxGlobals:
            # An instance of a user's class is created now and not on first access, because in Flask
            # its constructor runs at this time and may have side effects.
            self._g = app.app_ctx_globals_class()

    @property
    def g(self) -> _AppCtxGlobals:
        """The namespace `g` of this context, an instance of `app.app_ctx_globals_class`."""
        g = self._g
        if g is None:
            self._refuse_deleted("g")
            g = self._g = self.app.app_ctx_globals_class()
        return g

    @g.setter
    def g(self, value: _AppCtxGlobals) -> None:
        self._g = value

    @g.deleter
    def g(self) -> None:
        self._delete_made("g", "_g")

    @property
    def url_adapter(self) -> MapAdapter | None:
        """The adapter that builds URLs while no request is handled; None without `SERVER_NAME`."""
        if self._url_adapter is _sentinel:
            self._refuse_deleted("url_adapter")
            self._url_adapter = self._make_url_adapter()
        return self._url_adapter

    @url_adapter.setter
    def url_adapter(self, value: MapAdapter | None) -> None:
        self._url_adapter = value

    @url_adapter.deleter
    def url_adapter(self) -> None:
        self._delete_made("url_adapter", "_url_adapter")

    def _make_url_adapter(self) -> MapAdapter | None:
        return self.app.create_url_adapter(None)

    def push(self) -> None:
        """Activate this context, until `pop` is called."""
        active = _drop_ended()
        pair = (self, None if active is None else active[1])
        self._cv_tokens.append((_cv.set(pair), self, pair))
        self._send_pushed()

    def pop(self, exc: BaseException | None = _sentinel) -> None:
        """Undo the latest `push`. The `pop` for the first `push` also calls the app's teardown
        functions.

        Args:
            exc: the exception that ended the context; by default the one that is being handled.
        """
        if exc is _sentinel:
            exc = sys.exc_info()[1]
        try:
            if len(self._cv_tokens) == 1:
                self.app.do_teardown_appcontext(exc)
        finally:
            active = self._leave(self._take_push()[0], APP)
        if active[0] is not self:
            self._refuse_pop(active[0])
        self._send_popped()

    def _take_push(self) -> _Push:
        """Remove from `_cv_tokens` the record of the latest `push` that was not undone yet, and
        return it.

        Several threads, or copies of a `contextvars.Context`, may have pushed this context. Then it
        is the latest `push` of the caller's.
        """
        pushes = self._cv_tokens
        if not pushes:
            raise LookupError(
                f"{self!r} was popped, but it is not pushed. Call pop() once for each push()."
            )
        active = _cv.get(None)
        if len(pushes) > 1 and pushes[-1][2] is not active:
            for push in pushes[::-1]:  # a copy: other threads may change the list meanwhile
                token, app_ctx, pair = push
                # Only where a token was made can it be used. What was active before the `push`
                # becomes so for a moment, and then the new token leads to it.
                with suppress(ValueError):
                    _cv.reset(token)
                    pushes.remove(push)
                    return _cv.set(active), app_ctx, pair
        return pushes.pop()

    def _leave(self, token: Token[Active | None], members: tuple[bool, bool]) -> Active:
        """Deactivate this context. Return the pair of app context and request context that was
        active when this method was called.
        """
        active = _cv.get(None) or NOTHING_ACTIVE
        try:
            give_back(token, members)
        except ValueError:
            # Another thread has pushed the context, and only that thread can reset its context
            # variable. So record for it what to undo. This happens, for example, if a server closes
            # a generator that contains `with app.app_context():`.
            if self._ended_elsewhere is None:
                self._ended_elsewhere = []
            self._ended_elsewhere.append((token, members))
            return t.cast("Active", (self, self))
        return active

    def _send_pushed(self) -> None:
        if appcontext_pushed.receivers:
            appcontext_pushed.send(self.app, _async_wrapper=self.app.ensure_sync)

    def _send_popped(self) -> None:
        if appcontext_popped.receivers:
            appcontext_popped.send(self.app, _async_wrapper=self.app.ensure_sync)

    def _refuse_pop(self, active: AppContext | None) -> t.NoReturn:
        raise AssertionError(
            f"Popped wrong context: {self!r} was popped while {active!r} was active. Contexts of"
            " one kind end in the reverse of the order in which they began."
        )

    def __enter__(self) -> t.Self:
        self.push()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.pop(exc_value)


class RequestContext(AppContext):
    """The context of a request, created by `Carboy.request_context` and `test_request_context`."""

    flashes: list[tuple[str, str]] | None = None
    _after: list[ft.AfterRequestCallable[t.Any]] | None = None
    _request: Request | None = None
    _rule: Rule | None = None
    _opened: SessionMixin | None = None
    _view_args: dict[str, t.Any] | None = None
    # Whether `push` may make this context its own app context: True if its `g` is to be kept, for
    # a stream or where somebody has got it as `app_ctx`; False for a copy, which several threads
    # may push at the same time; None for a request that begins, so that it gets a new `g`.
    _keeps_g: bool | None = None
    # Whether the context has ended once, and its `g` was used.
    _has_used_g = False
    # Whether the app was asked whether the client may use the route.
    _is_admitted = False
    # The exception that ended the request, if the context stays active because of
    # `PRESERVE_CONTEXT_ON_EXCEPTION`.
    _preserved: BaseException | None = None

    def __init__(
        self,
        app: Carboy,
        environ: WSGIEnvironment,
        request: Request | None = None,
        session: SessionMixin | None = None,
    ) -> None:
        # PERF: inlines `AppContext.__init__`, because the call would take 60 ns.
        self.app = app
        self._cv_tokens = []
        self._environ = environ
        if session is not None:
            self._opened = session
        if request is not None:
            self._request = request
        elif app.request_class is not Request:
            # An instance of a user's class is created now and not on first access, because its
            # constructor may have side effects.
            self._make_request()

    @property
    def _after_request_functions(self) -> list[ft.AfterRequestCallable[t.Any]]:
        """Functions registered by `after_this_request`; they run before those of
        `after_request`.
        """
        if self._after is None:
            self._refuse_deleted("_after_request_functions")
            self._after = []
        return self._after

    @_after_request_functions.setter
    def _after_request_functions(self, value: list[ft.AfterRequestCallable[t.Any]]) -> None:
        self._after = value

    @_after_request_functions.deleter
    def _after_request_functions(self) -> None:
        self._delete_made("_after_request_functions", "_after")

    @property
    def changes_response(self) -> bool:
        """Whether the response must still be processed, because the session was opened, or a
        function registered by `after_this_request`.
        """
        return self._opened is not None or self._after is not None

    @property
    def request(self) -> Request:
        """The request object, created from the WSGI environ on first access."""
        request = self._request
        return self._make_request() if request is None else request

    @request.setter
    def request(self, value: Request) -> None:
        self._request = value

    @request.deleter
    def request(self) -> None:
        self._delete_made("request", "_request")

    def _make_request(self) -> Request:
        self._refuse_deleted("request")
        app = self.app
        request = app.request_class(self._environ)
        request.json_module = app.json
        if (trusted := app.config["TRUSTED_HOSTS"]) is not None:
            request.trusted_hosts = trusted
        if self._rule is not None:
            request.url_rule = self._rule
            request.view_args = self._view_args
        self._request = request
        return request

    @property
    def session(self) -> SessionMixin:
        """The session of this request. Access to it adds `Vary: Cookie` to the response."""
        session = self._session
        if session is None:
            raise AssertionError("The session opens with the request context: push it first.")
        session.accessed = True
        return session

    @session.setter
    def session(self, value: SessionMixin) -> None:
        self._opened = value

    # This private name must not change, because extensions read and assign `_session`:
    # Flask-SocketIO assigns one session to the contexts of all its events.
    @property
    def _session(self) -> SessionMixin | None:
        """The session of this request, opened on first access; None before the context is
        pushed.
        """
        session = self._opened
        if session is None:
            self._refuse_deleted("_session")
            if self._cv_tokens:
                session = self._open_session()
        return session

    @_session.setter
    def _session(self, value: SessionMixin | None) -> None:
        self._opened = value

    @_session.deleter
    def _session(self) -> None:
        self._delete_made("_session", "_opened")

    def _open_session(self) -> SessionMixin:
        app = self.app
        interface = app.session_interface
        session = interface.open_session(app, self.request)
        if session is None:
            session = interface.make_null_session(app)
        self._opened = session
        return session

    def _make_url_adapter(self) -> MapAdapter | None:
        try:
            return self.app.create_url_adapter(self.request)
        except HTTPException as error:
            self._note_routing_exception(error)
            return None

    def _send_pushed(self) -> None:
        if not appcontext_pushed.receivers:
            return
        # Receivers of `appcontext_pushed` are called without an active request, as in Flask.
        token = _cv.set((self, None))
        try:
            super()._send_pushed()
        finally:
            _cv.reset(token)

    def copy(self) -> RequestContext:
        """Return a new context with the same request and session, to be pushed in another thread or
        greenlet. Each `push` where no context of the app is active gets a new `g`.
        """
        session = self._session if self._cv_tokens else self._opened
        copy = self.__class__(
            self.app, environ=self.request.environ, request=self.request, session=session
        )
        copy._keeps_g = False
        return copy

    def _matched(self) -> tuple[Rule | None, dict[str, t.Any] | None]:
        """Return the rule that matched the URL, and the arguments of the view.

        If the request object exists they are read from it, because a hook may have changed them
        there.
        """
        request = self._request
        if request is None:
            return self._rule, self._view_args
        return request.url_rule, request.view_args

    def _scopes(self) -> tuple[str | None, ...]:
        """Return the keys under which hooks for this request are registered: the names of its
        blueprints, then None for the app.
        """
        request = self._request
        rule = self._rule if request is None else request.url_rule
        return (None,) if rule is None else _scopes(rule.endpoint)

    def match_request(self) -> None:
        """Find the rule for the request's URL. Subclasses may override this method."""
        app = self.app
        if self._url_adapter is _sentinel and app._matches_directly(self._environ, self._request):
            environ = self._environ
            hit = app.url_map.fast_match(environ.get("PATH_INFO") or "", environ["REQUEST_METHOD"])
            if hit is not None:
                self._rule, self._view_args = hit
                if (request := self._request) is not None:
                    request.url_rule, request.view_args = hit
                return
        self._match_by_adapter()

    def _match_by_adapter(self) -> None:
        """Let Werkzeug find the rule. If it raises an exception, such as `NotFound`, store it on
        the request, so that `dispatch_request` raises it after the hooks have run.
        """
        adapter = self.url_adapter
        if adapter is None:
            return
        request = self.request
        try:
            rule, view_args = adapter.match(return_rule=True)
        except HTTPException as error:
            self._note_routing_exception(error)
        else:
            request.url_rule, request.view_args = rule, t.cast("dict[str, t.Any]", view_args)

    def _note_routing_exception(self, error: HTTPException) -> None:
        if error.__suppress_context__:
            # Break a reference cycle: when `error` was raised, Python stored the exception that was
            # being handled in its `__context__`, and the traceback of that exception refers to the
            # request.
            error.__context__ = None
        self.request.routing_exception = error

    def push(self) -> None:
        """Activate the context: set the current request, open its session, and match its URL."""
        app = self.app
        # PERF: usually no context is active, so that `_drop_ended` need not be called
        active = _cv.get(None) and _drop_ended()
        previous = None if active is None else active[1]
        if previous is not None and previous._preserved is not None:
            previous.pop(previous._preserved)
            active = _cv.get(None)
        overrides = app.find_overrides()
        if active is not None and active[0] is not None and active[0].app is app:
            pair = (active[0], self)
            self._cv_tokens.append((_cv.set(pair), None, pair))
        elif (
            overrides.one_context
            and self._keeps_g is not False
            and (self._keeps_g or not self._has_used_g)
        ):
            pair = (self, self)
            self._cv_tokens.append((_cv.set(pair), self, pair))
            self._send_pushed()
        else:
            app_ctx = app.app_context()
            app_ctx.push()
            pair = (app_ctx, self)
            self._cv_tokens.append((_cv.set(pair), app_ctx, pair))
        # If the request class is a user's, its constructor may have side effects. So create the
        # request now and not on first access.
        if not overrides.lazy_request and self._request is None:
            self._make_request()
        has_adapter = overrides.match or self.url_adapter is not None
        if self._opened is None and not overrides.lazy_session:
            self._open_session()
        # The URL is matched last, because a user's URL converter may read the session.
        if has_adapter and not (overrides.match and self._rule is not None):
            self.match_request()

    def pop(self, exc: BaseException | None = _sentinel) -> None:  # noqa: PLR0912
        """Undo the latest `push`. The `pop` for the first `push` also calls the teardown functions.

        Args:
            exc: the exception that ended the request; by default the one that is being handled.
        """
        app = self.app
        last = len(self._cv_tokens) == 1
        if exc is _sentinel:
            exc = sys.exc_info()[1]
        try:
            if last:
                try:
                    app.do_teardown_request(exc)
                finally:
                    if (close := getattr(self._request, "close", None)) is not None:
                        close()
        finally:
            token, app_ctx, _ = self._take_push()
            try:
                if app_ctx is self:
                    if app.teardown_appcontext_funcs or appcontext_tearing_down.receivers:
                        self._tear_down_as_app_context(exc)
                    else:
                        app.do_teardown_appcontext(exc)
            finally:
                active = self._leave(token, BOTH if app_ctx is self else REQUEST)
                if self._g is not None:
                    self._has_used_g = True
                if last:
                    self._break_reference_cycles(exc)
                if app_ctx is not None and app_ctx is not self:
                    app_ctx.pop(exc)
            # The signal `appcontext_popped` is sent even if a `teardown_request` function has
            # raised an exception, because the app context has ended nevertheless.
            if app_ctx is self:
                if active[0] is not self:
                    self._refuse_pop(active[0])
                if appcontext_popped.receivers:
                    self._send_popped()
        if active[1] is not self:
            self._refuse_pop(active[1])

    def _tear_down_as_app_context(self, exc: BaseException | None) -> None:
        # As in Flask, `teardown_appcontext` functions run without an active request.
        hidden = _cv.set((self, None))
        try:
            self.app.do_teardown_appcontext(exc)
        finally:
            _cv.reset(hidden)

    def _break_reference_cycles(self, exc: BaseException | None) -> None:
        """Break the reference cycles of a request, so that its memory is freed without the garbage
        collector.
        """
        request = self._request
        if request is None:
            return
        # Break a cycle: the environ refers to the request, which refers to the environ.
        self._environ["werkzeug.request"] = None
        if exc is None and (error := request.routing_exception) is not None:
            # Break a cycle: the request refers to the exception, whose traceback has frames that
            # refer to the request.
            error.__traceback__ = None

    def __repr__(self) -> str:
        request = self.request
        return f"<{type(self).__name__} {request.url!r} [{request.method}] of {self.app.name}>"


if not t.TYPE_CHECKING:
    __getattr__, __dir__ = flask_names(__name__)
