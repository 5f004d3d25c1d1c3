"""Build the URLs of an app: `url_for`, and Werkzeug's adapter that matches and builds URLs."""

from __future__ import annotations

import typing as t
from functools import partial
from types import SimpleNamespace

from werkzeug.exceptions import SecurityError
from werkzeug.routing import BuildError

from ..globals import _cv
from ..helpers import _split_blueprint_path
from .ownviews import is_own_view
from .trustedhosts import host_of

if t.TYPE_CHECKING:
    from werkzeug.routing import MapAdapter, Rule
    from werkzeug.wrappers import Response as BaseResponse

    from .. import typing as ft
    from ..config import Config
    from ..ctx import RequestContext
    from ..wrappers import Request, Response
    from .routing import Map


class UrlBuilding:
    """The methods of an app that build URLs, and that bind its URL map to a request or a server
    name.
    """

    if t.TYPE_CHECKING:
        config: Config
        response_class: type[Response]
        subdomain_matching: bool
        url_build_error_handlers: list[t.Callable[[Exception, str, dict[str, t.Any]], str]]
        url_default_functions: dict[ft.AppOrBlueprintKey, list[ft.URLDefaultCallable]]
        url_map: Map
        view_functions: dict[str, t.Any]

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return an adapter of the URL map for a request, or without a request for `SERVER_NAME`.

        Returns:
            Werkzeug's `MapAdapter`, which matches and builds URLs; None if there is neither a
            request nor a `SERVER_NAME`.
        Raises:
            HTTPException: the request's host is malformed, or not one of `TRUSTED_HOSTS`.
        """
        server_name = self.config["SERVER_NAME"]
        if request is None:
            if server_name is None:
                return None
            return self.url_map.bind(
                server_name,
                script_name=self.config["APPLICATION_ROOT"],
                url_scheme=self.config["PREFERRED_URL_SCHEME"],
            )
        if (trusted := self.config["TRUSTED_HOSTS"]) is not None:
            request.trusted_hosts = trusted
        request.host = host = host_of(request.environ, request.trusted_hosts)
        if not host and not _is_domain(request.environ.get("HTTP_HOST") or ""):
            # For an invalid Host header, Werkzeug 3.1.8 returns an empty host. RFC 9112, section
            # 3.2: "a server MUST respond with a 400 (Bad Request)" to a Host field with an invalid
            # value.
            raise SecurityError("The Host header has characters that a host name cannot have.")
        subdomain: str | None = None
        if self.url_map.host_matching:
            server_name = None
        elif not self.subdomain_matching:
            subdomain = self.url_map.default_subdomain or ""
        elif server_name is not None and not _is_below(host, server_name, request.scheme):
            _warn_of_server_name(host, server_name)
            subdomain = "<invalid>"  # no rule has this subdomain, so that the client gets a 404
        return self.url_map.bind_to_environ(
            request.environ, server_name=server_name, subdomain=subdomain
        )

    def redirect(self, location: str, code: int = 302) -> BaseResponse:
        """Return a response that redirects the client to `location`."""
        from werkzeug.utils import redirect

        return redirect(location, code=code, Response=self.response_class)

    def url_for(
        self,
        /,
        endpoint: str,
        *,
        _anchor: str | None = None,
        _method: str | None = None,
        _scheme: str | None = None,
        _external: bool | None = None,
        **values: t.Any,
    ) -> str:
        """Build the URL of a view.

        Args:
            endpoint: the view's endpoint; a leading dot means the current blueprint.
            _anchor: appended as `#anchor`.
            _method: choose the rule for this method.
            _scheme: `https` and so on; only for external URLs.
            _external: include scheme and host; the default outside of a request.
            **values: values of the rule's variables; others go into the query.
        Raises:
            RuntimeError: outside of a request, without `SERVER_NAME`.
            BuildError: the endpoint does not exist, or a variable is missing.
        """
        active = _cv.get(None)
        if active is not None and (ctx := active[1]) is not None:
            adapter = ctx.url_adapter
            if endpoint[:1] == ".":
                endpoint = self._in_blueprint(endpoint, ctx)
            if _external is None:
                _external = _scheme is not None
        else:
            app_ctx = None if active is None else active[0]
            adapter = self.create_url_adapter(None) if app_ctx is None else app_ctx.url_adapter
            if adapter is None:
                raise RuntimeError(
                    "Unable to build URLs outside an active request without 'SERVER_NAME'"
                    f" configured: url_for({endpoint!r}) needs to know the host. Set"
                    " 'SERVER_NAME', and 'APPLICATION_ROOT' and 'PREFERRED_URL_SCHEME' as needed."
                )
            if _external is None:
                _external = True
        if _scheme is not None and not _external:
            raise ValueError(
                f"When specifying '_scheme', '_external' must be True: url_for({endpoint!r},"
                f" _scheme={_scheme!r}, _external=False) would be a URL without scheme. Leave out"
                " one of them."
            )

        self.inject_url_defaults(endpoint, values)
        try:
            url = adapter.build(  # type: ignore[union-attr]
                endpoint, values, method=_method, url_scheme=_scheme, force_external=_external
            )
        except BuildError as error:
            error.closest_rule = partial(_closest_rule, self, error)  # type: ignore[method-assign]
            values.update(_anchor=_anchor, _method=_method, _scheme=_scheme, _external=_external)
            return self.handle_url_build_error(error, endpoint, values)
        if _anchor is not None:
            from urllib.parse import quote

            url = f"{url}#{quote(_anchor, safe='%!#$&()*+,/:;=?@' + chr(39))}"
        return url

    @staticmethod
    def _in_blueprint(endpoint: str, ctx: RequestContext) -> str:
        blueprint = ctx.request.blueprint
        return endpoint[1:] if blueprint is None else f"{blueprint}{endpoint}"

    def inject_url_defaults(self, endpoint: str, values: dict[str, t.Any]) -> None:
        """Call the functions registered by `url_defaults`, which may add values to those of a URL
        that is being built.
        """
        if not self.url_default_functions:
            return
        names: tuple[str | None, ...] = (None,)
        if "." in endpoint:
            path = _split_blueprint_path(endpoint.rpartition(".")[0])
            names = (None, *reversed(path))
        for name in names:
            for function in self.url_default_functions.get(name, ()):
                function(endpoint, values)

    def handle_url_build_error(
        self, error: BuildError, endpoint: str, values: dict[str, t.Any]
    ) -> str:
        """Return the URL from the first of `url_build_error_handlers` that returns one; raise the
        last error if none does.
        """
        for handler in self.url_build_error_handlers:
            try:
                url = handler(error, endpoint, values)
            except BuildError as raised:
                error = raised
            else:
                if url is not None:
                    return url
        raise error


def _closest_rule(app: UrlBuilding, error: BuildError, adapter: MapAdapter | None) -> Rule | None:
    """Return the rule that is most similar to the one asked for, for an error message.

    Rules that carboy itself has added are not suggested.
    """
    if adapter is None:
        return None
    views = app.view_functions
    rules = [r for r in adapter.map.iter_rules() if not is_own_view(views.get(r.endpoint))]
    visible = SimpleNamespace(map=SimpleNamespace(_rules=rules))
    return BuildError.closest_rule(error, visible)  # type: ignore[arg-type]


def _is_domain(host: str) -> bool:
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _is_below(host: str, server_name: str, scheme: str) -> bool:
    """Return whether a host is `SERVER_NAME` or a subdomain of it; a default port is ignored."""
    usual_port = ":443" if scheme in {"https", "wss"} else ":80"
    host, server_name = host.lower(), server_name.lower().removesuffix(usual_port)
    return host == server_name or host.endswith(f".{server_name}")


def _warn_of_server_name(host: str, server_name: str) -> None:
    # Warn here and not in Werkzeug, whose warning would name a module of Werkzeug. This warning
    # names "flask.app" as Flask's does, so that users' warning filters for that module apply.
    import warnings

    warnings.warn_explicit(
        f"Current server name {host!r} doesn't match configured server name {server_name!r}: no"
        " rule can match. Use the configured name, or change SERVER_NAME.",
        UserWarning,
        __file__,
        0,
        module="flask.app",
    )
