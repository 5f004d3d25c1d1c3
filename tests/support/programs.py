"""Small programs that override, replace, patch or subscribe to steps of handling a request.

Each program runs on Flask, on carboy's fast path, and on carboy's full dispatch, and must have the
same responses and the same order of events on all three. `fast_path` says whether carboy may use
the
fast path: True, False, or a value per request. To add a program, add a function.
"""

from __future__ import annotations

import dataclasses
import http
import threading
import typing as t
from unittest import mock

import werkzeug
import werkzeug.routing
from markupsafe import Markup
from werkzeug.exceptions import HTTPException, NotFound

Fw = t.Any
Log = t.Callable[..., None]


@dataclasses.dataclass(frozen=True)
class Program:
    run: t.Callable[[Fw, Log], t.Any]
    fast_path: bool | tuple[bool, ...] | None


PROGRAMS: dict[str, Program] = {}


def program(*, fast_path: bool | tuple[bool, ...] | None = True) -> t.Callable[[t.Any], t.Any]:
    def decorator(function: t.Callable[[Fw, Log], t.Any]) -> t.Callable[[Fw, Log], t.Any]:
        assert function.__name__ not in PROGRAMS, function.__name__
        PROGRAMS[function.__name__] = Program(function, fast_path)
        return function

    return decorator


def make_app(fw: Fw, log: Log, cls: t.Any = None, **options: t.Any) -> t.Any:
    """Return an app with a view that logs its call."""
    app = (cls or fw.Flask)("program", **options)
    app.secret_key = "key"

    @app.get("/")
    def index():
        log("view")
        return "index"

    @app.get("/json/<int:n>")
    def numbers(n):
        log("view", n)
        return {"n": n}

    @app.get("/fails")
    def fails():
        log("view")
        raise LookupError("in the view")

    @app.get("/session")
    def count():
        fw.session["count"] = fw.session.get("count", 0) + 1
        return str(fw.session["count"])

    return app


def _get(app, rule, view):
    app.add_url_rule(rule, endpoint=rule.strip("/").partition("/")[0], view_func=view)


ALL = ("GET /", "GET /json/3", "HEAD /", "OPTIONS /", "GET /none", "POST /", "GET /fails")


# ------------------------------------------------------------------ methods of the app, overridden

_METHODS = (
    "app_context",
    "async_to_sync",
    "create_url_adapter",
    "dispatch_request",
    "do_teardown_appcontext",
    "do_teardown_request",
    "ensure_sync",
    "finalize_request",
    "full_dispatch_request",
    "handle_exception",
    "handle_http_exception",
    "handle_user_exception",
    "log_exception",
    "make_default_options_response",
    "make_response",
    "preprocess_request",
    "process_response",
    "raise_routing_exception",
    "request_context",
    "should_ignore_error",
    "trap_http_exception",
    "wsgi_app",
)
# The steps that the fast path still calls.
_CALLED = {
    "async_to_sync",
    "handle_exception",
    "handle_http_exception",
    "handle_user_exception",
    "log_exception",
    "make_default_options_response",
    "raise_routing_exception",
    "should_ignore_error",
    "trap_http_exception",
    "wsgi_app",
}
# The number of calls of these methods per hook and context is an implementation detail.
_COUNTED_ONCE = {"create_url_adapter", "ensure_sync"}


def _noting(method, log):
    name = method.__name__
    if name in _COUNTED_ONCE:
        return _noting_once(method, log)

    def noted(self, *args, **kwargs):
        log("->", name)
        try:
            return method(self, *args, **kwargs)
        finally:
            log("<-", name)

    return noted


def _noting_once(method, log):
    said = []

    def noted(self, *args, **kwargs):
        if not said:
            said.append(method.__name__)
            log("->", method.__name__)
        return method(self, *args, **kwargs)

    return noted


def _overridden(name):
    def run(fw, log):
        cls = type("App", (fw.Flask,), {name: _noting(getattr(fw.Flask, name), log)})
        return make_app(fw, log, cls), *ALL

    return run


def _on_the_instance(name):
    def run(fw, log):
        app = make_app(fw, log)

        def replace(app):
            noted = _noting(getattr(type(app), name), log)
            setattr(app, name, lambda *args, **kwargs: noted(app, *args, **kwargs))

        return app, "GET /", replace, *ALL, lambda app: delattr(app, name), "GET /"

    return run


def _on_the_class(name):
    def run(fw, log):
        app = make_app(fw, log)
        patch = mock.patch.object(fw.Flask, name, _noting(getattr(fw.Flask, name), log))
        steps = (lambda app: patch.start(), *ALL, lambda app: patch.stop())
        return app, "GET /", *steps, "GET /", *steps, "GET /json/3"

    return run


for _name in _METHODS:
    _quick = _name in _CALLED
    PROGRAMS[f"overridden_{_name}"] = Program(_overridden(_name), _quick)
    PROGRAMS[f"on_the_instance_{_name}"] = Program(
        _on_the_instance(_name), (True, *[_quick] * len(ALL), True)
    )
    PROGRAMS[f"on_the_class_{_name}"] = Program(
        _on_the_class(_name), (True, *[_quick] * len(ALL), True, *[_quick] * len(ALL), True)
    )


@program()
def nothing_overridden(fw, log):
    return make_app(fw, log), *ALL, *ALL


@program()
def wsgi_app_wrapped(fw, log):
    app = make_app(fw, log)

    def wrap(app):
        inner = app.wsgi_app

        def middleware(environ, start_response):
            log("middleware")
            environ["PATH_INFO"] = "/json/7"
            return inner(environ, start_response)

        app.wsgi_app = middleware

    return app, "GET /", wrap, "GET /"


# -------------------------------------------------------------------------------------- registries


@program()
def hooks_in_their_order(fw, log):
    app = make_app(fw, log)
    for n in "12":
        app.before_request(lambda n=n: log("before", n))
        app.after_request(lambda response, n=n: log("after", n) or response)
        app.teardown_request(lambda exc, n=n: log("teardown", n, type(exc).__name__))
        app.teardown_appcontext(lambda exc, n=n: log("app teardown", n, type(exc).__name__))
        app.url_value_preprocessor(lambda e, v, n=n: log("values", n, e, v))
    return app, *ALL


@program()
def registries_replaced(fw, log):
    app = make_app(fw, log)

    def replace(app):
        app.before_request_funcs = {None: [lambda: log("before")]}
        app.after_request_funcs = {None: [lambda response: log("after") or response]}
        app.teardown_request_funcs = {None: [lambda exc: log("teardown")]}
        app.teardown_appcontext_funcs = [lambda exc: log("app teardown")]
        app.url_value_preprocessors = {None: [lambda e, v: log("values", e)]}
        app.error_handler_spec = _Spec({None: _Codes({404: {NotFound: lambda e: ("lost", 404)}})})

    return app, "GET /", replace, *ALL


