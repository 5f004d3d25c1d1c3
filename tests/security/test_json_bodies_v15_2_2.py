"""Hostile JSON and MessagePack: deep, dense, endless and impossible values cost little.

ASVS 5.0: 15.2.2, 1.5.3
Also tested in: tests/models/test_bad_input.py, tests/contract/test_bodies_of_models.py,
    tests/contract/test_wrong_bodies.py
"""

from __future__ import annotations

import time
import tracemalloc
import typing as t

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carboy import Carboy, jsonify, request
from carboy.contract import valuecounts
from carboy.contract.valuecounts import check_json, check_msgpack, count_outside_strings
from carboy.errors import InputTooLargeError
from carboy.models import DataFrame

MIB = 2**20
JSON, MSGPACK = "application/json", "application/msgpack"


class Node(msgspec.Struct):
    value: int
    children: list[Node] = []


class Person(pydantic.BaseModel):
    name: str
    tags: list[str] = []
    shares: dict[str, float] = {}


class Order(msgspec.Struct):
    buyer: Person


@pytest.fixture(scope="module")
def client():
    app = Carboy(__name__)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.config["MODEL_PROTOCOLS"] = ["v2", "kserve"]

    @app.model("/sum", batch=8)
    def total(xs: list[list[float]]) -> list[float]:
        return [sum(x) for x in xs]

    @app.model("/tree")
    def tree(node: Node) -> int:
        return node.value

    @app.model("/person")
    def person(person: Person) -> str:
        return person.name

    @app.model("/order")
    def order(order: Order) -> str:
        return order.buyer.name

    @app.model("/any")
    def anything(x: t.Any) -> int:
        return 1

    @app.model("/table")
    def table(df: DataFrame) -> int:
        return len(df)

    @app.post("/typed")
    def typed(node: Node) -> int:
        return node.value

    @app.post("/typed-person")
    def typed_person(person: Person) -> str:
        return person.name

    @app.post("/flask")
    def flask():
        return jsonify(kind=type(request.get_json()).__name__)

    @app.post("/silent")
    def silent():
        return jsonify(read=request.get_json(silent=True))

    return app.test_client()


MODELS = ["/sum", "/tree", "/person", "/any", "/table"]
TYPED = [*MODELS, "/typed", "/typed-person"]
PATHS = [*TYPED, "/flask"]
DEEP = 100_000

