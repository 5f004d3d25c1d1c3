"""Which requests the metrics count, and with which labels."""

from __future__ import annotations

import functools
import threading
import typing as t

import pytest
from polling import wait_until
from prometheus import Metrics
from stage import Stage, chunked, head, post

from carboy import Carboy, Response, abort, send_file
from carboy.serving import predictions
from carboy.serving.http.limits import Limits
from carboy.serving.metrics import sharedtable
from carboy.serving.metrics.families import REQUEST_BOUNDS_S
from carboy.serving.metrics.servermetrics import add_up, render
from carboy.serving.metrics.sharedtable import SharedTable
from carboy.serving.metrics.workermetrics import WorkerMetrics

UNTIL_IT_READS = 4_000_000  # no socket takes that much of a response
JSON = [("Content-Type", "application/json")]


def shown(table: SharedTable) -> Metrics:
    """What `/metrics` shows of one table."""
    numbers: dict[t.Any, t.Any] = {}
    add_up(table.series(), numbers, gauges=True)
    return Metrics(render(numbers))


class Watched(Stage):
    """A server with metrics."""

    def __init__(self, app: t.Any, limits: Limits | None = None, **options: t.Any) -> None:
        metrics = WorkerMetrics()
        super().__init__(limits, metrics=metrics, **options)
        models = getattr(app, "models", {})
        metrics.follow_models(models)
        routes = functools.partial(predictions.routes, app) if models else None
        self.gateway = self.serve(app, routes=routes)
        metrics.follow_views(self.gateway.slots)
        self.table = metrics.table

    @property
    def shown(self) -> Metrics:
        self.server._report()
        return shown(self.table)


def make_app(tmp_path=None) -> Carboy:
    app = Carboy("shop")
    app.config["OPENAPI_ENABLED"] = False

    @app.route("/items/<int:number>", methods=["GET", "POST"])
    def item(number):
        return str(number)

    @app.get("/refuses")
    def refuses():
        abort(418)

    @app.get("/fails")
    def fails():
        raise RuntimeError("on purpose")

    @app.get("/stream")
    def stream():
        return Response(f"{n}\n" for n in range(3))

    @app.get("/endless")
    def endless():
        return Response("x" * 1000 for _ in iter(int, 1))

    @app.get("/file")
    def file():
        return send_file(tmp_path / "file.bin")

    @app.get("/large")
    def large():
        return "x" * UNTIL_IT_READS

    return app


@pytest.mark.parametrize(
    ("request_", "route", "method", "status"),
    [
        (head("GET", "/items/7"), "/items/<int:number>", "GET", "200"),
        (head("GET", "/items/8?page=1"), "/items/<int:number>", "GET", "200"),
        (head("HEAD", "/items/7"), "/items/<int:number>", "HEAD", "200"),
        (head("OPTIONS", "/items/7"), "/items/<int:number>", "OPTIONS", "200"),
        (post(b"body", "/items/7"), "/items/<int:number>", "POST", "200"),
        (head("GET", "/refuses"), "/refuses", "GET", "418"),
        (head("GET", "/fails"), "/fails", "GET", "500"),
        (head("GET", "/stream"), "/stream", "GET", "200"),
        (head("GET", "/nothing/here"), "", "GET", "404"),
        (head("DELETE", "/items/7"), "", "DELETE", "405"),
        (head("PURGE", "/items/7"), "", "_OTHER", "405"),
        (b"NONSENSE / HTTP/1.1\r\n\r\n", "", "_OTHER", "400"),
    ],
)
def test_request_is_counted_by_route_method_and_status(request_, route, method, status):
    with Watched(make_app()) as stage:
        answer = stage.connect().ask(request_)
        assert str(answer.status) == status
        shown = stage.shown
        assert shown.requests(route, method, status) == shown.requests() == 1


def test_response_whose_close_fails_is_counted_as_it_was_sent():
    """The leading thread has not counted it yet when `close` fails."""

    def app(environ, start_response):
        def fail():
            raise RuntimeError("on purpose")

        response = Response("sent")
        response.call_on_close(fail)
        return response(environ, start_response)

    with Watched(app) as stage:
        stage.lead_view(stage.gateway)
        assert stage.connect().ask(head("GET", "/")).status == 200
        assert stage.shown.requests(status="200") == stage.shown.requests() == 1


