"""The metrics of `carboy serve`: their names, labels, histogram buckets and texts, as a table.

The names of metrics and labels about HTTP are those of OpenTelemetry's semantic conventions, in the
form that Prometheus gives to them: dots become underscores, and the unit is the end of the name.
Sources: https://opentelemetry.io/docs/specs/semconv/http/http-metrics/,
https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
"""

from __future__ import annotations

import typing as t

from carboy.observability.bounds import BATCH_BOUNDS, PREDICTION_BOUNDS_S

Kind = t.Literal["counter", "gauge", "histogram"]

# The buckets that OpenTelemetry gives for the duration of HTTP requests, in seconds.
REQUEST_BOUNDS_S = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25),
    *(0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)


class Family(t.NamedTuple):
    """One metric: a name, and the counters that share it and differ in the values of their labels.

    Attributes:
        name: the name in Prometheus' format, without the suffixes that the format adds to the lines
            of a histogram.
        kind: a counter only grows. A gauge is the current value. A histogram counts values by
            bucket, and sums them up.
        labels: the names of the labels.
        help: one sentence for `# HELP` and the documentation.
        bounds: the upper bounds of a histogram's buckets; one more bucket counts higher values.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    bounds: tuple[float, ...] = ()

    @property
    def cells(self) -> int:
        """How many numbers one series of the family consists of: a histogram has one per bucket,
        and the sum.
        """
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


_HTTP = ("http_request_method", "http_response_status_code", "http_route")
_MODEL = ("model", "version")

REQUEST_DURATION = Family(
    "http_server_request_duration_seconds",
    "histogram",
    _HTTP,
    "Time from the arrival of a request until its response is ready to be sent.",
    REQUEST_BOUNDS_S,
)
REQUEST_BODIES = Family(
    "http_server_request_body_bytes_total",
    "counter",
    (),
    "Bytes of the bodies of requests that have ended.",
)
RESPONSE_BODIES = Family(
    "http_server_response_body_bytes_total",
    "counter",
    (),
    "Bytes of the bodies of their responses.",
)
ACTIVE_REQUESTS = Family(
    "http_server_active_requests",
    "gauge",
    (),
    "Requests whose body is arriving, or whose response is not complete.",
)
CONNECTIONS = Family(
    "carboy_http_connections", "gauge", (), "Open connections, including idle ones."
)
ACTIVE_VIEWS = Family("carboy_views_active", "gauge", (), "Views that are running.")
WAITING_VIEWS = Family(
    "carboy_views_waiting",
    "gauge",
    (),
    "Requests that wait for one of the threads for views (--threads).",
)
PREDICTIONS = Family(
    "carboy_model_requests_total",
    "counter",
    (*_MODEL, "outcome"),
    "Requests for one prediction by outcome: ok, failed (an exception in predict), refused (queue"
    " full, model hangs, closes or is unloaded), expired (deadline) or cancelled (the client has"
    " left).",
)
QUEUE_TIME = Family(
    "carboy_model_queue_seconds",
    "histogram",
    _MODEL,
    "How long predictions waited before their batch was computed.",
    PREDICTION_BOUNDS_S,
)
COMPUTE_TIME = Family(
    "carboy_model_compute_seconds",
    "histogram",
    _MODEL,
    "How long batches were computed.",
    PREDICTION_BOUNDS_S,
)
BATCH_SIZE = Family(
    "carboy_model_batch_size", "histogram", _MODEL, "Predictions per batch.", BATCH_BOUNDS
)
QUEUE_DEPTH = Family(
    "carboy_model_queue_depth", "gauge", _MODEL, "Predictions that wait in the queue of the model."
)
COMPUTING_PREDICTIONS = Family(
    "carboy_model_computing", "gauge", _MODEL, "Predictions that are being computed."
)
REPLICAS = Family(
    "carboy_model_replicas",
    "gauge",
    _MODEL,
    "Copies of the model that are ready: the replicas, or one in each worker without replicas=.",
)
MODEL_MEMORY = Family(
    "carboy_model_memory_bytes",
    "gauge",
    _MODEL,
    "Memory of these copies: of the processes of the replicas, or what the workers grew by while"
    " they loaded the model.",
)
FAILED_VERSIONS = Family(
    "carboy_model_failed_versions",
    "gauge",
    _MODEL,
    "In how many workers a version could not be loaded, warmed up or checked, so that it is not"
    " served.",
)
WORKERS = Family(
    "carboy_workers",
    "gauge",
    ("state",),
    "Worker processes by state: loading, ready, draining, hanging, or waiting for a restart.",
)
RESTARTS = Family(
    "carboy_worker_restarts_total",
    "counter",
    (),
    "Worker processes that were started to replace others, whatever the reason.",
)
MEMORY = Family(
    "carboy_worker_resident_memory_bytes",
    "gauge",
    ("worker", "pid"),
    "Resident memory of a worker process.",
)

#: The metrics in the order in which `/metrics` shows them.
FAMILIES = (
    *(REQUEST_DURATION, REQUEST_BODIES, RESPONSE_BODIES, ACTIVE_REQUESTS),
    *(CONNECTIONS, ACTIVE_VIEWS, WAITING_VIEWS),
    *(PREDICTIONS, QUEUE_TIME, COMPUTE_TIME, BATCH_SIZE),
    *(QUEUE_DEPTH, COMPUTING_PREDICTIONS, REPLICAS, MODEL_MEMORY, FAILED_VERSIONS),
    *(WORKERS, RESTARTS, MEMORY),
)
BY_NAME = {family.name: family for family in FAMILIES}
#: OpenTelemetry's label of the series that counts what has no series of its own, because a table is
#: full. The series has no other label.
OVERFLOW: dict[str, str] = {"otel_metric_overflow": "true"}
