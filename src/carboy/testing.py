"""Tools for testing an app: a client, a runner for its commands, and a builder of requests.

Use `app.test_client()`, `app.test_cli_runner()` and `app.test_request_context()`. They import this
module when first called, because it imports Werkzeug's and click's test tools.
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
from werkzeug.test import Client
from werkzeug.wrappers import Request as BaseRequest

if t.TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from _typeshed.wsgi import WSGIEnvironment
    from werkzeug.test import TestResponse

    from .app import Carboy
    from .contract.operation import Operation
    from .models.registry import Model
    from .sessions import SessionMixin


class EnvironBuilder(werkzeug.test.EnvironBuilder):
    """Builds a request's environ, with host, scheme and root taken from the app's config.

    Args:
        app: the app that the request is for.
        path: a path, or a whole URL whose scheme and host are then used.
        base_url: where the app is mounted; excludes `subdomain` and `url_scheme`.
        subdomain: put before `SERVER_NAME`.
        url_scheme: overrides `PREFERRED_URL_SCHEME`.
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
        """Serialize the `json` argument with the app's own provider."""
        return self.app.json.dumps(obj, **kwargs)


def _locate(
    app: Carboy, path: str, subdomain: str | None, url_scheme: str | None
) -> tuple[str, str]:
    """Return the base URL, and the path with its query below it."""
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
    """Sends requests to the app without a server.

    In `with client:` the context of the latest request is kept until the next one or the end of the
    block, so that tests can read `request`, `session` and `g`.
    """

    application: Carboy

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self.preserve_context = False
        self._new_contexts: list[t.ContextManager[t.Any]] = []
        self._context_stack = ExitStack()
        #: Added to the environ of every request. May be changed.
        self.environ_base: dict[str, t.Any] = {
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_USER_AGENT": f"Werkzeug/{_get_werkzeug_version()}",
        }

    @contextmanager
    def session_transaction(self, *args: t.Any, **kwargs: t.Any) -> Iterator[SessionMixin]:
        """Open the session that this client would send, and store it at the end of the block.

        ```python
        with client.session_transaction() as session:
            session["user"] = 42
        ```

        Args:
            *args: describe the request for which the session is opened, as for
                `test_request_context`.
            **kwargs: of the same request.
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

        # The context is not active in the block, where `request` must be that of the surrounding
        # test.
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
            # The app calls this function with the request's context instead of ending the context.
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
        """Return a request for any arguments that `open` accepts."""
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
        """Send one request, and optionally follow its redirects.

        Args:
            *args: as for `EnvironBuilder` without `app`; or an `EnvironBuilder`, a WSGI environ or
                a request alone.
            buffered: read the whole response at once.
            follow_redirects: return the final response.
            **kwargs: as for `EnvironBuilder`.
        """
        request = self._make_request(args, kwargs)
        # End the context of the previous request, so that a `with` block keeps at most one.
        self._context_stack.close()
        response = super().open(request, buffered=buffered, follow_redirects=follow_redirects)
        response.json_module = self.application.json  # type: ignore[assignment]
        while self._new_contexts:
            self._context_stack.enter_context(self._new_contexts.pop(0))
        return response

    def call(
        self,
        view: t.Callable[..., t.Any] | str,
        /,
        *,
        _method: str | None = None,
        **arguments: t.Any,
    ) -> t.Any:
        """Call a view or a model over HTTP by its arguments, and return what it returned.

        ```python
        flower = client.call(add, flower=Flower(5.1, 3.5), dry_run=True)
        digit = client.call("digits", image=picture)
        ```

        The request is made from the view's types: what goes into the URL, the query, headers,
        cookies, body or files. An answer with a type comes back as a value of that type; else JSON
        as plain values, text as `str`, all other bodies as `bytes`.

        Args:
            view: the function or the model's class as it was registered, or the name of its
                endpoint.
            _method: for a view with several; by default the one that is not GET.
            **arguments: those of the view; ones with a default may be left out.
        Raises:
            CallError: the answer has a status of 400 or more, or is a stream that failed.
            LookupError: the app has no such view.
            TypeError: an argument is missing.
        """
        from .contract.client import compose, value_of

        model = _find_model(self.application, view)
        if model is not None:
            return self._call_model(model, arguments)
        endpoint, operation, method = _find_operation(self.application, view, _method)
        names = {*operation.bound}
        path = self._path_of(
            endpoint, {k: v for k, v in arguments.items() if k not in names}, method
        )
        sent = compose(operation, {k: v for k, v in arguments.items() if k in names})
        query = [*path[1], *sent.query]
        for name, text in sent.cookies:
            self.set_cookie(name, text)
        try:
            response = self.open(
                path[0],
                method=method,
                query_string=MultiDict(query) if query else None,
                headers=sent.headers,
                data=sent.data,
                content_type=sent.content_type,
            )
        finally:
            for name, _ in sent.cookies:
                self.delete_cookie(name)
        if response.status_code >= 400:
            raise CallError(endpoint, response)
        _refuse_unfinished(endpoint, response)
        return value_of(operation, response.mimetype or "", response.get_data())

    def _call_model(self, model: Model, arguments: dict[str, t.Any]) -> t.Any:
        from .models.calling import compose, value_of

        endpoint = _endpoint_of(self.application, model)
        data, content_type = compose(model, arguments)
        path, _ = self._path_of(endpoint, {}, "POST")
        response = self.open(path, method="POST", data=data, content_type=content_type)
        if response.status_code >= 400:
            raise CallError(endpoint, response)
        _refuse_unfinished(endpoint, response)
        return value_of(model, response.mimetype or "", response.get_data())

    def _path_of(
        self, endpoint: str, values: dict[str, t.Any], method: str
    ) -> tuple[str, list[tuple[str, str]]]:
        app = self.application
        rules = [r for r in app.url_map.iter_rules(endpoint) if method in (r.methods or {method})]
        with app.test_request_context():
            variables = set().union(*(rule.arguments for rule in rules))
            unknown = values.keys() - variables
            if unknown:
                raise TypeError(
                    f"call({endpoint!r}): the view takes no argument named"
                    f" {', '.join(map(repr, sorted(unknown)))}."
                )
            url = urlsplit(app.url_for(endpoint, _method=method, **values))
        root = app.config["APPLICATION_ROOT"].rstrip("/")
        return url.path.removeprefix(root), parse_qsl(url.query)

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
    """The response to a `call` is an error, or a stream that ends with an error.

    Attributes:
        status: the status of the response, 400 to 599, or of the problem that ends a stream.
        detail: the detail of the problem, or the beginning of the body.
        errors: the invalid places of the input, as the problem lists them.
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


