"""Typed views behind real servers: carboy's, the development server and another WSGI server."""

import io
import json
import time

import pytest
import requests
import spawning

pytestmark = pytest.mark.integration

APP = """
from __future__ import annotations

import typing as t

import msgspec
from carboy import Carboy, Upload, raises

app = Carboy(__name__)


class Item(msgspec.Struct):
    name: str
    price: t.Annotated[float, msgspec.Meta(ge=0)] = 1.0


@app.put("/items/<int:n>")
@raises(409)
def put(n: int, item: Item, dry_run: bool = False) -> Item:
    return Item(f"{item.name}{n}{dry_run}", item.price)


@app.get("/stream")
def stream(count: int, mark: str = "") -> t.Iterator[Item]:
    try:
        for n in range(count):
            yield Item(str(n))
    finally:
        if mark:
            open(mark, "w").close()


@app.post("/files")
async def files(one: Upload, more: list[Upload] | None = None) -> dict:
    return {"one": [one.name, one.size], "more": len(more or [])}
"""
SERVERS = {
    "carboy serve": ["carboy", "--app", "shop", "serve", "--port", "{port}"],
    "carboy run": ["carboy", "--app", "shop", "run", "--port", "{port}"],
    "gunicorn": ["gunicorn", "--threads", "2", "--bind", "127.0.0.1:{port}", "shop:app"],
    "granian": ["granian", "--interface", "wsgi", "--port", "{port}", "shop:app"],
}


@pytest.fixture(params=SERVERS)
def url(request, spawn, tmp_path):
    (tmp_path / "shop.py").write_text(APP)
    name, *arguments = SERVERS[request.param]
    return spawn(spawning.script(name), *arguments, env={"PYTHONPATH": str(tmp_path)}).url


def test_typed_app_works_behind_real_servers(url, tmp_path):
    good = requests.put(f"{url}/items/3?dry_run=yes", json={"name": "a"}, timeout=30)
    assert good.json() == {"name": "a3True", "price": 1.0}

    bad = requests.put(f"{url}/items/3?dry_run=x", json={"name": "a", "price": -1}, timeout=30)
    assert (bad.status_code, bad.headers["Content-Type"]) == (422, "application/problem+json")
    assert [(e["in"], e["path"]) for e in bad.json()["errors"]] == [
        ("query", "$.dry_run"),
        ("body", "$.price"),
    ]

    lines = requests.get(f"{url}/stream?count=3", timeout=30).text.splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["0", "1", "2"]

    sent = [("one", ("a.txt", io.BytesIO(b"abc"))), ("more", ("b", b"1")), ("more", ("c", b"2"))]
    answer = requests.post(f"{url}/files", files=sent, timeout=30)
    assert answer.json() == {"one": ["a.txt", 3], "more": 2}

    # The body is sent in chunks, without a Content-Length.
    pieces = requests.put(
        f"{url}/items/1",
        data=iter([b'{"name":', b'"x"}']),
        headers={"Content-Type": "application/json"},
        timeout=30,
    )
    assert pieces.json()["name"] == "x1False"


def test_stream_is_closed_when_the_client_disconnects(url, tmp_path):
    mark = tmp_path / "closed"
    with requests.get(
        f"{url}/stream?count=100000000&mark={mark}", stream=True, timeout=30
    ) as answer:
        # kept in a variable, because deleting the generator would close the connection
        lines = answer.iter_lines()
        next(lines)
        assert not mark.exists()
    until = time.monotonic() + 30
    while not mark.exists():  # the view creates the file in another process
        assert time.monotonic() < until
        time.sleep(0.02)
