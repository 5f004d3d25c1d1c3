"""A server gets requests of the Open Inference Protocol that lie about shapes, sizes and lengths.

Each begins as a valid request, and then a few of its parts are changed. V2_EXAMPLES=20000 makes the
test long.
"""

from __future__ import annotations

import copy
import gzip
import http.client
import io
import json
import os
import pathlib
import socket
import struct
import typing as t
import zlib

import numpy as np
import pytest
import spawning
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from polling import PATIENCE_S, wait_until

pytestmark = pytest.mark.integration

EXAMPLES = int(os.environ.get("V2_EXAMPLES", "300"))
LENGTH = "Inference-Header-Content-Length"
MIB = 2**20


class Sent(t.NamedTuple):
    """A request: the model, the JSON, the binary data behind it, and the headers."""

    model: str
    head: dict[str, t.Any]
    data: bytes = b""
    encoding: str = ""

    def encoded(self) -> tuple[bytes, dict[str, str]]:
        head = json.dumps(self.head).encode()
        body, headers = head + self.data, {LENGTH: str(len(head))}
        if self.encoding:
            headers["Content-Encoding"] = self.encoding
            body = (gzip.compress if self.encoding == "gzip" else zlib.compress)(body)
        return body, headers


def _input(name: str, datatype: str, shape: list[int], **others: t.Any) -> dict[str, t.Any]:
    return {"name": name, "datatype": datatype, "shape": shape, **others}


def _binary(name: str, datatype: str, shape: list[int], data: bytes) -> dict[str, t.Any]:
    return _input(name, datatype, shape, parameters={"binary_data_size": len(data)})


def _texts(*texts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(each)) + each for each in texts)


def _png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (5, 4)).save(file, "PNG")
    return file.getvalue()


IMAGES = np.arange(2 * 3 * 4 * 4, dtype="<f4").tobytes()
PICTURE, WORDS = _texts(_png()), _texts(b"ab", "ü\0".encode())
ROWS = np.arange(6, dtype="<f4").tobytes()
VALID = [
    Sent("net", {"inputs": [_binary("image", "FP32", [2, 3, 4, 4], IMAGES)]}, IMAGES),
    Sent("net", {"inputs": [_binary("image", "FP32", [2, 3, 4, 4], IMAGES)]}, IMAGES, "gzip"),
    Sent("total", {"id": "a", "inputs": [_input("x", "FP32", [2, 3], data=[1, 2, 3, 4, 5, 6])]}),
    Sent("total", {"inputs": [_binary("x", "FP32", [2, 3], ROWS)]}, ROWS, "deflate"),
    Sent(
        "total",
        {
            "inputs": [_input("x", "FP32", [2, 3], data=[[1, 2, 3], [4, 5, 6]])],
            "outputs": [{"name": "output", "parameters": {"binary_data": True}}],
        },
    ),
    Sent(
        "repeat",
        {
            "inputs": [
                _binary("text", "BYTES", [2, 1], WORDS),
                _input("times", "INT8", [2], data=[1, 2]),
            ],
            "parameters": {"binary_data_output": True},
        },
        WORDS,
    ),
    Sent(
        "repeat",
        {
            "inputs": [
                _input("text", "BYTES", [2], data=["ab", "c"]),
                _input("times", "INT8", [2, 1], data=[[1], [2]]),
            ]
        },
    ),
    Sent("picture", {"inputs": [_binary("image", "BYTES", [1], PICTURE)]}, PICTURE),
    Sent("flower", {"inputs": [_input("length", "FP64", [2, 1], data=[1, 8])]}),
]

# --- changes -------------------------------------------------------------------------------------

NUMBERS = st.sampled_from(
    [-(2**65), -(2**63), -1, 0, 1, 2, 2**31, 2**32, 2**48, 2**62, 2**63 - 1, 2**64, 10**40]
)
VALUES = st.one_of(
    NUMBERS,
    st.sampled_from([None, True, 1.5, 1e308, "", "3", "FP32", "BYTES", "x", [], {}, [[1], [2, 3]]]),
    st.lists(NUMBERS, max_size=4),
    st.just([1] * 70),
)


