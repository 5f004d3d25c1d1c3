"""Handle a request in one function, if no step of the usual sequence is overridden.

PERF: `handle_request` does the work of `RequestContext.push`, `Dispatcher.full_dispatch_request`,
`dispatch_request`, `finalize_request` and `RequestContext.pop` without the calls between them and
without the steps that have nothing to do. Calling the methods in turn takes three times as long
(bench/overhead.py). Hooks, error handlers, sessions and signals are looked up on each request, as
in `carboy.core.dispatch`, and unusual cases are passed to its methods. Whoever changes that module
must check whether this one needs the same change. tests/core/test_fastpath_property.py compares the
two.
"""

from __future__ import annotations

import re
import typing as t
from functools import lru_cache

from ..ctx import RequestContext
from ..globals import _cv
from ..observability.environkeys import ROUTE
from ..signals import (
    appcontext_popped,
    appcontext_pushed,
    appcontext_tearing_down,
    request_finished,
    request_started,
    request_tearing_down,
)
from ..wrappers import Response, _content_type
from .firstrequest import prepare_first_request
from .trustedhosts import is_trusted_host

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from .dispatch import Dispatcher
    from .overrides import Overrides

_new = object.__new__
_PLAIN_HOST = re.compile(r"[A-Za-z0-9_.:\[\]-]+")
_HTML = _content_type(t.cast(str, Response.default_mimetype))


# The results of `_is_plain_host` are cached. The size of the cache is limited, because clients can
# send any number of different Host headers.
@lru_cache(maxsize=256)
def _is_plain_host(host: str | None) -> bool:
    """Return whether a Host header is one that Werkzeug accepts. False if only Werkzeug can
    tell.
    """
    if host is None or not _PLAIN_HOST.fullmatch(host):
        return False
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def is_matched_by_path(
    environ: WSGIEnvironment, trusted_hosts: cabc.Collection[str] | None
) -> bool:
    """Return whether only the path and the method of a request decide which rule matches.

    Call it only for an app whose `Overrides.match` is true. If it returns False, let Werkzeug find
    the rule, because it refuses invalid hosts and those that are not in `trusted_hosts`, and treats
    WebSocket requests differently.
    """
    host = environ.get("HTTP_HOST")
    return (
        _is_plain_host(host)
        and "HTTP_UPGRADE" not in environ
        and (trusted_hosts is None or is_trusted_host(host, trusted_hosts))
    )


