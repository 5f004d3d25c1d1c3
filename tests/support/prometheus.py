"""Read metrics in Prometheus' text format by Prometheus' own client library."""

from __future__ import annotations

import typing as t

from prometheus_client.parser import text_string_to_metric_families


class Metrics:
    """The samples of one `/metrics`.

    Attributes:
        kinds: the kind of each metric by its name; the parser leaves out `_total`.
    """

    def __init__(self, text: bytes) -> None:
        families = list(text_string_to_metric_families(text.decode()))
        self.kinds = {family.name: family.type for family in families}
        self._samples = [sample for family in families for sample in family.samples]

    def samples(self, name: str, **labels: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The values of a sample by its labels, of those series that have the given labels."""
        return {
            tuple(sorted(sample.labels.items())): sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        }

    def sum(self, name: str, **labels: str) -> float:
        """The sum over the series that have the given labels."""
        return sum(self.samples(name, **labels).values())

    def requests(
        self, route: str | None = None, method: str | None = None, status: str | None = None
    ) -> float:
        """How many requests were counted."""
        labels = {
            "http_route": route,
            "http_request_method": method,
            "http_response_status_code": status,
        }
        given = {name: value for name, value in labels.items() if value is not None}
        return self.sum("http_server_request_duration_seconds_count", **given)

    def buckets(self, name: str, **labels: str) -> list[tuple[float, float]]:
        """The upper bounds of a histogram's buckets, and their cumulative counts."""
        found = self.samples(f"{name}_bucket", **labels)
        return sorted((float(dict(key)["le"]), value) for key, value in found.items())


def decreased(before: Metrics, after: Metrics) -> t.Iterator[str]:
    """The counters that are less than before, or missing."""
    now = {(sample.name, tuple(sample.labels.items())): sample.value for sample in after._samples}
    for sample in before._samples:
        name = sample.name
        is_gauge = any(
            after.kinds.get(each) == "gauge" for each in (name, name.removesuffix("_total"))
        )
        if not is_gauge and now.get((name, tuple(sample.labels.items())), -1) < sample.value:
            yield f"{name}{sample.labels}"
