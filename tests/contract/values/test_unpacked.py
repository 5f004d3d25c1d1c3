"""The limit on the memory that the pictures and tables of one request take together."""

from __future__ import annotations

import base64
import io
import typing as t

import msgspec
import pandas as pd
import pytest

from carboy import Body, Form, Image
from carboy.contract.values import unpacked
from carboy.models import DataFrame, ImageOptions

# A picture of the fixture has 8 x 4 pixels of 4 bytes.
LIMIT = 3 * 8 * 4 * 4


class Row(msgspec.Struct):
    photo: Image
    n: int = 0


class Row2(msgspec.Struct):
    rows: list[Row]


class Lists(msgspec.Struct):
    first: list[Row]
    second: list[Row]


@pytest.fixture(autouse=True)
def _low_limit(monkeypatch):
    monkeypatch.setattr(unpacked, "MOST_BYTES", LIMIT)
    monkeypatch.setattr(unpacked, "_MOST_AT_LIMIT", 0)


@pytest.fixture
def client(app):
    @app.post("/list")
    @app.model("/list-model")
    def photos(x: list[Image]) -> int:
        return len(x)

    @app.post("/records")
    @app.model("/records-model")
    def records(x: list[Row]) -> int:
        return len(x)

    @app.post("/record")
    @app.model("/record-model")
    def record(x: Row2) -> int:
        return len(x.rows)

    @app.post("/dict")
    @app.model("/dict-model")
    def named(x: dict[str, Image]) -> int:
        return len(x)

    @app.post("/parameters")
    @app.model("/parameters-model")
    def parameters(x: list[Image], y: Image | None = None) -> int:
        return len(x) + (y is not None)

    @app.post("/tables")
    def tables(x: list[DataFrame]) -> int:
        return len(x)

    return app.test_client()


def _body(url: str, text: str, count: int) -> t.Any:
    if url == "/list":
        return [text] * count
    if url == "/records":
        return [{"photo": text, "n": 5}] * count
    if url == "/record":
        return {"rows": [{"photo": text}] * count}
    if url == "/dict":
        return {str(i): text for i in range(count)}
    return {"x": [text] * (count - 1), "y": text}


@pytest.mark.parametrize("of", ["", "-model"], ids=["view", "model"])
@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@pytest.mark.parametrize("url", ["/list", "/records", "/record", "/dict", "/parameters"])
def test_pictures_of_a_request_have_a_limit_together(client, picture, url, encoding, of):
    text = base64.b64encode(picture()).decode()
    encode = msgspec.json.encode if encoding == "json" else msgspec.msgpack.encode
    # The limit is for each request, so several requests may be as large.
    for count, status in ((3, 200), (4, 413), (3, 200), (3, 200)):
        data = encode(_body(url, text, count))
        response = client.post(url + of, data=data, content_type=f"application/{encoding}")
        assert response.status_code == status, response.text
    assert client.post(url + of, data=b"[", content_type="application/json").status_code == 400


@pytest.fixture
def read_again(client, app):
    @app.post("/any")
    def records_or_number(x: list[Row] | int) -> int:
        return len(x) if isinstance(x, list) else x

    @app.post("/two")
    def two(x: t.Annotated[list[Row], Body()], y: t.Annotated[Row, Body()]) -> int:
        return len(x) + y.n

    @app.post("/form")
    def form(x: t.Annotated[Lists, Form()]) -> int:
        return len(x.first) + len(x.second)

    return client


@pytest.mark.parametrize(
    ("url", "body", "status"),
    [
        ("/records", '[P, P, {"photo": "X", "n": 5.0}]', 200),
        ("/records", '{"x": [P, P, {"photo": "X", "n": 5.0}]}', 200),
        ("/records", '[P, P, {"photo": "X", "n": "x"}]', 422),
        ("/records", '{"x": [P, P, {"photo": "X", "n": "x"}]}', 422),
        ("/records", '[P, P, P, {"photo": "X", "n": 5.0}]', 413),
        ("/record", '{"rows": [P, P, {"photo": "X", "n": 5.0}]}', 200),
        ("/record", '{"x": {"rows": [P, P, {"photo": "X", "n": 5.0}]}}', 200),
        ("/record", '{"rows": [P, P, {"photo": "X", "n": "x"}]}', 422),
        ("/any", '{"x": [P, P, {"photo": "X", "n": "x"}]}', 422),
        ("/list", '{"x": ["X", "X", "X"]}', 200),
        ("/list", '{"x": ["X", "X", "no"]}', 415),
        ("/dict", '{"a": "X", "b": "X", "c": 5}', 422),
        ("/two", '{"x": [P, P], "y": {"photo": "X", "n": 5.0}}', 200),
        ("/two", '{"x": [P, P], "y": {"photo": "X", "n": "x"}}', 422),
    ],
)
def test_reading_a_body_again_does_not_count_its_pictures_again(
    read_again, picture, url, body, status
):
    text = base64.b64encode(picture()).decode()
    data = body.replace("P", '{"photo": "X"}').replace("X", text)
    packed = msgspec.msgpack.encode(msgspec.json.decode(data))
    sent = ((data, "json"), (data.encode("utf-16"), "json"), (packed, "msgpack"))
    for content, encoding in sent:
        response = read_again.post(url, data=content, content_type=f"application/{encoding}")
        assert response.status_code == status, response.text


def test_reading_a_field_of_a_form_again_does_not_count_its_pictures_again(read_again, picture):
    text = base64.b64encode(picture()).decode()
    first = f'[{{"photo": "{text}"}}, {{"photo": "{text}", "n": 5.0}}]'
    for second, status in (
        (f'[{{"photo": "{text}", "n": 5.0}}]', 200),
        (f'[{{"photo": "{text}", "n": "x"}}]', 422),
        (first, 413),
    ):
        response = read_again.post("/form", data={"first": first, "second": second})
        assert response.status_code == status, response.text


def test_limit_holds_for_the_files_of_a_form(client, picture):
    for count, status in ((3, 200), (4, 413), (3, 200)):
        files = [(io.BytesIO(picture()), "a.png") for _ in range(count)]
        assert client.post("/list", data={"x": files}).status_code == status


def test_error_says_which_picture_is_too_much(client, picture):
    text = base64.b64encode(picture()).decode()
    response = client.post("/record", json={"rows": [{"photo": text}] * 5})
    assert response.json["errors"][0]["path"] == "$.rows[3].photo"
    assert f"at most {LIMIT} bytes together" in response.json["detail"]


def test_tables_count_unpacked(client):
    frame = pd.DataFrame({"a": range(20)})
    file = io.BytesIO()
    frame.to_parquet(file)
    for count, status in ((2, 200), (3, 413)):
        files = [(io.BytesIO(file.getvalue()), "a.parquet") for _ in range(count)]
        response = client.post("/tables", data={"x": files})
        assert response.status_code == status, response.text


def test_a_few_pictures_as_large_as_their_own_limit_are_read(app, picture, monkeypatch):
    monkeypatch.setattr(unpacked, "_MOST_AT_LIMIT", 4)

    @app.post("/")
    def photos(x: list[t.Annotated[Image, ImageOptions(max_pixels=8 * 4)]]) -> int:
        return len(x)

    for count, status in ((4, 200), (5, 413)):
        files = [(io.BytesIO(picture()), "a.png") for _ in range(count)]
        response = app.test_client().post("/", data={"x": files})
        assert response.status_code == status


def test_sizes_outside_of_a_request_are_not_counted():
    for _ in range(3):
        unpacked.add(LIMIT, "$", limit=1)
