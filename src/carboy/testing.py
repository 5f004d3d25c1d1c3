"""Tools for tests of an app: a client, a runner for commands, and a builder of requests.

They are created by `app.test_client()`, `app.test_cli_runner()` and `app.test_request_context()`.
These methods import this module when they are first called, because it imports the test tools of
Werkzeug and click, which an app in production does not need.
"""

from __future__ import annotations

import typing as t
from contextlib import ExitStack, contextmanager
from copy import copy
from functools import cache
from urllib.parse import parse_qsl, urlsplit

import werkzeug.test
from click.testing import CliRunner, Result
from werkzeug.datastructures import MultiDict
from werkzeug.http import dump_cookie
from werkzeug.test import Client
from werkzeug.wrappers import Request as BaseRequest

from .core.annotations import declared
from .core.flasknames import flask_names

if t.TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from _typeshed.wsgi import WSGIEnvironment
    from werkzeug.test import TestResponse

    from .app import Carboy
    from .contract.operation import Operation
    from .sessions import SessionMixin


# Key in the environ of a request for the cookies that are sent with this request alone.
_COOKIES = "carboy.testing.cookies"


class EnvironBuilder(werkzeug.test.EnvironBuilder):
    """Builds the WSGI environ of a test request; host, scheme and root come from the app's config.

    Args:
        app: the app that the request is for.
        path: the path, or a whole URL, from which scheme and host are then taken.
        base_url: the URL of the app's root; if given, `subdomain` and `url_scheme` must not be
            given.
        subdomain: a subdomain of `SERVER_NAME` to which the request is sent.
        url_scheme: the scheme; the default is `PREFERRED_URL_SCHEME`.
        *args: as for `werkzeug.test.EnvironBuilder`.
        **kwargs: as for `werkzeug.test.EnvironBuilder`.
    """

    def __init__(
        self,
        app: Carboy,
        path: str = "/",
        base_url: str | None = None,
        subdomain: str | None = None,
        url_scheme: str | None = None,
        *args: t.Any,
        **kwargs: t.Any,
    ) -> None:
        if base_url is not None and (subdomain or url_scheme):
            raise AssertionError(
                'Cannot pass "subdomain" or "url_scheme" with "base_url": write them into the'
                f" base_url {base_url!r}."
            )
        if base_url is None:
            base_url, path = _locate(app, path, subdomain, url_scheme)
        self.app = app
        super().__init__(path, base_url, *args, **kwargs)

    def json_dumps(self, obj: t.Any, **kwargs: t.Any) -> str:
        """Convert to text what a test passes as the argument `json`. The app's JSON provider does
        this.
        """
        return self.app.json.dumps(obj, **kwargs)


def _locate(
    app: Carboy, path: str, subdomain: str | None, url_scheme: str | None
) -> tuple[str, str]:
    """Return the URL of the app's root for a test request, and the request's path with its query
    string.
    """
    url = urlsplit(path)
    host = app.config.get("SERVER_NAME") or "localhost"
    if subdomain:
        host = f"{subdomain}.{host}"
    scheme = app.config["PREFERRED_URL_SCHEME"] if url_scheme is None else url_scheme
    root = app.config["APPLICATION_ROOT"].lstrip("/")
    base_url = f"{url.scheme or scheme}://{url.netloc or host}/{root}"
    return base_url, f"{url.path}?{url.query}" if url.query else url.path


@cache
def _get_werkzeug_version() -> str:
    import importlib.metadata

    return importlib.metadata.version("werkzeug")