def _places(value: t.Any, at: tuple[t.Any, ...] = ()) -> t.Iterator[tuple[t.Any, ...]]:
    """Yield the path of each value below a JSON value."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, each in items:
        yield (*at, key)
        yield from _places(each, (*at, key))


@st.composite
def changed_heads(draw: t.Any, sent: Sent) -> dict[str, t.Any]:
    """Change the JSON of a request at up to three places."""
    head = copy.deepcopy(sent.head)
    for _ in range(draw(st.integers(0, 3))):
        places = list(_places(head))
        if not places:
            break
        *above, key = draw(st.sampled_from(places))
        owner: t.Any = head
        for step in above:
            owner = owner[step]
        match draw(st.sampled_from(["replace", "remove", "repeat", "rename"])):
            case "replace":
                owner[key] = copy.deepcopy(draw(VALUES))
            case "remove":
                del owner[key]
            case "repeat" if isinstance(owner, list):
                owner.append(copy.deepcopy(owner[key]))
            case "rename" if isinstance(owner, dict):
                owner[draw(st.sampled_from(["data", "shape", "parameters", "y"]))] = owner.pop(key)
    return head


@st.composite
def requests(draw: t.Any) -> tuple[str, bytes, dict[str, str]]:
    """Return the model, the body and the headers of a request that may be wrong anywhere."""
    sent = draw(st.sampled_from(VALID))
    body, headers = sent._replace(head=draw(changed_heads(sent))).encoded()
    match draw(st.sampled_from(["as it is", "cut", "longer", "flip", "length", "encoding"])):
        case "cut":
            body = body[: draw(st.integers(0, len(body)))]
        case "longer":
            body += draw(st.binary(min_size=1, max_size=20))
        case "flip" if body:
            at = draw(st.integers(0, len(body) - 1))
            body = body[:at] + bytes([body[at] ^ draw(st.integers(1, 255))]) + body[at + 1 :]
        case "length":
            lengths = NUMBERS.map(str) | st.sampled_from(["", "x", "1.5", "0x10", "+5", "5 5"])
            headers[LENGTH] = draw(lengths)
        case "encoding":
            headers["Content-Encoding"] = draw(st.sampled_from(["gzip", "deflate", "br", "x"]))
    return sent.model, body, headers


# --- the server ----------------------------------------------------------------------------------


class Server:
    """A server with one worker, and a connection to it."""

    def __init__(self, folder: pathlib.Path) -> None:
        app = pathlib.Path(spawning.__file__).with_name("wireapp.py")
        port = spawning.free_port()
        self.control = folder / "control.sock"
        self.program = spawning.start(
            [
                *(spawning.script("carboy"), "--app", app, "serve", "--port", str(port)),
                *("--workers", "1", "--control", str(self.control)),
            ],
            log=folder / "log",
            port=port,
            cwd=folder,
        )
        self.program.wait_until_it_prints("serving")
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        self.pid = self._worker()

    def _worker(self) -> int:
        (process,) = self.ask_control("status")["processes"]
        assert process["restarts"] == 0
        return t.cast("int", process["pid"])

    def ask_control(self, name: str) -> t.Any:
        from carboy.serving.management.controlclient import ControlClient

        return ControlClient(str(self.control)).request(name)

    def infer(self, model: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        self.connection.request("POST", f"/v2/models/{model}/infer", body, headers)
        response = self.connection.getresponse()
        return response.status, response.read()

    def used(self) -> tuple[int, int]:
        """Return the memory of the worker, and how many descriptors it has open."""
        pages = int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{self.pid}/fd"))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("fuzz"))
    yield server
    server.connection.close()
    server.program.stop()


def predicts(server: Server) -> bool:
    status, body = server.infer(*_encoded(VALID[2]))
    return status == 200 and json.loads(body)["outputs"][0]["data"] == [6.0, 15.0]


def _encoded(sent: Sent) -> tuple[str, bytes, dict[str, str]]:
    return sent.model, *sent.encoded()


@pytest.mark.parametrize("sent", VALID)
def test_requests_that_are_changed_are_valid_before(server, sent):
    assert server.infer(*_encoded(sent))[0] == 200


def test_wrong_requests_are_refused_and_leave_nothing_behind(server):
    for sent in VALID * 5:
        server.infer(*_encoded(sent))
    before_bytes, before_files = server.used()

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(request=requests())
    def send(request):
        status, body = server.infer(*request)
        assert status in (200, 400, 413, 415), body
        if status != 200:
            assert list(json.loads(body)) == ["error"]

    send()
    assert predicts(server)
    used_bytes, files = server.used()
    assert files == before_files
    assert used_bytes < before_bytes + 24 * MIB
    assert server._worker() == server.pid
    assert server.ask_control("status")["ready"]


def test_bodies_that_end_early_cost_nothing(server):
    """Each client announces more bytes than it sends, and disconnects."""
    assert predicts(server)
    before_bytes, before_files = server.used()
    for sent in VALID * 10:
        body, headers = sent.encoded()
        with socket.create_connection(("127.0.0.1", server.program.port)) as client:
            lines = [f"POST /v2/models/{sent.model}/infer HTTP/1.1", "Host: x"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            lines += [f"Content-Length: {len(body) + 10**6}", "", ""]
            client.sendall("\r\n".join(lines).encode() + body)
            client.shutdown(socket.SHUT_WR)
            answer = client.recv(65536)
        assert answer[:12] in (b"", b"HTTP/1.1 400"), answer
    wait_until(lambda: server.used()[1] == before_files)
    assert predicts(server)
    assert server.used()[0] < before_bytes + 16 * MIB
