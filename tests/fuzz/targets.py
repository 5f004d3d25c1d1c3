"""What is fuzzed: each target turns bytes into one request, and checks the response.

    front       bytes on a connection: request lines, headers, bodies, pipelining, HTTP errors
    multipart   a form; what carboy reads, Werkzeug must read as well
    npy         a model that takes an array
    parquet     a model that takes a table
    arrow       the same, as an Arrow stream or file
    v2          the Open Inference Protocol with binary data behind the JSON
    json        a model that takes a record, and one that takes anything

Any input must be answered with a success or an error of the client (4xx). A response of 500 means
that an exception was not foreseen.
"""

from __future__ import annotations

import functools
import io
import json
import os
import pathlib
import struct
import sys
import typing as t

sys.path.insert(0, os.fspath(pathlib.Path(__file__).resolve().parent.parent / "support"))

import msgspec
import numpy as np

from carboy import Carboy, request
from carboy.models import DataFrame, Tensor

BOUNDARY = "b"


class Refused(AssertionError):
    """A response is neither a success nor an error of the client."""


class Row(msgspec.Struct):
    a: float
    b: int = 0
    c: str = ""


class Node(msgspec.Struct):
    value: int
    children: list[Node] = []


@functools.cache
def make_app() -> Carboy:
    app = Carboy("fuzz")
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.config["MODEL_PROTOCOLS"] = ["v2"]

    @app.route("/", defaults={"path": ""}, methods=["GET", "POST", "PUT", "DELETE", "OPTIONS"])
    @app.route("/<path:path>", methods=["GET", "POST", "PUT", "DELETE", "OPTIONS"])
    def echo(path: str) -> dict[str, t.Any]:
        length = len(request.get_data())
        return {
            "path": path,
            "length": length,
            "query": request.args.to_dict(),
            "host": request.host,
        }

    @app.post("/form")
    def form() -> dict[str, t.Any]:
        files = [(each.filename, len(each.read())) for each in request.files.values()]
        return {"fields": list(request.form.items(multi=True)), "files": files}

    @app.model("/tensor")
    def tensor(x: Tensor["float32", ...]) -> int:
        return int(x.size)

    @app.model("/rows", batch=4)
    def rows(x: Tensor["float32", "n", 3]) -> Tensor["float32", "n"]:
        return t.cast("t.Any", x.sum(1))

    @app.model("/table")
    def table(table: DataFrame[Row]) -> int:
        return len(table)

    @app.model("/any-table")
    def any_table(table: DataFrame) -> list[str]:
        return [str(each) for each in table.dtypes]

    @app.model("/repeat")
    def repeat(text: str, times: int) -> int:
        return len(text) * min(times, 3)

    @app.model("/batched", batch=4)
    def batched(text: list[str], point: list[dict[str, float]]) -> list[str]:
        return [each[: len(point)] for each in text]

    @app.model("/tree")
    def tree(node: Node) -> int:
        return node.value

    @app.model("/any")
    def anything(x: t.Any) -> str:
        return type(x).__name__

    return app


def post(path: str, body: bytes, media_type: str, **headers: str) -> None:
    """Send a body to the app, and raise Refused for a response of 500 or more."""
    environ = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "CONTENT_TYPE": media_type,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        **headers,
    }
    statuses: list[str] = []

    def start(status: str, headers: t.Any, exc_info: t.Any = None) -> t.Any:
        statuses.append(status)
        return lambda data: None

    answer = make_app().wsgi_app(environ, t.cast("t.Any", start))
    text = b"".join(answer)
    if hasattr(answer, "close"):
        answer.close()
    if statuses[-1] >= "500":
        raise Refused(f"{statuses[-1]}: {text[:500]!r}")


class Target(t.NamedTuple):
    """Something to fuzz.

    Attributes:
        send: sends an input, and raises if the response is wrong.
        seeds: valid inputs, which are changed.
        words: what is inserted into inputs.
    """

    send: t.Callable[[bytes], None]
    seeds: list[bytes]
    words: list[bytes] = []


# --- the HTTP server -----------------------------------------------------------------------------


@functools.cache
def _stage() -> t.Any:
    from stage import Stage

    stage = Stage()
    stage.serve(make_app().wsgi_app)
    return stage


def send_to_front(data: bytes) -> None:
    stage = _stage()
    client = stage.connect()
    try:
        client.send(data[:60_000])
        client.send_no_more()
        answer = client.see_end()
    finally:
        client.leave()
    while answer:
        head, found, answer = answer.partition(b"\r\n\r\n")
        if not found or not head.startswith(b"HTTP/1.1 "):
            raise Refused(f"no HTTP: {head[:200]!r}")
        status = int(head[9:12])
        if status >= 500 and status not in (501, 505):
            raise Refused(head.decode("latin-1"))
        fields = head.decode("latin-1").lower().split("\r\n")
        lengths = [int(each[15:]) for each in fields if each.startswith("content-length:")]
        # The responses to HEAD, which have a length and no body, are told by what follows.
        if lengths and not answer.startswith(b"HTTP/1.1 "):
            answer = answer[lengths[0] :]


