"""Generate load with wrk, or with a slower client of carboy's if wrk is not installed.

The latter is one Python thread over non-blocking sockets. It uses more CPU time than wrk and so
shows smaller differences between fast servers. A result names the client that made it.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import selectors
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

from apps import shapes

CONNECTIONS = 32
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Load:
    """The results of one period of load: responses and latencies."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int

    def quantities(self) -> dict[str, float]:
        """Return it for a row of a record (`_results`)."""
        return dataclasses.asdict(self)


def name() -> str:
    return "wrk" if shutil.which("wrk") else "own client (wrk is not installed)"


def request_headers(shape: shapes.Shape, cookie: str | None) -> dict[str, str]:
    headers = {}
    if shape.content_type:
        headers["Content-Type"] = shape.content_type
    if cookie is not None:
        headers["Cookie"] = cookie
    return headers


def load(
    port: int,
    shape: shapes.Shape,
    cookie: str | None,
    *,
    seconds: float,
    connections: int,
    tls: bool = False,
) -> Load:
    """Send requests for some seconds. TLS needs wrk."""
    if shutil.which("wrk"):
        scheme = "https" if tls else "http"
        return _by_wrk(f"{scheme}://127.0.0.1:{port}", shape, cookie, seconds, connections)
    return _by_sockets(port, shape, cookie, seconds, connections)


# -- wrk -------------------------------------------------------------------------------------

_LUA = """\
wrk.method = "{method}"
{headers}
{body}
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('RESULT {{"n": %d, "us": %d, "p50": %f, "p99": %f, "errors": %d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def _lua_bytes(data: bytes) -> str:
    return '"' + "".join(f"\\{byte:03d}" for byte in data) + '"'


def _by_wrk(
    url: str, shape: shapes.Shape, cookie: str | None, seconds: float, connections: int
) -> Load:
    headers = request_headers(shape, cookie)
    script = _LUA.format(
        method=shape.method,
        headers="\n".join(
            f'wrk.headers["{key}"] = {_lua_bytes(value.encode())}' for key, value in headers.items()
        ),
        body=f"wrk.body = {_lua_bytes(shape.body)}" if shape.body else "",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "request.lua"
        path.write_text(script)
        # wrk accepts whole seconds only.
        done = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", path,
             f"{url}{shape.path}"],
            capture_output=True, text=True, check=True, timeout=seconds + 30,
        )  # fmt: skip
    found = json.loads(done.stdout.partition("RESULT ")[2])
    return Load(
        found["n"] / found["us"] * 1e6, found["p50"] / 1e3, found["p99"] / 1e3, found["errors"]
    )


# -- ours ------------------------------------------------------------------------------------


class _Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.received = b""
        self.sent_s = 0.0

    def send(self, request: bytes) -> None:
        self.received = b""
        self.sent_s = time.perf_counter()
        self.socket.sendall(request)

    def answered(self) -> bool:
        """Read what has arrived, and return whether the response is complete."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionResetError("closed by the server")
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        return bool(found) and length is not None and len(body) >= int(length[1])


def raw_request(shape: shapes.Shape, cookie: str | None) -> bytes:
    lines = [f"{shape.method} {shape.path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{key}: {value}" for key, value in request_headers(shape, cookie).items()]
    if shape.body:
        lines.append(f"Content-Length: {len(shape.body)}")
    return "\r\n".join([*lines, "", ""]).encode() + shape.body


def _by_sockets(
    port: int, shape: shapes.Shape, cookie: str | None, seconds: float, connections: int
) -> Load:
    request = raw_request(shape, cookie)
    selector = selectors.DefaultSelector()
    each = [_Connection(port) for _ in range(connections)]
    for connection in each:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(request)
    took_s: list[float] = []
    errors = 0
    start_s = time.perf_counter()
    while (now_s := time.perf_counter()) < start_s + seconds:
        for key, _ in selector.select(1.0):
            connection = key.data
            if connection.answered():
                took_s.append(time.perf_counter() - connection.sent_s)
                errors += not connection.received.startswith(b"HTTP/1.1 200")
                connection.send(request)
    for connection in each:
        connection.socket.close()
    quantiles = statistics.quantiles(took_s, n=100)
    return Load(len(took_s) / (now_s - start_s), quantiles[49] * 1e3, quantiles[98] * 1e3, errors)
