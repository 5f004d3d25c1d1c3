"""Rate limits of `carboy serve`: all workers count together, also after one was killed."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sys
import typing as t

import pytest
import spawning
from polling import PATIENCE_S, wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="connects from 127.0.0.2 and others"),
]

APP = """
import os
from carboy import Carboy, request

app = Carboy(__name__)

@app.get("/pid")
def pid():
    return str(os.getpid())

for number in range(2):
    app.get(f"/five/{number}", rate="5/hour", endpoint=f"five{number}")(lambda: "ok")

@app.get("/many", rate="200/hour")
def many():
    return "ok"

@app.get("/who", rate="2/hour by address")
def who():
    return request.identity.address

@app.model("/double", batch=8, rate="3/hour")
def double(x: list[float]) -> list[float]:
    return [2 * each for each in x]
"""
WORKERS = 2
PROXY = "127.0.0.2"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rates")
    options = ("--workers", str(WORKERS), "--proxy", PROXY, "--proxy-headers", "for")
    program = spawning.serve(folder, "limited", APP, *options)
    yield program
    program.stop()


def ask(
    server: spawning.Program, path: str, source: str = "127.0.0.1", **headers: str
) -> http.client.HTTPResponse:
    """Send a request on a connection of its own, so that any worker may get it."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", server.port, timeout=PATIENCE_S, source_address=(source, 0)
    )
    connection.request("GET", path, headers={**headers, "Connection": "close"})
    response = connection.getresponse()
    response.read()
    return response


def statuses(server: spawning.Program, path: str, number: int, **options: str) -> list[int]:
    return [ask(server, path, **options).status for _ in range(number)]


def pids_of_workers(server: spawning.Program) -> set[int]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    found: set[int] = set()

    def all_seen() -> bool:
        connection.close()
        try:
            connection.request("GET", "/pid")
            found.add(int(connection.getresponse().read()))
        except (ConnectionError, http.client.HTTPException):
            found.clear()
        return len(found) == WORKERS

    wait_until(all_seen)
    connection.close()
    return found


def test_low_rate_is_exact_over_all_workers(server):
    assert pids_of_workers(server)
    assert sorted(statuses(server, "/five/0", 20)) == [200] * 5 + [429] * 15


def test_high_rate_is_exceeded_by_at_most_a_lease(server):
    answered = statuses(server, "/many", 260).count(200)
    assert 200 - 200 / 10 <= answered <= 200 + 200 / 10


def test_counts_outlive_the_workers(server):
    assert statuses(server, "/five/1", 3) == [200] * 3
    before = pids_of_workers(server)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: before.isdisjoint(pids_of_workers(server)))
    assert sorted(statuses(server, "/five/1", 6)) == [200] * 2 + [429] * 4


def test_client_cannot_choose_the_address_that_is_counted(server):
    def made_up(number: int) -> dict[str, t.Any]:
        return {"X-Forwarded-For": f"198.51.100.{number}", "Forwarded": f"for=198.51.100.{number}"}

    direct = [ask(server, "/who", "127.0.0.5", **made_up(number)).status for number in range(5)]
    assert direct == [200, 200, 429, 429, 429]
    through_proxy = [
        ask(server, "/who", PROXY, **{"X-Forwarded-For": f"198.51.100.{number}, {client}"}).status
        for client in ("203.0.113.9", "203.0.113.8")
        for number in range(3)
    ]
    assert through_proxy == [200, 200, 429, 200, 200, 429]


def test_prediction_is_refused_before_its_body_arrives(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    for _ in range(3):
        connection.request("POST", "/double", "1.5", {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"3.0")
    connection.close()
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as client:
        head = b"POST /double HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n"
        client.sendall(head)
        response = http.client.HTTPResponse(client)
        response.begin()
        assert response.status == 429
        assert response.headers["RateLimit"] == '"3/hour";r=0;t=1200'
        assert json.loads(response.read())["code"] == "rate-exceeded"


def test_start_says_that_workers_count_together(server):
    assert "rate limits: all workers count together" in server.output
