from __future__ import annotations

import pytest

from carboy.access.apikey import ApiKey
from carboy.access.ratelimit import RateLimit, Sender, count, network_of
from carboy.access.rates import parse_rates
from carboy.core.identity import Identity


def client(address: str = "192.0.2.1", key_name: str = "", user: str = "") -> Identity:
    key = ApiKey("phone", key_name, "") if key_name else None
    return Identity(address, key, lambda: user)


class Limited:
    """Counts requests by the rates of one declaration."""

    def __init__(self, rates: str | list[str], scope: str = "app") -> None:
        self.limit = RateLimit(parse_rates(rates), scope)

    def refusal(self, client: Identity, model: str):
        return count([self.limit], Sender(client, model, "endpoint"))


def test_refusal_has_the_fields_of_the_ietf_draft(clock):
    limit = Limited(["2/minute", "9/hour by address"])
    assert [limit.refusal(client(), "x") for _ in range(2)] == [None, None]
    refusal = limit.refusal(client(), "x")
    problem = refusal.problem()
    assert problem.headers == [
        ("Retry-After", "30"),
        ("RateLimit-Policy", '"2/minute";q=2;w=60, "9/hour by address";q=9;w=3600'),
        ("RateLimit", '"2/minute";r=0;t=30'),
    ]
    assert problem.to_dict() == {
        "title": "Too Many Requests",
        "status": 429,
        "detail": "The rate 2/minute is exceeded.",
        "code": "rate-exceeded",
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "violated-policies": ["2/minute"],
    }


def test_client_that_comes_after_retry_after_is_served(clock):
    limit = Limited("7/3 seconds")
    while (refusal := limit.refusal(client(), "x")) is None:
        pass
    clock[0] += refusal.wait_s
    assert limit.refusal(client(), "x") is None


def test_refused_request_counts_for_none_of_the_rates(clock):
    limit = Limited(["1/second by route", "3/hour by address"])
    for at_s in (0.0, 1.0, 2.0):
        clock[0] = at_s
        assert limit.refusal(client(), "x") is None
        assert limit.refusal(client(), "x") is not None
    clock[0] = 3.0
    refusal = limit.refusal(client(), "x")
    assert [str(rate) for rate, _ in refusal.violated] == ["3/hour by address"]
    assert limit.refusal(client("192.0.2.2"), "x") is None


COUNTED_TOGETHER = {
    "key": [
        (client("192.0.2.1", key_name="a"), client("192.0.2.2", key_name="a", user="u"), True),
        (client(key_name="a"), client(key_name="b"), False),
        (client(key_name="a"), client(user="a"), False),
        (client("192.0.2.1", user="u"), client("192.0.2.2", user="u"), True),
        (client("192.0.2.1"), client("192.0.2.1"), True),
        (client("192.0.2.1"), client("192.0.2.2"), False),
    ],
    "user": [
        (client(key_name="a", user="u"), client(key_name="b", user="u"), True),
        (client(key_name="a", user="u"), client(key_name="a", user="v"), False),
        (client("192.0.2.1", key_name="a"), client("192.0.2.2", key_name="a"), True),
        (client("192.0.2.1"), client("192.0.2.2"), False),
    ],
    "address": [
        (client(key_name="a", user="u"), client(key_name="b", user="v"), True),
        (client("192.0.2.1", key_name="a"), client("192.0.2.2", key_name="a"), False),
    ],
    "model": [(client("192.0.2.1", key_name="a"), client("192.0.2.2", user="v"), True)],
    "route": [(client("192.0.2.1", key_name="a"), client("192.0.2.2", user="v"), True)],
}


@pytest.mark.parametrize(
    ("by", "first", "second", "together"),
    [(by, *case) for by, cases in COUNTED_TOGETHER.items() for case in cases],
)
def test_requests_are_counted_by_what_the_rate_says(clock, by, first, second, together):
    limit = Limited(f"1/minute by {by}")
    assert limit.refusal(first, "x") is None
    assert (limit.refusal(second, "x") is not None) is together


def test_models_are_counted_apart_where_one_declaration_holds_for_several(clock):
    limit = Limited("1/minute by model")
    assert limit.refusal(client(), "digits") is None
    assert limit.refusal(client(), "flowers") is None
    assert limit.refusal(client("192.0.2.9"), "digits") is not None


def test_declarations_are_counted_apart(clock):
    assert Limited("1/minute", "route a").refusal(client(), "x") is None
    assert Limited("1/minute", "route b").refusal(client(), "x") is None
    assert Limited("1/minute", "route a").refusal(client(), "x") is not None


NETWORKS = {
    "192.0.2.1": "192.0.2.1",
    "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
    "2001:db8:1:2:ffff::1": "2001:db8:1:2::/64",
    "fe80::1%eth0": "fe80::/64",
    "::ffff:192.0.2.1": "192.0.2.1",
    "": "unknown",
    "made:up": "made:up",
}


@pytest.mark.parametrize("address", NETWORKS)
def test_addresses_of_one_ipv6_client_count_together(address):
    assert network_of(address) == NETWORKS[address]


def test_long_texts_in_place_of_names_take_little_memory():
    assert len(network_of("x" * 8000)) == len(network_of("y" * 500)) == 64
    assert network_of("x" * 8000) != network_of("y" * 500)
