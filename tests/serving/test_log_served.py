"""The log of servers: one file for many processes, without losing a line."""

from __future__ import annotations

import collections
import fcntl
import json
import logging
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import termios
import threading

import pytest
import requests
import spawning
from polling import wait_until
from rootlogger import new_root_logger

from carboy.serving import log

pytestmark = pytest.mark.integration

APP = """
import logging
import os

from carboy import Carboy, request

app = Carboy(__name__)
app.config.update(LOG_FILE="logs/app.log", LOG_MAX_BYTES="100K", LOG_BACKUP_COUNT=10_000)
app.config.from_prefixed_env("SHOP")
library = logging.getLogger("library")

@app.get("/")
def index():
    app.logger.info("index")
    return str(os.getpid())

@app.get("/lines")
def lines():
    name, count = request.args["name"], int(request.args["count"])
    for number in range(count):
        (app.logger, library)[number % 2].info("line %s-%d.%s", name, number, "x" * (number % 50))
    return ""

@app.get("/die")
def die():
    app.logger.info("dying")
    os._exit(1)

if __name__ == "__main__":
    import sys
    client = app.test_client()
    client.get("/lines", query_string={"name": sys.argv[1], "count": sys.argv[2]})
"""
# The variables that leave the app without a log file.
NO_FILE = {"SHOP_LOG_FILE": '""', "SHOP_LOG_MAX_BYTES": "null", "SHOP_LOG_BACKUP_COUNT": "null"}
LINE = re.compile(r"line ([\w]+-\d+)\.(x*)$")


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


@pytest.fixture
def serve(spawn, carboy_command, folder):
    def serve(*options, **arguments):
        words = ("serve", "shop:app", "--port", "{port}", *options)
        program = spawn(carboy_command, *words, **arguments)
        program.wait_until_it_prints("serving shop:app")
        return program

    return serve


def logged(folder: pathlib.Path) -> str:
    """Return the log file with all its backups."""
    return "".join(path.read_text() for path in (folder / "logs").glob("app.log*"))


def assert_all_lines_are_there(folder: pathlib.Path, names: list[str], count: int) -> None:
    """Each line is in one of the files once, and whole."""
    found: collections.Counter[str] = collections.Counter()
    for path in (folder / "logs").iterdir():
        assert path.stat().st_size <= 100 * 1024
        for line in path.read_text().splitlines():
            if match := LINE.search(line):
                name, number = match[1].rsplit("-", 1)
                assert match[2] == "x" * (int(number) % 50)
                assert line.count(" :: ") == 4
                found[f"{name}-{number}"] += 1
    assert found.keys() == {f"{name}-{number}" for name in names for number in range(count)}
    assert set(found.values()) == {1}