def test_request_is_counted_before_its_client_has_the_response():
    with Watched(make_app()) as stage:
        client = stage.connect()
        for number in range(1, 4):
            client.ask(head("GET", "/items/1"))
            assert shown(stage.table).requests() == number


def test_pipelined_requests_are_counted_one_by_one():
    with Watched(make_app()) as stage:
        client = stage.connect()
        client.send(head("GET", "/items/1") + head("GET", "/none") + head("GET", "/items/2"))
        assert [client.answer().status for _ in range(3)] == [200, 404, 200]
        shown = stage.shown
        assert (shown.requests(status="200"), shown.requests(status="404")) == (2, 1)


def test_route_is_known_although_a_hook_answers_or_wsgi_app_is_wrapped():
    app = make_app()
    inner = app.wsgi_app
    app.wsgi_app = lambda environ, start_response: inner(environ, start_response)
    app.before_request(lambda: "closed")
    with Watched(app) as stage:
        assert stage.connect().ask(head("GET", "/items/1")).body == b"closed"
        assert stage.shown.requests("/items/<int:number>") == 1


def test_two_rules_of_one_view_are_two_routes():
    app = make_app()
    app.add_url_rule("/a", "both")
    app.add_url_rule("/b/<name>", "both")
    app.view_functions["both"] = lambda name="": name
    with Watched(app) as stage:
        client = stage.connect()
        for path in ("/a", "/b/1", "/b/2", "/a", "/b/3"):
            client.ask(head("GET", path))
        assert (stage.shown.requests("/a"), stage.shown.requests("/b/<name>")) == (2, 3)


def test_route_is_that_of_the_path_that_a_middleware_has_changed():
    app = make_app()
    inner = app.wsgi_app

    def strip(environ, start_response):
        environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix("/shop")
        return inner(environ, start_response)

    app.wsgi_app = strip
    with Watched(app) as stage:
        assert stage.connect().ask(head("GET", "/shop/items/1")).body == b"1"
        assert stage.shown.requests("/items/<int:number>", "GET", "200") == 1


def test_rules_of_blueprints_and_own_converters_are_routes():
    from werkzeug.routing import BaseConverter

    from carboy import Blueprint

    app = make_app()
    app.url_map.converters["word"] = BaseConverter
    shop = Blueprint("shop", __name__, url_prefix="/shop")
    shop.get("/<word:name>")(lambda name: name)
    app.register_blueprint(shop)
    with Watched(app) as stage:
        stage.connect().ask(head("GET", "/shop/tea"))
        assert stage.shown.requests("/shop/<word:name>") == 1


@pytest.mark.parametrize("removes", [False, True])
def test_other_wsgi_applications_have_no_route(removes):
    def app(environ, start_response):
        if removes:
            environ.clear()
        start_response("200 OK", [])
        return [b""]

    with Watched(app) as stage:
        stage.connect().ask(head("GET", "/a"))
        assert stage.shown.requests("", "GET", "200") == 1


def test_other_servers_and_the_test_client_see_no_key_in_the_environ():
    app = make_app()
    client = app.test_client()
    with client:
        client.get("/items/1")
        from carboy import request

        assert "carboy.route" not in request.environ


def test_buckets_are_those_of_opentelemetry_and_cumulative():
    with Watched(make_app()) as stage:
        client = stage.connect()
        for _ in range(3):
            client.ask(head("GET", "/items/1"))
        shown = stage.shown
        buckets = shown.buckets("http_server_request_duration_seconds")
        assert [bound for bound, _ in buckets] == [*REQUEST_BOUNDS_S, float("inf")]
        counts = [count for _, count in buckets]
        assert counts == sorted(counts) and counts[-1] == 3
        assert 0 < shown.sum("http_server_request_duration_seconds_sum") < 60


def test_bytes_of_bodies_are_counted(tmp_path):
    (tmp_path / "file.bin").write_bytes(b"f" * 200_000)
    with Watched(make_app(tmp_path)) as stage:
        client = stage.connect()
        client.ask(post(b"x" * 100, "/items/12345"))
        client.ask(
            head("POST", "/items/1", [("Transfer-Encoding", "chunked")]) + chunked(b"y" * 50)
        )
        client.read_along()
        client.ask(head("GET", "/file"))
        shown = stage.shown
        assert shown.sum("http_server_request_body_bytes_total") == 150
        assert shown.sum("http_server_response_body_bytes_total") == 5 + 1 + 200_000


