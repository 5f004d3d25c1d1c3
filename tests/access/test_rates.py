from __future__ import annotations

import pytest

from carboy.access.rates import WAYS, Rate, parse_rates

UNDERSTOOD = {
    "100/minute": (100, 60, "key", "100/minute"),
    "100 / minute": (100, 60, "key", "100/minute"),
    "100 per minute": (100, 60, "key", "100/minute"),
    "1/second by address": (1, 1, "address", "1/second by address"),
    "5/10 minutes by user": (5, 600, "user", "5/10 minutes by user"),
    "5 per 1 hour": (5, 3600, "key", "5/hour"),
    "1000/Days  by  MODEL": (1000, 86400, "model", "1000/day by model"),
    " 7/2 seconds by route ": (7, 2, "route", "7/2 seconds by route"),
}
REFUSED = [
    "",
    "100",
    "100/",
    "/minute",
    "100/month",
    "100/0 minutes",
    "0/minute",
    "-1/minute",
    "1.5/minute",
    "1e3/minute",
    "9999999999/minute",
    "100/minute by",
    "100/minute by ip",
    "100/minute by key by user",
    "100/minute;10/second",
    "100/minute,",
    "100/minute, unlimited",
    ["unlimited", "unlimited"],
    "\u0661\u0660\u0660/minute",
    [],
    ["10/second", 5],
    100,
    None,
    True,
    b"100/minute",
    {"100/minute"},
]


@pytest.mark.parametrize("text", UNDERSTOOD)
def test_rate_is_read_from_text(text):
    assert parse_rates(text) == (Rate(*UNDERSTOOD[text]),)


@pytest.mark.parametrize("text", UNDERSTOOD)
def test_text_of_a_rate_is_the_same_rate(text):
    (rate,) = parse_rates(text)
    assert parse_rates(str(rate)) == (rate,)


@pytest.mark.parametrize("given", ["10/second, 1000/day", ["10/second", "1000/day"]])
def test_several_rates_are_read_from_one_text_or_a_list(given):
    assert [str(rate) for rate in parse_rates(given)] == ["10/second", "1000/day"]


@pytest.mark.parametrize("given", ["unlimited", ["unlimited"], (" unlimited ",)], ids=repr)
def test_unlimited_alone_is_no_rate(given):
    assert parse_rates(given) == ()


@pytest.mark.parametrize("given", REFUSED, ids=repr)
def test_anything_else_is_refused_with_an_example_or_the_reason(given):
    with pytest.raises(ValueError, match=r"expected a rate, such as|counts by|allows nothing"):
        parse_rates(given)


def test_refusal_names_what_a_rate_can_count_by():
    with pytest.raises(ValueError) as caught:
        parse_rates("100/minute by ip")
    assert all(way in str(caught.value) for way in (*WAYS, "'ip'", "100/minute by ip"))


def test_rate_that_is_given_twice_is_refused():
    with pytest.raises(ValueError, match="'10/second' is given twice"):
        parse_rates(["10/second", "10 per second by key"])