def _find_model(app: Carboy, wanted: t.Any) -> Model | None:
    """Find a model by its endpoint, its name, its class or its function; else None."""
    if "models" not in app.__dict__:
        return None
    view = app.view_functions.get(wanted) if isinstance(wanted, str) else None
    if view is not None:
        return getattr(view, "model", None)
    found = (each for name, each in app.models.items() if wanted in (name, each.target, each))
    return next(found, None)


def _endpoint_of(app: Carboy, model: Model) -> str:
    views = app.view_functions.items()
    return next(name for name, view in views if getattr(view, "model", None) is model)


def _find_operation(
    app: Carboy, view: t.Callable[..., t.Any] | str, method: str | None
) -> tuple[str, Operation, str]:
    """Return the endpoint of a view, its operation, and the HTTP method to use."""
    from .contract.needs import unbound
    from .contract.signature import describe

    if isinstance(view, str):
        endpoint = view
    else:
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
    contract = getattr(found, "contract", None)
    if contract is None:
        contract = describe(found, set().union(*(rule.arguments for rule in rules)))
    return endpoint, contract.operation(method), method.upper()


class FlaskCliRunner(CliRunner):
    """Runs the app's commands in a test, and returns their output and exit code."""

    def __init__(self, app: Carboy, **kwargs: t.Any) -> None:
        self.app = app
        super().__init__(**kwargs)

    def invoke(  # type: ignore[override]
        self, cli: t.Any = None, args: t.Any = None, **kwargs: t.Any
    ) -> Result:
        """Run one command.

        Args:
            cli: the command; the default is `app.cli`, so that `args` begins with a name.
            args: the command line, as a list.
            **kwargs: as for `click.testing.CliRunner.invoke`; `obj` is a `ScriptInfo` that loads
                this app unless given.
        """
        if cli is None:
            cli = self.app.cli
        if "obj" not in kwargs:
            # imported here, because clients are more common than runners
            from .cli import ScriptInfo

            kwargs["obj"] = ScriptInfo(create_app=lambda: self.app)
        return super().invoke(cli, args, **kwargs)
