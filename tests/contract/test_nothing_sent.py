"""Whether the text "null" and empty files count as missing."""

from __future__ import annotations

import typing as t

import msgspec

from carboy import Query, Upload


class Filter(msgspec.Struct):
    size: int | None = None
    name: str | None = None


def test_text_null_in_a_query_is_not_none(app, client):
    @app.get("/")
    def view(wanted: t.Annotated[Filter, Query()]) -> Filter:
        return wanted

    assert client.get("/?name=null").json == {"size": None, "name": "null"}
    answer = client.get("/?size=null")
    assert answer.status_code == 422
    assert answer.json["errors"][0]["path"] == "$.size"


def test_text_null_in_a_form_is_none_if_the_type_is_not_text(app, client):
    @app.post("/")
    def view(wanted: Filter) -> Filter:
        return wanted

    assert client.post("/", data={"size": "null"}).json == {"size": None, "name": None}


def test_raw_file_may_be_empty(app, client):
    @app.put("/")
    def view(file: Upload) -> int:
        return file.size

    answer = client.put("/", data=b"", content_type="application/octet-stream")
    assert (answer.status_code, answer.json) == (200, 0)
