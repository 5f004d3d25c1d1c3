"""Values that msgspec refuses though they are only written in another way: 5.0, base64 in lines."""

from __future__ import annotations

import base64
import decimal
import typing as t

import msgspec
import pytest

from carboy.contract.rereading import read, reread
from carboy.models import DataFrame, Tensor

BIG = 2**53 + 1


class Row(msgspec.Struct):
    n: int
    price: decimal.Decimal = decimal.Decimal(0)
    inner: list[dict[str, int | None]] = []
    data: bytes = b""


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    legs: t.Annotated[int, msgspec.Meta(ge=0)]


def _decode(kind: t.Any, data: str) -> t.Any:
    decode = msgspec.json.Decoder(kind).decode
    try:
        return decode(data.encode())
    except msgspec.DecodeError as error:
        return reread(decode, data.encode(), error)


@pytest.mark.parametrize(
    ("kind", "data", "value"),
    [
        (int, "5.0", 5),
        (int, "5e2", 500),
        (int, f"{BIG}.0", BIG),
        (int | None, "-0.0", 0),
        (int | str, "5.0", 5),
        (t.Literal[1, 2], "2.0", 2),
        (list[int], "[1, 2.0, 3.00]", [1, 2, 3]),
        (dict[str, int], '{"a.b": 1.0, "": 2}', {"a.b": 1, "": 2}),
        (dict[str, list[int]], '{"a": [], "b": [1.0]}', {"a": [], "b": [1]}),
        (list[tuple[int, float]], "[[1, 1], [2.0, 2]]", [(1, 1.0), (2, 2.0)]),
        (list[Cat | Dog], '[{"type":"Dog","legs":4.0},{"type":"Cat","lives":9.0}]',
         [Dog(4), Cat(9)]),
        (Row, '{"n":1.0,"price":0.1234567890123456789}',
         Row(1, decimal.Decimal("0.1234567890123456789"))),
        (Row, '{"n":1.0,"inner":[{"a":null},{"b":2.0}]}', Row(1, inner=[{"a": None}, {"b": 2}])),
        (list[t.Any], "[1.0]", [1.0]),
        (bytes, '"aGVs\\r\\nbG8="', b"hello"),
        (bytes, '"aGVsbG8"', b"hello"),
        (bytes, '"-_8="', b"\xfb\xff"),
        (Row, '{"n":1.0,"data":"aGVsbG8"}', Row(1, data=b"hello")),
    ],
    ids=repr,
)  # fmt: skip
def test_values_are_read_however_they_are_written(kind, data, value):
    found = _decode(kind, data)
    assert found == value
    assert repr(found) == repr(value)  # also of the same type: 2 == 2.0


@pytest.mark.parametrize(
    ("kind", "data", "says"),
    [
        (int, "5.5", "Expected `int`, got `float`"),
        (int, "1e400", "out of range"),
        (int, "1e99", "Expected `int`, got `float`"),
        (int, '"5"', "Expected `int`, got `str`"),
        (bool, "1.0", "Expected `bool`, got `float`"),
        (list[int], "[1.0, 2.5]", r"\$\[1\]"),
        (list[int], "[1.0, 2", "Expected `int`, got `float`"),
        (Row, '{"n":1.0,"inner":[{"a":"x"}]}', "got `str`"),
        (list[Dog], '[{"type":"Dog","legs":-1.0}]', "`int` >= 0"),
        (bytes, '"%%%"', "Invalid base64"),
        (list[int], "[" + "1.0," * 50_000 + "1.5]", r"\$\[50000\]"),
    ],
)
def test_other_values_are_refused_where_they_are(kind, data, says):
    with pytest.raises(msgspec.DecodeError, match=says):
        _decode(kind, data)


class Node(msgspec.Struct):
    n: int = 0
    data: bytes = b""
    size: float = 0.0
    left: Node | None = None
    right: Node | None = None


def _tree(depth: int, fields: str) -> str:
    if not depth:
        return f"{{{fields}}}"
    below = _tree(depth - 1, fields)
    return f'{{{fields},"left":{below},"right":{below}}}'


def _decodings(kind: t.Any, data: str) -> tuple[t.Any, int]:
    """Return the value, or the error, and how often the JSON was decoded."""
    calls = 0
    decode = msgspec.json.Decoder(kind).decode

    def counted(data: bytes) -> t.Any:
        nonlocal calls
        calls += 1
        return decode(data)

    try:
        return read(counted, data.encode()), calls
    except msgspec.DecodeError as error:
        return error, calls


