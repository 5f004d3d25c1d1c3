"""What a rate limit of `carboy serve` costs: requests per second of a text view with and without
it.

    python bench/ratelimits.py [--quick] [--connections 32] [--rounds 20]

All servers run at once, with one worker each, and are asked in interleaved rounds, in turn in one
and the other order. The ratios are taken within the rounds. The rates are never reached. The CPU
time is that of the worker alone; the supervisor lends it tokens a few times in each round.
"""

from __future__ import annotations

import os

import _compare
import _measure
import _servers
from accesslog import report, worker_cpu_s
from apps import shapes

TARGET = 0.98
RATES = {
    "none": "",
    "by address": "5000000/minute by address",
    "by key, without keys": "5000000/minute",
    "two rates": "1000000/second by address, 900000000/day by route",
}


def kinds() -> list[_servers.Kind]:
    (base,) = (kind for kind in _servers.KINDS if kind.name == "carboy serve")
    paths = os.pathsep.join([str(_servers.HERE), os.environ.get("PYTHONPATH", "")])
    return [
        _servers.Kind(
            name,
            base.command,
            env={"PYTHONPATH": paths, **({"CARBOY_ACCESS_RATE": rate} if rate else {})},
        )
        for name, rate in RATES.items()
    ]


def main() -> None:
    options = _compare.add_arguments(_measure.arguments(__doc__))
    _measure.print_machine("carboy")
    with _servers.running(kinds(), threads=16) as servers:
        found = _compare.compare(servers, shapes.BY_KEY["text"], options, worker_cpu_s)
    report(found, "text view, rate", TARGET)


if __name__ == "__main__":
    main()
