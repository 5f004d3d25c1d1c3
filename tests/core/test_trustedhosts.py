"""TRUSTED_HOSTS: which hosts requests may name, for views and for `request.host`."""

from __future__ import annotations

import pytest

import carboy
from carboy.core.trustedhosts import is_trusted_host


@pytest.mark.parametrize(
    ("trusted", "host", "expected"),
    [
        ("[::1]", "[::1]", True),
        ("[::1]", "[::1]:8000", True),
        ("::1", "[::1]:8000", True),
        ("[::1]:8000", "[::1]", True),
        ("[2001:DB8::0:1]", "[2001:db8::1]:443", True),
        ("[::1]", "[::2]:8000", False),
        ("[::1]", "[::1].thief.example", False),
        ("[::1]", "[::1]:8000@thief.example", False),
        ("[::1]", "[::1]:99999", False),
        pytest.param("[::1]", "[::1]:" + "1" * 5000, False, id="long port"),
        ("[::1]", "::1", False),
        ("shop.example", "[::1]", False),
        ("shop.example", "shop.example:8000", True),
        ("127.0.0.1", "[::ffff:127.0.0.1]", False),
    ],
)
def test_host_is_trusted_only_if_it_is_listed(trusted, host, expected):
    assert is_trusted_host(host, [trusted]) is expected


@pytest.mark.parametrize(
    ("host", "status"), [("[::1]:8000", 200), ("[::2]:8000", 400)], ids=["listed", "other"]
)
@pytest.mark.parametrize("is_websocket", [False, True], ids=["plain", "websocket"])
def test_ipv6_address_may_be_listed(app, client, host, status, is_websocket):
    app.config["TRUSTED_HOSTS"] = ["[::1]", "shop.example"]
    view = lambda: carboy.request.host  # noqa: E731
    app.add_url_rule("/", "index", view, websocket=is_websocket)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"} if is_websocket else {}
    answer = client.get("/", headers={"Host": host, **upgrade})
    assert answer.status_code == status
    assert (answer.text == host) is (status == 200)


class ByClass(carboy.Request):
    trusted_hosts = ["shop.example"]


class ByInit(carboy.Request):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.trusted_hosts = ["shop.example"]


@pytest.mark.parametrize("kind", [ByClass, ByInit, carboy.Request], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("converted", [False, True], ids=["fixed", "variable"])
def test_hosts_of_the_request_class_are_the_trusted_ones(app, client, monkeypatch, kind, converted):
    called = []
    app.request_class = kind
    app.add_url_rule(
        "/<name>" if converted else "/reset", "reset", lambda **_: called.append(1) or ""
    )
    if kind is carboy.Request:
        assert client.get("/reset", headers={"Host": "thief.example"}).status_code == 200
        monkeypatch.setattr(kind, "trusted_hosts", ["shop.example"])
    del called[:]
    assert client.get("/reset", headers={"Host": "thief.example"}).status_code == 400
    assert called == []
    assert client.get("/reset", headers={"Host": "shop.example"}).status_code == 200
    app.config["TRUSTED_HOSTS"] = ["thief.example"]
    assert client.get("/reset", headers={"Host": "shop.example"}).status_code == 400