BAD = {
    "nested lists": b"[" * DEEP + b"]" * DEEP,
    "nested objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "opened lists": b"[" * DEEP,
    "nested records": b'{"value":1,"children":[' * DEEP,
    "unfinished text": b'"' + b"a" * MIB,
    "unfinished list": b"[1,",
    "byte that is no UTF-8": b'["\xff"]',
    "bare NUL": b'["\x00"]',
    "only spaces": b" " * MIB,
}
STRANGE = {
    "surrogate in UTF-8": b'["\xed\xa0\x80"]',
    "NaN": b"[NaN]",
    "infinity": b'{"xs": [Infinity, -Infinity]}',
    "number beyond a float": b"[1e999]",
    "very long integer": b"[" + b"9" * 5000 + b"]",
    "endless integer": b"9" * MIB,
    "very long fraction": b"[0." + b"1" * MIB + b"]",
    "very long exponent": b"[1e" + b"9" * 5000 + b"]",
    "half of a character": b'["\\ud800"]',
    "half of a character as a key": b'{"\\udc00": 1}',
    "the same key twice": b'{"xs": [1], "xs": [2]}',
    "very long key": b'{"' + b"k" * MIB + b'": 1}',
    "UTF-16 with half of a character": b'\xff\xfe"\x00\x00\xd8"\x00',
    "UTF-32 beyond Unicode": b"\xff\xfe\x00\x00\xff\xff\xff\xff",
    "minus": b"-",
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", BAD)
def test_invalid_json_is_refused(client, path, name):
    # A reader with a type may refuse the first value before it sees that the rest is invalid.
    expected = {400} if path in ("/any", "/flask") else {400, 422}
    assert client.post(path, data=BAD[name], content_type=JSON).status_code in expected


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", STRANGE)
def test_strange_json_is_read_or_refused_with_a_short_error(client, path, name):
    response = client.post(path, data=STRANGE[name], content_type=JSON)
    assert response.status_code in (200, 400, 413, 422)
    assert len(response.data) < 20_000


@pytest.mark.parametrize("path", ["/v2/models/tree/infer", "/v1/models/tree:predict"])
@pytest.mark.parametrize("name", [*BAD, *STRANGE])
def test_other_protocols_refuse_the_same_json(client, path, name):
    data = {**BAD, **STRANGE}[name]
    response = client.post(path, data=data, content_type=JSON)
    assert response.status_code in (400, 422)
    assert len(response.data) < 20_000


def test_json_that_is_nested_too_deeply_is_none_if_silent(client):
    response = client.post("/silent", data=BAD["nested lists"], content_type=JSON)
    assert response.json == {"read": None}


PACKED = {
    "length of a list": b"\xdd\xff\xff\xff\xff\x01",
    "length of an object": b"\xdf\xff\xff\xff\xff\x01",
    "length of a text": b"\xdb\xff\xff\xff\xffa",
    "length of bytes": b"\xc6\xff\xff\xff\xffa",
    "length of an extension": b"\xc9\xff\xff\xff\xff\x01a",
    "extension": b"\xd4\x05\x00",
    "extensions in a list": b"\x92\xd4\x05\x00\xc7\x03\x07abc",
    "invalid time": b"\xd7\xff" + b"\xff" * 8,
    "nested lists": b"\x91" * DEEP,
    "nested objects": b"\x81\xa1a" * DEEP,
    "object as a key": b"\x81\x80\x01",
    "text that is no UTF-8": b"\xa1\xff",
    "unused byte": b"\xc1",
    "nothing": b"",
}


@pytest.mark.parametrize("path", TYPED)
@pytest.mark.parametrize("name", PACKED)
def test_invalid_messagepack_is_400(client, path, name):
    assert client.post(path, data=PACKED[name], content_type=MSGPACK).status_code == 400


# --- bodies whose values take far more memory than their bytes ------------------------------------

MANY = 3 * MIB
DENSE = {
    "empty lists": (JSON, b"[" + b"[]," * MANY + b"[]]"),
    "empty objects": (JSON, b"[" + b"{}," * MANY + b"{}]"),
    "opened lists": (JSON, b"[" * MANY),
    "empty lists, packed": (MSGPACK, b"\xdd" + MANY.to_bytes(4, "big") + b"\x90" * MANY),
    "empty objects, packed": (MSGPACK, b"\xdd" + MANY.to_bytes(4, "big") + b"\x80" * MANY),
}


def refuses(
    client: t.Any, path: str, media_type: str, data: bytes, why: str = "in a body of this length"
) -> None:
    """Send a body that must be refused with 413 before it is decoded."""
    response = client.post(path, data=data, content_type=media_type)
    assert response.status_code == 413
    assert why in response.text
    assert len(response.data) < 2000


def peak_bytes(client: t.Any, path: str, media_type: str, data: bytes) -> int:
    """Return the most memory that a request needs, beyond what was needed before."""
    tracemalloc.start()
    try:
        client.post(path, data=data, content_type=media_type)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", DENSE)
def test_body_with_very_many_lists_or_objects_is_413(client, name):
    refuses(client, "/any", *DENSE[name])


def test_typed_view_and_tables_refuse_very_many_lists(client):
    refuses(client, "/typed", *DENSE["empty lists"])
    refuses(client, "/table", *DENSE["empty lists"])


def test_refusal_of_very_many_lists_needs_no_more_memory_than_the_text(client):
    media_type, data = DENSE["empty lists"]
    assert peak_bytes(client, "/any", media_type, data) < 4 * len(data)


@pytest.mark.parametrize("path", ["/v2/models/tree/infer", "/v1/models/tree:predict"])
def test_other_protocols_refuse_very_many_lists(client, path):
    refuses(client, path, *DENSE["empty lists"])


@pytest.mark.parametrize("path", ["/person", "/typed-person"])
def test_body_with_very_many_values_for_pydantic_is_413(client, path):
    refuses(client, path, JSON, b'{"name": "a", "tags": [' + b"1," * MANY + b"1]}")
    tags = b"\xdd" + MANY.to_bytes(4, "big") + b"\x01" * MANY
    refuses(client, path, MSGPACK, b"\x82\xa4name\xa1a\xa4tags" + tags)


def test_many_values_that_pydantic_refuses_are_counted_and_not_listed(client):
    tags = [1] * 200_000
    response = client.post("/person", json={"name": "a", "tags": tags})
    assert response.status_code == 422
    assert "200,000 values that are not valid" in response.json["detail"]
    assert len(response.json["errors"]) == 1


@pytest.mark.parametrize(
    "key",
    ["k" * 300_000, '"' * 150_000, "\\" * 150_000],
    ids=["letters", "quotes", "backslashes"],
)
def test_long_key_above_many_values_for_pydantic_is_413(client, key):
    shares = {key: ["x"] * 2000}
    person = {"name": "a", "shares": shares}
    for path, value in (
        ("/person", person),
        ("/typed-person", person),
        ("/order", {"buyer": person}),
    ):
        refuses(client, path, JSON, msgspec.json.encode(value), "keys of at most")
        refuses(client, path, MSGPACK, msgspec.msgpack.encode(value), "keys of at most")
    form = {"name": "a", "shares": msgspec.json.encode(shares).decode()}
    assert client.post("/person", data=form).status_code == 413


@pytest.mark.parametrize("space", [" " * 300, "\n" * 5000])
@pytest.mark.parametrize("before", ['"k":1,', '"k":1,"l"\n:1,', '"' + "k" * 300 + '":1,'])
@pytest.mark.parametrize("key", [":", " :", ":" + "k" * 300])
def test_long_key_is_found_after_space_that_looks_like_one(client, before, space, key):
    key += "k" * 300_000
    shares = f'{{{before}{space}"{key}":[{",".join(["1"] * 2000)}]}}'
    body = f'{{"name":"a","shares":{shares}}}'.encode()
    refuses(client, "/person", JSON, body, "keys of at most")


@pytest.mark.parametrize(
    "text", ["k" * 300_000, '"' + "1" * 150_000 + '":'], ids=["letters", "like a key"]
)
def test_long_texts_and_few_long_keys_are_read_by_pydantic(client, text):
    tags = {"name": "a", "tags": [text, *["x"] * 5000, ":"]}
    assert client.post("/person", json=tags).status_code == 200
    shares = {"name": "a", "shares": {text: 1, **{str(i): 1 for i in range(100)}}}
    assert client.post("/person", json=shares).status_code == 200


def test_error_of_pydantic_shortens_each_key_of_its_path(client):
    response = client.post("/person", json={"name": "a", "shares": {"k" * 1000: "x"}})
    (error,) = response.json["errors"]
    assert error["path"] == f"$.shares.{'k' * 40}..."


@pytest.mark.parametrize(
    ("path", "media_type", "data"),
    [
        ("/sum", MSGPACK, b"\xc6" + MIB.to_bytes(4, "big") + b"\xff" * MIB),
        ("/person", MSGPACK, b"\xc6" + MIB.to_bytes(4, "big") + b"\xff" * MIB),
        ("/sum", JSON, b'{"' + b"k" * MIB + b'": 1}'),
        ("/typed", JSON, b'{"value": "' + b"\xc3\xa4" * MIB + b'"}'),
        ("/person", JSON, b'{"name": 1, "shares": {"' + b"k" * MIB + b'": ""}}'),
    ],
)
def test_error_does_not_repeat_what_the_client_sent(client, path, media_type, data):
    response = client.post(path, data=data, content_type=media_type)
    assert response.status_code == 422
    assert len(response.data) < 40_000


@pytest.mark.parametrize(
    ("media_type", "data"),
    [
        (JSON, b"[" + b"[10.5,20.25]," * 300_000 + b"[1]]"),
        (JSON, b'["' + b"[{" * MIB + b'"]'),
        (JSON, b"[" + b'"[",' * (MIB // 2) + b'"\\"["]'),
        (MSGPACK, b"\xc6" + MANY.to_bytes(4, "big") + b"\x90" * MANY),
        (MSGPACK, msgspec.msgpack.encode([0.1] * 300_000)),
    ],
    ids=["short lists", "brackets in a text", "brackets in texts", "bytes", "floats"],
)
def test_large_body_with_fewer_lists_is_read(client, media_type, data):
    assert len(data) > MIB
    assert client.post("/any", data=data, content_type=media_type).status_code == 200


VALUES = st.recursive(
    st.none() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


def count(value: object) -> tuple[int, int]:
    """Return how many values there are, keys included, and how many of them are containers."""
    inner: list[object] = []
    if isinstance(value, list):
        inner = value
    elif isinstance(value, dict):
        inner = [*value.keys(), *value.values()]
    pairs = [count(each) for each in inner]
    is_container = isinstance(value, (list, dict))
    return 1 + sum(all_ for all_, _ in pairs), is_container + sum(some for _, some in pairs)


@settings(max_examples=50)
@given(VALUES, st.sampled_from([1, 3, 2**20]))
def test_values_are_counted_as_a_decoder_finds_them(value, part_bytes):
    values, containers = count(value)
    packed, text = msgspec.msgpack.encode(value), msgspec.json.encode(value)
    assert valuecounts._has_fewer_values(packed, values)
    assert not valuecounts._has_fewer_values(packed, values - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(valuecounts, "_PART_BYTES", part_bytes)
        assert count_outside_strings(text, b"[{") == containers


@pytest.mark.parametrize(
    "data",
    [
        b'"\\' * (4 * MIB),
        b'"[",' * (2 * MIB),
        b"[" + b"," * (7 * MIB) + b'"\\' * (2 * MIB),
        b"[" + (b"1" * 300 + b',":a",') * (MIB // 40) + b"1]",
    ],
    ids=["quotes and backslashes", "short texts", "commas", "texts with colons"],
)
def test_counting_takes_linear_time(data):
    begin = time.process_time()
    for size in (len(data) // 8, len(data)):
        count_outside_strings(data[:size], b"[{,")
        check_msgpack(data[:size])
        try:
            check_json(data[:size], all_values=True)
        except InputTooLargeError:
            pass
    assert time.process_time() - begin < 10  # in quadratic time it is hours


def test_nan_is_found_in_linear_time_at_the_end_of_many_numbers(client):
    packed = b"\xdd" + (MIB // 8).to_bytes(4, "big") + b"\x01" * (MIB // 8 - 1)
    data = packed + b"\xcb\x7f\xf8" + bytes(6)
    assert peak_bytes(client, "/any", MSGPACK, data) < 10 * MIB
    response = client.post("/any", data=data, content_type=MSGPACK)
    assert response.status_code == 422
    assert "$[131071]" in response.json["detail"]