class _Codes(dict):
    def __missing__(self, key):
        return {}


class _Spec(dict):
    def __missing__(self, key):
        return _Codes()


@program()
def registries_written_to(fw, log):
    app = make_app(fw, log)

    def write(app):
        app.before_request_funcs.setdefault(None, []).insert(0, lambda: log("before"))
        app.after_request_funcs[None] = [lambda response: log("after") or response]
        app.view_functions["index"] = lambda: "another"
        app.error_handler_spec[None][None][LookupError] = lambda e: (f"caught {e}", 418)

    def take_back(app):
        app.before_request_funcs[None].clear()
        app.after_request_funcs.pop(None)
        app.view_functions["index"] = lambda: {"a": "third"}

    return app, "GET /", write, *ALL, take_back, *ALL


@program()
def before_request_answers(fw, log):
    app = make_app(fw, log)

    @app.before_request
    def stop():
        if fw.request.args.get("stop"):
            return {"stopped": True}
        return None

    app.after_request(lambda response: log("after") or response)
    return app, "GET /", "GET /?stop=1", "GET /none?stop=1", "POST /?stop=1"


@program()
def hooks_that_fail(fw, log):
    app = make_app(fw, log)
    app.before_request(lambda: 1 / 0 if "before" in fw.request.args else None)
    app.after_request(lambda r: 1 / 0 if "after" in fw.request.args else r)
    app.teardown_request(lambda exc: log("teardown", type(exc).__name__))
    return app, "GET /?before=1", "GET /?after=1", "GET /none?after=1", "GET /fails?after=1"


@program()
def blueprints_nested(fw, log):
    app = make_app(fw, log)
    outer = fw.Blueprint("outer", "program", url_prefix="/outer")
    inner = fw.Blueprint("inner", "program", url_prefix="/inner")
    for name, part in (("app", app), ("outer", outer), ("inner", inner)):
        part.before_request(lambda name=name: log("before", name))
        part.after_request(lambda r, name=name: log("after", name) or r)
        part.teardown_request(lambda exc, name=name: log("teardown", name))
        part.url_value_preprocessor(lambda e, v, name=name: log("values", name, e, v))

    @inner.get("/<x>")
    def view(x):
        log("view", fw.request.blueprint, fw.request.blueprints, fw.request.endpoint)
        return fw.url_for(".view", x=x + "!")

    outer.errorhandler(LookupError)(lambda e: ("outer", 500))
    _get(inner, "/fails", lambda: {}["missing"])
    outer.add_url_rule("/fails", endpoint="f", view_func=lambda: [].pop())
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    return app, "GET /outer/inner/a", "GET /outer/inner/fails", "GET /outer/fails", "GET /fails"


@program()
def error_handlers(fw, log):
    app = make_app(fw, log)
    app.errorhandler(404)(lambda e: (f"nothing: {type(e).__name__}", 404))
    app.errorhandler(HTTPException)(lambda e: ({"code": e.code}, e.code))
    app.errorhandler(500)(lambda e: (f"{e.original_exception!r}", 500))

    @app.get("/abort/<int:code>")
    def stop(code):
        fw.abort(code)

    @app.get("/response")
    def response():
        fw.abort(fw.Response("as it is", 299))

    return app, *ALL, "GET /abort/404", "GET /abort/403", "GET /abort/500", "GET /response"


@program()
def handlers_by_class_before_their_bases(fw, log):
    app = make_app(fw, log)
    app.errorhandler(Exception)(lambda e: f"Exception {type(e).__name__}")
    app.errorhandler(KeyError)(lambda e: f"KeyError {e}")

    @app.get("/key")
    def key():
        return fw.request.form["missing"]

    return app, *ALL, "GET /key"


@program()
def error_handler_fails(fw, log):
    app = make_app(fw, log)
    app.errorhandler(LookupError)(lambda e: 1 / 0)
    app.errorhandler(500)(lambda e: f"{type(e.original_exception).__name__}")
    return app, "GET /fails"


@program()
def testing_lets_errors_through(fw, log):
    app = make_app(fw, log)
    app.testing = True
    app.teardown_request(lambda exc: log("teardown", repr(exc)))
    app.teardown_appcontext(lambda exc: log("app teardown", repr(exc)))
    return app, *ALL


@program()
def base_exceptions_pass(fw, log):
    app = make_app(fw, log)
    app.teardown_request(lambda exc: log("teardown", repr(exc)))
    app.errorhandler(500)(lambda e: "handled")

    @app.get("/exit")
    def leave():
        raise SystemExit(3)

    return app, "GET /exit", "GET /"


# ----------------------------------------------------------------------------------------- signals


@program()
def all_signals(fw, log):
    app = make_app(fw, log)
    for name in (
        "request_started",
        "request_finished",
        "request_tearing_down",
        "got_request_exception",
        "appcontext_pushed",
        "appcontext_tearing_down",
        "appcontext_popped",
    ):

        def receive(sender, name=name, **values):
            log(name, sender is app, fw.has_request_context(), sorted(values))

        getattr(fw, name).connect(receive, app, weak=False)
    return app, *ALL


@program()
def signals_come_and_go(fw, log):
    app = make_app(fw, log)

    def receive(sender, **values):
        log("signal", sorted(values))

    def within(app):
        with fw.request_finished.connected_to(receive, app):
            log(app.test_client().get("/").text)

    def other(app):
        another = make_app(fw, log)
        with fw.request_started.connected_to(receive, another):
            log(app.test_client().get("/").text)

    return app, "GET /", within, "GET /", other, "GET /json/1"


@program()
def receiver_touches_the_request(fw, log):
    app = make_app(fw, log)

    def touch(sender, **values):
        log(fw.request.path, fw.request.endpoint, fw.session.get("count"))

    fw.appcontext_pushed.connect(lambda s, **v: log("pushed"), app, weak=False)
    fw.request_started.connect(touch, app, weak=False)
    return app, *ALL


# ---------------------------------------------------------------------------------------- sessions


@program()
def sessions_set_and_read(fw, log):
    app = make_app(fw, log)

    @app.get("/read")
    def read():
        return str(dict(fw.session))

    @app.get("/clear")
    def clear():
        fw.session.clear()
        return ""

    def visit(app):
        client = app.test_client()
        for path in ("/", "/session", "/", "/read", "/session", "/clear", "/clear", "/read"):
            response = client.get(path)
            log(
                path,
                response.text,
                response.vary.as_set(),
                len(response.headers.getlist("Set-Cookie")),
            )

    return app, "GET /session", "GET /read", "GET /clear", visit