def test_client_that_leaves_before_its_response_is_counted_as_499():
    entered, leave = threading.Event(), threading.Event()
    app = Carboy("shop")

    @app.get("/slow")
    def slow():
        entered.set()
        leave.wait(30)
        return ""

    with Watched(app) as stage:
        client = stage.connect()
        client.send(post(b"", "/slow")[:-2] + b"Content-Length: 10\r\n\r\nabc")
        stage.settle()
        client.leave()
        stage.until(lambda: not stage.connections)
        assert stage.shown.requests(status="499") + stage.shown.requests(status="400") == 1


def test_stream_that_its_client_does_not_read_is_counted_once_with_its_status():
    with Watched(make_app(), Limits(stall_s=0.01)) as stage:
        stage.connect().send(head("GET", "/endless"))
        stage.until(lambda: not stage.connections)
        assert stage.shown.requests("/endless", "GET", "200") == 1


def test_response_that_its_client_does_not_read_is_counted_once():
    with Watched(make_app()) as stage:
        client = stage.connect()
        client.send(head("GET", "/large"))
        stage.until(lambda: stage.shown.requests())
        client.leave()
        stage.until(lambda: not stage.connections)
        assert stage.shown.requests("/large", "GET", "200") == stage.shown.requests() == 1


def test_slow_head_is_counted_as_408():
    with Watched(make_app(), Limits(head_s=0.01)) as stage:
        client = stage.connect()
        client.send(b"GET / HT")
        stage.until(lambda: stage.shown.requests())
        assert stage.shown.requests(status="408") == 1


def test_full_table_counts_further_routes_together_and_says_so_once(monkeypatch, caplog):
    app = Carboy("shop")
    for number in range(40):
        app.add_url_rule(f"/{number}", str(number), lambda: "")
    monkeypatch.setattr(sharedtable, "CELLS", 400)
    with Watched(app) as stage:
        client = stage.connect()
        for _ in range(2):
            for number in range(40):
                client.ask(head("GET", f"/{number}"))
        shown = stage.shown
        known = {
            dict(key)["http_route"]
            for key in shown.samples("http_server_request_duration_seconds_count")
            if "http_route" in dict(key)
        }
        assert 5 < len(known) < 40
        assert shown.requests() == 80
        together = shown.sum(
            "http_server_request_duration_seconds_count", otel_metric_overflow="true"
        )
        assert together == 80 - 2 * len(known)
    said = [record for record in caplog.records if "otel_metric_overflow" in record.getMessage()]
    assert len(said) == 1


def test_clients_cannot_make_the_table_grow():
    with Watched(make_app()) as stage:
        client = stage.connect()
        client.ask(head("LOCK", "/0"))
        series = len(stage.table.series())
        for method in ("COPY", "MOVE", "PURGE"):
            for number in range(5):
                client.ask(head(method, f"/{number}"))
        assert len(stage.table.series()) == series
        assert stage.shown.requests("", "_OTHER", "404") == 16


def test_names_of_routes_are_escaped():
    app = Carboy("shop")
    rule = '/a"b\\c\u00e9'
    app.add_url_rule(rule, "odd", lambda: "")
    with Watched(app) as stage:
        stage.connect().ask(head("GET", "/a%22b%5Cc%C3%A9"))
        assert stage.shown.requests(rule, "GET", "200") == 1


# --- gauges -------------------------------------------------------------------------------------


def test_gauges_show_requests_views_and_connections():
    release = threading.Event()
    app = Carboy("shop")

    @app.get("/slow")
    def slow():
        release.wait(30)
        return ""

    with Watched(app, threads=1) as stage:
        metrics = stage.metrics
        gateway = stage.serve(app, threads=1)
        metrics.follow_views(gateway.slots)
        clients = [stage.connect() for _ in range(4)]
        busy = threading.Thread(target=gateway.slots.run, args=(release.wait, 30))
        busy.start()
        wait_until(lambda: gateway.slots.busy)
        for client in clients[:3]:
            client.send(head("GET", "/slow"))
        stage.settle()
        shown = stage.shown
        assert shown.sum("http_server_active_requests") == 3
        assert shown.sum("carboy_views_active") == 1
        assert shown.sum("carboy_views_waiting") == 3
        assert shown.sum("carboy_http_connections") == 4
        release.set()
        busy.join(30)
        assert [client.answer().status for client in clients[:3]] == [200] * 3
        shown = stage.shown
        assert shown.sum("http_server_active_requests") == 0
        assert shown.sum("carboy_views_waiting") == 0
