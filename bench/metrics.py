"""What the metrics of `carboy serve` cost: requests per second of a text view with and without
them.

    python bench/metrics.py [--quick] [--connections 32] [--rounds 20]

All servers run at once, with one worker each, and are asked in interleaved rounds, in turn in one
and the other order. The ratios are taken within the rounds. The CPU time is that of the worker
alone.
"""

from __future__ import annotations

import statistics

import _client
import _measure
import _servers
from accesslog import worker_cpu_s
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
    parser = _measure.arguments(__doc__)
    parser.add_argument("--connections", type=int, default=_client.CONNECTIONS)
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    rounds = options.rounds or (4 if options.quick else 20)
    shape = shapes.BY_KEY["text"]
    _measure.print_machine("carboy")
    rates: dict[str, list[float]] = {name: [] for name in KINDS}
    cpu_us: dict[str, list[float]] = {name: [] for name in KINDS}
    with _servers.running(kinds(), threads=16) as servers:
        for turn in range(rounds + 1):
            for name in list(servers)[:: 1 if turn % 2 else -1]:
                server, used_s = servers[name], worker_cpu_s(servers[name])
                load = _client.load(
                    server.port, shape, None, seconds=1, connections=options.connections
                )
                if turn:  # the first round is not counted: caches, specialised bytecode
                    rates[name].append(load.requests_per_s)
                    used_s = worker_cpu_s(server) - used_s
                    cpu_us[name].append(used_s / load.requests_per_s * 1e6)
    lines = []
    for name in servers:
        rate = statistics.median(a / b for a, b in zip(rates[name], rates["off"], strict=True))
        cpu = statistics.median(a / b for a, b in zip(cpu_us[name], cpu_us["off"], strict=True))
        lines.append((name, f"{rate:.3f}", f"{cpu:.3f}", f"{min(cpu_us[name]):.1f}"))
    head = ("text view", "requests/s to off", "CPU to off", "least CPU us per request")
    print(_measure.table(head, lines))
    found = float(lines[1][1])
    verdict = "pass" if found >= TARGET else "MISS"
    print(f"metrics to off: {found:.3f}, target >= {TARGET}: {verdict}")


if __name__ == "__main__":
    main()