@program()
def permanent_sessions_are_refreshed(fw, log):
    app = make_app(fw, log)

    @app.get("/keep")
    def keep():
        fw.session.permanent = True
        return ""

    def visit(app):
        client = app.test_client()
        for path in ("/", "/keep", "/", "/none", "/fails"):
            response = client.get(path)
            log(path, response.vary.as_set(), len(response.headers.getlist("Set-Cookie")))
        app.config["SESSION_REFRESH_EACH_REQUEST"] = False
        response = client.get("/")
        log(response.vary.as_set(), len(response.headers.getlist("Set-Cookie")))

    return app, visit


@program()
def without_a_secret_key(fw, log):
    app = make_app(fw, log)
    app.secret_key = None

    @app.get("/read")
    def read():
        return str(fw.session.get("x"))

    return app, "GET /", "GET /read", "GET /session"


@program()
def forged_cookies(fw, log):
    app = make_app(fw, log)
    cookie = {"HTTP_COOKIE": "session=eyJjb3VudCI6OX0.forged.signature; other=1"}
    return app, {"path": "/session", "environ": cookie}, {"path": "/", "environ": cookie}


def _custom_session(fw, log):
    class Session(dict, fw.sessions.SessionMixin):
        pass

    class Interface(fw.sessions.SessionInterface):
        def open_session(self, app, request):
            log("open", request.path, fw.has_request_context())
            return None if "null" in request.args else Session(count=41)

        def save_session(self, app, session, response):
            log("save", dict(session), session.accessed)
            response.headers["X-Session"] = str(session.get("count"))

    return Interface()


@program()
def custom_session_interface(fw, log):
    app = make_app(fw, log)
    app.session_interface = _custom_session(fw, log)
    return app, *ALL, "GET /session", "GET /?null=1", "GET /session?null=1"


@program()
def session_interface_set_later(fw, log):
    app = make_app(fw, log)

    def change(app):
        app.session_interface = _custom_session(fw, log)

    def change_back(app):
        del app.session_interface

    return app, "GET /", change, "GET /", change_back, "GET /"


@program()
def session_interface_subclass(fw, log):
    class Interface(fw.sessions.SecureCookieSessionInterface):
        def open_session(self, app, request):
            log("open")
            return super().open_session(app, request)

        def should_set_cookie(self, app, session):
            log("should")
            return super().should_set_cookie(app, session)

    app = make_app(fw, log)
    app.session_interface = Interface()
    return app, "GET /", "GET /session"


@program()
def session_interface_class_patched(fw, log):
    app = make_app(fw, log)
    cls = fw.sessions.SecureCookieSessionInterface
    opened, saved = cls.open_session, cls.save_session

    def open_session(self, app, request):
        log("open")
        return opened(self, app, request)

    def save_session(self, app, session, response):
        log("save")
        return saved(self, app, session, response)

    patch = mock.patch.multiple(cls, open_session=open_session, save_session=save_session)
    return (
        app,
        "GET /",
        lambda app: patch.start() and None,
        *("GET /", "GET /session", "GET /none"),
        lambda app: patch.stop() and None,
        "GET /",
    )


@program()
def session_interface_method_on_the_instance(fw, log):
    app = make_app(fw, log)
    app.session_interface = fw.sessions.SecureCookieSessionInterface()
    original = app.session_interface.open_session

    def replace(app):
        app.session_interface.open_session = lambda a, request: log("open") or original(a, request)

    def undo(app):
        del app.session_interface.open_session

    return app, "GET /", replace, "GET /", undo, "GET /"


@program()
def session_that_cannot_be_opened(fw, log):
    class Interface(fw.sessions.SecureCookieSessionInterface):
        def open_session(self, app, request):
            if "broken" in request.args:
                raise OSError("no store")
            return super().open_session(app, request)

    app = make_app(fw, log)
    app.session_interface = Interface()
    app.testing = True
    app.teardown_request(lambda exc: log("teardown", type(exc).__name__))
    return app, "GET /?broken=1", "GET /"


@program()
def flashed_messages(fw, log):
    app = make_app(fw, log)

    @app.get("/flash")
    def flash():
        fw.flash("hello")
        fw.flash("world", "error")
        return str(fw.get_flashed_messages(with_categories=True))

    @app.get("/flashed")
    def flashed():
        return f"{fw.get_flashed_messages()} {fw.get_flashed_messages()}"

    def visit(app):
        client = app.test_client()
        log(client.get("/flash").text, client.get("/flashed").text, client.get("/flashed").text)
        fw.message_flashed.connect(lambda s, **v: log(sorted(v)), app, weak=False)
        log(client.get("/flash").text)

    return app, visit


# -------------------------------------------------------------------------- requests and responses


@program(fast_path=False)
def request_class_of_its_own(fw, log):
    class Request(fw.Request):
        def __init__(self, environ, *args, **kwargs):
            super().__init__(environ, *args, **kwargs)
            log("made", self.path)

        @property
        def user(self):
            return self.args.get("user", "nobody")

    cls = type("App", (fw.Flask,), {"request_class": Request})
    app = make_app(fw, log, cls)
    _get(
        app, "/user", lambda: f"{fw.request.user} {type(fw.request._get_current_object()).__name__}"
    )
    return app, "GET /user?user=me", "GET /", "GET /none"


@program(fast_path=False)
def response_class_of_its_own(fw, log):
    class Response(fw.Response):
        default_mimetype = "application/xml"
        default_status = 203

        def get_wsgi_headers(self, environ):
            headers = super().get_wsgi_headers(environ)
            headers["X-Headers"] = "mine"
            return headers

        def close(self):
            log("closed")
            super().close()

    app = make_app(fw, log)
    app.response_class = Response
    _get(app, "/plain", lambda: fw.Response("of the other class", 201))
    _get(app, "/werkzeug", lambda: werkzeug.Response("werkzeug's", 202, {"X": "y"}))
    return app, "GET /plain", "GET /werkzeug", *ALL


def _returning(make):
    """Return a program whose view returns what `make(fw, log)` creates."""

    def run(fw, log):
        app = make_app(fw, log)
        _get(app, "/it", lambda: make(fw, log))
        app.after_request(lambda r: r if "plain" in fw.request.args else _touch(r))
        return app, "GET /it?plain=1", "GET /it", "HEAD /it"

    def _touch(response):
        response.headers["X-After"] = "yes"
        return response

    return run


class _Odd:
    pass


def _wsgi(environ, start_response):
    start_response("201 Made", [("X-Inner", environ["PATH_INFO"]), ("Content-Type", "a/b")])
    return [b"inner"]


def _generator(log):
    try:
        yield "one"
        yield "two"
    finally:
        log("generator closed")


