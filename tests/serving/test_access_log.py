"""The access log of the server: which requests it has, and what it says of them."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import re
import typing as t
from datetime import datetime

import pytest
from loggedrequests import logged_request
from rootlogger import new_root_logger
from stage import Stage, chunked, head, post

from carboy import Carboy, Response, request, send_file
from carboy.observability.access import LOGGER, AccessLog, JSONFormat
from carboy.observability.handlers import LineHandler
from carboy.observability.logoptions import LogOptions
from carboy.observability.setup import handler_for
from carboy.serving import predictions
from carboy.serving.accesslog import access_log_of
from carboy.serving.http.forwarded import TrustedProxies
from carboy.serving.http.limits import Limits
from carboy.serving.settings import make_settings

UNTIL_IT_READS = 4_000_000  # no socket takes that much of a response


class Lines:
    """A target of a `LineHandler` that keeps the lines."""

    def __init__(self) -> None:
        self.data: list[bytes] = []

    def write(self, data: bytes) -> tuple[()]:
        self.data.append(data)
        return ()

    def close(self) -> None: ...

    @property
    def text(self) -> str:
        return b"".join(self.data).decode("ascii")


@contextlib.contextmanager
def logged(
    format: str = "json", *, with_query: bool = False
) -> t.Iterator[tuple[AccessLog, Lines]]:
    """An access log whose lines go to a list."""
    with new_root_logger():
        lines = Lines()
        logger = logging.getLogger(LOGGER)
        logger.addHandler(LineHandler(lines))
        logger.setLevel(logging.INFO)
        yield AccessLog(format, with_query=with_query), lines


def make_app(tmp_path=None) -> Carboy:
    app = Carboy("shop")
    app.config["OPENAPI_ENABLED"] = False

    @app.get("/")
    def index():
        return "hello"

    @app.get("/<path:path>")
    def page(path):
        return path

    @app.get("/empty")
    def empty():
        return "", 204

    @app.get("/stream")
    def stream():
        return Response(f"{n}\n" for n in range(3))

    @app.get("/broken-stream")
    def broken_stream():
        def parts():
            yield "ab"
            raise RuntimeError("inside")

        return Response(parts())

    @app.get("/file")
    def file():
        return send_file(tmp_path / "file.bin")

    @app.get("/large")
    def large():
        return "x" * UNTIL_IT_READS

    @app.get("/timed")
    def timed():
        with app.timer("the database"):
            return ""

    @app.get("/own-id")
    def own_id():
        return "", {"X-Request-ID": "mine"}

    @app.get("/id")
    def id_():
        return request.environ["carboy.request_id"]

    @app.model("/sum", batch=8)
    class Sum:
        version = "3 b"

        def predict(self, x: list[list[float]]) -> list[float]:
            return [sum(each) for each in x]

    @app.model("/one")
    def one(x: float) -> float:
        if x < 0:
            raise RuntimeError("inside")
        return x

    return app


def ask(
    data: bytes,
    *,
    app: t.Any = None,
    format: str = "json",
    with_query: bool = False,
    directly: bool = True,
    leads: bool = False,
    limits: Limits | None = None,
    **options: t.Any,
) -> tuple[t.Any, t.Any]:
    """Return the response to one request, and its line.

    Args:
        directly: whether predictions are answered without a view.
        leads: whether the leading thread runs the view.
    """
    app = app or make_app()
    with (
        logged(format, with_query=with_query) as (log, lines),
        Stage(limits, access_log=log, **options) as stage,
    ):
        routes = functools.partial(predictions.routes, app) if directly else None
        gateway = stage.serve(app, routes=routes)
        if leads:
            stage.lead_view(gateway)
        client = stage.connect()
        client.send(data)
        answer = client.answer(data[:4].decode("latin-1").strip())
        await_line(stage, log, lines)
        [line] = lines.text.splitlines()
        return answer, json.loads(line) if format == "json" else line


def await_line(stage: Stage, log: AccessLog, lines: Lines) -> None:
    """Wait until the access log has written something."""

    def written() -> bool:
        log.flush()
        return bool(lines.data)

    stage.until(written)


# ---------------------------------------------------------------------------------- the lines


def test_line_is_the_combined_format_with_further_fields():
    headers = [
        ("User-Agent", "curl/8.5"),
        ("Referer", "http://x/y?token=1"),
        ("X-Request-ID", "a-1"),
    ]
    _, line = ask(head("GET", "/flowers?secret=1", headers), format="text")
    assert re.fullmatch(
        r"127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"
        r' "GET /flowers HTTP/1\.1" 200 7 "http://x/y" "curl/8\.5" id=a-1'
        r" ms=\d+\.\d{3} view_ms=\d+\.\d{3}",
        line,
    )


def test_line_as_json_has_the_same_fields():
    headers = [("User-Agent", "curl/8.5"), ("X-Request-ID", "a-1")]
    _, line = ask(head("GET", "/flowers?secret=1", headers))
    assert line.pop("ms") > line.pop("view_ms") > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", line.pop("time"))
    assert isinstance(line.pop("pid"), int)
    assert line == {
        "level": "INFO",
        "logger": "carboy.access",
        "message": "GET /flowers 200",
        "request_id": "a-1",
        "client": "127.0.0.1",
        "method": "GET",
        "path": "/flowers",
        "protocol": "HTTP/1.1",
        "status": 200,
        "bytes": 7,
        "referer": None,
        "user_agent": "curl/8.5",
    }


def test_query_is_written_only_if_asked_for():
    data = head("GET", '/flowers?a="b"', [("Referer", "http://x/y?token=1")])
    _, line = ask(data, with_query=True)
    assert (line["path"], line["referer"]) == ('/flowers?a="b"', "http://x/y?token=********")


@pytest.mark.parametrize(
    ("target", "size"),
    [
        ("/stream", 6),
        ("/empty", 0),
        ("/file", 500_000),
        ("/absent/" * 3, 23),
        ("/large", UNTIL_IT_READS),
    ],
)
def test_bytes_are_those_of_the_body(target, size, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"x" * 500_000)
    app = make_app(tmp_path)
    with logged() as (log, lines), Stage(access_log=log) as stage:
        stage.serve(app)
        client = stage.connect()
        client.read_along()
        client.send(head("GET", target))
        assert len(client.answer().body) == size
        await_line(stage, log, lines)
        assert json.loads(lines.text)["bytes"] == size


def test_response_to_head_has_no_bytes():
    assert ask(head("HEAD", "/flowers"))[1]["bytes"] == 0


@pytest.mark.parametrize("format", ["text", "json"])
@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/a%0d%0aset%1b[31m", []),
        ("/%22quotes%22%5c", []),
        ("/caf%c3%a9%7f", []),
        ("/", [("User-Agent", '"b\\c')]),
        ("/", [("User-Agent", "caf\xe9 \x9b31m\t")]),
        ("/", [("Referer", '"" 200 -')]),
        ("/", [("X-Request-ID", '" "\\')]),
        ("/", [("X-Request-ID", "x" * 129)]),
    ],
)
def test_whatever_a_client_sends_stays_in_its_field(format, target, headers):
    _, line = ask(head("GET", target, headers), format=format)
    if format == "json":
        assert line["path"] == target.replace("%c3", "%C3").replace("%a9", "%A9").upper().replace(
            "/A%0D%0ASET%1B[31M", "/a%0D%0Aset%1B%5B31m"
        ).replace("/%22QUOTES%22%5C", "/%22quotes%22%5C").replace("/CAF", "/caf")
        agent = dict(headers).get("User-Agent")
        assert line["user_agent"] == (agent if agent is None else agent.rstrip("\t"))
    else:
        quoted = r'"(?:[^"\\]|\\x[0-9a-f]{2})*"'
        assert re.fullmatch(
            rf"[0-9.]+ - - \[[^]]+\] {quoted} \d+ \d+ {quoted} {quoted} id=[0-9a-f-]+ .*", line
        )
        assert line.isascii()
        assert line.isprintable()


# ------------------------------------------------------------------------------- predictions


@pytest.mark.parametrize("directly", [True, False], ids=["without a thread", "by the view"])
@pytest.mark.parametrize(
    ("path", "body", "status", "model", "version"),
    [
        ("/sum", b"[1, 2]", 200, "sum", "3 b"),
        ("/one", b"1", 200, "one", None),
        ("/one", b"-1", 500, "one", None),
        ("/sum", b"{", 400, "sum", "3 b"),
    ],
)
def test_prediction_has_its_model_and_its_times(directly, path, body, status, model, version):
    app = make_app()
    app.config["PROPAGATE_EXCEPTIONS"] = False
    headers = [("Content-Type", "application/json")]
    answer, line = ask(post(body, path, headers), app=app, directly=directly)
    app.models.close(10)
    assert (answer.status, line["status"]) == (status, status)
    assert (line["model"], line.get("version")) == (model, version)
    assert line.get("batch") == (1 if status in {200, 500} else None)
    if status == 200:
        assert line["queue_ms"] >= 0
        assert line["compute_ms"] > 0
        timing = answer.header("server-timing")
        assert f"predict;dur={line['compute_ms']:.2f}" in timing or line["compute_ms"] > 0


def test_text_with_a_blank_is_quoted():
    headers = [("Content-Type", "application/json")]
    _, line = ask(post(b"[1, 2]", "/sum", headers), format="text")
    assert ' model=sum version="3 b" batch=1 queue_ms=' in line


def test_times_of_timers_are_in_the_line():
    assert ask(head("GET", "/timed"))[1]["timings"].keys() == {"the database"}
    assert re.search(r" timings\.the_database=\d", ask(head("GET", "/timed"), format="text")[1])


# ---------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("data", "status", "method", "path"),
    [
        (b"\x16\x03\x01\r\n\r\n", 400, "", ""),
        (b"GET /a b c\r\n\r\n", 400, "GET", "/a"),
        (b"GET /a HTTP/1.1\r\n\r\n", 400, "GET", "/a"),
        (head("GET", "/a#b"), 400, "GET", "/a%23b"),
        (head("GET", "/a", [("X-A", "1")] * 200), 431, "GET", "/a"),
        (head("GET", "/a", [("X-A", "1" * 70_000)]), 431, "GET", "/a"),
        (post(b"x" * 2_000_000), 413, "POST", "/"),
        (head("POST", "/a", [("Transfer-Encoding", "gzip")]), 400, "POST", "/a"),
    ],
)
def test_request_that_the_server_refuses_is_logged(data, status, method, path):
    answer, line = ask(data)
    assert (answer.status, line["status"], line["bytes"]) == (status, status, len(answer.body))
    assert (line["method"], line["path"]) == (method, path)
    assert line["request_id"] == answer.header("x-request-id")


def test_request_without_a_known_head_is_written_as_a_dash():
    assert ' "-" 400 ' in ask(b"\x00\r\n\r\n", format="text")[1]


def test_refused_request_keeps_its_id_and_user_agent():
    headers = [("X-Request-ID", "a-1"), ("User-Agent", "curl"), *[("X-A", "1")] * 200]
    answer, line = ask(head("GET", "/a", headers))
    assert answer.header("x-request-id") == line["request_id"] == "a-1"
    assert line["user_agent"] == "curl"


def test_slow_head_is_logged():
    with logged() as (log, lines), Stage(Limits(head_s=0.0), access_log=log) as stage:
        stage.serve(make_app())
        client = stage.connect()
        client.send(b"GET /a HTTP/1.1\r\n")
        assert client.answer().status == 408
        log.flush()
        line = json.loads(lines.text)
        assert (line["status"], line["method"], line["path"]) == (408, "GET", "/a")


def test_full_queue_is_logged():
    app = make_app()
    app.models["one"].queue.close(0)
    headers = [("Content-Type", "application/json")]
    answer, line = ask(post(b"1", "/one", headers), app=app)
    assert (answer.status, line["status"], line["model"]) == (503, 503, "one")


# ------------------------------------------------------------------- clients that disconnect


@pytest.mark.parametrize(
    ("data", "status", "path"),
    [
        (b"GET /a HTTP/1.1\r\n", 499, "/a"),
        (b"GET", 499, ""),
        (post(b"x" * 100, "/a")[:-1], 400, "/a"),
    ],
)
def test_client_that_leaves_within_its_request_is_logged(data, status, path):
    with logged() as (log, lines), Stage(access_log=log) as stage:
        stage.serve(make_app())
        client = stage.connect()
        client.send(data)
        stage.settle()
        client.leave()
        stage.until(lambda: not stage.connections)
        log.flush()
        line = json.loads(lines.text)
        assert (line["status"], line["path"]) == (status, path)


def test_client_that_sends_nothing_is_not_logged():
    with logged() as (log, lines), Stage(access_log=log) as stage:
        stage.serve(make_app())
        stage.connect().leave()
        stage.until(lambda: not stage.connections)
        log.flush()
        assert not lines.data


def test_client_that_leaves_before_its_response_is_logged_as_499():
    with logged() as (log, lines), Stage(access_log=log) as stage:
        waiting = []
        stage.handler.on_admit = lambda exchange: setattr(exchange, "handler", waiting.append)
        client = stage.connect()
        client.send(head("GET", "/a"))
        stage.until(lambda: waiting)
        waiting[0].note_disconnect()
        waiting[0].drop()
        log.flush()
        line = json.loads(lines.text)
        assert (line["status"], line["bytes"], line["aborted"]) == (499, 0, True)


def test_client_that_leaves_before_a_thread_is_free_is_logged_as_499_at_once():
    with logged() as (log, lines), Stage(access_log=log) as stage:
        gateway = stage.serve(make_app(), threads=1)
        gateway.slots._busy = 1  # the only slot
        client = stage.connect()
        client.send(head("GET", "/a"))
        stage.until(lambda: gateway.slots.waiting)
        client.leave()
        stage.until(lambda: not stage.connections)
        log.flush()
        line = json.loads(lines.text)
        assert (line["status"], line["bytes"], line["aborted"]) == (499, 0, True)


def test_client_that_leaves_within_the_response_is_logged_with_what_was_sent():
    with logged() as (log, lines), Stage(access_log=log) as stage:
        stage.serve(make_app())
        client = stage.connect()
        client.send(head("GET", "/large"))
        stage.settle()
        client.leave()
        stage.until(lambda: not stage.connections)
        log.flush()
        line = json.loads(lines.text)
        assert (line["status"], line["aborted"]) == (200, True)
        assert 0 <= line["bytes"] < UNTIL_IT_READS


def raise_inside() -> None:
    raise RuntimeError("inside")


class ShortBody:
    """A body that the server joins, because its length is announced."""

    def __iter__(self) -> t.Iterator[bytes]:
        return iter([b"he", b"llo"])

    def close(self) -> None:
        raise_inside()


def with_raising_hook(environ: t.Any, start_response: t.Any) -> t.Any:
    response = Response("hello")
    response.call_on_close(raise_inside)
    return response(environ, start_response)


def with_raising_body(environ: t.Any, start_response: t.Any) -> t.Any:
    start_response("200 OK", [("Content-Length", "5")])
    return ShortBody()


def with_raising_stream(environ: t.Any, start_response: t.Any) -> t.Any:
    response = Response(iter([b"he", b"llo"]))
    response.call_on_close(raise_inside)
    return response(environ, start_response)


@pytest.mark.parametrize("leads", [True, False])
@pytest.mark.parametrize("app", [with_raising_hook, with_raising_body, with_raising_stream])
def test_response_whose_close_fails_is_logged_as_it_was_sent(app, leads):
    answer, line = ask(head("GET", "/"), app=app, directly=False, leads=leads)
    assert (answer.status, answer.body, answer.closes) == (200, b"hello", False)
    assert (line["status"], line["bytes"], line.get("aborted")) == (200, 5, None)


def respond_and_raise(exchange: t.Any) -> None:
    exchange.respond(200, [], b"hello")
    raise_inside()


def respond_and_drop(exchange: t.Any) -> None:
    exchange.respond(200, [], b"hello")
    exchange.drop()


@pytest.mark.parametrize("handler", [respond_and_raise, respond_and_drop])
def test_handler_that_fails_after_its_response_is_logged_with_the_status_that_was_sent(handler):
    with logged() as (log, lines), Stage(access_log=log) as stage:
        stage.handler.on_admit = lambda exchange: setattr(exchange, "handler", handler)
        assert stage.connect().ask(head("GET", "/")).body == b"hello"
        await_line(stage, log, lines)
        line = json.loads(lines.text)
        assert (line["status"], line["bytes"]) == (200, 5)


def test_stream_that_fails_is_logged_as_aborted():
    with logged() as (log, lines), Stage(access_log=log) as stage:
        stage.serve(make_app())
        client = stage.connect()
        client.send(head("GET", "/broken-stream"))
        assert client.see_end()
        await_line(stage, log, lines)
        line = json.loads(lines.text)
        assert (line["status"], line["bytes"], line["aborted"]) == (200, 2, True)


def test_error_that_the_server_logs_has_the_id_of_its_request(caplog):
    with Stage() as stage:
        stage.serve(make_app())
        client = stage.connect()
        client.send(head("GET", "/broken-stream", [("X-Request-ID", "a-1")]))
        assert client.see_end()
    [record] = [each for each in caplog.records if "/broken-stream" in each.getMessage()]
    assert record.request_id == "a-1"


def test_each_request_of_a_connection_has_one_line():
    with logged() as (log, lines), Stage(access_log=log) as stage:
        stage.serve(make_app())
        client = stage.connect()
        client.send(head("GET", "/1") + head("GET", "/2") + head("GET", "/3"))
        assert [client.answer().body for _ in range(3)] == [b"1", b"2", b"3"]
        client.leave()
        stage.until(lambda: not stage.connections)
        log.flush()
        paths = [json.loads(line)["path"] for line in lines.text.splitlines()]
        assert paths == ["/1", "/2", "/3"]


# ------------------------------------------------------------------------------- request ids


@pytest.mark.parametrize(
    "given", ["a", "0f8fad5b-d9cb-469f-a165-70867728950e", "x" * 128, "a/b+c="]
)
def test_request_id_of_the_client_is_taken(given):
    answer, line = ask(head("GET", "/id", [("X-Request-ID", given)]))
    assert answer.header("x-request-id") == line["request_id"] == answer.body.decode() == given


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 129, "\x9b", "a,b", '"'])
def test_other_request_id_is_made(given):
    headers = [] if given is None else [("X-Request-ID", given)]
    answer, line = ask(head("GET", "/id", headers))
    made = answer.body.decode()
    assert re.fullmatch(r"[0-9a-f]{16}-[0-9a-f]+", made)
    assert answer.header("x-request-id") == line["request_id"] == made


@pytest.mark.parametrize("target", ["/", "/stream", "/empty", "/absent", "/file", "/broken-stream"])
def test_each_response_has_an_id(target, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"x" * 500_000)
    answer, line = ask(head("GET", target), app=make_app(tmp_path))
    assert answer.header("x-request-id") == line["request_id"]


def test_id_that_the_application_sets_is_the_only_one():
    answer, line = ask(head("GET", "/own-id", [("X-Request-ID", "theirs")]))
    assert [v for k, v in answer.headers if k.lower() == "x-request-id"] == ["mine"]
    assert line["request_id"] == "mine"


@pytest.mark.parametrize("directly", [True, False], ids=["without a thread", "by the view"])
def test_problem_has_the_id(directly):
    headers = [("Content-Type", "application/json"), ("X-Request-ID", "a-1")]
    answer, _ = ask(post(b"{", "/sum", headers), directly=directly)
    assert json.loads(answer.body)["request_id"] == "a-1"


def test_log_lines_of_a_request_have_the_id():
    from carboy.observability.formatters import TextFormatter

    app, lines = make_app(), Lines()

    @app.get("/logs")
    def logs():
        app.logger.warning("here")
        return ""

    handler = LineHandler(lines)
    handler.setFormatter(TextFormatter())
    app.logger.addHandler(handler)
    ask(head("GET", "/logs", [("X-Request-ID", "a-1")]), app=app)
    assert ":: a-1 :: here\n" in lines.text
    app.secret_key = "guessed-by-17-clients"
    _, line = ask(head("GET", "/logs", [("X-Request-ID", app.secret_key)]), app=app)
    assert line["request_id"] == "********"
    assert ":: ******** :: here\n" in lines.text


# ---------------------------------------------------------------------------------- handlers


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.mark.parametrize("with_own", [False, True], ids=["alone", "beside carboy's"])
def test_handlers_of_the_program_receive_records(with_own):
    with logged("text") as (_, lines), Stage() as stage:
        records = Records()
        logging.getLogger().addHandler(records)
        if not with_own:
            logging.getLogger(LOGGER).handlers.clear()
        log = stage.server.access_log = AccessLog("text", with_query=False)
        stage.serve(make_app())
        answer = stage.connect().ask(head("GET", "/a", [("X-Request-ID", "a-1")]))
        log.flush()
        [record] = records.records
        assert (record.name, record.levelname) == ("carboy.access", "INFO")
        assert ' "GET /a HTTP/1.1" 200 1 ' in record.getMessage()
        assert (record.path, record.status, record.bytes) == ("/a", 200, len(answer.body))
        assert (record.request_id, record.client) == ("a-1", "127.0.0.1")
        assert lines.text == (f"{record.getMessage()}\n" if with_own else "")


@pytest.mark.parametrize("format", ["text", "json"])
def test_log_file_receives_finished_lines_and_no_records(format, tmp_path, monkeypatch):
    path = tmp_path / "app.log"
    handler = handler_for(LogOptions(file=str(path)))
    monkeypatch.setattr(logging, "LogRecord", None)  # creating a record would fail
    with logged(format) as (_, lines), Stage() as stage:
        logging.getLogger(LOGGER).addHandler(handler)
        try:
            log = stage.server.access_log = AccessLog(format, with_query=False)
            stage.serve(make_app())
            stage.connect().ask(head("GET", "/a"))
            log.flush()
        finally:
            logging.getLogger(LOGGER).removeHandler(handler)
            handler.close()
    assert path.read_text() == lines.text != ""


def test_handler_that_is_added_later_receives_later_requests():
    with logged("text") as (log, _), Stage(access_log=log) as stage:
        stage.serve(make_app())
        client = stage.connect()
        client.ask(head())
        records = Records()
        logging.getLogger().addHandler(records)
        log.flush()
        client.ask(head("GET", "/later"))
        log.flush()
        assert [record.path for record in records.records] == ["/later"]


def test_auto_is_json_for_handlers_that_write_json():
    from carboy.observability.formatters import JSONFormatter

    with logged() as (_, lines), Stage() as stage:
        logging.getLogger(LOGGER).handlers[0].setFormatter(JSONFormatter())
        text = Lines()
        logging.getLogger().addHandler(LineHandler(text))
        log = stage.server.access_log = AccessLog("auto", with_query=False)
        stage.serve(make_app())
        stage.connect().ask(head("GET", "/a"))
        log.flush()
        assert json.loads(lines.text)["path"] == "/a"
        assert ' "GET /a HTTP/1.1" 200 1 ' in text.text


def test_failing_target_stops_nothing(caplog):
    class Failing(Lines):
        def write(self, data):
            raise OSError("broken")

    with logged() as (log, _), Stage(access_log=log) as stage:
        logging.getLogger(LOGGER).handlers[:] = [LineHandler(Failing())]
        logging.getLogger("carboy.log").addHandler(caplog.handler)
        stage.serve(make_app())
        client = stage.connect()
        client.ask(head())
        log.flush()
        assert client.ask(head()).status == 200
    assert "lines of the access log are lost" in caplog.text


def test_target_that_blocks_holds_one_thread_and_a_limited_number_of_lines(caplog, monkeypatch):
    import threading

    class Blocking(Lines):
        entered, may_go_on = threading.Event(), threading.Event()

        def write(self, data):
            self.entered.set()
            assert self.may_go_on.wait(60)
            return super().write(data)

    monkeypatch.setattr("carboy.observability.access.MAX_PENDING", 10)
    with logged("text") as (log, _):
        logging.getLogger("carboy.log").addHandler(caplog.handler)
        target = Blocking()
        logging.getLogger(LOGGER).handlers[:] = [LineHandler(target)]
        log.pending.append("first\n")
        blocked = threading.Thread(target=log.flush)
        blocked.start()
        assert target.entered.wait(60)
        log.pending += ["kept\n"] * 10
        log.flush()
        assert len(log.pending) == 10
        log.pending.append("one too many\n")
        log.flush()
        log.pending.append("last\n")
        log.flush()
        target.may_go_on.set()
        blocked.join()
    assert target.text == "first\nlast\n"
    assert "11 lines of the access log were dropped" in caplog.text


def test_each_line_has_the_time_at_which_its_request_has_ended():
    form, ended_s = JSONFormat(with_query=False), [100.0, 99.2, 100.4, 98.9]
    lines = [form.line(logged_request("/"), each) for each in ended_s]
    times_s = [datetime.fromisoformat(json.loads(line)["time"]).timestamp() for line in lines]
    assert [each - times_s[0] for each in times_s] == pytest.approx([0, -0.8, 0.4, -1.1], abs=0.002)


def test_lines_of_many_threads_are_neither_lost_nor_doubled():
    import threading

    with logged("text") as (log, lines), Stage(access_log=log) as stage:
        exchanges = []
        stage.handler.on_admit = lambda exchange: setattr(exchange, "handler", exchanges.append)
        client = stage.connect()
        client.send(head("GET", "/a"))
        stage.settle()

        def add():
            for _ in range(500):
                log.pending.append(log.line(exchanges[0], exchanges[0].began_s))
                log.flush()

        threads = [threading.Thread(target=add) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(lines.text.splitlines()) == 4000


# ------------------------------------------------------------------------------------ on or off


def to_root(level=logging.WARNING):
    logging.basicConfig(level=level, handlers=[Records()])


@pytest.mark.parametrize(
    ("setting", "configure", "config", "is_on"),
    [
        ("auto", None, {}, False),
        ("auto", to_root, {}, True),
        ("auto", lambda: logging.getLogger(LOGGER).addHandler(Records()), {}, True),
        ("auto", lambda: logging.getLogger("shop").addHandler(Records()), {}, False),
        ("auto", lambda: logging.getLogger().addHandler(logging.NullHandler()), {}, False),
        ("auto", to_root, {"LOG_LEVEL": "WARNING"}, False),
        ("auto", to_root, {"LOG_LEVEL": "INFO"}, True),
        ("off", to_root, {}, False),
        ("text", None, {}, True),
        ("json", to_root, {"LOG_LEVEL": "WARNING"}, True),
    ],
)
def test_access_log_is_on_if_somebody_receives_it(setting, configure, config, is_on):
    app = Carboy("shop")
    app.config.update(config)
    with new_root_logger():
        if configure is not None:
            configure()
        log = access_log_of(app, make_settings({"access_log": setting}, {}))
        assert (log is not None) is is_on
        assert log is None or log.handlers()


def test_client_is_the_one_that_trusted_proxies_report():
    headers = [("X-Forwarded-For", "203.0.113.9")]
    _, line = ask(head("GET", "/", headers), proxies=TrustedProxies("1", "for"))
    assert line["client"] == "203.0.113.9"


def test_chunked_body_that_is_too_long_is_logged():
    data = head("POST", "/one", [("Transfer-Encoding", "chunked")]) + chunked(b"1" * 2_000_000)
    app = make_app()
    app.config["MODEL_MAX_BODY"] = 1000
    answer, line = ask(data, app=app)
    assert (answer.status, line["status"]) == (413, 413)
