"""Compare variants of a server that run at once: requests per second and CPU time, in interleaved
rounds, in turn in one and the other order.
"""

from __future__ import annotations

import statistics
import typing as t

import _client

if t.TYPE_CHECKING:
    import argparse
    import collections.abc as cabc

    import _servers
    from apps import shapes


class Measured(t.NamedTuple):
    """What was measured of one server, a value per round.

    Attributes:
        rates: requests per second.
        cpu_us: CPU time per request, in microseconds.
    """

    rates: list[float]
    cpu_us: list[float]

    def ratios_to(self, other: Measured) -> tuple[float, float]:
        """Return the medians of the ratios within each round: of requests per second, and of CPU
        time per request.
        """
        return _ratio(self.rates, other.rates), _ratio(self.cpu_us, other.cpu_us)


def _ratio(values: list[float], others: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(values, others, strict=True))


def add_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Add the options of a comparison to those of the script, and return what was given."""
    parser.add_argument("--connections", type=int, default=_client.CONNECTIONS)
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    options.rounds = options.rounds or (4 if options.quick else 20)
    return options


def compare(
    servers: cabc.Mapping[str, _servers.Server],
    shape: shapes.Shape,
    options: argparse.Namespace,
    cpu_s: cabc.Callable[[_servers.Server], float],
) -> dict[str, Measured]:
    """Ask all servers in each round, and return what was measured of them.

    Args:
        options: what `add_arguments` has returned.
        cpu_s: returns the CPU time that a server has used so far, in seconds.
    """
    found = {name: Measured([], []) for name in servers}
    for turn in range(options.rounds + 1):
        for name in list(servers)[:: 1 if turn % 2 else -1]:
            server, before_s = servers[name], cpu_s(servers[name])
            load = _client.load(
                server.port, shape, None, seconds=1, connections=options.connections, tls=server.tls
            )
            if load.errors:
                raise RuntimeError(f"{name}: {load.errors} requests failed")
            if turn:  # the first round is not counted: caches, specialised bytecode
                found[name].rates.append(load.requests_per_s)
                used_s = cpu_s(server) - before_s
                found[name].cpu_us.append(used_s / load.requests_per_s * 1e6)
    return found