def _subclass(fw, log):
    def close(self):
        log("closed")
        super(cls, self).close()

    cls = type("Mine", (fw.Response,), {"default_status": 299, "close": close})
    return cls("mine")


def _changed(fw, how):
    response = fw.Response("before")
    how(response)
    return response


def _conditional(fw):
    response = fw.Response("cached")
    response.add_etag()
    return response.make_conditional(fw.request.environ)


_RETURNED: dict[str, t.Callable[[Fw, Log], t.Any]] = {
    "text": lambda fw, log: "text",
    "empty_text": lambda fw, log: "",
    "unicode": lambda fw, log: "grün \N{SNOWMAN}",
    "surrogate": lambda fw, log: "\ud800",
    "text_subclass": lambda fw, log: Markup("<b>"),
    "bytes": lambda fw, log: b"\x00bytes",
    "bytearray": lambda fw, log: bytearray(b"array"),
    "memoryview": lambda fw, log: memoryview(b"view"),
    "dict": lambda fw, log: {"b": 1, "a": ["ü", None]},
    "dict_unserializable": lambda fw, log: {"a": _Odd()},
    "list": lambda fw, log: [1, 2, {"a": 1.5}],
    "empty_dict": lambda fw, log: {},
    "set": lambda fw, log: {1},
    "none": lambda fw, log: None,
    "integer": lambda fw, log: 5,
    "true": lambda fw, log: True,
    "odd": lambda fw, log: _Odd(),
    "iterator": lambda fw, log: iter([b"a", "b"]),
    "generator": lambda fw, log: _generator(log),
    "response": lambda fw, log: fw.Response("r", 201, {"X": "y"}),
    "make_response": lambda fw, log: fw.make_response("m", 202),
    "response_empty": lambda fw, log: fw.Response(),
    "werkzeug_response": lambda fw, log: werkzeug.Response("w", 202, {"X": "y"}),
    "wsgi_callable": lambda fw, log: _wsgi,
    "exception": lambda fw, log: NotFound("returned, not raised"),
    "redirect": lambda fw, log: fw.redirect("/über?a=b c"),
    "with_status": lambda fw, log: ("s", 201),
    "with_status_text": lambda fw, log: ("s", "201 Good"),
    "with_status_bare": lambda fw, log: ("s", "299"),
    "with_status_enum": lambda fw, log: ("s", http.HTTPStatus.ACCEPTED),
    "with_status_odd": lambda fw, log: ("s", 799),
    "with_status_wrong": lambda fw, log: ("s", "no number"),
    "with_status_empty": lambda fw, log: ("s", ""),
    "with_headers_dict": lambda fw, log: ("h", {"X-A": "1", "Content-Type": "text/x"}),
    "with_headers_list": lambda fw, log: ("h", [("X-A", "1"), ("X-A", "2")]),
    "with_headers_many": lambda fw, log: ("h", {"X-A": ["1", "2"]}),
    "with_headers_break": lambda fw, log: ("h", {"X-A": "1\r\nX-B: 2"}),
    "with_both": lambda fw, log: ("b", 201, {"X-A": "1"}),
    "dict_with_both": lambda fw, log: ({"b": 1}, 201, {"X-A": "1"}),
    "response_with_both": lambda fw, log: (fw.Response("r", 400), 201, {"X-A": "1"}),
    "none_with_status": lambda fw, log: (None, 201),
    "one_in_tuple": lambda fw, log: ("one",),
    "four_in_tuple": lambda fw, log: ("one", 2, {}, 4),
    "empty_tuple": lambda fw, log: (),
    "no_content": lambda fw, log: ("", 204),
    "not_modified": lambda fw, log: ("body", 304),
    "early": lambda fw, log: ("body", 103),
    "cookie": lambda fw, log: _changed(fw, lambda r: r.set_cookie("a", "b", samesite="Lax")),
    "set_data": lambda fw, log: _changed(fw, lambda r: r.set_data("a longer one")),
    "data_attribute": lambda fw, log: _changed(fw, lambda r: setattr(r, "data", b"x")),
    "other_mimetype": lambda fw, log: _changed(fw, lambda r: setattr(r, "mimetype", "text/x")),
    "other_type": lambda fw, log: _changed(fw, lambda r: setattr(r, "content_type", "x/y")),
    "other_status": lambda fw, log: _changed(fw, lambda r: setattr(r, "status_code", 418)),
    "called_on_close": lambda fw, log: _changed(
        fw, lambda r: r.call_on_close(lambda: log("closed"))
    ),
    "frozen": lambda fw, log: _changed(fw, lambda r: r.freeze()),
    "with_etag": lambda fw, log: _changed(fw, lambda r: r.add_etag()),
    "written_to": lambda fw, log: _changed(fw, lambda r: r.stream.write(b" and after")),
    "length_removed": lambda fw, log: _changed(fw, lambda r: r.headers.pop("Content-Length")),
    "type_removed": lambda fw, log: _changed(fw, lambda r: r.headers.pop("Content-Type")),
    "headers_replaced": lambda fw, log: _changed(
        fw, lambda r: setattr(r, "headers", werkzeug.datastructures.Headers({"X": "y"}))
    ),
    "list_with_length": lambda fw, log: fw.Response(["a", b"b"]),
    "location": lambda fw, log: _changed(fw, lambda r: r.headers.set("Location", "/ü")),
    "mimetype_given": lambda fw, log: fw.Response("m", mimetype="text/plain"),
    "mimetype_empty": lambda fw, log: fw.Response("m", mimetype=""),
    "mimetype_break": lambda fw, log: fw.Response("m", mimetype="a/b\r\nX: y"),
    "type_given": lambda fw, log: fw.Response("m", content_type="text/plain; charset=x"),
    "type_empty": lambda fw, log: fw.Response("m", content_type=""),
    "type_break": lambda fw, log: fw.Response("m", content_type="a/b\nX: y"),
    "passthrough": lambda fw, log: fw.Response("direct", direct_passthrough=True),
    "conditional": lambda fw, log: _conditional(fw),
    "subclass": _subclass,
    "jsonify": lambda fw, log: fw.jsonify(a=1),
    "json_status": lambda fw, log: (fw.jsonify([1]), 201),
}
for _name, _make in _RETURNED.items():
    PROGRAMS[f"returning_{_name}"] = Program(_returning(_make), True)
for _name in (
    "text",
    "dict",
    "list",
    "generator",
    "none",
    "surrogate",
    "with_both",
    "wsgi_callable",
):

    def _plainly(fw, log, make=_RETURNED[_name]):
        app = make_app(fw, log)
        _get(app, "/it", lambda: make(fw, log))
        return app, "GET /it", "HEAD /it", "OPTIONS /it", "POST /it"

    PROGRAMS[f"plainly_returning_{_name}"] = Program(_plainly, True)