class FlaskClient(Client):
    """A test client: sends requests to the app directly, without a server.

    In a block `with client:`, the context of the latest request stays active until the next request
    or the end of the block, so that the test can inspect `request`, `session` and `g`.
    """

    application: Carboy

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self.preserve_context = False
        self._new_contexts: list[t.ContextManager[t.Any]] = []
        self._context_stack = ExitStack()
        #: Entries for the WSGI environ of every request of this client; tests may change them.
        self.environ_base: dict[str, t.Any] = {
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_USER_AGENT": f"Werkzeug/{_get_werkzeug_version()}",
        }

    @contextmanager
    def session_transaction(self, *args: t.Any, **kwargs: t.Any) -> Iterator[SessionMixin]:
        """Open the session in this client's cookie, and save it when the block ends.

        ```python
        with client.session_transaction() as session:
            session["user"] = 42
        ```

        Args:
            *args: arguments of `test_request_context`, for the request that opens the session.
            **kwargs: keyword arguments of `test_request_context`.
        """
        if self._cookies is None:
            raise TypeError(
                "Cookies are disabled. A session needs them: create the client with"
                " 'use_cookies=True'."
            )
        app = self.application
        interface = app.session_interface
        ctx = app.test_request_context(*args, **kwargs)
        self._add_cookies_to_wsgi(ctx.request.environ)

        # The context of the artificial request ends before the `with` block begins, so that
        # `request` in the block is still the test's own request, if it has one.
        with ctx:
            session = interface.open_session(app, ctx.request)
        if session is None:
            raise RuntimeError(
                "Session backend did not open a session. With the default one this means that"
                " app.secret_key is not set."
            )
        yield session
        if interface.is_null_session(session):
            return
        response = app.response_class()
        with ctx:
            interface.save_session(app, session, response)
        self._update_cookies_from_response(
            ctx.request.host.partition(":")[0],
            ctx.request.path,
            response.headers.getlist("Set-Cookie"),
        )

    def _copy_environ(self, other: WSGIEnvironment) -> WSGIEnvironment:
        environ = self.environ_base | other
        if self.preserve_context:
            # Let the app pass the request's context to this function, which keeps it active in the
            # `with` block.
            environ["werkzeug.debug.preserve_context"] = self._new_contexts.append
        return environ

    def _request_from_builder_args(
        self, args: tuple[t.Any, ...], kwargs: dict[str, t.Any]
    ) -> BaseRequest:
        kwargs["environ_base"] = self._copy_environ(kwargs.get("environ_base", {}))
        builder = EnvironBuilder(self.application, *args, **kwargs)
        try:
            return builder.get_request()
        finally:
            builder.close()

    def _make_request(self, args: tuple[t.Any, ...], kwargs: dict[str, t.Any]) -> BaseRequest:
        """Build a request from the arguments of the method `open`."""
        given = args[0] if args else None
        if isinstance(given, werkzeug.test.EnvironBuilder):
            builder = copy(given)
            builder.environ_base = self._copy_environ(dict(builder.environ_base or {}))
            return builder.get_request()
        if isinstance(given, dict):
            return EnvironBuilder.from_environ(
                given, app=self.application, environ_base=self._copy_environ({})
            ).get_request()
        if isinstance(given, BaseRequest):
            request = copy(given)
            request.environ = self._copy_environ(request.environ)
            return request
        return self._request_from_builder_args(args, kwargs)

    def open(
        self,
        *args: t.Any,
        buffered: bool = False,
        follow_redirects: bool = False,
        **kwargs: t.Any,
    ) -> TestResponse:
        """Send one request, and follow redirects if `follow_redirects` is set.

        Args:
            *args: arguments of `EnvironBuilder` without `app`; or one `EnvironBuilder`, environ or
                request.
            buffered: read the whole response at once.
            follow_redirects: send a request for each redirect, and return the last response.
            **kwargs: keyword arguments of `EnvironBuilder`.
        """
        request = self._make_request(args, kwargs)
        # End the context of the previous request, so that only the context of the latest request is
        # active in a `with` block.
        self._enter_new_contexts()  # those of a request that has raised an exception
        self._context_stack.close()
        response = super().open(request, buffered=buffered, follow_redirects=follow_redirects)
        response.json_module = self.application.json  # type: ignore[assignment]
        self._enter_new_contexts()
        return response

    def _enter_new_contexts(self) -> None:
        while self._new_contexts:
            self._context_stack.enter_context(self._new_contexts.pop(0))

    def call(
        self,
        view: t.Callable[..., t.Any] | str,
        /,
        *unnamed: t.Never,
        _method: str | None = None,
        _key: str | None = None,
        **arguments: t.Any,
    ) -> t.Any:
        """Call a view or a model over HTTP with Python arguments, and return its return value.

        ```python
        flower = client.call(add, flower=Flower(5.1, 3.5), dry_run=True)
        digit = client.call("digits", image=picture)
        ```

        The types of the view decide which arguments are sent in the URL, the query, headers,
        cookies, the body or files. A response is converted to the view's return type; without one,
        JSON becomes plain values, text a `str`, and other bodies `bytes`.

        Args:
            view: the registered function, the class of a model, or the name of an endpoint.
            _method: the HTTP method, for a view with several; by default one that is not GET, if
                there is one.
            _key: the API key to send, for a view or model that needs one.
            **arguments: the arguments of the view; those with a default may be missing.

        Raises:
            CallError: the response has a status of 400 or more, or is a stream that failed.
            LookupError: the app has no such view.
            TypeError: an argument is missing.
        """
        from .contract.client import compose, value_of

        endpoint, operation, method = _find_operation(self.application, view, _method)
        if unnamed:
            wanted = ", ".join(
                f"{name}=..." for name in _names_of(self.application, endpoint, operation)
            )
            raise TypeError(
                f"call({endpoint!r}): arguments are given by name: client.call({endpoint!r},"
                f" {wanted})."
            )
        names = {*operation.bound}
        url, path_query = self._url_of(
            endpoint, operation, {k: v for k, v in arguments.items() if k not in names}, method
        )
        sent = compose(
            operation,
            {k: v for k, v in arguments.items() if k in names},
            by_name=declared(self.application.view_functions[endpoint], "model") is not None,
        )
        query = [*path_query, *sent.query]
        headers = [*sent.headers, *([("X-API-Key", _key)] if _key is not None else [])]
        response = self.open(
            url,
            method=method,
            query_string=MultiDict(query) if query else None,
            headers=headers,
            data=sent.data,
            content_type=sent.content_type,
            environ_overrides={_COOKIES: sent.cookies} if sent.cookies else None,
        )
        if response.status_code >= 400:
            raise CallError(endpoint, response)
        _refuse_unfinished(endpoint, response)
        return value_of(operation, response.mimetype or "", response.get_data())

    def _add_cookies_to_wsgi(self, environ: WSGIEnvironment) -> None:
        """Set the header Cookie of a request: the cookies that are arguments of `call`, then those
        of the client that have other names.
        """
        arguments: list[tuple[str, str]] = environ.pop(_COOKIES, [])
        super()._add_cookies_to_wsgi(environ)
        if not arguments:
            return
        names = {name for name, _ in arguments}
        own = environ.get("HTTP_COOKIE", "").split("; ")
        environ["HTTP_COOKIE"] = "; ".join(
            [
                *(dump_cookie(name, text, path=None) for name, text in arguments),
                *(each for each in own if each and each.partition("=")[0] not in names),
            ]
        )

    def _url_of(
        self, endpoint: str, operation: Operation, values: dict[str, t.Any], method: str
    ) -> tuple[str, list[tuple[str, str]]]:
        """Return the URL of a view below the app's root, and its query. The URL has a scheme and a
        host if the view has a host or a subdomain of its own.
        """
        app = self.application
        rules = [r for r in app.url_map.iter_rules(endpoint) if method in (r.methods or {method})]
        with app.test_request_context():
            variables = set().union(*(rule.arguments for rule in rules))
            unknown = values.keys() - variables
            if unknown:
                raise TypeError(
                    f"call({endpoint!r}): the view takes no argument named"
                    f" {', '.join(map(repr, sorted(unknown)))}. It takes"
                    f" {', '.join(_names_of(app, endpoint, operation)) or 'none'}."
                )
            url = urlsplit(app.url_for(endpoint, _method=method, **values))
        root = app.config["APPLICATION_ROOT"].rstrip("/")
        place = url._replace(path=url.path.removeprefix(root), query="").geturl()
        return place, parse_qsl(url.query)

    def __enter__(self) -> t.Self:
        if self.preserve_context:
            raise RuntimeError(
                "Cannot nest client invocations: this client is already in a 'with' block. Make"
                " another one by app.test_client()."
            )
        self.preserve_context = True
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.preserve_context = False
        self._context_stack.close()


