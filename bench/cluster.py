"""Predictions over HTTP whose models are computed on a Ray cluster of this machine: `carboy serve
--on ray` compared with carboy's replicas without Ray, and with Ray Serve.

The peers, their settings, the requests and the checks are those of models.py. One process computes
at each peer.

    python bench/cluster.py [--quick] [--json FILE] [--only ROW ...] [--peers KEY ...]
"""

from __future__ import annotations

import dataclasses
import tempfile

import _measure
import _peers
import models

CARBOY = _peers.BY_KEY["carboy"]
RAY_SERVE = _peers.BY_KEY["ray"]
# The key "carboy" is that of the peer which is compared with the others.
ON_RAY = dataclasses.replace(
    CARBOY, name="carboy on Ray", home="carboy-on-ray",
    requires=(*CARBOY.requires, "ray==2.60.0"),
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


def main() -> None:
    parser = _measure.arguments(__doc__)
    parser.add_argument("--only", nargs="+", choices=list(BY_KEY), metavar="ROW",
                        help=f"some rows: {', '.join(BY_KEY)}")  # fmt: skip
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), metavar="KEY",
                        help=f"some peers: {', '.join(PEERS)}")  # fmt: skip
    options = models.arguments(parser)
    chosen = [PEERS[key] for key in options.peers or PEERS]
    record = models.begin("cluster", options, chosen)
    wanted = options.only or (["digits-32"] if options.quick else BY_KEY)
    models.measure_rows(record, [BY_KEY[key] for key in wanted], lambda _: chosen)
    record.close(show=False)


if __name__ == "__main__":
    main()