FRONT = Target(
    send_to_front,
    [
        b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nCookie: a=b; c=d\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        (
            b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5;a=b\r\nhello\r\n0\r\nT: v\r\n\r\n"
        ),
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %b5\r\n\r\nhello" % (b"0" * 4999),
        b"PUT http://x:80/%41%00 HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
        b"OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\nExpect: 100-continue\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nRange: bytes=0-1\r\n"
        b"X-Forwarded-For: 1.2.3.4\r\nForwarded: for=a;by=b\r\nX-Request-ID: 1\r\n\r\n" * 2,
        (
            b"POST /tensor HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 5\r\n\r\n[1,2]"
        ),
    ],
    [
        *(b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b":", b",", b";", b"0", b"-1", b"ffffffff"),
        *(b"\r\n\r\n", b"HTTP/1.1", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
        *(b"Connection: close\r\n", b"Host: y\r\n", b"%", b"%00", b"\xff\xfe", b"\xc3\xa4", b"../"),
    ],
)

# --- forms ---------------------------------------------------------------------------------------


def _part(name: str, content: bytes, *more: str) -> bytes:
    lines = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"', *more, "", ""]
    return "\r\n".join(lines).encode() + content + b"\r\n"


def send_form(data: bytes) -> None:
    from werkzeug.exceptions import HTTPException
    from werkzeug.formparser import FormDataParser as WerkzeugParser

    from carboy.core.formparser import FormDataParser

    def read(parser: type[WerkzeugParser]) -> object:
        media_type = "multipart/form-data"
        options = {"boundary": BOUNDARY}
        try:
            _, form, files = parser(silent=False, max_form_parts=100).parse(
                io.BytesIO(data), media_type, len(data), options
            )
        except ValueError:
            return ValueError
        except HTTPException as error:
            return type(error)
        contents = [(name, each.filename, each.read()) for name, each in files.items(multi=True)]
        return list(form.items(multi=True)), contents

    ours, theirs = read(FormDataParser), read(WerkzeugParser)
    # carboy refuses more: bodies for which the search would take quadratic time.
    if ours not in (ValueError, theirs):
        raise Refused(f"Werkzeug reads {theirs!r}, carboy {ours!r}")
    post("/form", data, f"multipart/form-data; boundary={BOUNDARY}")


FORM_END = f"--{BOUNDARY}--\r\n".encode()
MULTIPART = Target(
    send_form,
    [
        _part("a", b"1") + _part("b", b"\xc3\xa4") + FORM_END,
        _part("f", b"\x89PNG\r\n--", 'x; filename="a.png"', "Content-Type: image/png") + FORM_END,
        _part("a", b"1").replace(b'"\r\n', b'"; filename="x\\"y"\r\n', 1) + FORM_END,
        _part("a", b"--b\r\n--bb\r\n", "Content-Type: text/plain; charset=utf-16") + FORM_END,
    ],
    [
        *(b"--b", b"\r\n--b", b"\n--b", b"--b--", b"\r\n", b"\n", b"\r", b'"', b";", b"\\", b"\0"),
        *(b"filename*=UTF-8''a", b'filename="', b"name*0=a", b"Content-Type: ", b" ", b"\t", b":"),
    ],
)

# --- arrays and tables ---------------------------------------------------------------------------


def _npy(array: t.Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def send_npy(data: bytes) -> None:
    post("/tensor", data, "application/x-npy")


NPY = Target(
    send_npy,
    [
        _npy(np.arange(6, dtype="<f4").reshape(2, 3)),
        _npy(np.asfortranarray(np.arange(6, dtype=">f8").reshape(3, 2))),
        _npy(np.array(1, dtype="u1")),
        _npy(np.array([], dtype="f2")),
    ],
    [b"descr", b"'|O'", b"(9999999999,)", b"()", b"True", b"'<f8'", b"{", b"}", b"\x02\0", b"-1"],
)


def _table() -> t.Any:
    import pandas as pd

    return pd.DataFrame({"a": [1.5, 2.5], "b": [1, 2], "c": ["x", "ä" * 40]})


def _parquet(**options: t.Any) -> bytes:
    file = io.BytesIO()
    _table().to_parquet(file, **options)
    return file.getvalue()


def _arrow(*, as_file: bool = False) -> bytes:
    import pyarrow as pa

    table, sink = pa.Table.from_pandas(_table()), pa.BufferOutputStream()
    open_ = pa.ipc.new_file if as_file else pa.ipc.new_stream
    with open_(sink, table.schema) as writer:
        writer.write_table(table)
    return t.cast("bytes", sink.getvalue().to_pybytes())


def send_parquet(data: bytes) -> None:
    for path in ("/table", "/any-table"):
        post(path, data, "application/vnd.apache.parquet")


def send_arrow(data: bytes) -> None:
    for path in ("/table", "/any-table"):
        post(path, data, "application/vnd.apache.arrow.stream")


NUMBERS = [struct.pack("<i", each) for each in (-1, 0, 1, 2**31 - 1, -(2**31), 2**16)]


def parquet() -> Target:
    seeds = [_parquet(), _parquet(compression="gzip"), _parquet(compression=None, index=True)]
    return Target(send_parquet, seeds, [b"PAR1", b"\xff" * 9, b"\x80" * 9 + b"\x01", *NUMBERS])


def arrow() -> Target:
    seeds = [_arrow(), _arrow(as_file=True)]
    return Target(send_arrow, seeds, [b"\xff" * 4, b"ARROW1\0\0", b"\xff" * 8, *NUMBERS])


# --- Open Inference Protocol ---------------------------------------------------------------------


def send_v2(data: bytes) -> None:
    """Two bytes have the length of the JSON; the rest is the body."""
    length = int.from_bytes(data[:2], "big")
    body = data[2:]
    for model in ("rows", "repeat", "batched"):
        post(
            f"/v2/models/{model}/infer",
            body,
            "application/octet-stream",
            HTTP_INFERENCE_HEADER_CONTENT_LENGTH=str(length),
        )


def _v2(head: dict[str, t.Any], binary: bytes = b"") -> bytes:
    text = json.dumps(head).encode()
    return len(text).to_bytes(2, "big") + text + binary


def _input(name: str, datatype: str, shape: list[int], **others: t.Any) -> dict[str, t.Any]:
    return {"name": name, "datatype": datatype, "shape": shape, **others}


ROWS = np.arange(6, dtype="<f4").tobytes()
WORD = struct.pack("<I", 2) + b"ab"
V2 = Target(
    send_v2,
    [
        _v2({"inputs": [_input("x", "FP32", [2, 3], parameters={"binary_data_size": 24})]}, ROWS),
        _v2({"inputs": [_input("x", "FP32", [2, 3], data=[[1, 2, 3], [4, 5, 6]])]}),
        _v2(
            {
                "id": "a",
                "inputs": [
                    _input("text", "BYTES", [1], parameters={"binary_data_size": len(WORD)}),
                    _input("times", "INT64", [1], data=[2]),
                ],
                "outputs": [{"name": "output", "parameters": {"binary_data": True}}],
            },
            WORD,
        ),
        _v2(
            {
                "inputs": [
                    _input("text", "BYTES", [2], data=["ab", "c"]),
                    _input("point", "BYTES", [2], data=['{"a":1}', "{}"]),
                ]
            }
        ),
        b"\0\0" + ROWS,
    ],
    [
        *(b"-1", b"9223372036854775808", b"1e999", b"NaN", b"null", b"[]", b"{}", b"[[[["),
        *(b'"BYTES"', b'"FP16"', b'"BOOL"', b"\xff\xff\xff\xff", b"\0\0\0\0", b'"\\ud800"'),
    ],
)

# --- JSON and MessagePack ------------------------------------------------------------------------


def send_json(data: bytes) -> None:
    for path in ("/tree", "/any", "/any-table"):
        post(path, data, "application/json")
        post(path, data, "application/msgpack")


TREE = {"value": 1, "children": [{"value": 2}, {"value": 3, "children": []}]}
JSON = Target(
    send_json,
    [
        json.dumps(TREE).encode(),
        msgspec.msgpack.encode(TREE),
        json.dumps([{"a": 1.5, "b": "x"}, {"a": None}]).encode(),
        json.dumps({"columns": ["a", "b"], "data": [[1, "x"], [2.5, "y"]]}).encode("utf-16"),
    ],
    [
        *(b"NaN", b"1e999", b"-", b"9" * 50, b'"\\ud800"', b"[" * 50, b'{"a":' * 50, b"\xff\xfe"),
        *(
            b"\xd4\x05\0",
            b"\xdd\xff\xff\xff\xff",
            b"\x91" * 50,
            b"\x91" * 990,
            b"\x81\x90\x01",
            b"\xc1",
            b"\xd6\xff" + b"\xff" * 4,
        ),
    ],
)

#: The targets by name; those that need pyarrow are made when they are used.
TARGETS: dict[str, t.Callable[[], Target]] = {
    "front": lambda: FRONT,
    "multipart": lambda: MULTIPART,
    "npy": lambda: NPY,
    "parquet": parquet,
    "arrow": arrow,
    "v2": lambda: V2,
    "json": lambda: JSON,
}
