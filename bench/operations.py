"""What the access log, metrics, rate limits and TLS cost `carboy serve`, with the default settings.

    python bench/operations.py [--quick] [--json FILE] [--only NAME ...] [--cores 1]

All servers run at once, with one worker each, and are asked in interleaved rounds, in turn in one
and the other order. The CPU time is that of the server: worker and supervisor, which writes the log
file and lends tokens of rates. The rates are never reached. Connections stay open, so that the cost
of TLS is that of encryption, and not of handshakes.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import tempfile

import _client
import _measure
import _results
import _servers
from apps import shapes

SHAPES = ("text", "post")
OFF = "everything off"
APP = "apps.carboy_app:app"
# The least share of the requests per second without it.
LEAST = {
    "access log": 0.95,
    "metrics": 0.98,
    "rate by address": 0.98,
    "rate by key": 0.98,
    "two rates": 0.98,
}
BASIC_CONFIG = """\
import logging

from apps.carboy_app import app

logging.basicConfig(filename=__file__ + ".log", level=logging.INFO)
"""


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


def variants(folder: pathlib.Path) -> dict[str, dict[str, str]]:
    """Return the settings of each server, as variables; BENCH_APP is the program."""
    off = {"CARBOY_SERVE_ACCESS_LOG": "off", "CARBOY_SERVE_METRICS": "no"}
    metrics = {"CARBOY_SERVE_METRICS": "yes"}
    cert, key = make_certificate(folder)
    tls = {"CARBOY_SERVE_TLS_CERT": cert, "CARBOY_SERVE_TLS_KEY": key}
    (folder / "configured.py").write_text(BASIC_CONFIG)

    def log(name: str, form: str = "text") -> dict[str, str]:
        return {"CARBOY_SERVE_ACCESS_LOG": form, "CARBOY_LOG_FILE": str(folder / name)}

    def rate(text: str) -> dict[str, str]:
        return off | {"CARBOY_ACCESS_RATE": text}

    return {
        OFF: off,
        "access log": off | log("access.log"),
        "access log as JSON": off | log("json.log", "json"),
        "logging.basicConfig": off
        | {"CARBOY_SERVE_ACCESS_LOG": "auto", "BENCH_APP": "configured:app"},
        "metrics": off | metrics,
        "metrics and access log": log("both.log") | metrics,
        "rate by address": rate("5000000/minute by address"),
        "rate by key": rate("5000000/minute"),
        "two rates": rate("1000000/second by address, 900000000/day by route"),
        "TLS": off | tls,
        "access log, metrics, TLS": log("all.log") | metrics | tls,
    }


def kinds(folder: pathlib.Path, only: list[str] | None) -> list[_servers.Kind]:
    paths = os.pathsep.join([str(folder), str(_servers.HERE), os.environ.get("PYTHONPATH", "")])
    return [
        _servers.Kind(
            name,
            ("-m", "carboy", "--app", env.get("BENCH_APP", APP), "serve", "--host", "127.0.0.1",
             "--port", "PORT", "--workers", "1"),
            env={"PYTHONPATH": paths, **env},
            tls="CARBOY_SERVE_TLS_CERT" in env,
        )
        for name, env in variants(folder).items()
        if not only or name in {OFF, *only}
    ]  # fmt: skip


def compare(
    record: _results.Record, servers: dict[str, _servers.Server], shape: shapes.Shape
) -> None:
    """Ask all servers in each round, and add a row for each feature: with it, and without."""
    options = record.options
    rows = {
        name: record.row(
            f"{shape.key}-{name.replace(',', '').replace(' ', '-').lower()}",
            f"{shape.title}: {name}",
            ours=name,
            targets=[_results.Target("requests_per_s", name, OFF, "least", LEAST[name])]
            if name in LEAST and shape.key == "text"
            else [],
        )
        for name in servers
        if name != OFF
    }
    for turn in range(options.rounds + 1):
        found = {}
        for name in list(servers)[:: 1 if turn % 2 else -1]:
            server, used_s = servers[name], servers[name].cpu_s()
            load = _client.load(
                server.port, shape, None, seconds=1, connections=options.connections, tls=server.tls
            )
            used_s = server.cpu_s() - used_s
            found[name] = {**load.quantities(), "cpu_us": used_s / load.requests_per_s * 1e6}
        if not turn:  # the first round is not counted: caches, specialised bytecode
            continue
        for name, row in rows.items():
            row.add(name, **found[name])
            row.add(OFF, **found[OFF])


def arguments() -> argparse.Namespace:
    parser = _measure.arguments(__doc__)
    parser.add_argument("--connections", type=int, default=_client.CONNECTIONS)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--cores", type=int, default=1, help="cores that servers and wrk share")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some features")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 15)
    return options


def main() -> None:
    options = arguments()
    cpus = set(sorted(os.sched_getaffinity(0))[: options.cores])
    how = f"{_client.name()}, {options.connections} connections; on {len(cpus)} core(s)"
    record = _results.Record("operations", options, "carboy", how=how)
    with (
        tempfile.TemporaryDirectory() as folder,
        _servers.confined(cpus),
        _servers.running(kinds(pathlib.Path(folder), options.only), threads=16) as servers,
    ):
        for key in SHAPES:
            compare(record, servers, shapes.BY_KEY[key])
    record.close()


if __name__ == "__main__":
    main()