@program(fast_path=(True, False, True, False, True))
def response_class_patched(fw, log):
    app = make_app(fw, log)
    original = fw.Response.get_wsgi_headers

    def get_wsgi_headers(self, environ):
        log("headers")
        return original(self, environ)

    headers = mock.patch.object(fw.Response, "get_wsgi_headers", get_wsgi_headers, create=True)
    mimetype = mock.patch.object(fw.Response, "default_mimetype", "text/plain")
    return (
        app,
        "GET /",
        lambda app: headers.start() and None,
        "GET /",
        lambda app: headers.stop() and None,
        "GET /",
        lambda app: mimetype.start() and None,
        "GET /",
        lambda app: mimetype.stop() and None,
        "GET /",
    )


@program(fast_path=(True, False, True))
def request_class_patched(fw, log):
    app = make_app(fw, log)
    original = fw.Request.__init__

    def init(self, *args, **kwargs):
        original(self, *args, **kwargs)
        log("made", self.path)

    patch = mock.patch.object(fw.Request, "__init__", init)
    return (
        app,
        "GET /",
        lambda app: patch.start() and None,
        "GET /",
        lambda app: patch.stop() and None,
        "GET /",
    )


@program()
def request_fields_changed_by_hooks(fw, log):
    app = make_app(fw, log)

    @app.before_request
    def change():
        if "method" in fw.request.args:
            fw.request.method = "OPTIONS"
        if "rule" in fw.request.args:
            rules = {rule.endpoint: rule for rule in app.url_map.iter_rules()}
            fw.request.url_rule, fw.request.view_args = rules["numbers"], {"n": 9}
        if "lost" in fw.request.args:
            fw.request.routing_exception = NotFound()

    return app, "GET /", "GET /?method=1", "GET /?rule=1", "GET /?lost=1", "GET /none?rule=1"


@program()
def view_arguments_changed_in_place(fw, log):
    app = make_app(fw, log)

    @app.url_value_preprocessor
    def change(endpoint, values):
        if values and "n" in values:
            values["n"] += 1

    return app, "GET /json/1", "GET /json/1", "GET /", "GET /none"


@program()
def json_provider_replaced(fw, log):
    class Provider(fw.json.provider.DefaultJSONProvider):
        def dumps(self, obj, **kwargs):
            log("dumps")
            return super().dumps(obj, **kwargs)

        def response(self, *args, **kwargs):
            log("response")
            return super().response(*args, **kwargs)

    app = make_app(fw, log)
    app.secret_key = None  # Flask's signer tests its serializer on each request

    def replace(app):
        app.json = Provider(app)

    return app, "GET /json/1", replace, "GET /json/1"


@program()
def json_provider_changed(fw, log):
    app = make_app(fw, log)
    _get(app, "/u", lambda: {"b": "ü", "a": 1})
    cls = fw.json.provider.DefaultJSONProvider
    original = cls.response

    def response(self, *args, **kwargs):
        log("response")
        return original(self, *args, **kwargs)

    patch = mock.patch.object(cls, "response", response)

    def set_attributes(app):
        app.json.ensure_ascii = False
        app.json.sort_keys = False
        app.json.compact = False
        app.json.mimetype = "application/x-json"

    def on_the_instance(app):
        app.json.response = lambda *args: response(app.json, *args)

    return (
        app,
        "GET /u",
        lambda app: patch.start() and None,
        "GET /u",
        lambda app: patch.stop() and None,
        "GET /u",
        set_attributes,
        "GET /u",
        on_the_instance,
        "GET /u",
        lambda app: delattr(app.json, "response"),
        "GET /u",
    )


@program()
def json_in_debug_mode(fw, log):
    app = make_app(fw, log)
    app.debug = True
    return app, "GET /json/1", "GET /", "GET /none", "POST /"


@program()
def reading_the_body(fw, log):
    app = make_app(fw, log)

    @app.post("/read/<path:order>")
    def read(order):
        ways = {
            "data": lambda r: r.data,
            "get": lambda r: r.get_data(),
            "get_uncached": lambda r: r.get_data(cache=False),
            "text": lambda r: r.get_data(as_text=True),
            "parse": lambda r: r.get_data(parse_form_data=True),
            "form": lambda r: sorted(r.form.items(multi=True)),
            "files": lambda r: sorted((k, f.filename, f.read()) for k, f in r.files.items()),
            "values": lambda r: sorted(r.values.items()),
            "json": lambda r: r.get_json(silent=True),
            "force": lambda r: r.get_json(force=True, silent=True),
            "uncached": lambda r: r.get_json(silent=True, cache=False),
            "strict": lambda r: r.json,
            "stream": lambda r: r.stream.read(),
            "part": lambda r: r.stream.read(3),
            "length": lambda r: r.content_length,
            "limit": lambda r: setattr(r, "max_content_length", 4),
            "mimetype": lambda r: (r.mimetype, r.is_json),
        }
        return repr([ways[way](fw.request) for way in order.split("/")])

    app.errorhandler(HTTPException)(lambda e: (f"{e.code}", e.code))
    orders = "data/form get/form/data form/data json/data/form stream/data part/get get/stream"
    orders += " text/json/stream get_uncached/get parse/get/form files/form/data values/data"
    orders += (
        " force/force uncached/json strict limit/get limit/form limit/json limit/stream length"
    )
    orders += " json/json/strict mimetype/stream get/get_uncached/stream limit/data"
    bodies = [
        {"data": b"a=1&b=2&a=3", "content_type": "application/x-www-form-urlencoded"},
        {"data": b'{"a": [1, 2]}', "content_type": "application/json"},
        {"data": b"{broken", "content_type": "application/vnd.x+json; charset=utf-8"},
        {"data": b"plain \xff", "content_type": "text/plain"},
        {"data": _MULTIPART, "content_type": "multipart/form-data; boundary=x"},
        {"data": b"", "content_type": "application/json"},
        {"data": b"short", "environ": {"CONTENT_LENGTH": "50"}},
        {"data": b"longer than said", "environ": {"CONTENT_LENGTH": "6"}},
        {"data": b"no length", "environ": {"CONTENT_LENGTH": None}},
        {"data": b"odd length", "environ": {"CONTENT_LENGTH": "x"}},
        # Within the limit: Flask silently truncates larger bodies of this kind (docs/compat.md).
        {"data": b"few", "environ": {"CONTENT_LENGTH": None, "wsgi.input_terminated": True}},
        {"data": b"both", "environ": {"wsgi.input_terminated": True}},
        {"data": b"chunked", "environ": {"HTTP_TRANSFER_ENCODING": "chunked"}},
        {"data": b"gone", "environ": {"wsgi.input": _Gone(), "CONTENT_LENGTH": "4"}},
    ]
    return app, *(
        {"method": "POST", "path": f"/read/{order}", **body}
        for order in orders.split()
        for body in bodies
    )


