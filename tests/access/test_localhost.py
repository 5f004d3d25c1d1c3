"""Requests that pages of foreign sites cause are refused by a service on this machine."""

from __future__ import annotations

import pytest
from werkzeug.middleware.proxy_fix import ProxyFix

import carboy
from carboy import Carboy
from carboy.access.localhost import Danger, find_danger, is_cross_site
from carboy.errors import ConfigError

THIEF = "https://thief.example"
HTTP_1_1 = {"SERVER_PROTOCOL": "HTTP/1.1"}
WEBSOCKET = {"method": "GET", "upgrade": "websocket"}
CROSS, REBOUND = Danger.CROSS_SITE, Danger.REBOUND


def environ(host: str | None = "localhost:8000", method: str = "POST", **headers: str):
    named = {"origin": "HTTP_ORIGIN", "site": "HTTP_SEC_FETCH_SITE", "upgrade": "HTTP_UPGRADE"}
    found = {named.get(name, name): value for name, value in headers.items()}
    found |= {"REQUEST_METHOD": method, "SERVER_PORT": headers.get("port", "8000")}
    found["REMOTE_ADDR"] = headers.get("peer", "127.0.0.1")
    return found if host is None else {**found, "HTTP_HOST": host}


@pytest.mark.parametrize(
    ("request_", "danger"),
    [
        ({"origin": THIEF, "site": "cross-site"}, CROSS),
        ({"origin": "null", "site": "cross-site"}, CROSS),
        ({"site": "cross-site"}, CROSS),
        ({"site": "something new"}, CROSS),
        ({"origin": THIEF}, CROSS),
        ({"origin": "null"}, CROSS),
        ({"origin": "https://localhost.thief.example"}, CROSS),
        ({"origin": "https://localhost@thief.example"}, CROSS),
        ({"origin": THIEF, "method": "DELETE"}, CROSS),
        ({"origin": THIEF, "method": "post"}, CROSS),
        ({"origin": THIEF, "method": "GET", "upgrade": "websocket"}, CROSS),
        ({"origin": THIEF, "host": "LOCALHOST.:8000"}, CROSS),
        ({"origin": THIEF, "host": "app.localhost:8000"}, CROSS),
        ({"origin": THIEF, "host": "127.8.0.1:8000"}, CROSS),
        ({"origin": THIEF, "host": "[::1]:8000"}, CROSS),
        ({"origin": THIEF, "host": "[::ffff:127.0.0.1]:8000"}, CROSS),
        ({"origin": THIEF, "host": "0.0.0.0:8000"}, CROSS),
        # A container, whose port is published on this machine, sees another peer.
        ({"origin": THIEF, "peer": "172.17.0.1"}, CROSS),
        # GET has no effect, and the page cannot read the response.
        ({"origin": THIEF, "site": "cross-site", "method": "GET"}, None),
        ({"origin": THIEF, "site": "cross-site", "method": "OPTIONS"}, None),
        # Programs that are no browsers.
        ({}, None),
        ({"host": None}, None),
        # The browser says that the page is one of this machine, or that it is none.
        ({"origin": "http://localhost:8000", "site": "same-origin"}, None),
        ({"origin": "http://localhost:3000", "site": "same-site"}, None),
        ({"origin": "http://127.0.0.1:3000", "site": "cross-site"}, None),
        ({"origin": "http://localhost:3000"}, None),
        ({"site": "none"}, None),
        # Behind a proxy that passes on its own host; the browser knows what the user sees.
        ({"origin": THIEF, "site": "same-origin"}, None),
        ({"origin": THIEF, "site": "cross-site", "HTTP_X_FORWARDED_FOR": "192.0.2.1"}, None),
        ({"origin": "http://shop.example", "SERVER_PROTOCOL": "HTTP/1.0"}, None),
        ({"origin": THIEF, **HTTP_1_1}, None),
        ({"origin": THIEF, "site": "cross-site", **HTTP_1_1, "HTTP_CONNECTION": "close"}, None),
        ({"origin": THIEF, **HTTP_1_1, "HTTP_CONNECTION": "upgrade"}, None),
        # What browsers send: Chromium, Firefox, a WebSocket, HTTP/2.
        ({"origin": THIEF, **HTTP_1_1, "HTTP_CONNECTION": "keep-alive"}, CROSS),
        ({"origin": THIEF, **HTTP_1_1, "HTTP_CONNECTION": "Keep-Alive"}, CROSS),
        ({"origin": THIEF, **HTTP_1_1, "HTTP_CONNECTION": "Upgrade", **WEBSOCKET}, CROSS),
        ({"origin": THIEF, "site": "cross-site", "SERVER_PROTOCOL": "HTTP/2"}, CROSS),
        # Services that others can reach have other means.
        ({"origin": THIEF, "host": "shop.example"}, None),
        ({"origin": THIEF, "host": "192.168.1.5:8000"}, None),
    ],
)
def test_only_what_a_foreign_page_can_cause_is_dangerous(request_, danger):
    assert find_danger(environ(**request_)) is danger


