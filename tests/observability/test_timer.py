"""`with app.timer("model"):`"""

from __future__ import annotations

import logging

import pytest

from carboy import Carboy, request
from carboy.observability.environkeys import FIELDS


def test_time_is_logged_and_measured(caplog):
    app = Carboy("shop", root_path=".")
    with caplog.at_level(logging.INFO, "shop"), app.timer("model") as timer:
        assert timer.seconds >= 0
    [record] = caplog.records
    assert record.name == "shop"
    assert record.message == f"model took {timer.ms:.1f} ms"
    assert (record.timer, record.ms) == ("model", round(timer.ms, 3))
    assert record.pathname == __file__, "the record names the line of the program"
    assert timer.ms == timer.seconds * 1000
    assert timer.ms == timer.ms, "the time stands after the block"


def test_block_that_fails_is_logged_too(caplog):
    app = Carboy("shop", root_path=".")
    with (
        caplog.at_level(logging.INFO, "shop"),
        pytest.raises(ZeroDivisionError),
        app.timer("model"),
    ):
        raise ZeroDivisionError
    assert caplog.messages[0].endswith(" ms, then ZeroDivisionError")


def test_times_of_a_request_are_left_for_the_access_log(app, client):
    timers = []
    times = {}

    @app.get("/")
    def index():
        for name in ("model", "query", "model"):
            with app.timer(name) as timer:
                timers.append(timer)
        times.update(request.environ[FIELDS]["timings"])
        return ""

    client.get("/")
    expected = {"model": timers[0].ms + timers[2].ms, "query": timers[1].ms}
    assert times == pytest.approx(expected, abs=0.002)
