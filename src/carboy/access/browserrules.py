"""What an app lets web pages do: those of other sites (CORS, requests to this machine) and its own
(a strict Content-Security-Policy).

`BrowserRules` answers the requests that never reach a view, and adds headers to all responses. What
the app has added itself takes precedence.
"""

from __future__ import annotations

import io
import typing as t

from werkzeug.exceptions import HTTPException

from ..core.problemdetails import Problem
from ..errors import ConfigError
from ..globals import _cv_request, _find_request_ctx
from ..observability.environkeys import FIELDS, ROUTE
from . import cors, strictheaders
from .localhost import Danger, as_received, find_danger, is_cross_site
from .webaddresses import host_of_origin, split_host

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from werkzeug.routing import Rule

    from ..ctx import RequestContext
    from .cors import Cors
    from .routedeclarations import RouteDeclarations

    # The rule that a URL matches, and the values of its variables; None if no rule matches it.
    Matched = tuple[Rule | None, cabc.Mapping[str, t.Any] | None]

Headers = tuple[tuple[str, str], ...]

# The config keys that `BrowserRules` reads.
CORS_KEY: t.Final = "CORS_POLICY"
LOCALHOST_KEY: t.Final = "PROTECT_LOCALHOST"
HEADERS_KEY: t.Final = "STRICT_HEADERS"

# The entries of an environ that a preflight request does not have: browsers send it without
# credentials and without a body; and what the server has added for the first request alone.
_OF_ACTUAL_REQUEST: t.Final = frozenset(
    (
        *("CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_AUTHORIZATION", "HTTP_COOKIE", "HTTP_UPGRADE"),
        *("HTTP_TRANSFER_ENCODING", "werkzeug.request", "werkzeug.socket", FIELDS, ROUTE),
    )
)