@pytest.mark.parametrize(
    ("request_", "danger"),
    [
        ({"host": "thief.example:8000"}, REBOUND),
        ({"host": "Thief.Example.:8000"}, REBOUND),
        ({"host": "127.0.0.1.nip.example:8000"}, REBOUND),
        ({"host": "thief.example:8000", "peer": "::1"}, REBOUND),
        ({"host": "thief.example:8000", "peer": "::ffff:127.0.0.1"}, REBOUND),
        # A proxy on this machine passes on the host that it was asked for, with its own port.
        ({"host": "shop.example"}, None),
        ({"host": "shop.example:8443"}, None),
        ({"host": "shop.example", "port": "80"}, None),
        # So does the proxy beside a container (Istio), with the port of the app.
        ({"host": "shop.example:8000", "peer": "127.0.0.6"}, None),
        # Clients of another machine know this one by its name.
        ({"host": "shop.example:8000", "peer": "192.168.1.7"}, None),
        # Names that a stranger cannot own.
        ({"host": "box:8000"}, None),
        ({"host": "box.local:8000"}, None),
        ({"host": "shop.test:8000"}, None),
        ({"host": "192.168.1.5:8000"}, None),
        ({"host": "[fe80::1]:8000"}, None),
        ({"host": "not a host:8000"}, None),
    ],
)
def test_foreign_name_that_leads_to_this_machine_is_dangerous(request_, danger):
    assert find_danger(environ(method="GET", **request_)) is danger


PROXY_FIXES = {
    "all headers": {"x_for": 1, "x_proto": 1, "x_host": 1, "x_port": 1},
    "host and port": {"x_for": 0, "x_proto": 1, "x_host": 1, "x_port": 1},
    "host": {"x_for": 1, "x_proto": 1, "x_host": 1},
}


@pytest.mark.parametrize("client", ["203.0.113.9", "127.0.0.1", "unknown"])
@pytest.mark.parametrize("public", ["shop.example", "shop.example:8443"])
@pytest.mark.parametrize("host", ["127.0.0.1:8000", "shop.example", "shop.example:8443"])
@pytest.mark.parametrize("chosen", PROXY_FIXES)
def test_what_a_proxy_passes_on_is_not_dangerous_whatever_it_reports(chosen, host, public, client):
    found = as_proxy_fix_leaves(
        PROXY_FIXES[chosen],
        environ(host, "GET", HTTP_X_FORWARDED_HOST=public, HTTP_X_FORWARDED_FOR=client)
        | {"HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_FORWARDED_PORT": "8443"},
    )
    assert find_danger(found) is None


@pytest.mark.parametrize("chosen", PROXY_FIXES)
@pytest.mark.parametrize("made_up", ["localhost:8000", "localhost", "shop.example"])
def test_page_hides_no_foreign_name_by_headers_of_proxies(made_up, chosen):
    """After DNS rebinding, browsers let a page send them."""
    found = as_proxy_fix_leaves(
        PROXY_FIXES[chosen],
        environ("thief.example:8000", "GET", HTTP_X_FORWARDED_HOST=made_up)
        | {"HTTP_X_FORWARDED_FOR": "203.0.113.9", "HTTP_X_FORWARDED_PORT": "443"},
    )
    assert find_danger(found) is REBOUND


def as_proxy_fix_leaves(options, found):
    """Return the environ that an app in the middleware gets."""
    seen = []
    ProxyFix(lambda environ, start: seen.append(environ) or [], **options)(found, None)
    return seen[0]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"host": "shop.example", "origin": "https://shop.example"}, False),
        ({"host": "shop.example:8443", "origin": "https://shop.example:8443"}, False),
        ({"host": "shop.example", "origin": "https://shop.example:8443"}, True),
        ({"host": "shop.example", "origin": THIEF}, True),
        ({"host": "shop.example", "site": "cross-site"}, True),
        ({"host": "shop.example", "origin": THIEF, "site": "same-origin"}, False),
        ({"host": "shop.example"}, False),
    ],
)
def test_site_of_a_request_is_found_by_what_the_browser_says(request_, expected):
    assert is_cross_site(environ(**request_)) is expected


