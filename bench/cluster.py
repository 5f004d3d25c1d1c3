"""Predictions over HTTP whose models are computed on a Ray cluster of this machine: `carboy serve
--on ray` compared with carboy's replicas without Ray, and with Ray Serve.

The peers, their settings, the requests and the checks are those of models.py. One process computes
at each peer.

    python bench/cluster.py [--quick] [--json FILE] [--only ROW ...] [--peers KEY ...]
"""

from __future__ import annotations

import argparse
import collections.abc as cabc
import dataclasses
import signal
import sys
import tempfile
import time

import _client
import _measure
import _peers
import models

CARBOY = _peers.BY_KEY["carboy"]
RAY_SERVE = _peers.BY_KEY["ray"]
# `models.ratios` compares the others with "carboy", which is on Ray here.
ON_RAY = dataclasses.replace(
    CARBOY, name="carboy on Ray", home="carboy-on-ray",
    requires=("-e", f"{_peers.ROOT}[ray]", "onnx", "granian", "ray==2.60.0"),
    command=("-m", "peers.carboy_ray", "PORT"), shows=("carboy", "ray"),
    processes="1 + supervisor, cluster",
    env={"BENCH_REPLICAS": "1", "RAY_AUTH_MODE": "disabled",
         "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "HOME": str(_peers.HOME / "ray-home"),
         "BENCH_TEMP": f"{tempfile.gettempdir()}/carboy-on-ray"},
)  # fmt: skip
LOCAL = dataclasses.replace(
    CARBOY, key="carboy-local", name="carboy, local replica", home=CARBOY.key,
    env={"BENCH_REPLICAS": "1"}, processes="1 + supervisor, replica",
)  # fmt: skip
PEERS = {peer.key: peer for peer in (ON_RAY, LOCAL, RAY_SERVE)}

TEN_TIMES = models.Target(10.0, of=(RAY_SERVE.key,))
AS_LOCAL = models.Target(1 / 1.5, of=(LOCAL.key,))
ROWS = (
    models.Row("digits-32", "digits, logistic regression, c=32", "digits", 32,
               (TEN_TIMES, AS_LOCAL)),
    models.Row("forest-32", "digits, forest of 100 trees, c=32", "forest", 32, (AS_LOCAL,)),
    models.Row("photo-16", "JPEG through a small net, c=16", "photo", 16, (AS_LOCAL,)),
    models.Row("tensor-4", "tensor of 600 kB as .npy, c=4", "tensor", 4, (AS_LOCAL,),
               wire="tensor-binary"),
)  # fmt: skip
BY_KEY = {row.key: row for row in ROWS}


def measured(
    peers: cabc.Sequence[_peers.Peer], rows: cabc.Sequence[models.Row], *, rounds: int,
    seconds: float, missing: dict[str, str],
) -> cabc.Iterator[dict[str, object]]:  # fmt: skip
    shown = False
    for model in dict.fromkeys(row.model for row in rows):
        with models.serving(peers, model, missing) as servers:
            if servers and not shown:
                models.show_starts(servers)
                shown = True
            for row in rows:
                if row.model == model and servers:
                    found = models.measure(servers, row, rounds=rounds, seconds=seconds)
                    yield models.show(row, found)


def main() -> None:
    options = arguments()
    rounds = options.rounds or (2 if options.quick else 6)
    seconds = options.seconds or (1 if options.quick else 2)
    began_s = time.monotonic()
    # Stops the servers, however the program ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    missing = _peers.install([CARBOY, *PEERS.values()])
    for key, why in missing.items():
        print(f"left out: {key} cannot be installed: {why}")
    models.prepare()
    _measure.print_machine("carboy")
    how = (f"{_client.name()}; one process computes; the load and the one server that is asked"
           f" share the cores; {rounds} rounds of {seconds:g} s")  # fmt: skip
    print(how + "\n")
    chosen = [PEERS[key] for key in options.peers or PEERS if key not in missing]
    wanted = options.only or (["digits-32"] if options.quick else BY_KEY)
    rows = list(measured(chosen, [BY_KEY[key] for key in wanted], rounds=rounds, seconds=seconds,
                         missing=missing))  # fmt: skip
    print(f"{time.monotonic() - began_s:.0f} s")
    if options.json:
        _measure.report_json(options.json, rows, "carboy", how=how, missing=missing)


def arguments() -> argparse.Namespace:
    parser = _measure.arguments(__doc__)
    parser.add_argument("--only", nargs="+", choices=list(BY_KEY), metavar="ROW",
                        help=f"some rows: {', '.join(BY_KEY)}")  # fmt: skip
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), metavar="KEY",
                        help=f"some peers: {', '.join(PEERS)}")  # fmt: skip
    parser.add_argument("--rounds", type=int, help="rounds of each peer and row")
    parser.add_argument("--seconds", type=float, help="length of a slot")
    return parser.parse_args()


if __name__ == "__main__":
    main()