class CallError(AssertionError):
    """`FlaskClient.call` got a response with an error status, or a stream that ends with an error.

    Attributes:
        status: the status of the response, 400 to 599; for a stream, that of the error at its end.
        detail: the member `detail` of the problem details (RFC 9457), else the beginning of the
            body.
        errors: the member `errors` of the problem details: which values in the request are not
            valid.
        response: the whole response.
    """

    def __init__(
        self, endpoint: str, response: TestResponse, problem: dict[str, t.Any] | None = None
    ) -> None:
        self.response = response
        self.status: int = response.status_code
        said = f"was answered with {response.status}"
        if problem is not None:
            self.status = problem["status"]
            said = f"was answered with a stream that ended in {self.status}"
        elif response.is_json:
            problem = response.get_json(silent=True)
        problem = problem if isinstance(problem, dict) else {}
        self.detail: str = problem.get("detail") or response.get_data(as_text=True)[:500]
        self.errors: list[dict[str, t.Any]] = problem.get("errors", [])
        super().__init__(f"call({endpoint!r}) {said}: {self.detail}")


def _refuse_unfinished(endpoint: str, response: TestResponse) -> None:
    from .contract.framing import last_problem
    from .contract.media import JSON_LINES

    if response.mimetype == JSON_LINES:
        problem = last_problem(response.get_data())
        if problem is not None:
            raise CallError(endpoint, response, problem)