class BrowserApp(t.Protocol):
    """The members of an app that its rules for browsers use."""

    config: t.Any
    request_class: t.Any
    url_map: t.Any

    def wsgi_app(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> cabc.Iterable[bytes]: ...

    def create_url_adapter(self, request: t.Any) -> t.Any: ...


class BrowserRules:
    """The rules of one app.

    Args:
        config: the configuration of the app.
        declarations: what is declared for the routes of the app.
        declares_cors: whether a rule or a blueprint declares `cors`.

    Attributes:
        has_cors: whether `preflight` must be called for OPTIONS requests.
        find_danger: returns why a request may come from a page of a foreign site. Then `refusal`
            must be called. None if the app does not want to know.
        adds_headers: whether `complete` must be called.
    """

    def __init__(
        self,
        config: cabc.Mapping[str, t.Any],
        declarations: RouteDeclarations,
        *,
        declares_cors: bool,
    ) -> None:
        self._declarations = declarations
        # By `id`, because rules have no hash. Rules live as long as their map.
        self._by_rule: dict[int, Cors | t.Literal[False] | None] = {}
        source = "the configuration of the app"
        self._cors: Cors | t.Literal[False] | None = _parse_cors(config.get(CORS_KEY), source)
        if config.get(CORS_KEY) is False:
            self._cors = False
        self._strict = strictheaders.parse(config.get(HEADERS_KEY), source)
        self.has_cors = bool(self._cors) or declares_cors
        is_protected = _parse_switch(config.get(LOCALHOST_KEY, True), source)
        self.find_danger = find_danger if is_protected else None
        self.adds_headers = self.has_cors or self._strict is not None
        # With TRUSTED_HOSTS, the app itself refuses all other names.
        self._trusts_some = config.get("TRUSTED_HOSTS") is not None
        self._own_names = _names_of(config)

    def cors_of(self, matched: Matched) -> Cors | None:
        """Return which other sites may use a URL; None if none may."""
        return self._declared_cors(matched) or None

    def _declared_cors(self, matched: Matched) -> Cors | t.Literal[False] | None:
        """Return what is declared about other sites; False if none may use the URL, and None if
        nothing is.
        """
        rule, variables = matched
        if rule is None or not self.has_cors:
            return self._cors
        if variables:
            rule = self._declarations.of_model_at(rule, variables)
        try:
            return self._by_rule[id(rule)]
        except KeyError:
            declared = self._declarations.of(rule).cors
            found = self._by_rule[id(rule)] = self._cors if declared is None else declared
            return found

    # --- before the view -----------------------------------------------------------------------

    def may_refuse(self, matched: Matched, environ: WSGIEnvironment) -> bool:
        """Return whether a request to a URL may have to be refused."""
        if self.find_danger is None or (danger := self.find_danger(environ)) is None:
            return False
        return danger is Danger.REBOUND or not self._allows_site(matched, environ)

    def is_foreign(self, matched: Matched, environ: WSGIEnvironment) -> bool:
        """Return whether a page of another site, which no `cors` names, has caused a request. "*"
        names none: it allows every site to read, and not to control the server.
        """
        if not is_cross_site(environ):
            return False
        policy, origin = self.cors_of(matched), environ.get("HTTP_ORIGIN")
        return policy is None or origin is None or not policy.names(origin)

    def _allows_site(self, matched: Matched, environ: WSGIEnvironment) -> bool:
        policy = self.cors_of(matched)
        return policy is not None and policy.allows(environ.get("HTTP_ORIGIN"))

    def refusal(self, app: BrowserApp, environ: WSGIEnvironment, danger: Danger) -> Problem | None:
        """Return the error for a request that a page of a foreign site may have caused; None if the
        app allows it.
        """
        if danger is Danger.REBOUND:
            host: str = as_received(environ)["HTTP_HOST"]
            return None if self._trusts_some or self._is_own_name(host) else _refuse_name(host)
        origin: str | None = environ.get("HTTP_ORIGIN")
        if origin is not None and self._allows(app, origin, environ):
            return None
        return _refuse_site(origin)

    def preflight(self, app: BrowserApp, environ: WSGIEnvironment) -> Headers | None:
        """Return the headers of the response to a preflight request; None if the request is none,
        or the app must answer it.
        """
        if not cors.is_preflight(environ["REQUEST_METHOD"], environ):
            return None
        method: str = environ[cors.REQUESTED_METHOD]
        rule, variables = _match(app, environ, method)
        policy = None if rule is None else self.cors_of((rule, variables))
        if rule is None or policy is None:
            return None
        if ROUTE in environ:
            environ[ROUTE] = rule.rule
        names = environ.get(cors.REQUESTED_HEADERS)
        return policy.preflight_headers(environ["HTTP_ORIGIN"], method, names)

    def websocket_refusal(self, app: BrowserApp, environ: WSGIEnvironment) -> Problem | None:
        """Return the error for a WebSocket that a page of another site opens and may not use; None
        for all others.

        Browsers ask about no WebSocket, let each page read it, and some send cookies that have no
        SameSite with it. If `cors` is declared for the URL, it decides. If not, and such a browser
        sends the cookie of the session, the request is refused; others send none.
        """
        origin: str | None = environ.get("HTTP_ORIGIN")
        if "websocket" not in environ["HTTP_UPGRADE"].lower():
            return None
        if origin is None or _is_same_origin(origin, environ):
            return None
        matched = _match(app, environ, environ["REQUEST_METHOD"])
        if self._declared_cors(matched) is None and not _sends_session(app.config, environ):
            return None
        return None if self._allows(app, origin, environ) else _refuse_websocket(origin)

    def _is_own_name(self, host: str) -> bool:
        parts = split_host(host)
        return parts is not None and any(
            parts[0] == name or parts[0].endswith(f".{name}") for name in self._own_names
        )

    def _allows(self, app: BrowserApp, origin: str, environ: WSGIEnvironment) -> bool:
        """Return whether the app lets pages of an origin send a request, by its rules or by code of
        its own that sets the headers of CORS.
        """
        method: str = environ["REQUEST_METHOD"]
        return self._allows_site(_match(app, environ, method), environ) or (
            _ask(app, origin, method, environ) in {origin, "*"}
        )

    # --- the response --------------------------------------------------------------------------

    def complete(self, environ: WSGIEnvironment, start_response: StartResponse) -> StartResponse:
        """Return a `start_response` that adds headers to the response to a request."""

        def start(status: str, headers: list[tuple[str, str]], *more: t.Any) -> t.Any:
            context: RequestContext | None = _cv_request.get(None)
            # Without a context of this request, it has failed before its URL was matched.
            matched: Matched = None, None
            if context is not None and context._environ is environ:
                matched = context._matched()
            content_type = _value(headers, "content-type")
            added = self.headers(matched, content_type, environ)
            return start_response(status, merged(headers, added), *more)

        return t.cast("StartResponse", start)

    def completed(
        self, app: BrowserApp, environ: WSGIEnvironment, headers: list[tuple[str, str]]
    ) -> list[tuple[str, str]]:
        """Return the headers of a response that a server makes without the app, with those that the
        app would add.
        """
        matched = _match(app, environ, environ["REQUEST_METHOD"])
        added = self.headers(matched, _value(headers, "content-type"), environ)
        return merged(headers, added)

    def headers(
        self, matched: Matched, content_type: str, environ: cabc.MutableMapping[str, t.Any]
    ) -> Headers:
        """Return the headers to add to a response.

        Args:
            matched: what the URL of the request matches.
            content_type: the header Content-Type of the response; empty if it has none.
            environ: the WSGI environ of the request, or its headers by their names there.
        """
        found: Headers = ()
        if self._strict is not None:
            found = self._strict.headers(content_type, environ)
        policy = self.cors_of(matched)
        if policy is not None:
            found = (*found, *policy.response_headers(environ.get("HTTP_ORIGIN")))
        return found


def _ask(app: BrowserApp, origin: str, method: str, environ: WSGIEnvironment) -> str | None:
    """Send the preflight request for a request to the app, and return its answer: the header
    Access-Control-Allow-Origin.

    A browser sends no preflight request before a request that a form could send.
    """
    asked = {name: v for name, v in environ.items() if name not in _OF_ACTUAL_REQUEST}
    asked |= {
        "REQUEST_METHOD": "OPTIONS",
        "HTTP_ORIGIN": origin,
        cors.REQUESTED_METHOD: method,
        "wsgi.input": io.BytesIO(),
    }
    found: dict[str, str] = {}

    def start_response(status: str, headers: list[tuple[str, str]], *_: t.Any) -> t.Any:
        found.update((name.lower(), value) for name, value in headers)

    body = app.wsgi_app(asked, t.cast("StartResponse", start_response))
    try:
        for _ in body:  # an application may call `start_response` when its body is read
            pass
    finally:
        if (close := getattr(body, "close", None)) is not None:
            close()
    return found.get("access-control-allow-origin")


def _match(app: BrowserApp, environ: WSGIEnvironment, method: str) -> Matched:
    try:
        # A request object keeps a reference to itself in its environ, so it gets a copy.
        adapter = app.create_url_adapter(app.request_class({**environ}))
        return t.cast("Matched", adapter.match(method=method, return_rule=True))
    except HTTPException:
        return None, None


def _is_same_origin(origin: str, environ: WSGIEnvironment) -> bool:
    site: str | None = environ.get("HTTP_SEC_FETCH_SITE")
    if site is not None:
        return site == "same-origin"
    return host_of_origin(origin) == environ.get("HTTP_HOST")


def _sends_session(config: cabc.Mapping[str, t.Any], environ: WSGIEnvironment) -> bool:
    """Return whether a browser sends the cookie of the session with a request of another site,
    although the app has not allowed that by SameSite=None.
    """
    if environ.get("HTTP_SEC_FETCH_SITE") != "cross-site":
        return False
    if (config.get("SESSION_COOKIE_SAMESITE") or "").lower() == "none":
        return False
    name = config.get("SESSION_COOKIE_NAME")
    cookies = environ.get("HTTP_COOKIE", "").split(";")
    return any(cookie.strip().startswith(f"{name}=") for cookie in cookies)


def csp_nonce() -> str:
    """Return the nonce of the response to the current request.

    With the config key STRICT_HEADERS, browsers run only the scripts that have it, as in a template
    `<script nonce="{{ csp_nonce() }}">`.
    """
    return strictheaders.nonce_of(_find_request_ctx()._environ)


def check_value(key: str, value: t.Any, source: str) -> None:
    """Refuse a value that is not valid for its key.

    Raises:
        ConfigError: the value is not valid.
    """
    _PARSERS[key](value, source)


def _parse_cors(value: t.Any, source: str) -> Cors | None:
    return cors.parse(value, f"{CORS_KEY} from {source}")


def _parse_switch(value: t.Any, source: str) -> bool:
    if isinstance(value, bool):
        return value
    raise ConfigError(f"{LOCALHOST_KEY}: expected True or False, got {value!r} from {source}.")


_PARSERS: t.Final[cabc.Mapping[str, cabc.Callable[[t.Any, str], object]]] = {
    CORS_KEY: _parse_cors,
    LOCALHOST_KEY: _parse_switch,
    HEADERS_KEY: strictheaders.parse,
}


def merged(
    headers: cabc.Iterable[tuple[str, str]], more: cabc.Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return the headers of a response with further ones.

    A header that is there already takes precedence; and so do all those of CORS, if one of them is
    there. The names in Vary are joined.
    """
    found = list(headers)
    names = {name.lower() for name, _ in found}
    has_cors = "access-control-allow-origin" in names
    for each in more:
        lower = each[0].lower()
        if lower == "vary" and lower in names:
            _add_vary(found, each[1])
        elif lower not in names and not (has_cors and lower.startswith("access-control-")):
            found.append(each)
            names.add(lower)
    return found


def _add_vary(headers: list[tuple[str, str]], value: str) -> None:
    for index, (name, known) in enumerate(headers):
        if name.lower() == "vary":
            has = {each.strip().lower() for each in known.split(",")}
            missing = [each for each in value.split(", ") if each.lower() not in has]
            if missing and "*" not in has:
                headers[index] = name, ", ".join([known, *missing])
            return


def _value(headers: cabc.Iterable[tuple[str, str]], lower: str) -> str:
    return next((value for name, value in headers if name.lower() == lower), "")


def _names_of(config: t.Any) -> list[str]:
    """Return the names that an app has by its configuration, without ports."""
    parts = split_host(config.get("SERVER_NAME") or "")
    return [] if parts is None else [parts[0]]


def _refuse_name(host: str) -> Problem:
    name = host.rpartition(":")[0]
    return Problem(
        403,
        f"The name {name!r} leads to this machine itself, so that a foreign page may have sent this"
        " request (DNS rebinding). If the name is yours, add it to the config key TRUSTED_HOSTS of"
        f" the app. {LOCALHOST_KEY} = False switches this check off.",
        code="rebound-host",
    )


def _refuse_websocket(origin: str) -> Problem:
    return Problem(
        403,
        f"A page of the site {origin} may not open this WebSocket. To allow it, name the site in"
        f" cors= of the view or blueprint, or in the config key {CORS_KEY}. If the page is one of"
        " this app, let the proxy pass on the Host header of the client.",
        code="cross-site-request",
    )


def _refuse_site(origin: str | None) -> Problem:
    site = "another site" if origin in {None, "null"} else f"the site {origin}"
    return Problem(
        403,
        f"A page of {site} has sent this request to a service on this machine, which may be against"
        " the will of its user. To allow it, name the site in cors= of the view or model, or in"
        f" the config key {CORS_KEY}. If a proxy has passed the request on, let it send the Host"
        " header of the client (nginx: proxy_set_header Host $http_host;), or X-Forwarded-For."
        f" {LOCALHOST_KEY} = False switches this check off.",
        code="cross-site-request",
    )
