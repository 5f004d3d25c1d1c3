"""Cross-site request forgery: a page of another site cannot send what carboy reads as JSON.

ASVS 5.0: 3.5.2, 3.5.1, 3.5.3, 3.3.2
Also tested in: tests/access/test_localhost.py, tests/access/test_pages_of_other_sites_browser.py,
tests/models/wires/test_openinferencepages.py, tests/deployment/checks/test_requestchecks.py,
tests/extensions/test_wtf.py
"""

from __future__ import annotations

import msgspec
import pytest

from carboy import Carboy, jsonify, request, session


class Order(msgspec.Struct):
    number: int


# The media types that a page may send to another site without asking it first. Source:
# https://fetch.spec.whatwg.org/#cors-safelisted-request-header
SIMPLE = [
    "text/plain",
    "text/plain; charset=utf-8",
    "text/plain; application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "",
    None,
]


@pytest.fixture
def app(app: Carboy) -> Carboy:
    app.config.update(MODEL_PROTOCOLS=["v2"], MODEL_REPOSITORY_CONTROL=True)

    @app.post("/order")
    def order(order: Order) -> dict[str, int]:
        return {"number": order.number}

    @app.post("/json")
    def read_json():
        return jsonify(request.get_json())

    @app.model("/double")
    def double(x: float) -> float:
        return 2 * x

    @app.get("/login")
    def login():
        session["user"] = "ada"
        return "welcome"

    return app


@pytest.mark.parametrize("content_type", SIMPLE)
@pytest.mark.parametrize("path", ["/order", "/json", "/double"])
def test_json_in_a_request_that_needs_no_preflight_is_refused(app: Carboy, path, content_type):
    options = {} if content_type is None else {"content_type": content_type}
    response = app.test_client().post(path, data=b'{"number": 1}', **options)
    assert response.status_code in (400, 415, 422), response.text


def test_own_urls_change_nothing_by_safe_methods(app: Carboy):
    client = app.test_client()
    for rule in app.url_map.iter_rules():
        if "repository" in rule.rule and rule.rule.endswith("load"):
            for method in ("GET", "HEAD"):
                path = rule.rule.replace("<name>", "double")
                assert client.open(path, method=method).status_code in (404, 405)
    assert client.get("/v2/models/double/ready").status_code == 200


@pytest.mark.parametrize("action", ["load", "unload"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://shop.example"},
    ],
)
@pytest.mark.parametrize("host", ["shop.example", "localhost:8000", "127.0.0.1"])
def test_page_of_another_site_cannot_load_or_unload_a_model(
    app: Carboy, action: str, headers: dict[str, str], host: str
):
    client = app.test_client()
    path = f"/v2/repository/models/double/{action}"
    assert client.post(path, headers={"Host": host, **headers}).status_code == 403
    assert client.get("/v2/models/double/ready").json["ready"]


def test_client_that_is_no_browser_can_unload_a_model_if_the_app_allows_it(app: Carboy):
    client = app.test_client()
    assert client.post("/v2/repository/models/double/unload").status_code == 200


@pytest.mark.parametrize("policy", ["Lax", "Strict"])
def test_cookie_of_the_session_has_the_policy_of_the_config(app: Carboy, policy: str):
    app.config["SESSION_COOKIE_SAMESITE"] = policy
    assert f"SameSite={policy}" in app.test_client().get("/login").headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        ("*", 403),
        ("https://shop.example", 403),
        ("https://thief.example", 200),
        ("https://*.example", 200),
    ],
)
def test_pages_load_no_models_only_because_every_site_may_read_answers(app, policy, status):
    app.config["CORS_POLICY"] = policy
    headers = {"Origin": "https://thief.example", "Sec-Fetch-Site": "cross-site"}
    for action in ("unload", "load"):
        path = f"/v2/repository/models/double/{action}"
        assert app.test_client().post(path, headers=headers).status_code == status
