"""docs/howto/rate-limits-with-redis.md: servers, such as on two machines, count in one Redis."""

from __future__ import annotations

import http.client
import sys
from threading import Thread

import guides
import pytest
import spawning
from fakeredis import TcpFakeServer
from polling import PATIENCE_S

pytestmark = pytest.mark.integration
PAGE = guides.DOCS / "howto" / "rate-limits-with-redis.md"


@pytest.fixture(scope="module")
def redis():
    server = TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"redis://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def machines(redis, tmp_path_factory):
    programs = []
    for name in ("first", "second"):
        folder = tmp_path_factory.mktemp(name)
        (app,) = (block for block in guides.blocks(PAGE) if block.file == "app.py")
        (folder / "app.py").write_text(app.text)
        port = spawning.free_port()
        command = [sys.executable, "-m", "carboy", "--as-flask", "serve", "app:app"]
        program = spawning.start(
            [*command, "--port", str(port), "--workers", "1"],
            log=folder / "log",
            port=port,
            cwd=folder,
            env={"RATE_STORAGE": redis},
        )
        programs.append(program)
    try:
        for program in programs:
            program.wait_until_it_prints("serving app:app")
        yield programs
    finally:
        for program in programs:
            program.stop()


def ask(machine: spawning.Program, path: str) -> tuple[int, str | None]:
    connection = http.client.HTTPConnection("127.0.0.1", machine.port, timeout=PATIENCE_S)
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, response.headers.get("Retry-After")


def test_several_machines_count_together(machines):
    first, second = machines
    answers = [ask(machine, "/search") for machine in (first, second, first, second, first)]
    assert [status for status, _ in answers] == [200, 200, 200, 429, 429]
    assert 0 < int(answers[-1][1] or 0) <= 60
    assert ask(second, "/")[0] == 200
