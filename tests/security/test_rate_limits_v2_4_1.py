"""Rate limits: a client cannot get more requests by other headers, paths, addresses or methods.

ASVS 5.0: 2.4.1, 15.3.4, 6.3.1
Also tested in: tests/access/test_limited_routes.py, tests/access/test_ratelimit.py,
tests/access/test_tokenleases.py, tests/access/test_tokenbuckets.py,
tests/serving/http/test_forwarded.py
"""

from __future__ import annotations

import http.client
import typing as t

import apikeys
import pytest
import spawning

from carboy import Carboy

if t.TYPE_CHECKING:
    import collections.abc as cabc

ALLOWED = 3
# Headers by which programs in front of an app tell the address of a client.
HEADERS = [
    "X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Client-IP", "Client-IP", "True-Client-IP",
    "CF-Connecting-IP", "X-Cluster-Client-IP", "Fastly-Client-IP", "X-Originating-IP",
    "X_Forwarded_For", "Via",
]  # fmt: skip
VARIANTS = ["/limited", "//limited", "/%6cimited", "/limited?x={}", "/limited?{}", "/./limited"]


@pytest.fixture
def app() -> Carboy:
    app = Carboy("shop")
    app.add_url_rule(
        "/limited", "limited", lambda: "ok", methods=["GET", "POST"], rate=f"{ALLOWED}/hour"
    )
    return app


def _served(ask: cabc.Callable[[int], int]) -> int:
    """Return how many of many requests are answered; a redirect counts for the next one."""
    return sum(ask(number) == 200 for number in range(4 * ALLOWED))


@pytest.mark.parametrize("name", HEADERS)
def test_address_that_a_client_claims_does_not_count(app: Carboy, name: str):
    client = app.test_client()

    def ask(number: int) -> int:
        value = f"for=203.0.113.{number}" if name == "Forwarded" else f"203.0.113.{number}"
        return client.get("/limited", headers={name: value}).status_code

    assert _served(ask) == ALLOWED


def test_paths_and_methods_of_one_route_count_together(app: Carboy):
    client = app.test_client()

    def ask(number: int) -> int:
        path = VARIANTS[number % len(VARIANTS)].format(number)
        return client.open(path, method=["GET", "HEAD", "POST"][number % 3]).status_code

    assert _served(ask) <= ALLOWED


def test_other_client_properties_do_not_count(app: Carboy):
    def ask(number: int) -> int:
        headers = {"User-Agent": f"{number}", "Cookie": f"id={number}", "Host": f"h{number}.test"}
        return app.test_client().get("/limited", headers=headers).status_code

    assert _served(ask) == ALLOWED


def test_addresses_of_one_ipv6_network_count_together(app: Carboy):
    """An owner of a line has 2^64 addresses of IPv6 at least."""

    def ask(number: int) -> int:
        environ = {"REMOTE_ADDR": f"2001:db8:1:2::{number:x}"}
        return app.test_client().get("/limited", environ_overrides=environ).status_code

    assert _served(ask) == ALLOWED


def test_invented_keys_are_refused_and_get_no_rate_of_their_own():
    key = apikeys.make_key("phone")
    app = Carboy("shop")
    app.config["ACCESS_KEYS"] = apikeys.records(key)
    app.add_url_rule("/limited", "limited", lambda: "ok", access="key", rate=f"{ALLOWED}/hour")
    client = app.test_client()

    def invent(number: int) -> int:
        return client.get("/limited", headers={"X-API-Key": f"invented{number}"}).status_code

    assert _served(invent) == 0

    def ask(number: int) -> int:
        return client.get("/limited", headers=key.bearer).status_code

    assert _served(ask) == ALLOWED


PROGRAM = f"""
from carboy import Carboy

app = Carboy(__name__)

@app.model("/double", rate="{ALLOWED}/hour")
def double(x: float) -> float:
    return 2 * x
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> cabc.Iterator[int]:
    folder = tmp_path_factory.mktemp("shop")
    program = spawning.serve(folder, "shop", PROGRAM, "--proxy", "1")
    yield program.port
    program.stop()


@pytest.mark.integration
def test_behind_a_proxy_only_the_address_counts_that_the_proxy_has_added(port: int):
    def ask(client: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        headers = {"Content-Type": "application/json", "X-Forwarded-For": client}
        connection.request("POST", "/double", b"1", headers)
        status = connection.getresponse().status
        connection.close()
        return status

    assert _served(lambda number: ask(f"198.51.100.{number}, 203.0.113.9")) == ALLOWED
    assert ask("203.0.113.10") == 200, "another client"
