"""Server-side request forgery: no value that a client sends makes carboy open a URL or a file.

ASVS 5.0: 1.3.6, 13.2.4, 15.3.2
Also tested in: tests/models/sources/test_sources.py
"""

from __future__ import annotations

import io
import json
import pathlib
import re
import socket
import typing as t

import numpy as np
import pandas as pd
import PIL.Image
import pytest

import carboy
from carboy import Carboy, Image, Tensor

if t.TYPE_CHECKING:
    import collections.abc as cabc

PACKAGE = pathlib.Path(carboy.__file__).parent

# The modules that may connect to another machine, or open what a URL names, each with its reason.
MAY_CONNECT = {
    "models/sources/urlsource.py": "opens the fsspec URL that the operator names as a source",
    "serving/management/controlclient.py": "`carboy ctl` connects to Unix sockets of its own user",
}
# Modules whose functions open URLs.
CLIENT = re.compile(
    r"^\s*(?:import|from) (?:aiohttp|fsspec|ftplib|http\.client|httpx|requests|smtplib|urllib3"
    r"|urllib\.request)\b",
    re.MULTILINE,
)


def test_only_the_source_of_an_operator_is_fetched_from_a_url():
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if CLIENT.search(path.read_text("utf-8"))
    }
    assert found == set(MAY_CONNECT)


@pytest.fixture
def listener() -> cabc.Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.fixture
def urls(listener: socket.socket, tmp_path: pathlib.Path) -> list[str]:
    """What would be fetched: from a server, and from files that a reader of the kind can read."""
    port = listener.getsockname()[1]
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", np.zeros(3))
    pd.DataFrame({"a": [1.0, 2.0, 3.0]}).to_csv(tmp_path / "a.csv", index=False)
    pd.DataFrame({"a": [1.0, 2.0, 3.0]}).to_json(tmp_path / "a.json")
    names = ["a.png", "a.npy", "a.csv", "a.json"]
    return [
        *(f"http://127.0.0.1:{port}/{name}" for name in names),
        *(str(tmp_path / name) for name in names),
        *(f"file://{tmp_path / name}" for name in names),
    ]


@pytest.fixture
def app() -> Carboy:
    app = Carboy("shop")
    app.config["MODEL_PROTOCOLS"] = ["v2"]
    app.model("/image")(width_of)
    app.model("/tensor")(sum_of)
    app.model("/table")(rows_of)
    app.model("/bytes")(size_of)
    return app


def width_of(image: Image) -> int:
    return image.width


def sum_of(values: Tensor[np.float64, 3]) -> float:
    return float(values.sum())


def rows_of(table: pd.DataFrame) -> int:
    return len(table)


def size_of(data: bytes) -> int:
    return len(data)


PATHS = ["/image", "/tensor", "/table"]
RAW_TYPES = [
    "application/json",
    "image/png",
    "application/x-npy",
    "text/csv",
    "application/vnd.apache.parquet",
    "application/vnd.apache.arrow.file",
    "application/x-www-form-urlencoded",
]


def _bodies(url: str) -> cabc.Iterator[dict[str, t.Any]]:
    for media_type in RAW_TYPES:
        yield {"data": url.encode(), "content_type": media_type}
    for value in (url, [url], {"url": url}, {"$ref": url}, {"image": url}):
        yield {"data": json.dumps(value), "content_type": "application/json"}
    for name in ("image", "values", "table"):
        yield {"data": {name: url}}
        yield {"data": {name: (io.BytesIO(url.encode()), url)}}


@pytest.mark.parametrize("path", PATHS)
def test_url_or_path_in_a_request_is_not_opened(
    app: Carboy, listener: socket.socket, urls: list[str], path: str
):
    client = app.test_client()
    for url in urls:
        for body in _bodies(url):
            response = client.post(path, **body)
            # A list of texts may be a table of one row; the files have three.
            is_cell = path == "/table" and response.json == 1
            assert response.status_code in (400, 413, 415, 422) or is_cell, (url, body)
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_protocol_opens_no_url(app: Carboy, listener: socket.socket, urls: list[str]):
    client = app.test_client()
    for url in urls:
        for name in ("image", "values", "table", "data"):
            tensor = {"name": name, "shape": [1], "datatype": "BYTES", "data": [url]}
            for model in ("image", "tensor", "table"):
                found = client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]})
                # A table takes the text as its one cell; the files have three rows.
                is_cell = model == "table" and found.json.get("outputs", [{}])[0].get("data") == [1]
                assert found.status_code == 400 or is_cell
    with pytest.raises(BlockingIOError):
        listener.accept()