def handle_request(  # noqa: PLR0912, PLR0915 - one function on purpose (PERF)
    app: Dispatcher,
    overrides: Overrides,
    environ: WSGIEnvironment,
    start_response: StartResponse,
) -> cabc.Iterable[bytes]:
    """Handle a request in one function, with the same result as `Dispatcher.wsgi_app`.

    Call it only if `overrides.fast_path` is true and no context is active in this thread.
    """
    if overrides.browsers.adds_headers:
        start_response = overrides.browsers.complete(environ, start_response)
    ctx = _new(RequestContext)  # PERF: the next lines inline `RequestContext.__init__` and `push`
    ctx.app = app  # type: ignore[assignment]
    ctx._environ = environ
    active = (ctx, ctx)
    token = _cv.set(active)
    ctx._cv_tokens = [(token, ctx, active)]
    method = environ["REQUEST_METHOD"]
    data: bytes | None = None
    error: BaseException | None = None
    try:
        try:
            if appcontext_pushed.receivers:
                ctx._send_pushed()
            if not overrides.lazy_session:
                ctx._open_session()
            hit = app.url_map.fast_match(environ.get("PATH_INFO") or "", method)
            if hit is None:
                ctx._match_by_adapter()
                note_route(ctx)
            else:
                ctx._rule, ctx._view_args = hit
                if ROUTE in environ:  # PERF: does the same as `note_route`, without a call
                    environ[ROUTE] = hit[0].rule
                # The request object exists already if the session interface or a receiver of a
                # signal has read `request`. Then set the matched rule and its arguments on this
                # object, too.
                if (made := ctx._request) is not None:
                    made.url_rule, made.view_args = hit
            if not app._got_first_request:
                prepare_first_request(app)  # type: ignore[arg-type]
                app._got_first_request = True
            if overrides.access is not None:
                try:
                    overrides.access.admit(ctx)
                except Exception as refusal:  # noqa: BLE001 - as in `Dispatcher._refused`
                    return app.refuse(refusal)(environ, start_response)
            try:
                if request_started.receivers:
                    app._send(request_started)
                rv: t.Any = None
                if (app.before_request_funcs and _has_hooks(app.before_request_funcs, ctx)) or (
                    app.url_value_preprocessors and _has_hooks(app.url_value_preprocessors, ctx)
                ):
                    rv = app.preprocess_request()
                if rv is None:
                    if hit is None or ctx._request is not None or method == "OPTIONS":
                        rv = app.dispatch_request()
                    else:
                        rule, view_args = hit
                        endpoint = rule.endpoint
                        view = app.view_functions[endpoint]
                        if overrides.views.get(endpoint) is not view:
                            view = _synchronous_view(app, overrides, endpoint, view)
                        rv = view(**view_args)
            except Exception as raised:  # noqa: BLE001 - as in `full_dispatch_request`
                rv = app.handle_user_exception(raised)
            kind = type(rv)
            if (
                (kind is str or kind is Response or (kind is dict and overrides.json))
                and ctx._opened is None
                and ctx._after is None
                and not (app.after_request_funcs and _has_hooks(app.after_request_funcs, ctx))
                and not request_finished.receivers
                and method != "HEAD"
                and ("HTTP_COOKIE" not in environ or not app.session_needs_refresh(environ))
            ):
                if kind is str:
                    data = rv.encode()
                    content_type = _HTML
                elif kind is Response:
                    response = rv
                else:
                    text, mimetype = app.json._render(rv)  # type: ignore[attr-defined]
                    data = text.encode()
                    content_type = _content_type(mimetype)
            else:
                response = app.finalize_request(rv)
            # Break a reference cycle: `rv` may be an exception, whose traceback refers to this
            # frame.
            rv = None
        except Exception as raised:  # noqa: BLE001 - as in `Dispatcher.wsgi_app`
            error = raised
            response = app.handle_exception(raised)
        except BaseException as raised:
            error = raised
            raise
        if data is None:
            return response(environ, start_response)  # type: ignore[no-any-return]
        start_response(
            "200 OK", [("Content-Type", content_type), ("Content-Length", str(len(data)))]
        )
        return [data]
    finally:
        if (
            error is None
            and len(ctx._cv_tokens) == 1
            and _cv.get(None) is active
            and not (app.teardown_request_funcs and _has_hooks(app.teardown_request_funcs, ctx))
            and not app.teardown_appcontext_funcs
            and not request_tearing_down.receivers
            and not appcontext_tearing_down.receivers
            and not appcontext_popped.receivers
            and "werkzeug.debug.preserve_context" not in environ
        ):
            ctx._cv_tokens.clear()
            _cv.reset(token)
            if (request := ctx._request) is not None:
                if "files" in request.__dict__:
                    request.close()
                # Inlines `RequestContext._break_reference_cycles`, so that memory is freed without
                # the garbage collector.
                environ["werkzeug.request"] = None
                if request.routing_exception is not None:
                    request.routing_exception.__traceback__ = None
        else:
            try:
                app._end(ctx, error)
            finally:
                error = None  # break a reference cycle: the traceback refers to this frame


def note_route(ctx: RequestContext) -> None:
    """Tell the server which rule the request matches, if the server has asked for it."""
    if ROUTE in ctx._environ and (rule := ctx._matched()[0]) is not None:
        ctx._environ[ROUTE] = rule.rule


def _has_hooks(registry: dict[str | None, t.Any], ctx: RequestContext) -> bool:
    """Return whether any hook in `registry` applies: one of the app, or of the request's
    blueprints.
    """
    for name in ctx._scopes():  # noqa: SIM110 - PERF: `any` takes 1.7 times as long
        if registry.get(name):
            return True
    return False


def _synchronous_view(
    app: Dispatcher, overrides: Overrides, endpoint: str, view: t.Callable[..., t.Any]
) -> t.Callable[..., t.Any]:
    """Return the view as a synchronous function. A view that is one already is stored in
    `overrides.views`, so that the next request does not ask `ensure_sync`.
    """
    sync = app.ensure_sync(view)
    if sync is view:
        overrides.views[endpoint] = view
    return sync
