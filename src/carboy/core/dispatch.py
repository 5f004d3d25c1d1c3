"""Handle a request: from the WSGI server's call through hooks and view to the response.

Each step (context, hooks, view, response) is one of Flask's methods. It is called through `self`,
so that overriding or patching a method works as in Flask. A step that has nothing to do, because no
hook is registered, no receiver is connected or the session is unused, costs only one lookup in an
empty dict.

`carboy.core.routing` decides which rule a URL matches, and `carboy.core.errorhandling` which
handler an exception goes to.
"""

from __future__ import annotations

import collections.abc as cabc
import sys
import typing as t
from types import FunctionType

from werkzeug.datastructures import Headers
from werkzeug.routing import RequestRedirect
from werkzeug.wrappers import Response as BaseResponse

from ..ctx import AppContext, RequestContext
from ..globals import _cv, _cv_app, _cv_request, _find_request_ctx
from ..signals import (
    appcontext_tearing_down,
    request_finished,
    request_started,
    request_tearing_down,
)
from ..wrappers import Request, Response
from .changetracking import ChangeTracked, note_change
from .errorhandling import ErrorHandling
from .fastpath import handle_request, is_matched_by_path, note_route
from .firstrequest import prepare_first_request
from .overrides import TRACKED_ATTRIBUTES, Overrides, find_overrides, record_original_steps
from .urls import UrlBuilding

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from blinker import Signal
    from werkzeug.exceptions import HTTPException

    from .. import typing as ft
    from ..access.browserrules import BrowserRules
    from ..access.table import AccessTable
    from ..config import Config
    from ..json.provider import JSONProvider
    from ..sansio.app import App
    from ..sessions import SessionInterface

_sentinel: t.Any = object()
_CO_ASYNC = 0x80 | 0x100  # the flags CO_COROUTINE and CO_ITERABLE_COROUTINE of module `inspect`


def _describe_unsupported(got: object) -> str:
    return (
        "A view returns a string, bytes, dict, list, tuple with status or headers, Response,"
        f" iterator, or WSGI callable, but it was a {type(got).__name__}."
    )


