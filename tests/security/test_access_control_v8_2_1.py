"""Access control: no variant of a request reaches a model, route or page without its key.

ASVS 5.0: 8.2.1, 8.3.1, 8.2.2
Also tested in: tests/access/test_routes.py
"""

from __future__ import annotations

import json
import pathlib
import socket
import typing as t

import apikeys
import pytest
import spawning

from carboy import Blueprint, Carboy
from carboy.deployment.apachefiles import apache_text
from carboy.deployment.caddyfiles import caddyfile_text
from carboy.deployment.facts import Facts
from carboy.deployment.nginxfiles import nginx_text
from carboy.deployment.website import make_website
from carboy.serving.settings import make_settings

if t.TYPE_CHECKING:
    import collections.abc as cabc

pytestmark = pytest.mark.integration

FIRST = apikeys.make_key("first", models=("first",))
SECOND = apikeys.make_key("second", models=("second",))
PROGRAM = """
from carboy import Carboy

app = Carboy(__name__)
app.config.update(
    MODEL_PROTOCOLS=["v2", "kserve", "mlflow"], MODEL_DEFAULT="second",
    MODEL_REPOSITORY_CONTROL=True, ACCESS_KEYS=KEYS,
)

@app.model("/first")
def first(x: float) -> float:
    return x

@app.model("/second", batch=8)
def second(x: list[float]) -> list[float]:
    return x

@app.get("/closed", access="key")
def closed():
    return "inside"

@app.route("/socket", websocket=True, access="key")
def socket():
    return "inside"
"""

# How a client, or something on the way, may write the path of the first model.
PATHS = [
    "/first", "//first", "///first", "/./first", "/%66irst", "/first?x=1", "/first/",
    "/FIRST", "/first%00", "/first%2f", "/first;x=1", "/x/../first", "/%2e/first", "/first%20",
    "http://localhost/first", "/v2/models/first/infer", "/v2/models/%66irst/infer",
    "//v2//models//first//infer", "/v2/models/first/versions/1/infer", "/v1/models/first:predict",
    "/v1/models/first%3apredict", "/V2/models/first/infer", "/closed", "//closed", "/%63losed",
    "/v2/models/first", "/v2/models/first/config", "/v2/models/first/stats", "/v2/models/stats",
    "/v2/repository/index", "/v2/repository/models/first/unload",
    "/v2/repository/models/first/load",
]  # fmt: skip
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
TENSOR = {"name": "x", "shape": [1], "datatype": "FP64", "data": [1]}
BATCH = {**TENSOR, "shape": [1, 1]}


def _body(path: str) -> bytes:
    if "repository" in path:
        return b"{}"
    if "infer" in path:
        return json.dumps({"inputs": [BATCH if "second" in path else TENSOR]}).encode()
    if "predict" in path:
        return b'{"instances": [1]}'
    return b'{"inputs": {"x": [1]}}' if path == "/invocations" else b"1"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> cabc.Iterator[int]:
    folder: pathlib.Path = tmp_path_factory.mktemp("shop")
    keys = apikeys.records(FIRST, SECOND)
    program = spawning.serve(folder, "shop", PROGRAM.replace("KEYS,", f"{keys!r},", 1))
    yield program.port
    program.stop()


def _ask(port: int, method: str, path: str, headers: str = "") -> int:
    body = _body(path)
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    )
    return _status(port, head.encode() + body)


def _status(port: int, sent: bytes) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(sent)
        with client.makefile("rb") as answer:
            return int(answer.readline().split()[1])


@pytest.mark.parametrize("method", METHODS)
def test_no_variant_of_a_path_needs_no_key(port: int, method: str):
    open_to_all = {path: _ask(port, method, path) for path in PATHS}
    # A redirect leads to a path that needs a key.
    refusals = (308, 400, 401, 404, 405, 415)
    assert {path: code for path, code in open_to_all.items() if code not in refusals} == {}


@pytest.mark.parametrize("wrong", ["", "{first}x", "x{first}", "{first},{first}", "key={first}"])
def test_header_that_is_not_exactly_a_key_opens_nothing(port: int, wrong: str):
    text = wrong.format(first=FIRST.text)
    for header in ("X-API-Key: ", "Authorization: Bearer ", "Authorization: "):
        assert _ask(port, "POST", "/first", f"{header}{text}\r\n") == 401, header


def test_key_in_another_header_opens_nothing(port: int):
    for header in ("Authorization: ", "Authorization: Basic ", "Cookie: key=", "X_API_Key: "):
        assert _ask(port, "POST", "/first", f"{header}{FIRST.text}\r\n") == 401, header


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        *((f"/v2/models/{name}/{end}", name) for name in ("first", "second") for end in
          ("infer", "versions/1/infer")),
        *((f"/v1/models/{name}:predict", name) for name in ("first", "second")),
        ("/first", "first"),
        ("/second", "second"),
        ("/invocations", "second"),
        ("/v2/repository/models/first/load", "first"),
    ],
)  # fmt: skip
def test_key_of_one_model_opens_no_other_one(port: int, path: str, owner: str):
    for key in (FIRST, SECOND):
        status = _ask(port, "POST", path, f"X-API-Key: {key.text}\r\n")
        assert (status == 200) == (key.stored.name == owner), (status, key.stored.name)
        assert status in (200, 403)


def test_key_of_a_model_opens_no_view(port: int):
    assert _ask(port, "GET", "/closed", f"X-API-Key: {FIRST.text}\r\n") == 403


def test_websocket_needs_a_key(port: int):
    head = (
        b"GET /socket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert _status(port, head) == 401


def test_long_body_of_a_stranger_is_refused_before_it_arrives(port: int):
    head = b"POST /first HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30000000\r\n\r\n"
    assert _status(port, head) == 401


@pytest.mark.parametrize("write", [nginx_text, apache_text, caddyfile_text])
@pytest.mark.parametrize("is_closed", [True, False])
def test_web_server_sends_no_static_file_that_needs_a_key(
    tmp_path: pathlib.Path, write: t.Callable[..., str], is_closed: bool
):
    (tmp_path / "static").mkdir()
    (tmp_path / "private").mkdir()
    access = "key" if is_closed else None
    app = Carboy("shop", root_path=str(tmp_path))
    app.config["ACCESS_DEFAULT"] = access
    app.register_blueprint(
        Blueprint(
            "b", "b", root_path=str(tmp_path), static_folder="private", url_prefix="/b",
            access=access,
        )
    )  # fmt: skip
    text = write(make_website(Facts(app, "shop:app", str(tmp_path), make_settings({}, {}))))
    for folder in ("static", "private"):
        assert (str(tmp_path / folder) in text) != is_closed