@pytest.mark.parametrize("depth", [1, 2, 5, 9])
def test_whole_numbers_at_any_number_of_paths_cost_few_decodings(depth):
    found, calls = _decodings(Node, _tree(depth, '"n":1.0,"size":1e30'))
    assert found == msgspec.json.decode(_tree(depth, '"n":1,"size":1e30'), type=Node)
    assert calls <= 10


def test_base64_in_lines_is_read_at_few_paths_and_refused_at_many():
    few, _ = _decodings(Node, _tree(1, '"data":"aGVsbG8"'))
    assert few.left.data == few.right.data == few.data == b"hello"
    many, calls = _decodings(Node, _tree(9, '"data":"aGVsbG8"'))
    assert "Invalid base64" in str(many)
    assert calls <= 10


class Measures(msgspec.Struct, rename={"count": "Sepal.Count", "top": ".top", "deep": "a.b.c"}):
    count: int = 0
    top: int = 0
    deep: list[dict[str, int]] = []


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ('{"Sepal.Count":5.0}', Measures(count=5)),
        ('{"Sepal":{"Count":1.0},"Sepal.Count":5.0}', Measures(count=5)),
        ('{".top":5.0}', Measures(top=5)),
        ('{"a.b.c":[{"x.y":5.0}]}', Measures(deep=[{"x.y": 5}])),
    ],
)
def test_keys_may_contain_dots(data, value):
    assert _decode(Measures, data) == value


class Count(msgspec.Struct):
    n: int


@pytest.fixture
def post(app):
    @app.post("/view")
    def view(x: Count) -> int:
        return x.n

    @app.model("/record")
    def record(x: Count) -> int:
        return x.n

    @app.model("/single")
    def single(x: int) -> int:
        return x

    @app.model("/several")
    def several(x: int, y: int = 0) -> int:
        return x + y

    @app.model("/tensor")
    def tensor(x: Tensor["int64", "n"]) -> int:
        return int(x.sum())

    @app.model("/table")
    def table(x: DataFrame[Count]) -> int:
        return int(x.n.sum())

    client = app.test_client()
    return lambda url, data, kind="application/json": client.post(url, data=data, content_type=kind)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "mark"])
@pytest.mark.parametrize("number", [b"5", b"5.0"])
@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/view", b'{"n": %s}'),
        ("/view", b'{"x": {"n": %s}}'),
        ("/record", b'{"n": %s}'),
        ("/record", b'{"x": {"n": %s}}'),
        ("/single", b"%s"),
        ("/single", b'{"x": %s}'),
        ("/several", b'{"x": %s}'),
        ("/several", b'{"x": 0.0, "y": %s}'),
        ("/tensor", b"[%s]"),
        ("/table", b'[{"n": %s}]'),
        ("/table", b'{"n": [%s]}'),
        ("/table", b'{"columns": ["n"], "data": [[%s]]}'),
    ],
)
def test_whole_number_with_a_point_is_an_int_in_every_body(post, url, body, number, mark):
    response = post(url, mark + body % number)
    assert (response.status_code, response.json) == (200, 5)
    packed = msgspec.msgpack.encode(msgspec.json.decode(body % number))
    response = post(url, packed, "application/msgpack")
    assert (response.status_code, response.json) == (200, 5)


class File(msgspec.Struct):
    data: bytes
    n: int = 0


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@pytest.mark.parametrize("text", ["-_8=", "-_8", "-_\n8"])
def test_base64_may_be_written_in_other_ways_in_every_body(app, encoding, text):
    @app.model("/")
    def read(file: File) -> list[int]:
        return [*file.data, file.n]

    encode = msgspec.json.encode if encoding == "json" else msgspec.msgpack.encode
    client = app.test_client()
    for n, status in ((1.0, 200), (1.5, 422), (2.0**53, 422 if encoding == "msgpack" else 200)):
        body = encode({"data": text, "n": n})
        response = client.post("/", data=body, content_type=f"application/{encoding}")
        assert response.status_code == status
        assert status == 422 or response.json == [0xFB, 0xFF, int(n)]


def test_json_that_is_broken_behind_such_a_number_is_malformed(post):
    assert post("/several", b'{"x": 5.0, "y": ').status_code == 400


def test_error_names_the_place_in_the_body_as_it_was_sent(post):
    response = post("/several", b'{"x": 5.0, "y": 5.5}')
    assert response.status_code == 422
    assert response.json["errors"][0]["path"] == "$.y"
    assert response.json["errors"][0]["got"] == "`float` 5.5"


def test_bytes_of_a_model_may_be_base64_in_lines(app):
    @app.model("/size")
    def size(data: bytes) -> int:
        return len(data)

    text = base64.encodebytes(b"x" * 100).decode()
    assert app.test_client().post("/size", json=text).json == 100
    assert app.test_client().post("/size", json={"data": text}).json == 100