_MULTIPART = b"\r\n".join(
    (
        b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\nv',
        b'--x\r\nContent-Disposition: form-data; name="up"; filename="n.txt"\r\n\r\ncontent',
        b"--x--\r\n",
    )
)


class _Gone:
    def read(self, size=-1):
        raise OSError("connection reset")


def _file(content):
    import io

    return io.BytesIO(content)


@program()
def limits_set_in_a_hook(fw, log):
    app = make_app(fw, log)
    app.config["MAX_CONTENT_LENGTH"] = 10

    @app.before_request
    def raise_it():
        if "more" in fw.request.args:
            fw.request.max_content_length = 100

    @app.post("/echo")
    def echo():
        return fw.request.get_data()

    body = {"method": "POST", "data": b"x" * 20}
    return app, {**body, "path": "/echo"}, {**body, "path": "/echo?more=1"}


# ----------------------------------------------------------------------------------------- routing


@program(fast_path=False)
def plain_werkzeug_map(fw, log):
    app = make_app(fw, log)
    rules = [rule.empty() for rule in app.url_map.iter_rules()]
    for rule in rules:
        rule.provide_automatic_options = True
    app.url_map = werkzeug.routing.Map(rules)
    return app, *ALL


@program()
def rules_added_later(fw, log):
    app = make_app(fw, log)

    def add(app):
        app.url_map.add(werkzeug.routing.Rule("/late/<x>", endpoint="late"))
        app.view_functions["late"] = lambda x: f"late {x}"

    return app, "GET /late/a", add, "GET /late/a", "POST /late/a", "OPTIONS /late/a"


@program()
def rules_of_all_kinds(fw, log):
    app = make_app(fw, log)
    app.add_url_rule("/slash/", endpoint="slash", view_func=lambda: "slash")
    app.add_url_rule("/deep/<path:p>", endpoint="deep", view_func=lambda p: p)
    app.add_url_rule("/f/<float:x>/<uuid:u>", endpoint="f", view_func=lambda x, u: f"{x} {u}")
    app.add_url_rule("/any/<any(a, b):x>", endpoint="any", view_func=lambda x: x)
    app.add_url_rule("/d", endpoint="d", view_func=lambda n: str(n), defaults={"n": 1})
    app.add_url_rule("/d/<int:n>", endpoint="d", view_func=app.view_functions["d"])
    app.add_url_rule("/old", redirect_to="/new", endpoint="old", view_func=lambda: "")
    app.add_url_rule("/nothing", endpoint="nothing")
    app.add_url_rule("/own", view_func=lambda: "own", endpoint="own", methods=["OPTIONS", "GET"])
    app.add_url_rule(
        "/put",
        endpoint="put",
        view_func=lambda: "put",
        methods=["put"],
        provide_automatic_options=False,
    )
    paths = "slash/ slash d d/1 d/2 deep/a/b/c deep//a f/1.5/00000000-0000-0000-0000-00000000000a"
    paths += " any/a any/c old nothing own put json/-1 json/007 json/x //json/1 %C3%BC ?a=b"
    methods = ("GET", "OPTIONS", "HEAD", "PUT", "get", "options", "head", "BREW")
    return app, *(f"{m} /{path}" for path in paths.split() for m in methods)


@program()
def converters_that_read_contexts(fw, log):
    class Mine(werkzeug.routing.BaseConverter):
        def to_python(self, value):
            log("convert", fw.current_app.name, fw.session.get("count"), fw.request.path)
            return value * 2

    app = fw.Flask("program")
    app.secret_key = "key"
    app.url_map.converters["mine"] = Mine
    app.add_url_rule("/<mine:x>", endpoint="x", view_func=lambda x: x)
    return app, "GET /ab", "GET /ab"


@program()
def redirects_in_debug_mode(fw, log):
    app = make_app(fw, log)
    app.debug = True
    app.add_url_rule("/slash/", endpoint="s", view_func=lambda: "", methods=["GET", "POST"])
    return app, "GET /slash", "POST /slash"


@program(fast_path=None)
def hosts(fw, log):
    app = make_app(fw, log)
    _get(app, "/host", lambda: f"{fw.request.host} {fw.request.url}")
    names = [
        "localhost",
        "a.b:81",
        "[::1]:80",
        "EXAMPLE.com",
        "bad host",
        "a/b",
        "a_b",
        "ü",
        "",
        None,
    ]
    names += ["evil\r\nX: y", "x" * 300, "1.2.3.4:99999", "a..b", ".a", "-a"]
    requests = [{"path": "/host", "environ": {"HTTP_HOST": name}} for name in names]

    def trust(app):
        app.config["TRUSTED_HOSTS"] = ["localhost", ".b"]

    return app, *requests, trust, *requests


@program(fast_path=(True, False, False, True, False, True, False))
def trusted_hosts(fw, log):
    app = make_app(fw, log)
    app.config["TRUSTED_HOSTS"] = trusted = ["localhost"]
    _get(app, "/host", lambda: f"{fw.request.trusted_hosts} {fw.request.host} {fw.request.url}")
    app.errorhandler(400)(lambda error: (f"refused {error.description}", 400))

    def ask(host):
        return {"path": "/host", "environ": {"HTTP_HOST": host}}

    def trust_another(app):
        trusted.append(".b")

    def trust_none(app):
        trusted[:] = ["c"]

    return (
        app,
        *(ask(host) for host in ("localhost:81", "a.b", None)),
        trust_another,
        *(ask(host) for host in ("a.b", "ab")),
        trust_none,
        *(ask(host) for host in ("c:80", "localhost")),
    )


@program(fast_path=None)
def server_names_and_subdomains(fw, log):
    app = fw.Flask("program", subdomain_matching=True)
    app.config["SERVER_NAME"] = "example.com:8000"
    app.add_url_rule("/", endpoint="main", view_func=lambda: fw.url_for("sub", x=1))
    app.add_url_rule("/", endpoint="sub", subdomain="<x>", view_func=lambda x: f"sub {x}")
    names = ["example.com:8000", "a.example.com:8000", "EXAMPLE.com:8000"]
    return app, *({"path": "/", "environ": {"HTTP_HOST": name}} for name in names)


@program()
def server_name_without_subdomains(fw, log):
    app = make_app(fw, log)
    app.config["SERVER_NAME"] = "example.com"
    _get(app, "/url", lambda: fw.url_for("url_") + " " + fw.url_for("url_", _external=True))
    app.add_url_rule("/url_", endpoint="url_", view_func=lambda: "")
    return app, *({"path": "/url", "environ": {"HTTP_HOST": h}} for h in ("example.com", "other"))


