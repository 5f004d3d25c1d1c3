"""Predictions over HTTP whose models are computed by two processes: carboy's replicas compared with
mosec, LitServe, MLServer, BentoML and gunicorn's dirty arbiters, on two cores.

The peers, their settings, the requests and the checks are those of models.py. Two processes compute
at each peer, but one if there is one device. carboy is measured in four ways: with replicas behind
one and two web workers, and with the models in one and two web workers ("in process").

    python bench/replicas.py [--quick] [--json FILE] [--only ROW ...] [--peers KEY ...]
"""

from __future__ import annotations

import collections.abc as cabc
import dataclasses

import _measure
import _peers
import models

OTHERS = ("mosec", "litserve", "mlserver", "bentoml", "gunicorn")
CARBOY, IN_PROCESS = "carboy", "carboy-in-process"
FIRST = models.Target(1.0, of=OTHERS)
AS_IN_PROCESS = models.Target(1 / 1.15, of=(IN_PROCESS,), measure="p50_ms")


@dataclasses.dataclass(frozen=True)
class Row(models.Row):
    replicas: int = 2


ROWS = (
    Row("digits-32", "digits, logistic regression, c=32", "digits", 32, (FIRST,)),
    Row("forest-32", "digits, forest of 100 trees, c=32", "forest", 32, (FIRST,)),
    Row("photo-16", "JPEG through a small net, c=16", "photo", 16, (FIRST,)),
    Row("device-64", "one device of 5 + 0.2 n ms, c=64", "fake", 64, (FIRST,), replicas=1,
        limit=models.FAKE_LIMIT),
    Row("device-256", "one device, c=256", "fake", 256, (FIRST,), replicas=1,
        limit=models.FAKE_LIMIT, limit_share=0.97),
    Row("devices-256", "two devices, c=256", "fake", 256, (FIRST,), limit=2 * models.FAKE_LIMIT),
    Row("tensor-1", "tensor of 600 kB as .npy, c=1", "tensor", 1, (AS_IN_PROCESS, FIRST),
        wire="tensor-binary"),
    Row("tensor-4", "tensor of 600 kB as .npy, c=4", "tensor", 4, (FIRST,), wire="tensor-binary"),
)  # fmt: skip
BY_KEY = {row.key: row for row in ROWS}


def carboys(replicas: int) -> cabc.Iterator[_peers.Peer]:
    """Yield carboy in the ways that are compared."""
    computed = {"BENCH_REPLICAS": str(replicas)}
    yield _carboy(CARBOY, 1, computed)
    yield _carboy(f"{CARBOY}-2-workers", 2, computed)
    yield _carboy(IN_PROCESS, 1, {})
    if replicas == 2:
        yield _carboy(f"{IN_PROCESS}-2-workers", 2, {})


def _carboy(key: str, workers: int, env: dict[str, str]) -> _peers.Peer:
    peer = _peers.BY_KEY[CARBOY]
    command = (*peer.command[:-1], str(workers))
    return dataclasses.replace(peer, key=key, name=key, home=CARBOY, command=command, env=env)


def others(replicas: int) -> cabc.Iterator[_peers.Peer]:
    for key in OTHERS:
        peer = _peers.BY_KEY[key]
        yield dataclasses.replace(peer, env={**peer.env, "BENCH_REPLICAS": str(replicas)})


def main() -> None:
    keys = [peer.key for peer in (*carboys(2), *others(2))]
    parser = _measure.arguments(__doc__)
    parser.add_argument("--only", nargs="+", choices=list(BY_KEY), metavar="ROW",
                        help=f"some rows: {', '.join(BY_KEY)}")  # fmt: skip
    parser.add_argument("--peers", nargs="+", choices=keys, metavar="KEY",
                        help=f"some peers: {', '.join(keys)}")  # fmt: skip
    options = models.arguments(parser)
    chosen = [row for row in ROWS if not options.only or row.key in options.only]

    def peers(row: models.Row) -> list[_peers.Peer]:
        known = (*carboys(row.replicas), *others(row.replicas))
        return [peer for peer in known if not options.peers or peer.key in options.peers]

    record = models.begin("replicas", options, [peer for row in chosen for peer in peers(row)])
    models.measure_rows(record, chosen, peers)
    record.close(show=False)


if __name__ == "__main__":
    main()
