from __future__ import annotations

import dataclasses

import pytest

from carboy.access.ratelimit import RateLimit, network_of
from carboy.access.rates import parse_rates
from carboy.access.tokensources import OwnTokens, use_source


@dataclasses.dataclass
class Client:
    address: str = "192.0.2.1"
    key_name: str = ""
    user: str = ""


@pytest.fixture
def clock():
    now = [0.0]
    use_source(lambda: OwnTokens(lambda: now[0]))
    yield now
    use_source(OwnTokens)


def limit_of(rates, scope="app"):
    return RateLimit(parse_rates(rates), scope)


def test_refusal_has_the_fields_of_the_ietf_draft(clock):
    limit = limit_of(["2/minute", "9/hour by address"])
    assert [limit.refusal(Client(), "x") for _ in range(2)] == [None, None]
    refusal = limit.refusal(Client(), "x")
    assert refusal.headers() == [
        ("Retry-After", "30"),
        ("RateLimit-Policy", '"2/minute by key";q=2;w=60, "9/hour by address";q=9;w=3600'),
        ("RateLimit", '"2/minute by key";r=0;t=30'),
    ]
    assert refusal.members() == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "violated-policies": ["2/minute by key"],
    }
    assert refusal.detail == "Too many requests: 2/minute by key is allowed. Retry after 30 s."


def test_client_that_comes_after_retry_after_is_served(clock):
    limit = limit_of("7/3 seconds")
    while (refusal := limit.refusal(Client(), "x")) is None:
        pass
    clock[0] += refusal.wait_s
    assert limit.refusal(Client(), "x") is None


def test_refused_request_counts_for_none_of_the_rates(clock):
    limit = limit_of(["1/second by route", "3/hour by address"])
    for at_s in (0.0, 1.0, 2.0):
        clock[0] = at_s
        assert limit.refusal(Client(), "x") is None
        assert limit.refusal(Client(), "x") is not None
    clock[0] = 3.0
    refusal = limit.refusal(Client(), "x")
    assert [str(rate) for rate, _ in refusal.violated] == ["3/hour by address"]
    assert limit.refusal(Client("192.0.2.2"), "x") is None


COUNTED_TOGETHER = {
    "key": [
        (Client("192.0.2.1", key_name="a"), Client("192.0.2.2", key_name="a", user="u"), True),
        (Client(key_name="a"), Client(key_name="b"), False),
        (Client(key_name="a"), Client(user="a"), False),
        (Client("192.0.2.1", user="u"), Client("192.0.2.2", user="u"), True),
        (Client("192.0.2.1"), Client("192.0.2.1"), True),
        (Client("192.0.2.1"), Client("192.0.2.2"), False),
    ],
    "user": [
        (Client(key_name="a", user="u"), Client(key_name="b", user="u"), True),
        (Client(key_name="a", user="u"), Client(key_name="a", user="v"), False),
        (Client("192.0.2.1", key_name="a"), Client("192.0.2.2", key_name="a"), True),
        (Client("192.0.2.1"), Client("192.0.2.2"), False),
    ],
    "address": [
        (Client(key_name="a", user="u"), Client(key_name="b", user="v"), True),
        (Client("192.0.2.1", key_name="a"), Client("192.0.2.2", key_name="a"), False),
    ],
    "model": [(Client("192.0.2.1", key_name="a"), Client("192.0.2.2", user="v"), True)],
    "route": [(Client("192.0.2.1", key_name="a"), Client("192.0.2.2", user="v"), True)],
}


@pytest.mark.parametrize(
    ("by", "first", "second", "together"),
    [(by, *case) for by, cases in COUNTED_TOGETHER.items() for case in cases],
)
def test_requests_are_counted_by_what_the_rate_says(clock, by, first, second, together):
    limit = limit_of(f"1/minute by {by}")
    assert limit.refusal(first, "x") is None
    assert (limit.refusal(second, "x") is not None) is together


def test_models_are_counted_apart_where_one_declaration_holds_for_several(clock):
    limit = limit_of("1/minute by model")
    assert limit.refusal(Client(), "digits") is None
    assert limit.refusal(Client(), "flowers") is None
    assert limit.refusal(Client("192.0.2.9"), "digits") is not None


def test_declarations_are_counted_apart(clock):
    assert limit_of("1/minute", "route a").refusal(Client(), "x") is None
    assert limit_of("1/minute", "route b").refusal(Client(), "x") is None
    assert limit_of("1/minute", "route a").refusal(Client(), "x") is not None


NETWORKS = {
    "192.0.2.1": "address 192.0.2.1",
    "2001:db8:1:2:3:4:5:6": "network 2001:db8:1:2::/64",
    "2001:db8:1:2:ffff::1": "network 2001:db8:1:2::/64",
    "fe80::1%eth0": "network fe80::/64",
    "::ffff:192.0.2.1": "address 192.0.2.1",
    "": "address ",
    "made:up": "address made:up",
}


@pytest.mark.parametrize("address", NETWORKS)
def test_addresses_of_one_ipv6_client_count_together(address):
    assert network_of(address) == NETWORKS[address]
