"""WebSockets that pages of other sites open: browsers ask about none in advance."""

from __future__ import annotations

import pytest

from carboy import Blueprint, Carboy

HOST, SHOP, THIEF = "api.example", "https://shop.example", "https://thief.example"
CROSS = {"Origin": THIEF, "Sec-Fetch-Site": "cross-site"}


@pytest.fixture
def app(app):
    app.add_url_rule("/plain", "plain", lambda: "opened", websocket=True)
    app.add_url_rule("/shop", "shop", lambda: "opened", websocket=True, cors=SHOP)
    app.add_url_rule("/own", "own", lambda: "opened", websocket=True, cors=False)
    part = Blueprint("part", "part", cors=SHOP)
    part.add_url_rule("/part", "socket", lambda: "opened", websocket=True)
    app.register_blueprint(part)
    return app


def ask(app: Carboy, path: str, upgrade: str = "websocket", **headers: str):
    sent = {"Connection": "Upgrade", "Upgrade": upgrade, **headers}
    client = app.test_client(use_cookies=False)  # the headers have them
    return client.get(path, base_url=f"https://{HOST}", headers=sent)


def status(app: Carboy, path: str, **more: str) -> int:
    return ask(app, path, **more).status_code


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/shop", {"Origin": SHOP}, 200),
        ("/shop", {"Origin": THIEF}, 403),
        ("/shop", {"Origin": "null"}, 403),
        ("/shop", {"Origin": "https://other.api.example", "Sec-Fetch-Site": "same-site"}, 403),
        ("/shop", {"Origin": f"https://{HOST}"}, 200),
        ("/shop", {"Origin": "https://behind.proxy.example", "Sec-Fetch-Site": "same-origin"}, 200),
        ("/shop", {}, 200),
        ("/own", {"Origin": THIEF}, 403),
        ("/own", {"Origin": f"https://{HOST}"}, 200),
        ("/part", {"Origin": SHOP}, 200),
        ("/part", {"Origin": THIEF}, 403),
    ],
)
def test_declared_sites_may_open_a_websocket_and_no_others(app, path, headers, expected):
    assert status(app, path, **headers) == expected


def test_policy_of_the_app_holds_for_websockets(app):
    app.config["CORS_POLICY"] = SHOP
    assert (status(app, "/plain", Origin=SHOP), status(app, "/plain", Origin=THIEF)) == (200, 403)
    app.config["CORS_POLICY"] = False
    assert status(app, "/plain", Origin=SHOP) == 403


def test_websockets_of_a_program_that_declares_nothing_are_open_as_in_flask(app):
    assert status(app, "/plain", Origin=THIEF) == 200
    assert status(app, "/plain", Cookie="a=b", **CROSS) == 200


def test_session_is_not_used_by_pages_of_other_sites(app):
    """Firefox sends cookies without SameSite, and Chrome does not."""
    answer = ask(app, "/plain", Cookie="a=b; session=x", **CROSS)
    assert (answer.status_code, answer.json["code"]) == (403, "cross-site-request")
    assert "CORS_POLICY" in answer.json["detail"]


def test_session_is_used_by_pages_of_other_sites_if_the_app_says_so(app):
    app.config["SESSION_COOKIE_SAMESITE"] = "None"
    assert status(app, "/plain", Cookie="session=x", **CROSS) == 200


def test_sites_that_code_of_the_app_allows_may_open_a_websocket(app):
    @app.after_request
    def allow(response):
        response.headers["Access-Control-Allow-Origin"] = THIEF
        return response

    assert status(app, "/plain", Cookie="session=x", **CROSS) == 200


def test_other_upgrades_are_no_websockets(app):
    app.add_url_rule("/page", "page", lambda: "page", cors=SHOP)
    assert status(app, "/page", upgrade="h2c", Origin=THIEF) == 200
