"""What tests of an app use: a client, a runner for its commands, and a builder of requests.

Made by `app.test_client()`, `app.test_cli_runner()` and `app.test_request_context()`, which import
this module when first called: it brings Werkzeug's and click's test tools along.
"""

from __future__ import annotations

import typing as t
from contextlib import ExitStack, contextmanager
from copy import copy
from functools import cache
from urllib.parse import urlsplit

import werkzeug.test
from click.testing import CliRunner, Result
from werkzeug.test import Client
from werkzeug.wrappers import Request as BaseRequest

if t.TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from _typeshed.wsgi import WSGIEnvironment
    from werkzeug.test import TestResponse

    from .app import Carboy
    from .sessions import SessionMixin


class EnvironBuilder(werkzeug.test.EnvironBuilder):
    """Builds a request's environ, with host, scheme and root taken from the app's config.

    Args:
        app: the app that the request is for.
        path: the path, or a whole URL whose scheme and host then count.
        base_url: where the app is mounted; excludes `subdomain` and `url_scheme`.
        subdomain: put before `SERVER_NAME`.
        url_scheme: instead of `PREFERRED_URL_SCHEME`.
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
        """Serialize the `json` argument as the app itself would."""
        return self.app.json.dumps(obj, **kwargs)


def _locate(
    app: Carboy, path: str, subdomain: str | None, url_scheme: str | None
) -> tuple[str, str]:
    """The base URL, and the path with its query below it."""
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

    In `with client:` the context of the latest request stays until the next one or the end of the
    block, so that `request`, `session` and `g` can be looked at.
    """

    application: Carboy

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self.preserve_context = False
        self._new_contexts: list[t.ContextManager[t.Any]] = []
        self._context_stack = ExitStack()
        #: Put into the environ of every request; may be changed.
        self.environ_base: dict[str, t.Any] = {
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_USER_AGENT": f"Werkzeug/{_get_werkzeug_version()}",
        }

    @contextmanager
    def session_transaction(self, *args: t.Any, **kwargs: t.Any) -> Iterator[SessionMixin]:
        """Open the session this client would send, and store it when the block ends.

        ```python
        with client.session_transaction() as session:
            session["user"] = 42
        ```

        Args:
            *args: of the request that the session is opened for, as for `test_request_context`.
            **kwargs: of that request too.
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

        # The context is not kept during the block: `request` there is that of the test around it.
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
            # The app calls this with the context of the request, instead of ending it.
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
        """A request from all that `open` may be given."""
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
        """Send one request, and those that its redirects lead to.

        Args:
            *args: as for `EnvironBuilder` without `app`; or an `EnvironBuilder`, a WSGI environ or
                a request alone.
            buffered: read the response to its end at once.
            follow_redirects: return the response that redirects end at.
            **kwargs: as for `EnvironBuilder`.
        """
        request = self._make_request(args, kwargs)
        # Ends what the previous request left, so that at most one is kept in a `with` block.
        self._context_stack.close()
        response = super().open(request, buffered=buffered, follow_redirects=follow_redirects)
        response.json_module = self.application.json  # type: ignore[assignment]
        while self._new_contexts:
            self._context_stack.enter_context(self._new_contexts.pop(0))
        return response

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


class FlaskCliRunner(CliRunner):
    """Runs the app's commands in a test, and returns what they printed and how they ended."""

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
            from .cli import ScriptInfo  # only runners need it, and clients are the common case

            kwargs["obj"] = ScriptInfo(create_app=lambda: self.app)
        return super().invoke(cli, args, **kwargs)
