"""What access log, metrics and TLS cost `carboy serve`, on one core with the default settings.

    python bench/operations.py [--quick] [--connections 32] [--rounds 20]

All servers run at once on one core, which wrk shares with them, and are asked in interleaved
rounds, in turn in one and the other order. The ratios are taken within the rounds. The CPU time is
that of the server: worker and supervisor, which writes the log file. Connections stay open, so that
the cost of TLS is that of encryption, and not of handshakes.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile

import _client
import _measure
import _servers
from apps import shapes
from carboy.serving.settings import SETTINGS

SHAPES = ("text", "post")
OFF = "everything off"
_KNOWN = {setting.field for setting in SETTINGS}


def make_certificate(folder: pathlib.Path) -> tuple[str, str]:
    """Create a key and a certificate for 127.0.0.1; return the paths of both files."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    return str(cert), str(key)


def kinds(folder: pathlib.Path) -> list[_servers.Kind]:
    log = {"CARBOY_SERVE_ACCESS_LOG": "text", "CARBOY_LOG_FILE": str(folder / "access.log")}
    off = {"CARBOY_SERVE_ACCESS_LOG": "off"}
    variants: dict[str, dict[str, str]] = {OFF: off, "access log": log}
    if "metrics" in _KNOWN:
        off["CARBOY_SERVE_METRICS"] = "no"
        variants["metrics"] = off | {"CARBOY_SERVE_METRICS": "yes"}
        log["CARBOY_SERVE_METRICS"] = "no"
    if "tls_cert" in _KNOWN and shutil.which("openssl") and shutil.which("wrk"):
        cert, key = make_certificate(folder)
        tls = {"CARBOY_SERVE_TLS_CERT": cert, "CARBOY_SERVE_TLS_KEY": key}
        variants["TLS"] = off | tls
        everything = log | tls
        if "metrics" in _KNOWN:
            everything["CARBOY_SERVE_METRICS"] = "yes"
        variants["all of them"] = everything | {"CARBOY_LOG_FILE": str(folder / "all.log")}
    return [
        _servers.Kind(
            name,
            ("-m", "carboy", "--app", "apps.carboy_app:app", "serve", "--host", "127.0.0.1",
             "--port", "PORT"),
            env={"PYTHONPATH": _path(), **env},
            tls="CARBOY_SERVE_TLS_CERT" in env,
        )
        for name, env in variants.items()
    ]  # fmt: skip


def _path() -> str:
    return os.pathsep.join([str(_servers.HERE), os.environ.get("PYTHONPATH", "")])


def measure(
    servers: dict[str, _servers.Server], shape: shapes.Shape, rounds: int, connections: int
) -> list[tuple[str, ...]]:
    """Return a row of the table for each server."""
    rates: dict[str, list[float]] = {name: [] for name in servers}
    cpu_us: dict[str, list[float]] = {name: [] for name in servers}
    for turn in range(rounds + 1):
        for name in list(servers)[:: 1 if turn % 2 else -1]:
            server = servers[name]
            before_s = server.cpu_s()
            load = _client.load(
                server.port, shape, None, seconds=1, connections=connections, tls=server.tls
            )
            if load.errors:
                raise RuntimeError(f"{name}: {load.errors} requests failed")
            if turn:  # the first round is not counted: caches, specialised bytecode
                rates[name].append(load.requests_per_s)
                cpu_us[name].append((server.cpu_s() - before_s) / load.requests_per_s * 1e6)
    return [
        (
            f"{shape.key}: {name}",
            f"{_ratio(rates[name], rates[OFF]):.2f}",
            f"{_ratio(cpu_us[name], cpu_us[OFF]):.2f}",
            f"{statistics.median(cpu_us[name]) - statistics.median(cpu_us[OFF]):+.1f}",
        )
        for name in servers
    ]


def _ratio(values: list[float], others: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(values, others, strict=True))


def main() -> None:
    parser = _measure.arguments(__doc__)
    parser.add_argument("--connections", type=int, default=_client.CONNECTIONS)
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    rounds = options.rounds or (4 if options.quick else 20)
    _measure.print_machine("carboy")
    core = {min(os.sched_getaffinity(0))}
    with (
        tempfile.TemporaryDirectory() as folder,
        _servers.confined(core),
        _servers.running(kinds(pathlib.Path(folder)), threads=16) as servers,
    ):
        rows: list[tuple[str, ...]] = []
        for key in SHAPES:
            rows += measure(servers, shapes.BY_KEY[key], rounds, options.connections)
    head = ("one core, defaults", "requests/s to off", "CPU to off", "CPU us more per request")
    print(_measure.table(head, rows))
    if options.json:
        _measure.report_json(options.json, [dict(zip(head, row, strict=True)) for row in rows])


if __name__ == "__main__":
    main()
