"""What the metrics of `carboy serve` cost: requests per second of a text view with and without
them.

    python bench/metrics.py [--quick] [--connections 32] [--rounds 20]

All servers run at once, with one worker each, and are asked in interleaved rounds, in turn in one
and the other order. The ratios are taken within the rounds. The CPU time is that of the worker
alone.
"""

from __future__ import annotations

import _compare
import _measure
import _servers
from accesslog import report, worker_cpu_s
from apps import shapes

TARGET = 0.98
# The kinds of servers: their names, and the settings `metrics` and `access_log`.
KINDS = {
    "off": ("no", "off"),
    "metrics": ("yes", "off"),
    "access log": ("no", "text"),
    "metrics and access log": ("yes", "text"),
}


def kinds() -> list[_servers.Kind]:
    (base,) = (kind for kind in _servers.KINDS if kind.name == "carboy serve")
    return [
        _servers.Kind(
            name,
            base.command,
            env={
                "CARBOY_SERVE_METRICS": metrics,
                "CARBOY_SERVE_ACCESS_LOG": access_log,
                "CARBOY_LOG_FILE": "/dev/null",
                "CARBOY_SERVE_CONTROL": "off",
            },
        )
        for name, (metrics, access_log) in KINDS.items()
    ]


def main() -> None:
    options = _compare.add_arguments(_measure.arguments(__doc__))
    _measure.print_machine("carboy")
    with _servers.running(kinds(), threads=16) as servers:
        found = _compare.compare(servers, shapes.BY_KEY["text"], options, worker_cpu_s)
    report(found, "text view", TARGET)


if __name__ == "__main__":
    main()