def ask_for_lines(url: str, names: list[str], count: int) -> None:
    """Ask at the same time for each of the names."""

    def ask(name: str) -> None:
        response = requests.get(f"{url}/lines", {"name": name, "count": count}, timeout=60)
        assert response.status_code == 200

    threads = [threading.Thread(target=ask, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# --- one file, many processes -----------------------------------------------------------------


def test_lines_from_before_the_app_is_loaded_are_in_the_file(serve, folder):
    server = serve("--workers", "2")
    assert server.stop() == 0
    assert logged(folder).count(":: loading shop:app\n") == 1


def test_supervisor_writes_the_lines_of_all_workers(serve, folder):
    server = serve("--workers", "2")
    names = [f"n{number}" for number in range(8)]
    ask_for_lines(server.url, names, 2500)
    assert server.stop() == 0
    assert_all_lines_are_there(folder, names, 2500)
    last = (folder / "logs" / "app.log").read_text().splitlines()[-1]
    assert last.endswith(":: stopped"), "the supervisor's own lines are in the file, too"


@pytest.mark.timeout(120)
def test_four_processes_write_100000_lines_without_a_supervisor(folder):
    count = 25_000
    processes = [
        subprocess.Popen([sys.executable, "shop.py", f"p{number}", str(count)], cwd=folder)
        for number in range(4)
    ]
    assert [process.wait() for process in processes] == [0, 0, 0, 0]
    assert_all_lines_are_there(folder, [f"p{number}" for number in range(4)], count)


def test_workers_of_gunicorn_share_a_file(spawn, folder):
    pytest.importorskip("gunicorn")
    server = spawn(
        *(sys.executable, "-m", "gunicorn", "-w", "4", "--preload"),
        *("--threads", "2", "-b", "127.0.0.1:{port}", "shop:app"),
    )
    names = [f"g{number}" for number in range(8)]
    ask_for_lines(server.url, names, 1000)
    server.stop()
    assert_all_lines_are_there(folder, names, 1000)


# --- processes that die -----------------------------------------------------------------------


def test_lines_of_a_worker_that_dies_are_written(serve, folder):
    server = serve("--workers", "1")
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{server.url}/die", timeout=30)
    wait_until(lambda: "exited with code 1" in logged(folder))
    assert ":: dying\n" in logged(folder)
    wait_until(lambda: logged(folder).count("is ready") == 2)
    assert requests.get(server.url, timeout=30).ok
    wait_until(lambda: ":: index\n" in logged(folder))


def test_lines_that_a_killed_supervisor_has_not_written_are_not_lost(serve, folder):
    server = serve("--workers", "1", "--drain", "0")
    spawning.suspend(server.process.pid)
    ask_for_lines(server.url, ["s"], 500)  # 50 KB, which the pipe holds
    assert "line s" not in logged(folder)
    server.process.kill()
    wait_until(lambda: "the supervisor has died" in logged(folder))
    assert_all_lines_are_there(folder, ["s"], 500)


# --- signals and moved files ------------------------------------------------------------------


@pytest.fixture
def hangup_is_not_ignored():
    before = signal.signal(signal.SIGHUP, lambda *_: None)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("workers", ["1", "0"])
def test_moved_file_and_sighup_as_of_logrotate(
    serve, spawn, folder, free_port, hangup_is_not_ignored, workers
):
    if workers == "1":
        server = serve("--workers", "1")
    else:
        (folder / "main.py").write_text(
            f"from shop import app\napp.serve(port={free_port}, workers=0)"
        )
        server = spawn(sys.executable, "main.py")
    path = folder / "logs" / "app.log"
    requests.get(server.url, timeout=30)
    wait_until(lambda: ":: index\n" in logged(folder))
    path.rename(folder / "old.log")
    server.process.send_signal(signal.SIGHUP)
    requests.get(server.url, timeout=30)
    wait_until(lambda: ":: index\n" in logged(folder))
    if workers == "1":
        server.wait_until_it_prints(f"again, and opening {path} again")
        server.wait_until_it_prints("reloaded")
    assert server.stop() == 0


def test_moved_file_is_said(serve, folder):
    server = serve("--workers", "1")
    path = folder / "logs" / "app.log"
    path.rename(f"{path}.old")
    requests.get(server.url, timeout=30)
    server.wait_until_it_prints("has moved or removed the log file")
    wait_until(lambda: path.exists() and ":: index\n" in path.read_text())


def test_closed_terminal_stops_the_server_although_there_is_a_log_file(
    carboy_command, folder, free_port, hangup_is_not_ignored
):
    terminal, inside = pty.openpty()
    server = subprocess.Popen(
        [carboy_command, "serve", "shop:app", "-w1", f"-p{free_port}"],
        cwd=folder,
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    )
    os.close(inside)
    wait_until(lambda: "serving shop:app" in logged(folder))
    os.close(terminal)
    assert server.wait(30) == 0
    assert "stopping on SIGHUP" in logged(folder)


# --- readers that have stopped ------------------------------------------------------------------


def test_stderr_that_nobody_reads_stops_neither_requests_nor_the_end(
    carboy_command, folder, free_port
):
    words = [carboy_command, "serve", "shop:app", "--port", str(free_port), "--workers", "1"]
    server = subprocess.Popen(
        [*words, "--access-log", "text"],
        cwd=folder,
        env={**os.environ, **NO_FILE},
        stderr=subprocess.PIPE,
    )
    url = f"http://127.0.0.1:{free_port}/"
    try:
        wait_until(lambda: answers(url))
        with requests.Session() as session:
            session.headers["User-Agent"] = "x" * 2000
            for _ in range(200):
                assert session.get(url, timeout=60).status_code == 200
        server.terminate()
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.communicate()


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=60).ok
    except requests.ConnectionError:
        return False


# --- formats ----------------------------------------------------------------------------------


def test_environment_configures_a_server_and_stderr_is_json_from_its_first_line(serve):
    server = serve(
        "--workers", "1", env={**NO_FILE, "CARBOY_LOG_FORMAT": "json", "CARBOY_LOG_LEVEL": "INFO"}
    )
    requests.get(server.url, timeout=30)
    server.wait_until_it_prints('"index"')
    assert server.stop() == 0
    records = [json.loads(line) for line in server.output.splitlines()]
    messages = [record["message"] for record in records]
    assert "loading shop:app" in messages
    assert messages[-1] == "stopped"
    assert messages.count("index") == 1


def test_log_file_that_is_stdout_has_each_line_that_stderr_would_have(serve):
    stdout = {**NO_FILE, "SHOP_LOG_FILE": "/dev/stdout", "SHOP_LOG_LEVEL": "INFO"}
    server = serve("--workers", "1", env=stdout)
    requests.get(server.url, timeout=30)
    server.wait_until_it_prints('"GET / HTTP/1.1" 200')
    assert server.stop() == 0
    # The program's output is both streams together, as in the log of a container.
    for text in ("loading shop:app", "serving shop:app on", ":: index", "stopping on", "stopped"):
        assert server.output.count(text) == 1, text


# --- what is refused --------------------------------------------------------------------------

SERVE = ["-m", "carboy", "serve", "shop:app", "--port", "0"]
RUN = ["-m", "carboy", "run", "shop:app", "--port", "0"]
APP_RUN = ["-c", "from shop import app; app.run(port=0)"]


@pytest.mark.parametrize(
    ("words", "key", "value", "message"),
    [
        (SERVE, "LOG_LEVEL", "loud", "LOG_LEVEL: expected one of DEBUG"),
        (SERVE, "LOG_FILE", "logs", "LOG_FILE: cannot write to"),
        (RUN, "LOG_LEVEL", "loud", "LOG_LEVEL: expected one of DEBUG"),
        (APP_RUN, "LOG_BACKUP_COUNT", "0", "LOG_BACKUP_COUNT: expected at least 1"),
    ],
    ids=["serve: level", "serve: a folder", "run: level", "app.run: contradiction"],
)
def test_bad_value_ends_a_server_with_code_2(folder, words, key, value, message):
    (folder / "logs").mkdir()
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, f"SHOP_{key}": value},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert message in done.stderr
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


