"""Tracebacks begin at the first frame of the user's code."""

from __future__ import annotations

import sys
import traceback

import pytest

from carboy import Carboy
from carboy.contract.answers import encode
from carboy.core.tracebacks import FULL_ENV_VAR, drop_leading_frames


def _caught(app, predict):
    app.model("/m")(predict)
    with pytest.raises(Exception) as caught:
        app.models["m"].predict(1)
    # The frames of this test count as the user's; they are above carboy's.
    exc = caught.value
    exc.__traceback__ = exc.__traceback__.tb_next
    return exc


def _functions(exc):
    return [frame.name for frame in traceback.extract_tb(exc.__traceback__)]


def _fail(number: int) -> int:
    raise ValueError(number)


def test_traceback_begins_at_the_users_first_frame():
    def fail_below(x: int) -> int:
        return _fail(x)

    exc = _caught(Carboy(__name__), fail_below)
    assert _functions(exc)[0] != "fail_below"
    drop_leading_frames(exc)
    assert _functions(exc) == ["fail_below", "_fail"]
    drop_leading_frames(exc)
    assert _functions(exc) == ["fail_below", "_fail"]


def test_carboys_frames_below_the_users_are_kept():
    app = Carboy(__name__)
    app.model("/inner", name="inner")(_fail)

    def predict(x: int) -> int:
        return app.models["inner"].predict(x)

    exc = _caught(app, predict)
    drop_leading_frames(exc)
    first, *between, last = _functions(exc)
    assert (first, last) == ("predict", "_fail")
    assert between


def test_traceback_of_a_cause_is_shortened_too():
    def give_up(x: int) -> int:
        sys.exit(3)

    app = Carboy(__name__)
    app.model("/m")(give_up)
    crash = app.models["m"].submit(1).exception()
    assert _functions(crash.__cause__)[0] != "give_up"
    drop_leading_frames(crash)
    assert _functions(crash.__cause__) == ["give_up"]
    assert _functions(crash) == []


def test_exceptions_that_are_each_others_cause_do_not_loop():
    one, two = ValueError(1), ValueError(2)
    one.__cause__, two.__context__ = two, one
    drop_leading_frames(one)


def test_traceback_without_user_frames_is_kept():
    with pytest.raises(NotImplementedError) as caught:
        encode(object())
    exc = caught.value
    exc.__traceback__ = exc.__traceback__.tb_next
    before = _functions(exc)
    drop_leading_frames(exc)
    assert _functions(exc) == before
    assert before


def test_environment_variable_keeps_all_frames(monkeypatch):
    monkeypatch.setenv(FULL_ENV_VAR, "1")
    exc = _caught(Carboy(__name__), _fail)
    before = _functions(exc)
    drop_leading_frames(exc)
    assert _functions(exc) == before
    assert len(before) > 1
