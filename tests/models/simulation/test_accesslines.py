"""Arrivals are read from the lines that `carboy serve` writes."""

from __future__ import annotations

import json
import random

import pytest
from loggedrequests import logged_request

from carboy.models.simulation.accesslines import read_arrivals
from carboy.observability.access import CombinedFormat, JSONFormat


def request(*, began_s: float, model: str | None = "digits", path: str = "/digits"):
    fields = None if model is None else {"model": model, "batch": 3, "queue_ms": 0.5}
    return logged_request(path, began_s=began_s, fields=fields)


def lines(form, *requests, took_s: float = 0.25) -> list[str]:
    return [form.line(each, each.began_s + took_s) for each in requests]


@pytest.mark.parametrize("model", ["digits", "a model"])
def test_arrivals_of_json_lines_are_exact(model):
    form = JSONFormat(with_query=False)
    written = lines(form, *(request(began_s=100 + each, model=model) for each in (0, 0.1, 2.5)))
    found = read_arrivals(written, model, random.Random(1))
    first_s, *_ = found.times_s
    assert [each - first_s for each in found.times_s] == pytest.approx([0, 0.1, 2.5], abs=0.002)
    assert (found.is_exact, found.unread) == (True, 0)
    sent_s = [json.loads(line)["ms"] for line in written]
    assert sent_s == [pytest.approx(250, abs=1)] * 3


@pytest.mark.parametrize("model", ["digits", "a model"])
def test_arrivals_of_text_lines_are_within_their_second(model):
    form = CombinedFormat(with_query=False)
    written = lines(form, *(request(began_s=100 + each, model=model) for each in (0, 0.1, 2.5)))
    found = read_arrivals(written, model, random.Random(1))
    first_s, *_ = found.times_s
    gaps_s = [each - first_s for each in found.times_s]
    assert gaps_s == pytest.approx([0, 0.1, 2.5], abs=1.0)
    assert len(set(gaps_s)) == 3
    assert (found.is_exact, found.unread) == (False, 0)


@pytest.mark.parametrize("make", [CombinedFormat, JSONFormat])
def test_requests_of_other_models_and_views_are_left_out(make):
    form = make(with_query=False)
    written = lines(
        form,
        request(began_s=1),
        request(began_s=2, model="shapes"),
        request(began_s=3, model=None, path="/ model=digits"),
    )
    found = read_arrivals(written, "digits", random.Random(1))
    assert len(found.times_s) == 1
    assert found.models == {"digits": 1, "shapes": 1}


def test_lines_that_are_no_access_log_are_counted():
    written = [
        "",
        "Traceback (most recent call last):",
        "{",
        '{"level": "INFO", "message": "loaded"}',
        '{"time": "yesterday", "ms": 1, "model": "digits"}',
        '1.2.3.4 - - [31/Feb/2026:12:10:15 +0000] "POST /d HTTP/1.1" 200 17 ms=6 model=digits',
        '1.2.3.4 - - [29/Foo/2026:12:10:15 +0000] "POST /d HTTP/1.1" 200 17 ms=6 model=digits',
        '1.2.3.4 - - [29/Nov/2026:12:10:15 +0000] "POST /d HTTP/1.1" 200 17 "-" "nginx"',
    ]
    found = read_arrivals(written, "digits", random.Random(1))
    assert (found.times_s, found.unread) == ([], 7)


def test_local_time_has_an_offset_that_counts():
    line = (
        '1.2.3.4 - - [29/Nov/2026:{} ] "POST /d HTTP/1.1" 200 17 "-" "-" id=1 ms=0.0 model=digits'
    )
    east, west = (
        read_arrivals([line.format(each).replace(" ]", "]")], "digits", random.Random(1)).times_s[0]
        for each in ("12:00:00 +0200", "10:00:00 +0000")
    )
    assert east == west