@program(fast_path=None)
def host_matching(fw, log):
    app = fw.Flask("program", host_matching=True, static_folder=None)
    app.add_url_rule("/", endpoint="a", host="a.example", view_func=lambda: "a")
    app.add_url_rule("/", endpoint="b", host="<name>.b", view_func=lambda name: f"b {name}")
    names = ["a.example", "x.b", "other"]
    return app, *({"path": "/", "environ": {"HTTP_HOST": name}} for name in names)


# ---------------------------------------------------------------------------------------- contexts


@program(fast_path=False)
def request_context_of_its_own(fw, log):
    class Context(fw.ctx.RequestContext):
        def push(self):
            log("push")
            super().push()

        def match_request(self):
            log("match", fw.session.get("count"))
            super().match_request()

        def pop(self, *args):
            log("pop", [type(a).__name__ for a in args])
            super().pop(*args)

    class App(fw.Flask):
        def request_context(self, environ):
            return Context(self, environ)

    app = make_app(fw, log, App)
    app.testing = True
    return app, *ALL, {"path": "/", "environ": {"HTTP_HOST": "bad host"}}


@program(fast_path=False)
def app_context_of_its_own(fw, log):
    class Context(fw.ctx.AppContext):
        def push(self):
            log("push")
            super().push()
            self.g.user = "somebody"

        def pop(self, *args):
            log("pop", [type(a).__name__ for a in args])
            super().pop(*args)

    class App(fw.Flask):
        def app_context(self):
            return Context(self)

    app = make_app(fw, log, App)
    _get(app, "/g", lambda: fw.g.user + type(fw.globals.app_ctx._get_current_object()).__name__)
    app.teardown_appcontext(lambda exc: log("app teardown", fw.g.user))
    return app, *ALL, "GET /g"


@program(fast_path=False)
def globals_class_of_its_own(fw, log):
    class Globals(fw.ctx._AppCtxGlobals):
        def __init__(self):
            log("g made")
            self.x = 1

    app = make_app(fw, log)
    app.app_ctx_globals_class = Globals
    _get(app, "/g", lambda: str(fw.g.x))
    return app, "GET /", "GET /g"


@program(fast_path=(True, False, False, True))
def context_classes_patched(fw, log):
    app = make_app(fw, log)
    patches = [
        mock.patch.object(cls, name, _noting(getattr(cls, name), log))
        for cls in (fw.ctx.RequestContext, fw.ctx.AppContext)
        for name in ("push", "pop")
    ]

    def start(app):
        for patch in patches:
            patch.start()

    def stop(app):
        for patch in patches:
            patch.stop()

    return app, "GET /", start, "GET /", "GET /fails", stop, "GET /"


@program()
def teardown_sees_the_error(fw, log):
    app = make_app(fw, log)
    app.teardown_request(lambda exc: log("teardown", repr(exc), fw.request.path))
    app.teardown_appcontext(
        lambda exc: log("app teardown", repr(exc), fw.has_request_context(), fw.current_app.name)
    )
    app.errorhandler(KeyError)(lambda e: "handled")
    _get(app, "/handled", lambda: {}["x"])
    return app, *ALL, "GET /handled"


@program()
def teardown_fails(fw, log):
    app = make_app(fw, log)
    app.teardown_appcontext(lambda exc: log("app teardown"))
    app.teardown_request(lambda exc: 1 / 0)
    fw.appcontext_popped.connect(lambda sender: log("popped"), app, weak=False)

    def after(app):
        log(fw.has_app_context(), fw.has_request_context())

    return app, "GET /", after, "GET /fails", after


@program()
def app_teardown_fails(fw, log):
    app = make_app(fw, log)
    app.teardown_appcontext(lambda exc: {}["x"])
    fw.appcontext_popped.connect(lambda sender: log("popped"), app, weak=False)

    def after(app):
        log(fw.has_app_context(), fw.has_request_context())

    return app, "GET /", after, "GET /fails", after


@program()
def g_lives_with_the_request(fw, log):
    app = make_app(fw, log)

    @app.before_request
    def begin():
        log(fw.g.get("x"), "x" in fw.g, list(fw.g))
        fw.g.x = 1

    _get(app, "/g", lambda: f"{fw.g.x} {fw.g.pop('y', 2)} {fw.g.setdefault('z', 3)} {sorted(fw.g)}")
    app.teardown_appcontext(lambda exc: log("g", fw.g.x))
    return app, "GET /g", "GET /g", "GET /"


@program(fast_path=None)
def contexts_within_contexts(fw, log):
    app = make_app(fw, log)
    other = make_app(fw, log)
    _get(other, "/who", lambda: f"{fw.current_app is other} {fw.request.path} {fw.g.get('x')}")

    @app.get("/nested")
    def nested():
        fw.g.x = 1
        with app.app_context():
            log(fw.g.get("x"), fw.request.path, fw.current_app._get_current_object() is app)
        log(other.test_client().get("/who").text)
        with other.test_request_context("/inner"):
            log(fw.request.path, fw.current_app._get_current_object() is other)
        with other.app_context():
            log(fw.request.path, fw.current_app._get_current_object() is other)
        log(app.test_client().get("/json/1").text)
        return f"{fw.g.x} {fw.request.path}"

    return app, "GET /nested", lambda app: log(fw.has_app_context(), fw.has_request_context())


@program(fast_path=False)
def request_inside_an_app_context(fw, log):
    app = make_app(fw, log)
    _get(app, "/g", lambda: str(fw.g.get("x")))
    app.teardown_appcontext(lambda exc: log("app teardown"))
    app.teardown_request(lambda exc: log("teardown"))

    def within(app):
        with app.app_context():
            fw.g.x = 5
            log(app.test_client().get("/g").text)
            log("still", fw.g.x)

    return app, within


@program()
def a_context_left_behind(fw, log):
    app = make_app(fw, log)
    app.teardown_appcontext(lambda exc: log("app teardown"))

    @app.get("/leak")
    def leak():
        app.app_context().push()
        return "leaked"

    def after(app):
        log(fw.has_app_context(), fw.has_request_context())

    return app, "GET /leak", after


@program()
def a_context_left_behind_without_hooks(fw, log):
    app = make_app(fw, log)

    @app.get("/leak")
    def leak():
        app.app_context().push()
        return "leaked"

    return app, "GET /leak", lambda app: log(fw.has_app_context(), fw.has_request_context())


@program(fast_path=None)
def a_context_popped_out_of_order(fw, log):
    app = make_app(fw, log)

    def run(app):
        first, second = app.test_request_context("/1"), app.test_request_context("/2")
        first.push()
        second.push()
        try:
            first.pop()
        except AssertionError:
            log("refused")

    return app, run