class Dispatcher(UrlBuilding, ErrorHandling, metaclass=ChangeTracked):
    """The methods of an app that handle requests. `Scaffold` and `Carboy` define the attributes
    that they read.
    """

    if t.TYPE_CHECKING:
        config: Config
        json: JSONProvider
        view_functions: dict[str, ft.ViewCallable]
        before_request_funcs: dict[ft.AppOrBlueprintKey, list[ft.BeforeRequestCallable]]
        after_request_funcs: dict[ft.AppOrBlueprintKey, list[ft.AfterRequestCallable[t.Any]]]
        teardown_request_funcs: dict[ft.AppOrBlueprintKey, list[ft.TeardownCallable]]
        teardown_appcontext_funcs: list[ft.TeardownCallable]
        url_value_preprocessors: dict[ft.AppOrBlueprintKey, list[ft.URLValuePreprocessorCallable]]
        app_ctx_globals_class: type[t.Any]
        session_interface: SessionInterface
        _got_first_request: bool

        def _add_own_urls(self) -> None: ...

        def _find_browser_rules(self) -> BrowserRules: ...
        def _find_access(self) -> AccessTable | None: ...

    request_class: type[Request] = Request
    response_class: type[Response] = Response

    # -- the WSGI interface ------------------------------------------------------------------

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> cabc.Iterable[bytes]:
        """Handle a WSGI request by calling `wsgi_app`, which a user may have replaced by
        middleware.
        """
        return self.wsgi_app(environ, start_response)

    def wsgi_app(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> cabc.Iterable[bytes]:
        """The WSGI application. To add middleware, replace it: `app.wsgi_app =
        ProxyFix(app.wsgi_app)`.

        Source: PEP 3333. Thread-safe.
        """
        overrides = self._overrides
        if overrides is None or overrides.changes != ChangeTracked.changes:
            overrides = self.find_overrides()
        browsers = overrides.browsers
        if (
            browsers.has_cors
            and environ["REQUEST_METHOD"] == "OPTIONS"
            and (headers := browsers.preflight(self, environ)) is not None
        ):
            start_response("204 No Content", list(headers))
            return []
        # Servers add REMOTE_PORT. Test clients do not, and no web page can use them.
        if (
            browsers.find_danger is not None
            and "REMOTE_PORT" in environ
            and (danger := browsers.find_danger(environ)) is not None
            and (refusal := browsers.refusal(self, environ, danger)) is not None
        ):
            ctx = self.request_context(environ)
            return self.respond(ctx, environ, start_response, refusal=refusal)
        if (
            overrides.fast_path
            and _cv.get(None) is None
            and is_matched_by_path(environ, overrides.trusted_hosts)
        ):
            return handle_request(self, overrides, environ, start_response)

        is_websocket = "HTTP_UPGRADE" in environ
        refusal = browsers.websocket_refusal(self, environ) if is_websocket else None
        ctx = self.request_context(environ)
        return self.respond(ctx, environ, start_response, refusal=refusal)

    def respond(
        self,
        ctx: RequestContext,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        *,
        refusal: HTTPException | None = None,
    ) -> cabc.Iterable[bytes]:
        """Handle one request, including its errors, and deactivate the request's context
        afterwards.

        Args:
            ctx: the request's context. If it is not active yet, this method pushes it.
            environ: the request's WSGI environ.
            refusal: the error to answer with. Neither hooks that run before views nor a view are
                then called, only error handlers and hooks that change responses.
        """
        browsers = self.find_overrides().browsers
        if browsers.adds_headers:
            start_response = browsers.complete(environ, start_response)
        error: BaseException | None = None
        try:
            try:
                if not ctx._cv_tokens:
                    ctx.push()
                note_route(ctx)
                # Not in `full_dispatch_request` alone: an app that overrides it would let all pass.
                if refusal is not None:
                    response = self.refuse(refusal)
                elif (refused := self._refused(ctx)) is not None:
                    response = refused
                else:
                    response = self.full_dispatch_request()
            except Exception as raised:  # noqa: BLE001  # user code may raise anything
                error = raised
                response = self.handle_exception(raised)
            except BaseException as raised:
                error = raised
                raise
            return response(environ, start_response)
        finally:
            try:
                self._end(ctx, error)
            finally:
                error = None  # break a reference cycle: the traceback refers to this frame

    def refuse(self, refusal: Exception) -> Response:
        """Return the response to a request whose client may not use the route, or cannot be
        identified.

        No function that runs before views has been called, so that one that changes responses may
        lack what such a function leaves for it: its error is logged, and the refusal sent.
        """
        if request_started.receivers:
            self._send(request_started)
        return self.finalize_request(self.handle_user_exception(refusal), from_error_handler=True)

    def _refused(self, ctx: RequestContext) -> Response | None:
        """Return the response to a request whose client may not use the route; None if it may."""
        try:
            self._ask_access(ctx)
        except Exception as error:  # noqa: BLE001  # of `identify_user`: user code
            return self.refuse(error)
        return None

    def _ask_access(self, ctx: RequestContext) -> None:
        """Raise the error that refuses a request, unless it was asked for already."""
        if not ctx._is_admitted:
            ctx._is_admitted = True
            if (access := self.find_overrides().access) is not None:
                access.admit(ctx)

    @property
    def is_wrapped(self) -> bool:
        """Whether a user has overridden or replaced `wsgi_app` or `__call__`, for example by
        middleware.
        """
        cls = type(self)
        return (
            "wsgi_app" in vars(self)
            or cls.wsgi_app is not Dispatcher.wsgi_app
            or cls.__call__ is not Dispatcher.__call__
        )

    _overrides: Overrides | None = None

    def __setattr__(self, name: str, value: t.Any) -> None:
        object.__setattr__(self, name, value)
        if name in TRACKED_ATTRIBUTES:
            note_change()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        if name in TRACKED_ATTRIBUTES:
            note_change()

    def find_overrides(self) -> Overrides:
        overrides = self._overrides
        if overrides is None or overrides.changes != ChangeTracked.changes:
            # Adds the URLs of the OpenAPI document and of protocols for models. This is the right
            # time: the app has added all its rules, which take precedence, and no URL was matched
            # yet.
            self._add_own_urls()
            overrides = find_overrides(self)
            object.__setattr__(self, "_overrides", overrides)
        return overrides

    def _matches_directly(self, environ: WSGIEnvironment, request: Request | None) -> bool:
        """Return whether carboy's compiled URL matcher (`carboy.core.routing`) can be used for the
        request, whose object may not exist yet.
        """
        overrides = self.find_overrides()
        trusted = overrides.trusted_hosts
        if request is not None and self.config["TRUSTED_HOSTS"] is None:
            trusted = request.trusted_hosts  # a class of a user may set them
        return overrides.match and is_matched_by_path(environ, trusted)

    def _end(self, ctx: RequestContext, error: BaseException | None) -> None:
        if "werkzeug.debug.preserve_context" in ctx._environ:
            preserve = ctx._environ["werkzeug.debug.preserve_context"]
            if _cv_app.get() is ctx:
                ctx._keeps_g = True
            preserve(_cv_app.get())
            preserve(_cv_request.get())
        if error is None:
            ctx.pop(None)
        else:
            self._pop_failed(ctx, error)

    def _pop_failed(self, ctx: RequestContext, error: BaseException) -> None:
        if self.should_ignore_error(error):
            ctx.pop(None)
        elif self.config.get("PRESERVE_CONTEXT_ON_EXCEPTION"):
            # After an unhandled exception, leave the context active for a debugger, as Flask 2.2
            # and earlier did. The next request in this thread ends the context.
            ctx._preserved = error
        else:
            ctx.pop(error)

    def app_context(self) -> AppContext:
        """Return a context for a `with` block in which `current_app` and `g` belong to this app."""
        return AppContext(self)  # type: ignore[arg-type]

    def request_context(self, environ: WSGIEnvironment) -> RequestContext:
        """Return a context in which `request` is the request that `environ` describes."""
        return RequestContext(self, environ)  # type: ignore[arg-type]

    def full_dispatch_request(self) -> Response:
        """Call hooks, view and error handlers for the current request, and return the response."""
        if not self._got_first_request:
            prepare_first_request(self)  # type: ignore[arg-type]
            self._got_first_request = True
        try:
            if request_started.receivers:
                self._send(request_started)
            self._ask_access(_find_request_ctx())
            rv = self.preprocess_request()
            if rv is None:
                rv = self.dispatch_request()
        except Exception as error:  # noqa: BLE001  # user code may raise anything
            rv = self.handle_user_exception(error)
        try:
            return self.finalize_request(rv)
        finally:
            # Break a reference cycle: `rv` may be an exception, whose traceback refers to this
            # frame.
            rv = None

    def _send(self, signal: Signal, **values: t.Any) -> None:
        signal.send(self, _async_wrapper=self.ensure_sync, **values)

    # -- hooks and view ----------------------------------------------------------------------

    def preprocess_request(self) -> ft.ResponseReturnValue | None:
        """Run the URL value preprocessors and the `before_request` functions, the app's before a
        blueprint's.

        Returns:
            The first return value that is not None; the view is then not called.
        """
        if not (self.url_value_preprocessors or self.before_request_funcs):
            return None
        ctx = _find_request_ctx()
        names = ctx._scopes()[::-1]
        if self.url_value_preprocessors:
            for name in names:
                for preprocess in self.url_value_preprocessors.get(name, ()):
                    rule, view_args = ctx._matched()  # the previous function may have changed them
                    preprocess(None if rule is None else rule.endpoint, view_args)
        for name in names:
            for before in self.before_request_funcs.get(name, ()):
                rv = self.ensure_sync(before)()
                if rv is not None:
                    return rv  # type: ignore[no-any-return]
        return None

    def dispatch_request(self) -> ft.ResponseReturnValue:
        """Call the view of the rule that matches the request's URL. If no rule matches, raise 404,
        405 or a redirect.
        """
        ctx = _find_request_ctx()
        request = ctx._request
        if request is not None and request.routing_exception is not None:
            self.raise_routing_exception(request)
        rule, view_args = ctx._matched()
        method = ctx._environ["REQUEST_METHOD"].upper() if request is None else request.method
        if method == "OPTIONS" and getattr(rule, "provide_automatic_options", False):
            return self.make_default_options_response()
        view = self.ensure_sync(self.view_functions[rule.endpoint])  # type: ignore[union-attr]
        return view(**view_args)  # type: ignore[no-any-return,arg-type]

    def raise_routing_exception(self, request: Request) -> t.NoReturn:
        """Raise the exception that says why no rule matched the request's URL: 404, 405 or a
        redirect.

        In debug mode, a redirect by which the request's body would be lost raises an error that
        explains this.
        """
        error = request.routing_exception
        assert error is not None
        if (
            self.debug
            and isinstance(error, RequestRedirect)
            and error.code not in {307, 308}
            and request.method not in {"GET", "HEAD", "OPTIONS"}
        ):
            from ..debughelpers import FormDataRoutingRedirect

            raise FormDataRoutingRedirect(request)
        raise error

    def make_default_options_response(self) -> Response:
        """Return the response to an OPTIONS request, which lists the URL's methods in `Allow`."""
        response = self.response_class()
        adapter = _find_request_ctx().url_adapter
        assert adapter is not None
        response.allow.update(adapter.allowed_methods())
        return response

    # -- the response ------------------------------------------------------------------------

    def finalize_request(
        self,
        rv: ft.ResponseReturnValue | HTTPException,
        from_error_handler: bool = False,
    ) -> Response:
        """Convert the return value of a view or error handler to a response, and run the response
        hooks.

        Args:
            from_error_handler: whether this already is an error response; an exception of a hook is
                then logged and not raised.
        """
        response = self.make_response(rv)
        try:
            response = self.process_response(response)
            if request_finished.receivers:
                self._send(request_finished, response=response)
        except Exception:
            if not from_error_handler:
                raise
            self.logger.exception("A hook failed on the response to an error.")
        return response

    def make_response(self, rv: ft.ResponseReturnValue) -> Response:
        """Convert the return value of a view to an instance of `response_class`.

        Args:
            rv: body, `(body, status)`, `(body, headers)` or `(body, status, headers)`. The body is
                text, bytes, a dict or list (JSON), an iterator (streamed), a response, or a WSGI
                callable.
        Raises:
            TypeError: `rv` is None or has another type.
        """
        response_class = self.response_class
        # PERF: the type str (the text of a body) is tested first, because most views return it.
        if type(rv) is str:
            return response_class(rv)
        if type(rv) is response_class:
            return rv
        status: t.Any = None
        headers: ft.HeadersValue | None = None
        if isinstance(rv, tuple):
            rv, status, headers = _unpack(rv)
        if isinstance(rv, response_class):
            response = rv
        elif isinstance(rv, (str, bytes, bytearray, cabc.Iterator)):
            # Status and headers are passed to the constructor and not set afterwards, because a
            # subclass of the response may treat them specially in its constructor.
            return response_class(rv, status=status, headers=headers)  # type: ignore[arg-type]
        elif isinstance(rv, (dict, list)):
            response = self.json.response(rv)  # type: ignore[assignment]
        else:
            response = self._coerce(rv)
        if status is not None:
            if isinstance(status, (str, bytes, bytearray)):
                response.status = status  # type: ignore[assignment]
            else:
                response.status_code = status
        if headers:
            response.headers.update(headers)
        return response

    def _coerce(self, rv: object) -> Response:
        if rv is None:
            endpoint = _find_request_ctx().request.endpoint
            raise TypeError(
                f"The view function for {endpoint!r} did not return a valid response: it returned"
                " None, perhaps by ending without a return statement."
            )
        if not (isinstance(rv, BaseResponse) or callable(rv)):
            # The module is imported on first use, because few apps return the values that it
            # converts: records, pictures and tables.
            from ..contract.responses import respond

            if (made := respond(_find_request_ctx(), rv)) is not None:
                return t.cast(Response, made)
            raise TypeError(
                f"The view did not return a valid response. {_describe_unsupported(rv)}"
            )
        try:
            environ = _find_request_ctx()._environ
            return t.cast(Response, self.response_class.force_type(rv, environ))  # type: ignore[redundant-cast]
        except TypeError as error:
            raise TypeError(
                f"{error}\nThe view did not return a valid response. {_describe_unsupported(rv)}"
            ).with_traceback(sys.exc_info()[2]) from None

    def process_response(self, response: Response) -> Response:
        """Run the `after_request` functions, the last registered first, then save the session."""
        ctx = _find_request_ctx()
        for after in ctx._after or ():
            response = self.ensure_sync(after)(response)
        if self.after_request_funcs:
            for name in ctx._scopes():
                for after in reversed(self.after_request_funcs.get(name, ())):
                    response = self.ensure_sync(after)(response)
        session = ctx._opened
        if session is None:
            if not self.session_needs_refresh(ctx._environ):
                return response
            session = ctx._open_session()
        interface = self.session_interface
        if not interface.is_null_session(session):
            interface.save_session(self, session, response)  # type: ignore[arg-type]
        return response

    # -- the session, opened on first access -------------------------------------------------

    def session_needs_refresh(self, environ: WSGIEnvironment) -> bool:
        """Return whether the session's cookie may have to be sent although no code used the
        session.

        With `SESSION_REFRESH_EACH_REQUEST`, each response renews the cookie of a permanent session.
        """
        cookies = environ.get("HTTP_COOKIE")
        return (
            cookies is not None
            and self.config["SESSION_REFRESH_EACH_REQUEST"]
            and self.config["SESSION_COOKIE_NAME"] in cookies
        )

    # -- the end of a request ----------------------------------------------------------------

    def do_teardown_request(self, exc: BaseException | None = _sentinel) -> None:
        """Run the `teardown_request` functions when a request ends, last registered first.

        Args:
            exc: the exception that ended the request; if left out, the exception being handled.
        """
        if not (self.teardown_request_funcs or request_tearing_down.receivers):
            return
        functions = [
            teardown
            for name in _find_request_ctx()._scopes()
            for teardown in reversed(self.teardown_request_funcs.get(name, ()))
        ]
        self._tear_down(functions, request_tearing_down, exc)

    def do_teardown_appcontext(self, exc: BaseException | None = _sentinel) -> None:
        """Run the `teardown_appcontext` functions when an app context ends, last registered
        first.
        """
        if not (self.teardown_appcontext_funcs or appcontext_tearing_down.receivers):
            return
        functions = self.teardown_appcontext_funcs[::-1]
        self._tear_down(functions, appcontext_tearing_down, exc)

    def _tear_down(
        self,
        functions: list[ft.TeardownCallable],
        signal: Signal,
        exc: BaseException | None,
    ) -> None:
        """Call all teardown functions and send `signal`, and only then raise what they raised.

        All functions are called even if one fails, so that each can release its resources.
        """
        if exc is _sentinel:
            exc = sys.exc_info()[1]
        errors: list[BaseException] = []
        for function in functions:
            try:
                self.ensure_sync(function)(exc)
            except BaseException as error:  # noqa: BLE001  # raised below
                errors.append(error)
        try:
            self._send(signal, exc=exc)
        except BaseException as error:  # noqa: BLE001  # raised below
            errors.append(error)
        try:
            if len(errors) == 1:
                raise errors[0]
            if errors:
                raise BaseExceptionGroup(f"{len(errors)} teardown functions failed.", errors)
        finally:
            errors.clear()  # break a reference cycle: tracebacks refer to this frame

    # -- async -------------------------------------------------------------------------------

    def ensure_sync(self, func: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        """Return `func` itself, or for an `async def` function a blocking wrapper around it."""
        # PERF: for a plain function, reading the flags takes a tenth of the time of `inspect`.
        # `inspect` is needed for other callables, and for functions that were marked as coroutine
        # functions, which is stored in `__dict__`.
        if type(func) is FunctionType and not func.__dict__:
            is_async = bool(func.__code__.co_flags & _CO_ASYNC)
        else:
            is_async = _iscoroutinefunction(func)
        return self.async_to_sync(func) if is_async else func

    def async_to_sync(
        self, func: t.Callable[..., t.Coroutine[t.Any, t.Any, t.Any]]
    ) -> t.Callable[..., t.Any]:
        """Return a blocking function that runs the coroutine function `func` on the process-wide
        event loop.
        """
        from functools import wraps

        from . import eventloop

        @wraps(func)
        def wait(*args: t.Any, **kwargs: t.Any) -> t.Any:
            return eventloop.run(func(*args, **kwargs))

        return wait


record_original_steps(Dispatcher)


def _iscoroutinefunction(func: t.Callable[..., t.Any]) -> bool:
    from inspect import iscoroutinefunction

    return iscoroutinefunction(func)


def _unpack(rv: tuple[t.Any, ...]) -> tuple[t.Any, t.Any, t.Any]:
    if len(rv) == 3:
        return rv
    if len(rv) == 2:
        body, second = rv
        if isinstance(second, (Headers, dict, tuple, list)):
            return body, None, second
        return body, second, None
    raise TypeError(
        "The view function did not return a valid response tuple. The tuple must have the form"
        f" (body, status, headers), (body, status), or (body, headers); it has {len(rv)} items."
    )


def carboy_app(app: WSGIApplication) -> App | None:
    """Return `app` if it is a carboy app; None if it is another WSGI application."""
    return t.cast("App", app) if isinstance(app, Dispatcher) else None