def _names_of(app: Carboy, endpoint: str, operation: Operation) -> list[str]:
    """Return the names of all arguments of a view: first the variables of its URL, then the
    others.
    """
    variables = {name: None for rule in app.url_map.iter_rules(endpoint) for name in rule.arguments}
    return [*variables, *operation.bound]


def _model_endpoint(app: Carboy, wanted: t.Any) -> str:
    """Return the endpoint of a model that is given by name, class or function; "" if there is
    none.
    """
    for endpoint, view in app.view_functions.items():
        model = declared(view, "model")
        if model is not None and wanted in (model.name, model.target, model):
            return endpoint
    return ""


def _find_operation(
    app: Carboy, view: t.Callable[..., t.Any] | str, method: str | None
) -> tuple[str, Operation, str]:
    """Return the endpoint of a view or model, its types (`Operation`), and the HTTP method to
    use.
    """
    from .contract.needs import unbound
    from .contract.signature import describe

    endpoint = _model_endpoint(app, view)
    if isinstance(view, str):
        endpoint = view if view in app.view_functions else endpoint
    elif not endpoint:
        wanted = unbound(view)
        named = (name for name, each in app.view_functions.items() if unbound(each) == wanted)
        endpoint = next(named, "")
    if endpoint not in app.view_functions:
        from difflib import get_close_matches

        asked = view if isinstance(view, str) else getattr(view, "__name__", "")
        near = get_close_matches(asked, app.view_functions, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise LookupError(
            f"The app {app.name!r} has no view {view!r}.{hint} Pass the function that was"
            f" registered, or one of the endpoints {', '.join(app.view_functions)}."
        )
    found = app.view_functions[endpoint]
    rules = list(app.url_map.iter_rules(endpoint))
    if method is None:
        methods = {each for rule in rules for each in rule.methods or ("GET",)}
        rest = sorted(methods - {"GET", "HEAD", "OPTIONS"})
        method = rest[0] if rest else "GET"
    contract = declared(found, "contract")
    if contract is None:
        contract = describe(found, set().union(*(rule.arguments for rule in rules)))
    return endpoint, contract.operation(method), method.upper()


class FlaskCliRunner(CliRunner):
    """Runs commands of the app in a test, and returns their output and exit code."""

    def __init__(self, app: Carboy, **kwargs: t.Any) -> None:
        self.app = app
        super().__init__(**kwargs)

    def invoke(  # type: ignore[override]
        self, cli: t.Any = None, args: t.Any = None, **kwargs: t.Any
    ) -> Result:
        """Run one command.

        Args:
            cli: the command; by default `app.cli`, for which `args` begins with a command's name.
            args: the command line, as a list.
            **kwargs: as for `click.testing.CliRunner.invoke`; by default `obj` loads this app.
        """
        if cli is None:
            cli = self.app.cli
        if "obj" not in kwargs:
            # The module `cli` is imported on first use, because tests that use only a client do not
            # need it.
            from .cli import ScriptInfo

            kwargs["obj"] = ScriptInfo(create_app=lambda: self.app)
        return super().invoke(cli, args, **kwargs)


if not t.TYPE_CHECKING:
    __getattr__, __dir__ = flask_names(__name__)
