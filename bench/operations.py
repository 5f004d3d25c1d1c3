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
import statistics
import subprocess
import tempfile

import _compare
import _measure
import _servers
from apps import shapes

SHAPES = ("text", "post")
OFF = "everything off"


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
    off = {"CARBOY_SERVE_ACCESS_LOG": "off", "CARBOY_SERVE_METRICS": "no"}
    metrics = {"CARBOY_SERVE_METRICS": "yes"}
    cert, key = make_certificate(folder)
    tls = {"CARBOY_SERVE_TLS_CERT": cert, "CARBOY_SERVE_TLS_KEY": key}

    def log(name: str) -> dict[str, str]:
        return {"CARBOY_SERVE_ACCESS_LOG": "text", "CARBOY_LOG_FILE": str(folder / name)}

    variants = {
        OFF: off,
        "access log": off | log("access.log"),
        "metrics": off | metrics,
        "TLS": off | tls,
        "all of them": log("all.log") | metrics | tls,
    }
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


def rows_of(shape: str, found: dict[str, _compare.Measured]) -> list[tuple[str, ...]]:
    """Return a row of the table for each server."""
    off = found[OFF]
    rows = []
    for name, each in found.items():
        rate, cpu = each.ratios_to(off)
        more_us = statistics.median(each.cpu_us) - statistics.median(off.cpu_us)
        rows.append((f"{shape}: {name}", f"{rate:.2f}", f"{cpu:.2f}", f"{more_us:+.1f}"))
    return rows


def main() -> None:
    options = _compare.add_arguments(_measure.arguments(__doc__))
    _measure.print_machine("carboy")
    core = {min(os.sched_getaffinity(0))}
    rows: list[tuple[str, ...]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        _servers.confined(core),
        _servers.running(kinds(pathlib.Path(folder)), threads=16) as servers,
    ):
        for shape in SHAPES:
            found = _compare.compare(servers, shapes.BY_KEY[shape], options, _servers.Server.cpu_s)
            rows += rows_of(shape, found)
    head = ("one core, defaults", "requests/s to off", "CPU to off", "CPU us more per request")
    print(_measure.table(head, rows))
    if options.json:
        _measure.report_json(options.json, [dict(zip(head, row, strict=True)) for row in rows])


if __name__ == "__main__":
    main()
