"""The default JSON provider: its text, its values, and the precedence of its settings."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import typing as t
import uuid
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from naming import stable_repr

from carboy import Carboy
from carboy.json import dump, dumps, jsonify, load, loads
from carboy.json.provider import DefaultJSONProvider, JSONProvider


@pytest.fixture
def app() -> Carboy:
    return Carboy(__name__)


@dataclass
class Point:
    x: int
    y: int


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (dt.date(2024, 2, 29), '"Thu, 29 Feb 2024 00:00:00 GMT"'),
        (dt.datetime(2024, 2, 29, 12, 30), '"Thu, 29 Feb 2024 12:30:00 GMT"'),  # noqa: DTZ001
        (
            dt.datetime(2024, 2, 29, 12, tzinfo=dt.timezone(dt.timedelta(hours=-8))),
            '"Thu, 29 Feb 2024 20:00:00 GMT"',
        ),
        (decimal.Decimal("0.30"), '"0.30"'),
        (uuid.UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
        (Point(1, 2), '{"x": 1, "y": 2}'),
        (Markup("<b>"), '"<b>"'),
    ],
    ids=lambda value: type(value).__name__,
)
def test_dates_decimals_uuids_dataclasses_and_html_are_written(
    app: Carboy, value: t.Any, text: str
) -> None:
    assert app.json.dumps(value) == text
    assert dumps(value) == text  # also without an app
    assert json.loads(app.json.response([value]).get_data()) == [json.loads(text)]


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", Point], ids=stable_repr)
def test_unsupported_object_raises_type_error(app: Carboy, value: object) -> None:
    with pytest.raises(TypeError):
        app.json.dumps({"a": value})
    with pytest.raises(TypeError):
        app.json.response(value)


def test_circular_reference_is_named_in_the_error(app: Carboy) -> None:
    circle: list[t.Any] = []
    circle.append(circle)
    for write in (app.json.dumps, app.json.response):
        with pytest.raises(ValueError, match="Circular reference"):
            write(circle)


def test_response_is_sorted_compact_ascii_and_ends_with_a_newline(app: Carboy) -> None:
    response = app.json.response(b=[1, None], a="ü")
    assert response.get_data() == b'{"a":"\\u00fc","b":[1,null]}\n'
    assert response.mimetype == "application/json"
    assert isinstance(response, app.response_class)


@pytest.mark.parametrize(
    ("args", "kwargs", "body"),
    [
        ((), {}, b"null\n"),
        ((None,), {}, b"null\n"),
        ((1, 2), {}, b"[1,2]\n"),
        (([1],), {}, b"[1]\n"),
        ((), {"a": 1}, b'{"a":1}\n'),
    ],
    ids=["nothing", "None", "several", "one", "keywords"],
)
def test_jsonify_writes_a_value_a_list_or_an_object(
    app: Carboy, args: tuple[t.Any, ...], kwargs: dict[str, t.Any], body: bytes
) -> None:
    with app.app_context():
        assert jsonify(*args, **kwargs).get_data() == body


def test_jsonify_refuses_positional_and_keyword_arguments_together(app: Carboy) -> None:
    with pytest.raises(TypeError, match="not both"):
        app.json.response(1, a=2)


# --- Reading -------------------------------------------------------------------------------------

json_text = st.text('[]{},:"\\ \n\t0123456789.-+eEuntrfalsNIyd/\x00\x7fé\ud800', max_size=30)
numbers = st.from_regex(r"-?[0-9]{0,25}(\.[0-9]{0,25})?([eE][+-]?[0-9]{0,3})?", fullmatch=True)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def outcome(read: t.Callable[..., t.Any], text: str | bytes) -> str:
    try:
        return repr(read(text))
    except Exception as exc:  # noqa: BLE001 - compared with the other below
        return f"{type(exc).__name__}: {exc}"


provider = DefaultJSONProvider(None.__class__)  # type: ignore[arg-type]  # not called


@given(
    json_text
    | numbers
    | numbers.map("[{}]".format)
    | values.map(json.dumps)
    | values.map(lambda value: json.dumps(value, ensure_ascii=False))
)
def test_text_is_parsed_as_by_the_standard_library(text: str) -> None:
    assert outcome(provider.loads, text) == outcome(json.loads, text)


@given(
    st.binary(max_size=20)
    | json_text.map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.tuples(
        values.map(json.dumps), st.sampled_from(["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
    ).map(lambda pair: pair[0].encode(pair[1]))
)
def test_bytes_are_parsed_as_by_the_standard_library(data: bytes) -> None:
    assert outcome(provider.loads, data) == outcome(json.loads, data)


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "-Infinity",
        "1e400",
        "-0",
        "18446744073709551616",
        "1" * 5000,
        '"\\ud800"',
        '{"a": 1, "b": 2, "a": 3}',
        "[" * 100_000,
        "\ufeff1",
        "",
    ],
    ids=lambda text: text[:24] or "empty",
)
def test_unusual_json_is_parsed_as_by_the_standard_library(text: str) -> None:
    assert outcome(provider.loads, text) == outcome(json.loads, text)


def test_options_of_json_loads_are_supported(app: Carboy) -> None:
    assert app.json.loads("[1.5]", parse_float=decimal.Decimal) == [decimal.Decimal("1.5")]
    assert app.json.loads(bytearray(b"[1]")) == [1]


def test_json_files_are_written_and_read(app: Carboy, tmp_path: t.Any) -> None:
    path = tmp_path / "data.json"
    for context in (app.app_context(), None):
        with path.open("w") as file:
            if context is None:
                dump({"b": 1, "a": Point(1, 2)}, file)
            else:
                with context:
                    dump({"b": 1, "a": Point(1, 2)}, file)
        with path.open("rb") as file:
            assert load(file) == {"a": {"x": 1, "y": 2}, "b": 1}


# --- Precedence of settings ----------------------------------------------------------------------


def body(app: Carboy, obj: t.Any) -> str:
    return app.json.response(obj).get_data(as_text=True)


def test_changed_attributes_take_effect_at_once(app: Carboy) -> None:
    assert body(app, {"b": "é", "a": 1}) == '{"a":1,"b":"\\u00e9"}\n'
    app.json.sort_keys = app.json.ensure_ascii = False  # type: ignore[attr-defined]
    assert body(app, {"b": "é", "a": 1}) == '{"b":"é","a":1}\n'
    assert app.json.dumps({"b": "é", "a": 1}) == '{"b": "é", "a": 1}'
    del app.json.sort_keys  # type: ignore[attr-defined]
    assert body(app, {"b": "é", "a": 1}) == '{"a":1,"b":"é"}\n'


def test_class_may_be_patched_after_first_use(app: Carboy, monkeypatch: pytest.MonkeyPatch) -> None:
    assert body(app, {"b": 1, "a": 1}) == '{"a":1,"b":1}\n'
    monkeypatch.setattr(DefaultJSONProvider, "sort_keys", False)
    assert body(app, {"b": 1, "a": 1}) == '{"b":1,"a":1}\n'
    monkeypatch.setattr(DefaultJSONProvider, "dumps", lambda self, obj, **kwargs: "patched")
    assert body(app, {}) == "patched\n"


def test_default_may_be_set_on_the_instance(app: Carboy) -> None:
    assert body(app, "warm") == '"warm"\n'
    app.json.default = lambda o: "other"  # type: ignore[attr-defined]
    assert body(app, {"a": object()}) == '{"a":"other"}\n'
    assert dumps_in(app, {"a": object()}) == '{"a": "other"}'


def dumps_in(app: Carboy, obj: t.Any) -> str:
    with app.app_context():
        return dumps(obj)


def test_overridden_methods_are_called(app: Carboy) -> None:
    class Loud(DefaultJSONProvider):
        mimetype = "application/loud"

        def default(self, o: t.Any) -> t.Any:  # type: ignore[override]
            return type(o).__name__

        def dumps(self, obj: t.Any, **kwargs: t.Any) -> str:
            return super().dumps(obj, **kwargs).upper()

        def loads(self, s: str | bytes, **kwargs: t.Any) -> t.Any:
            return ["loud", super().loads(s, **kwargs)]

    app.json = Loud(app)
    response = app.json.response(a=object())
    assert response.get_data() == b'{"A":"OBJECT"}\n'
    assert response.mimetype == "application/loud"
    with app.app_context():
        assert loads("1") == ["loud", 1]
    with app.test_request_context(json=1) as ctx:
        assert ctx.request.get_json() == ["LOUD", 1] or ctx.request.get_json() == ["loud", 1]


def test_dumps_set_on_the_instance_is_called(app: Carboy) -> None:
    app.json.dumps = lambda obj, **kwargs: "mine"  # type: ignore[method-assign]
    assert body(app, {}) == "mine\n"


def test_custom_provider_needs_only_dumps_and_loads(app: Carboy) -> None:
    class Repr(JSONProvider):
        def dumps(self, obj: t.Any, **kwargs: t.Any) -> str:
            return repr(obj)

    app.json = Repr(app)
    assert body(app, [1, 2]) == "[1, 2]"
    with pytest.raises(NotImplementedError):
        app.json.loads("1")


@pytest.mark.parametrize(
    ("debug", "compact", "pretty_key", "indented"),
    [
        (False, None, False, False),
        (True, None, False, True),
        (False, None, True, True),
        (True, True, True, False),
        (False, False, False, True),
    ],
    ids=["default", "debug", "config", "compact wins", "not compact"],
)
def test_responses_are_indented_by_debug_mode_config_or_compact(
    app: Carboy, debug: bool, compact: bool | None, pretty_key: bool, indented: bool
) -> None:
    app.debug = debug
    app.config["JSONIFY_PRETTYPRINT_REGULAR"] = pretty_key
    if compact is not None:
        app.json.compact = compact  # type: ignore[attr-defined]
    assert body(app, {"a": 1}) == ('{\n  "a": 1\n}\n' if indented else '{"a":1}\n')


def test_subclass_of_the_app_may_compute_debug_mode() -> None:
    class App(Carboy):
        is_indented = False

        @property  # type: ignore[override]
        def debug(self) -> bool:
            return self.is_indented

    app = App("x")
    assert body(app, {"a": 1}) == '{"a":1}\n'
    app.is_indented = True
    assert body(app, {"a": 1}) == '{\n  "a": 1\n}\n'


@pytest.mark.parametrize(
    ("key", "value", "name", "expected"),
    [
        ("JSON_AS_ASCII", False, "ensure_ascii", '{"a":"é","b":1}\n'),
        ("JSON_SORT_KEYS", False, "sort_keys", '{"b":1,"a":"\\u00e9"}\n'),
    ],
    ids=["ascii", "sort"],
)
def test_flask_2_config_keys_apply_until_the_attribute_is_set(
    app: Carboy, key: str, value: bool, name: str, expected: str
) -> None:
    obj = {"b": 1, "a": "é"}
    default = body(app, obj)
    app.config[key] = value
    assert body(app, obj) == expected
    setattr(app.json, name, True)
    assert body(app, obj) == default
    delattr(app.json, name)
    assert body(app, obj) == expected
    app.config[key] = True
    assert body(app, obj) == default


def test_attribute_of_a_subclass_overrides_the_config(app: Carboy) -> None:
    class Sorted(DefaultJSONProvider):
        sort_keys = True

    app.config["JSON_SORT_KEYS"] = False
    app.json = Sorted(app)
    assert body(app, {"b": 1, "a": 1}) == '{"a":1,"b":1}\n'


def test_flask_2_mimetype_key_applies_until_the_attribute_is_set(app: Carboy) -> None:
    app.config["JSONIFY_MIMETYPE"] = "application/vnd.api+json"
    assert app.json.response(1).mimetype == "application/vnd.api+json"
    app.json.mimetype = "application/json"  # type: ignore[attr-defined]
    assert app.json.response(1).mimetype == "application/json"


def test_missing_config_keys_mean_the_defaults(app: Carboy) -> None:
    del app.config["JSON_SORT_KEYS"]
    assert body(app, {"b": 1, "a": 1}) == '{"a":1,"b":1}\n'


def test_provider_works_after_its_app_was_freed() -> None:
    provider = DefaultJSONProvider(Carboy(__name__))
    assert provider.dumps({"b": 1, "a": 2}) == '{"a": 2, "b": 1}'
    assert provider.loads("[1]") == [1]