# ------------------------------------------------------------------------------------- in an app


@pytest.fixture
def app(app):
    app.add_url_rule("/a", "a", lambda: "done", methods=["GET", "POST"])
    app.add_url_rule("/shop", "shop", lambda: "done", methods=["POST"], cors=THIEF)
    return app


def post(app: Carboy, path: str = "/a", **more):
    """Post as a browser does for a page of another site, through a server."""
    overrides = {"REMOTE_PORT": "50000", **more.pop("environ", {})}
    headers = {"Origin": THIEF, "Sec-Fetch-Site": "cross-site", "Host": "localhost:8000"}
    headers["Connection"] = "keep-alive"
    return app.test_client().open(
        path,
        method=more.pop("method", "POST"),
        base_url="http://localhost:8000",
        headers={**headers, **more},
        environ_overrides=overrides,
    )


def test_post_of_a_foreign_page_is_refused_with_what_to_do(app):
    answer = post(app)
    assert answer.status_code == 403
    assert answer.json["code"] == "cross-site-request"
    assert f"A page of the site {THIEF} has sent this request" in answer.json["detail"]
    for cure in ("cors=", "proxy_set_header Host $http_host;", "PROTECT_LOCALHOST = False"):
        assert cure in answer.json["detail"]


def test_post_is_done_if_the_check_is_switched_off(app):
    app.config["PROTECT_LOCALHOST"] = False
    assert post(app).text == "done"


def test_switch_that_is_no_switch_is_refused(app):
    app.config["PROTECT_LOCALHOST"] = "no"
    with pytest.raises(ConfigError, match="expected True or False, got 'no'"):
        app.find_overrides()


def test_post_is_done_if_the_route_names_the_site(app):
    assert post(app, "/shop").text == "done"
    assert post(app, "/shop", Origin="https://other.example").status_code == 403


def test_post_is_done_if_the_app_itself_sets_the_headers_of_cors(app):
    seen = []

    @app.after_request
    def allow(response):
        seen.append(carboy.request.method)
        if carboy.request.headers.get("Origin") == THIEF:
            response.headers["Access-Control-Allow-Origin"] = THIEF
        return response

    assert post(app).text == "done"
    assert seen == ["OPTIONS", "POST"]
    assert post(app, Origin="https://other.example").status_code == 403


def test_question_about_cors_has_no_credentials_and_no_body(app):
    seen = []

    @app.before_request
    def note():
        request = carboy.request
        seen.append((request.method, request.cookies, request.authorization, request.get_data()))

    post(app, Cookie="session=1", Authorization="Bearer key", **{"Content-Type": "text/plain"})
    assert seen == [("OPTIONS", {}, None, b"")]


def test_refusal_passes_error_handlers_and_response_hooks_but_no_view(app):
    seen = []
    app.before_request(lambda: seen.append(carboy.request.method))
    app.register_error_handler(403, lambda error: (f"own: {error.code}", 403))

    @app.after_request
    def sign(response):
        response.headers["X-Own"] = "yes"
        return response

    answer = post(app)
    assert (answer.text, answer.headers["X-Own"]) == ("own: 403", "yes")
    assert "POST" not in seen


def test_foreign_name_is_refused_for_each_method(app):
    for method in ("GET", "POST", "OPTIONS"):
        answer = post(app, method=method, Host="thief.example:8000")
        assert (answer.status_code, answer.json["code"]) == (403, "rebound-host")


@pytest.mark.parametrize(
    "config",
    [
        {"PROTECT_LOCALHOST": False},
        {"SERVER_NAME": "shop.example:8000"},
        {"TRUSTED_HOSTS": [".shop.example"]},
    ],
    ids=str,
)
def test_own_name_is_accepted_if_the_configuration_has_it(app, config):
    app.config.update(config)
    answer = post(app, method="GET", Host="www.shop.example:8000")
    assert answer.status_code == 200


def test_test_client_is_not_asked_for_its_site(app):
    headers = {"Origin": THIEF, "Sec-Fetch-Site": "cross-site"}
    assert app.test_client().post("/a", headers=headers).text == "done"