@program(fast_path=None)
def a_client_that_keeps_the_context(fw, log):
    app = make_app(fw, log)
    app.teardown_request(lambda exc: log("teardown"))
    app.teardown_appcontext(lambda exc: log("app teardown"))

    @app.get("/g")
    def remember():
        fw.g.x = "kept"
        fw.session["a"] = 1
        return ""

    def run(app):
        with app.test_client() as client:
            client.get("/g?q=1")
            log(fw.g.x, fw.request.args, dict(fw.session), fw.request.endpoint)
            client.get("/json/4")
            log(fw.g.get("x"), fw.request.view_args)
        log(fw.has_request_context())

    return app, run


@program()
def after_this_request(fw, log):
    app = make_app(fw, log)

    @app.get("/after")
    def after():
        @fw.after_this_request
        def first(response):
            log("first")
            response.headers["X-A"] = "1"
            fw.after_this_request(lambda r: log("second") or r)
            return response

        return "after"

    app.after_request(lambda r: log("app's") or r)
    return app, "GET /after", "GET /"


@program()
def copied_into_a_thread(fw, log):
    app = make_app(fw, log)

    @app.get("/thread")
    def thread():
        fw.session["x"] = 1
        fw.g.x = 1
        seen = []

        @fw.copy_current_request_context
        def work():
            seen.append((fw.request.path, fw.session["x"], fw.g.get("x"), fw.current_app.name))

        threads = [threading.Thread(target=work) for _ in range(2)]
        for worker in threads:
            worker.start()
            worker.join(10)
        return repr(seen)

    return app, "GET /thread"


@program()
def without_a_context(fw, log):
    app = make_app(fw, log)

    def use(app):
        for act in (
            lambda: fw.request.path,
            lambda: fw.session["x"],
            lambda: fw.g.x,
            lambda: fw.current_app.name,
            lambda: fw.url_for("index"),
            lambda: fw.after_this_request(lambda r: r),
            lambda: fw.copy_current_request_context(lambda: 1),
        ):
            try:
                act()
            except RuntimeError:
                log("RuntimeError")
        log(bool(fw.request), bool(fw.current_app), repr(fw.g))

    return app, use


# --------------------------------------------------------------------------- streams, files, async


@program()
def streams(fw, log):
    app = make_app(fw, log)
    app.teardown_request(lambda exc: log("teardown"))

    @app.get("/stream")
    def stream():
        @fw.stream_with_context
        def generate():
            log("begin", fw.request.path)
            yield fw.request.args["x"]
            fw.g.x = fw.session.get("count")
            yield f" {fw.g.x}"
            log("end")

        return fw.Response(generate(), mimetype="text/plain")

    @app.get("/bare")
    def bare():
        def generate():
            yield "a"
            yield str(fw.has_request_context())

        return generate()

    @app.get("/breaks")
    def breaks():
        def generate():
            yield "a"
            raise ValueError("in the stream")

        return fw.stream_with_context(generate())

    after = lambda app: log(fw.has_app_context())  # noqa: E731
    return (
        app,
        "GET /stream?x=1",
        after,
        "GET /bare",
        "GET /breaks",
        after,
        "HEAD /stream?x=1",
        after,
    )


@program()
def files(fw, log):
    app = make_app(fw, log)
    _get(app, "/file", lambda: fw.send_file(_file(b"0123456789"), mimetype="text/plain"))
    _get(
        app,
        "/etag",
        lambda: fw.send_file(_file(b"0123"), mimetype="a/b", etag="tag", conditional=True),
    )
    tagged = {"path": "/etag", "environ": {"HTTP_IF_NONE_MATCH": '"tag"'}}
    part = {"path": "/file", "environ": {"HTTP_RANGE": "bytes=2-4"}}
    return app, "GET /file", "HEAD /file", "GET /etag", tagged, part, "GET /static/none.txt"


@program()
def async_views(fw, log):
    app = make_app(fw, log)

    @app.get("/async/<x>")
    async def view(x):
        log("view", fw.request.path, x)
        fw.g.x = x
        if x == "bad":
            raise LookupError(x)
        if x == "lost":
            fw.abort(404)
        return {"x": x, "session": fw.session.get("count")}

    @app.before_request
    async def before():
        log("before", fw.request.endpoint)

    @app.after_request
    async def after(response):
        log("after", fw.g.get("x"))
        return response

    @app.teardown_request
    async def teardown(exc):
        log("teardown", type(exc).__name__)

    @app.errorhandler(LookupError)
    async def handle(error):
        return f"handled {error}", 400

    return app, "GET /async/a", "GET /async/bad", "GET /async/lost", "GET /"


@program()
def async_to_sync_by_another(fw, log):
    class App(fw.Flask):
        def async_to_sync(self, func):
            log("async_to_sync")

            def run(**kwargs):
                try:
                    func(**kwargs).send(None)
                except StopIteration as stop:
                    return stop.value

            return run

    app = make_app(fw, log, App)

    @app.get("/async")
    async def view():
        return "async"

    return app, "GET /async", "GET /async", "GET /"


@program()
def templates_see_the_request(fw, log):
    app = make_app(fw, log)
    app.template_context_processors[None].append(lambda: {"extra": "x"})

    @app.get("/page")
    def page():
        fw.g.y = "y"
        text = (
            "{{ request.path }} {{ g.y }} {{ session.get('count') }} {{ extra }} {{ config.DEBUG }}"
        )
        return fw.render_template_string(text)

    return app, "GET /page"


@program()
def method_views(fw, log):
    class View(fw.views.MethodView):
        init_every_request = False

        def get(self):
            return "got"

        def post(self):
            return "posted", 201

    app = make_app(fw, log)
    app.add_url_rule("/view", view_func=View.as_view("view"))
    return app, *(f"{m} /view" for m in ("GET", "HEAD", "POST", "PUT", "OPTIONS"))


@program()
def views_that_are_no_functions(fw, log):
    class Callable:
        def __call__(self, **kwargs):
            return f"called {kwargs}"

    import functools

    app = make_app(fw, log)
    app.add_url_rule("/object/<x>", endpoint="object", view_func=Callable())
    app.add_url_rule("/partial", endpoint="partial", view_func=functools.partial(str, 5))
    app.add_url_rule("/method", endpoint="method", view_func="bound".upper)
    return app, "GET /object/1", "GET /partial", "GET /method"


@program()
def view_with_wrong_arguments(fw, log):
    app = make_app(fw, log)
    app.add_url_rule("/w/<x>", endpoint="w", view_func=lambda: "")
    return app, "GET /w/1"
