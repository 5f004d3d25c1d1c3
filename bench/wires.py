"""Tensors by the Open Inference Protocol: binary data against JSON, on one server.

    python bench/wires.py [--quick] [--json FILE]

A model takes a picture for a network (1 x 3 x 224 x 224 float32) and returns one number, so that
the figures are the cost of the tensor. One client with a kept connection sends the same request
again and again to `carboy serve` with one worker:

    binary         V2, the tensor after the JSON
    v2 json        V2, the tensor as a flat list in JSON
    json           the model's own URL, nested lists
    npy            the model's own URL, a .npy file
"""

from __future__ import annotations

import http.client
import io
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import typing as t

import numpy as np

import _results
from _measure import arguments

_APP = """
import numpy as np
from carboy import Carboy
from carboy.models import Tensor

app = Carboy("wires")
app.config["MODEL_PROTOCOLS"] = ["v2"]

@app.model("/net", batch=8)
def net(image: Tensor["float32", "n", 3, 224, 224]) -> Tensor["float32", "n", 1]:
    return image[:, 0, 0, :1].copy()
"""
_JSON = {"Content-Type": "application/json"}
_INFER = "/v2/models/net/infer"


class Request(t.NamedTuple):
    path: str
    body: bytes
    headers: dict[str, str]


def requests() -> dict[str, Request]:
    """Return the requests by the names of the rows."""
    image = np.random.default_rng(1).random((1, 3, 224, 224), "float32")
    file = io.BytesIO()
    np.save(file, image[0])
    given = {"name": "image", "shape": image.shape, "datatype": "FP32"}
    head = json.dumps(
        {
            "inputs": [{**given, "parameters": {"binary_data_size": image.nbytes}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    flat = json.dumps({"inputs": [{**given, "data": image.ravel().tolist()}]}).encode()
    return {
        "binary": Request(
            _INFER, head + image.tobytes(), {"Inference-Header-Content-Length": str(len(head))}
        ),
        "v2 json": Request(_INFER, flat, _JSON),
        "json": Request("/net", json.dumps(image[0].tolist()).encode(), _JSON),
        "npy": Request("/net", file.getvalue(), {"Content-Type": "application/x-npy"}),
    }


def per_second(connection: http.client.HTTPConnection, request: Request, seconds: float) -> float:
    begun_s, count = time.perf_counter(), 0
    while (took_s := time.perf_counter() - begun_s) < seconds or not count:
        connection.request("POST", *request)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise SystemExit(f"{request.path}: {response.status} {body[:200]!r}")
        count += 1
    return count / took_s


def main() -> None:
    options = arguments(__doc__).parse_args()
    how = "one kept connection to carboy serve with one worker"
    record = _results.Record("wires", options, "carboy", "numpy", how=how)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        app = pathlib.Path(folder, "app.py")
        app.write_text(_APP)
        server = subprocess.Popen(
            [sys.executable, "-m", "carboy", "--app", app, "serve",
             "--port", str(port), "--workers", "1"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            measure(record, port)
        finally:
            server.terminate()
            server.wait()
    record.close()


def measure(record: _results.Record, port: int) -> None:
    rounds, seconds = (1, 0.5) if record.options.quick else (9, 1.5)
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(200):
        try:
            connection.connect()
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    row = record.row("tensor", "a tensor of 600 kB", ours="binary")
    sent = requests()
    for _ in range(rounds):
        for name, request in sent.items():
            row.add(name, requests_per_s=per_second(connection, request, seconds))


if __name__ == "__main__":
    main()