# --- handlers of the program ------------------------------------------------------------------

CONFIGURED = """
import logging
import os
from carboy import Carboy

logging.basicConfig(level="INFO")
app = Carboy(__name__)
app.config["LOG_FORMAT"] = "json"

@app.get("/")
def index():
    return str(os.getpid())
"""


def test_key_without_effect_is_said_once_for_all_workers(serve, folder):
    (folder / "shop.py").write_text(CONFIGURED)
    server = serve("--workers", "2")
    seen: set[str] = set()
    wait_until(lambda: seen.add(requests.get(server.url, timeout=30).text) or len(seen) == 2)
    assert server.stop() == 0
    assert server.output.count("LOG_FORMAT has no effect") == 1


def test_message_about_the_log_is_on_stderr_once(capfd, monkeypatch):
    monkeypatch.setattr(log.logger, "propagate", False)
    with new_root_logger() as root:
        log.configure()
        of_log = logging.getLogger("carboy.log")
        of_log.warning("alone")
        root.addHandler(logging.StreamHandler())
        of_log.warning("beside the program")
        root.handlers[0].setLevel(logging.ERROR)
        of_log.warning("beside errors")
        shown = capfd.readouterr().err
    assert [shown.count(each) for each in ("alone", "beside the program", "beside errors")] == [
        1
    ] * 3


SEED = """
import logging
from logging.handlers import RotatingFileHandler
from carboy import Carboy

app = Carboy(__name__)
app.logger.addHandler(RotatingFileHandler("own.log", maxBytes=10_000, backupCount=3))

@app.get("/")
def index():
    return "hello"
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_rotating_handler_of_the_program_is_warned_of_if_workers_share_it(serve, folder, workers):
    (folder / "shop.py").write_text(SEED)
    server = serve("--workers", str(workers))
    server.stop()
    assert server.output.count("own RotatingFileHandler loses lines") == (1 if workers > 1 else 0)
    assert ("Set LOG_FILE" in server.output) == (workers > 1)
