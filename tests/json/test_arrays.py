"""Values of NumPy and pandas in the JSON of Flask's rules, and NaN and infinity."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import typing as t

import numpy as np
import pandas as pd
import pytest
from naming import stable_repr

from carboy import Carboy, jsonify
from carboy.errors import ConfigError
from carboy.json.provider import DefaultJSONProvider

NAN, INF = float("nan"), float("inf")
TEN = "Mon, 01 Jan 2024 10:00:00 GMT"
MIDNIGHT = "Mon, 01 Jan 2024 00:00:00 GMT"


@pytest.fixture
def app() -> Carboy:
    return Carboy(__name__)


VALUES = [
    (np.float32(0.5), 0.5),
    (np.float64(0.5), 0.5),
    (np.longdouble(1.5), 1.5),
    (np.int64(3), 3),
    (np.uint8(255), 255),
    (np.bool_(True), True),
    (np.str_("a"), "a"),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (np.array(7), 7),
    (np.array([1.5, NAN], dtype="float32"), [1.5, None]),
    (np.array([1.5], dtype="longdouble"), [1.5]),
    (np.array([np.int64(1), None, pd.NA], dtype=object), [1, None, None]),
    # Times have the form that Flask gives to `datetime`.
    (np.datetime64("2024-01-01"), MIDNIGHT),
    (np.datetime64("2024-01-01T10", "s"), TEN),
    (np.datetime64("2024-01-01T10", "ns"), TEN),
    (np.datetime64("NaT"), None),
    (np.array(["2024-01-01T10", "NaT"], dtype="datetime64[us]"), [TEN, None]),
    (np.array([["2024-01-01T10"], ["NaT"]], dtype="datetime64[ns]"), [[TEN], [None]]),
    # `datetime` has no nanoseconds and no year 20000.
    (
        np.array(["2024-01-01T10:00:00.000000001", "NaT"], dtype="datetime64[ns]"),
        ["2024-01-01T10:00:00.000000001", None],
    ),
    (np.datetime64("20000-01-01"), "20000-01-01"),
    (pd.Timestamp("2024-01-01T10:00"), TEN),
    (pd.NaT, None),
    (pd.NA, None),
    (pd.Period("2024-01"), "2024-01"),
    (pd.Series([1.5, None]), [1.5, None]),
    (pd.Series([1, None], dtype="Int64"), [1, None]),
    (pd.Series(["a", None], dtype="category"), ["a", None]),
    (pd.Series(pd.to_datetime(["2024-01-01T10:00", None])), [TEN, None]),
    (pd.Index([1, 2]), [1, 2]),
    (pd.Categorical(["a", "b"]), ["a", "b"]),
    (
        pd.DataFrame({"a": [1], "when": [pd.Timestamp("2024-01-01")]}),
        [{"a": 1, "when": MIDNIGHT}],
    ),
    ({np.int64(1): 2, np.int64(0): np.float32(0.5)}, {"1": 2, "0": 0.5}),
    ({np.str_("a"): np.bool_(False)}, {"a": False}),
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=stable_repr)
@pytest.mark.parametrize("debug", [False, True], ids=["compact", "indented"])
def test_value_of_numpy_or_pandas_is_written(
    app: Carboy, debug: bool, value: t.Any, expected: t.Any
) -> None:
    app.debug = debug
    views = {"/dict": lambda: {"v": value}, "/list": lambda: [value], "/j": lambda: jsonify(value)}
    for rule, view in views.items():
        app.add_url_rule(rule, rule, view)
    client = app.test_client()
    assert client.get("/dict").json == {"v": expected}
    assert client.get("/list").json == [expected]
    assert client.get("/j").json == expected


def test_provider_with_its_own_dates_writes_those_of_numpy_too(app: Carboy) -> None:
    class IsoDates(DefaultJSONProvider):
        @staticmethod
        def default(o: t.Any) -> t.Any:
            return o.isoformat() if isinstance(o, dt.date) else DefaultJSONProvider.default(o)

    app.json = IsoDates(app)
    when = np.array(["2024-01-01T10"], dtype="datetime64[ns]")
    assert json.loads(app.json.dumps(when)) == ["2024-01-01T10:00:00"]


@pytest.mark.parametrize("debug", [False, True], ids=["compact", "indented"])
@pytest.mark.parametrize("after", [{"n": 1}, {np.int64(1): NAN}], ids=["text", "NumPy"])
def test_iterators_are_read_once_whatever_keys_follow(
    app: Carboy, debug: bool, after: t.Any
) -> None:
    class Lists(DefaultJSONProvider):
        @staticmethod
        def default(o: t.Any) -> t.Any:
            return list(o) if hasattr(o, "__next__") else DefaultJSONProvider.default(o)

    app.debug, app.json = debug, Lists(app)
    rows = ({"day": dt.date(2024, 1, day), "of": map(str, range(day))} for day in (1, 2))
    made = json.loads(app.json.dumps({"a": rows, "b": after}))
    assert made["a"] == [
        {"day": "Mon, 01 Jan 2024 00:00:00 GMT", "of": ["0"]},
        {"day": "Tue, 02 Jan 2024 00:00:00 GMT", "of": ["0", "1"]},
    ]


@pytest.mark.parametrize("value", [np.timedelta64(1, "s"), np.complex64(1)], ids=stable_repr)
def test_value_whose_python_form_has_no_json_form_is_an_error(app: Carboy, value: t.Any) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        app.json.dumps(value)


def test_app_that_does_not_use_numpy_does_not_import_it() -> None:
    program = (
        "import sys; from carboy import Carboy, jsonify; import datetime\n"
        "app = Carboy('x')\n"
        "with app.app_context(): jsonify(a=datetime.date(2024, 1, 1), b=float('nan'))\n"
        "assert not {'numpy', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# --- NaN and infinity ----------------------------------------------------------------------------

NOT_FINITE = {"a": [NAN, {"b": (INF, -INF)}], "c": np.float32("nan"), "d": 1.5}


@pytest.mark.parametrize("debug", [False, True], ids=["compact", "indented"])
@pytest.mark.parametrize("setting", [None, "null"])
def test_nan_and_infinity_are_null(app: Carboy, setting: str | None, debug: bool) -> None:
    app.debug = debug
    app.config["JSON_NAN"] = setting
    text = app.json.response(NOT_FINITE).get_data(as_text=True)
    assert json.loads(text) == {"a": [None, {"b": [None, None]}], "c": None, "d": 1.5}


def test_nan_and_infinity_are_literals_by_setting(app: Carboy) -> None:
    app.config["JSON_NAN"] = "literal"
    assert app.json.response([NAN, INF, -INF]).get_data() == b"[NaN,Infinity,-Infinity]\n"


@pytest.mark.parametrize("debug", [False, True], ids=["compact", "indented"])
@pytest.mark.parametrize(
    ("value", "path"),
    [(NAN, r"\$"), ({"a": [1.5, INF]}, r"\$\.a\[1\]"), ([np.float32("nan")], r"\$\[0\]")],
    ids=stable_repr,
)
def test_nan_is_an_error_by_setting_that_names_its_place(
    app: Carboy, debug: bool, value: t.Any, path: str
) -> None:
    app.debug = debug
    app.config["JSON_NAN"] = "error"
    with pytest.raises(ValueError, match=rf"The value at {path} is "):
        app.json.response(value)
    assert app.json.response({"a": 1}).get_json() == {"a": 1}


def test_key_that_is_nan_is_text(app: Carboy) -> None:
    for setting in ("null", "literal"):
        app.config["JSON_NAN"] = setting
        assert app.json.response({NAN: 1}).get_json() == {"NaN": 1}


def test_setting_concerns_responses_only(app: Carboy) -> None:
    # A script in a template reads NaN, and a program that calls `dumps` expects Python's text.
    assert app.json.dumps([NAN]) == "[NaN]"
    assert app.json.dumps([NAN], indent=0) == "[\nNaN\n]"


def test_setting_takes_effect_at_once(app: Carboy) -> None:
    assert app.json.response(NAN).get_data() == b"null\n"
    app.config["JSON_NAN"] = "literal"
    assert app.json.response(NAN).get_data() == b"NaN\n"


def test_unknown_setting_is_an_error_that_lists_the_known(app: Carboy) -> None:
    app.config["JSON_NAN"] = "nul"
    with pytest.raises(ConfigError, match=r"JSON_NAN.*'nul'.*'null'"):
        app.json.response(1)


def test_nan_is_a_literal_under_flasks_name() -> None:
    program = (
        "from carboy import install_as_flask; install_as_flask()\n"
        "from flask import Flask, jsonify\n"
        "app = Flask('x')\n"
        "with app.app_context(): assert jsonify(float('nan')).get_data() == b'NaN\\n'"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
