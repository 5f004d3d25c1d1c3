"""A body of the wrong kind is answered with the parameters, or with the Content-Type to send."""

from __future__ import annotations

import msgspec
import pytest


def one(x: float) -> float:
    return x


def two(prompt: str, n: int = 1) -> str:
    return prompt * n


@pytest.fixture
def detail_of(app, client):
    app.model("/one")(one)
    app.model("/two")(two)

    def detail_of(path, status, **request):
        response = client.post(path, **request)
        assert response.status_code == status, response.text
        return response.json["detail"]

    return detail_of


@pytest.mark.parametrize("media_type", ["application/json", "application/msgpack"])
@pytest.mark.parametrize(
    ("path", "value", "detail"),
    [
        (
            "/one",
            {"y": 3},
            ("Expected an object with `x` and without `y`, or the value of `x` itself, got object"
            " with 'y' - at `$`."),
        ),
        (
            "/one",
            {"x": 1, "instances": [1]},
            ("Expected an object with `x` and without `instances`, or the value of `x` itself, got"
            " object with 'x', 'instances' - at `$`."),
        ),
        (
            "/two",
            {"prompt": "a", "m": 2},
            ("Expected an object with `prompt` and `n` (optional) and without `m`, got object with"
            " 'prompt', 'm' - at `$`."),
        ),
    ],
)  # fmt: skip
def test_unknown_name_is_answered_with_the_names_of_the_parameters(
    detail_of, media_type, path, value, detail
):
    encode = (msgspec.json if media_type == "application/json" else msgspec.msgpack).encode
    assert detail_of(path, 422, data=encode(value), content_type=media_type) == detail


KIND = (
    "Cannot read a body of this kind: application/x-www-form-urlencoded. Send application/json,"
    " multipart/form-data, application/x-www-form-urlencoded or application/msgpack. "
)
JSON = "The body looks like JSON: send `Content-Type: application/json`."
OTHER = (
    "The body is not a form, although `curl -d` says so. Send its own Content-Type, as in `curl -H"
    " 'Content-Type: ...' --data-binary @file`."
)


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"3", JSON),
        (b"[1, 2]", JSON),
        (b'"text"', JSON),
        (b"hello", OTHER),
        (b"x,y\n1,2\n", OTHER),
        (b"\x89PNG\r\n\x1a\n\0=\0", OTHER),
    ],
)
def test_body_that_curl_calls_a_form_is_answered_with_content_type(detail_of, data, hint):
    said = detail_of("/one", 415, data=data, content_type="application/x-www-form-urlencoded")
    assert said == KIND + hint


@pytest.mark.parametrize("data", [b"y=3", b""])
def test_form_without_the_field_is_answered_with_the_field(detail_of, data):
    said = detail_of("/one", 422, data=data, content_type="application/x-www-form-urlencoded")
    assert "Expected a field named 'x'" in said
