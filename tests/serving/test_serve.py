"""`carboy serve` and `app.serve()`: processes, signals, sockets, misbehaving clients."""

from __future__ import annotations

import collections
import http.client
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import requests
import spawning
from polling import wait_until

from carboy.errors import ServingError

pytestmark = pytest.mark.integration

APP = """
import ctypes, os, time
from carboy import Carboy, Response, request

app = Carboy(__name__)

@app.get("/")
def index():
    return "hello"

@app.get("/pid")
def pid():
    return str(os.getpid())

@app.get("/slow")
def slow():
    open(request.args["mark"], "w").close()
    time.sleep(float(request.args.get("s", 1)))
    return "done"

@app.get("/gil")
def gil():
    ctypes.PyDLL(None).sleep(600)  # a native call that does not release the GIL

@app.get("/environ")
def environ():
    return {key: str(value) for key, value in request.environ.items()}

@app.post("/length")
def length():
    return str(len(request.get_data()))

@app.post("/unread")
def unread():
    return "unauthorized", 401

@app.get("/lines")
def lines():
    return Response(f"{n}\\n" for n in range(3))

if "SLOW_IMPORT" in os.environ:
    time.sleep(600)

if "DEBUG_IN_CODE" in os.environ:
    app.debug = True

@app.get("/debug")
def debug():
    return str(app.debug)
"""


WITH_MODEL = (
    APP
    + """
@app.model("/next")
def next_(x: int) -> int:
    return x + 1
"""
)


@pytest.fixture
def serve(spawn, carboy_command, tmp_path):
    """Serve APP; returns the program once all its workers are ready."""
    (tmp_path / "shop.py").write_text(APP)

    def serve(*options, **arguments):
        program = spawn(
            carboy_command, "serve", "shop:app", "--port", "{port}", *options, **arguments
        )
        program.wait_until_it_prints("serving shop:app")
        return program

    return serve


def children(pid):
    words = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(word) for word in words]


def resident_kib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


# --------------------------------------------------------------------------- requests and responses


def test_pages_streams_and_bodies_are_served(serve):
    url = serve("--workers", "1").url
    with requests.Session() as session:
        assert session.get(url).text == "hello"
        assert session.get(f"{url}/lines").text == "0\n1\n2\n"
        assert session.head(url).headers["content-length"] == "5"
        assert session.post(f"{url}/length", data=b"x" * 70_000).text == "70000"
        chunks = (b"y" * 1000 for _ in range(300))
        assert session.post(f"{url}/length", data=chunks).text == "300000"
        assert session.get(f"{url}/absent").status_code == 404


def test_loading_is_logged_before_it_is_done(serve):
    """Loading models may take minutes, in which a silent terminal looks like a hang."""
    log = serve("--workers", "1").output
    assert -1 < log.find("loading ") < log.find("is ready") < log.find("serving ")


def test_urls_of_models_are_logged(serve, tmp_path):
    (tmp_path / "shop.py").write_text(WITH_MODEL)
    server = serve("--workers", "1")
    server.wait_until_it_prints(f"models: {server.url}/next\n")


@pytest.mark.parametrize(
    ("env", "asked_by"),
    [
        ({"FLASK_DEBUG": "1"}, "--debug or FLASK_DEBUG"),
        ({"CARBOY_DEBUG": "1", "FLASK_ENV": "development"}, "--debug or FLASK_DEBUG"),
        ({"FLASK_ENV": "development"}, "FLASK_ENV=development"),
        ({"DEBUG_IN_CODE": "1"}, "the app"),
    ],
)
def test_debug_mode_is_off_in_production_and_the_log_says_so_once(serve, env, asked_by):
    server = serve("--workers", "2", env=env)
    assert server.output.count("debug mode is off") == 1
    assert f"debug mode is off, although {asked_by} asks for it" in server.output
    assert requests.get(f"{server.url}/debug", timeout=10).text == "False"


def test_debug_mode_is_off_if_the_program_serves_its_app_itself(spawn, tmp_path):
    program = APP + 'app.serve(workers=0, port=int(os.environ["PORT"]))\n'
    (tmp_path / "shop.py").write_text(program)
    port = spawning.free_port()
    server = spawn(
        sys.executable, "shop.py", env={"DEBUG_IN_CODE": "1", "PORT": str(port)}, port=port
    )
    assert requests.get(f"{server.url}/debug", timeout=10).text == "False"
    assert server.output.count("debug mode is off, although the app asks for it") == 1


def test_server_in_a_container_says_that_nobody_outside_reaches_loopback(serve):
    for variables in ({}, {"CARBOY_SERVE_HOST": "0.0.0.0"}):
        server = serve("--workers", "1", env={"KUBERNETES_SERVICE_HOST": "10.0.0.1", **variables})
        assert server.output.count("nobody outside of it can reach 127.0.0.1") == (not variables)
        server.stop()


def test_environ_has_no_variables_of_the_process(serve):
    secrets = {"SECRET_KEY": "top secret", "HTTP_X_ROLE": "of the process"}
    url = serve("--workers", "1", env=secrets).url
    seen = requests.get(f"{url}/environ?a=1", headers={"X-Name": "n"}, timeout=10).json()
    assert "top secret" not in str(seen)
    assert not {"SECRET_KEY", "HTTP_X_ROLE", "PATH", "HOME"} & set(seen)
    expected = {"QUERY_STRING": "a=1", "HTTP_X_NAME": "n", "REMOTE_ADDR": "127.0.0.1"}
    assert expected.items() <= seen.items()


BIG = b"x" * (12 * 2**20)


def by_http_client(url, chunked):
    connection = http.client.HTTPConnection(url.removeprefix("http://").partition("/")[0])
    if chunked:
        pieces = (BIG[i : i + 65536] for i in range(0, len(BIG), 65536))
        headers = {"Transfer-Encoding": "chunked"}
        connection.request("POST", url, pieces, headers, encode_chunked=True)
    else:
        connection.request("POST", url, BIG)
    status = connection.getresponse().status
    connection.close()
    return status


def by_requests(url, chunked):
    pieces = (BIG[i : i + 65536] for i in range(0, len(BIG), 65536))
    return requests.post(url, data=pieces if chunked else BIG, timeout=30).status_code


def by_curl(url, chunked):
    command = ["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "--data-binary", "@-", url]
    if chunked:
        command += ["-H", "Transfer-Encoding: chunked"]
    return int(subprocess.run(command, input=BIG, capture_output=True, check=False).stdout)


@pytest.mark.parametrize("client", [by_http_client, by_requests, by_curl])
def test_response_to_a_refused_body_reaches_the_client(serve, client):
    url = serve("--workers", "1", "--max-body", "1M").url
    assert client(f"{url}/length", chunked=False) == 413
    assert client(f"{url}/length", chunked=True) == 413
    url = serve("--workers", "1", port=spawning.free_port()).url
    assert client(f"{url}/unread", chunked=False) == 401


def test_refused_bodies_are_not_held_in_memory(serve):
    server = serve("--workers", "1", "--max-body", "1M")
    (worker,) = children(server.process.pid)
    by_requests(f"{server.url}/length", chunked=False)
    before = resident_kib(worker)
    for chunked in (False, True) * 3:
        by_requests(f"{server.url}/length", chunked=chunked)
    assert resident_kib(worker) - before < 8 * 1024


def test_upload_that_is_cut_short_is_400(serve):
    server = serve("--workers", "1")
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100).startswith(b"HTTP/1.1 400")


def status_of(port, request):
    """The status line that answers some bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(request)
        return client.makefile("rb").readline().split(b" ", 2)[1]


def test_limits_of_http_are_settings(serve):
    server = serve("--workers=1", "--max-head=256K", "--max-headers=5")
    head = b"GET / HTTP/1.1\r\nHost: x\r\n"
    assert status_of(server.port, head + b"A: " + b"a" * 150_000 + b"\r\n\r\n") == b"200"
    assert status_of(server.port, head + b"A: " + b"a" * 400_000 + b"\r\n\r\n") == b"431"
    many = b"".join(b"A%d: a\r\n" % n for n in range(6))
    assert status_of(server.port, head + many + b"\r\n") == b"431"
    # Apart from the others, whose heads may take longer on a busy machine.
    impatient = serve("--workers=1", "--head-timeout=0.2", port=spawning.free_port())
    assert status_of(impatient.port, head) == b"408"


# ------------------------------------------------------------------------ stopping and restarting


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_requests_in_progress_are_answered(serve, tmp_path, number):
    # The last clients may connect during the drain.
    server = serve("--workers", "2", "--threads", "4", "--drain", "0.5")
    responses = []
    marks = [tmp_path / f"mark-{n}" for n in range(8)]
    threads = [
        threading.Thread(
            target=lambda mark=mark: responses.append(
                requests.get(f"{server.url}/slow", params={"mark": mark, "s": 1}, timeout=30).text
            )
        )
        for mark in marks
    ]
    for thread in threads:
        thread.start()
    # The workers may get uneven shares, so that some requests wait for a thread: all are answered.
    wait_until(lambda: sum(mark.exists() for mark in marks) >= 4)
    began_s = time.monotonic()
    assert server.stop(number) == 0
    assert time.monotonic() - began_s < 10
    for thread in threads:
        thread.join()
    assert responses == ["done"] * 8
    assert f"stopping on {number.name}" in server.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_stop_is_logged_while_the_app_is_loaded(spawn, carboy_command, tmp_path, number):
    (tmp_path / "shop.py").write_text(APP)
    command = (carboy_command, "serve", "shop:app", "--workers", "1", "--port", "{port}")
    server = spawn(*command, env={"SLOW_IMPORT": "1"}, listens=False)
    server.wait_until_it_prints("loading shop:app")
    assert server.stop(number) == 0
    assert -1 < server.output.find(f"stopping on {number.name}") < server.output.find("stopped")


def test_signal_to_all_processes_that_load_the_app_is_no_failure_of_the_app(
    spawn, carboy_command, tmp_path
):
    """The supervisor may learn at the same moment of the signal and of the end of its worker."""
    (tmp_path / "shop.py").write_text("import pathlib\npathlib.Path('begun').touch()\n" + APP)
    command = (carboy_command, "serve", "shop:app", "--workers", "1", "--port", "{port}")
    server = spawn(*command, env={"SLOW_IMPORT": "1"}, listens=False)
    wait_until((tmp_path / "begun").exists)
    (worker,) = children(server.process.pid)
    spawning.suspend(server.pid)
    os.killpg(server.pid, signal.SIGTERM)
    wait_until(lambda: not is_running(worker))
    server.process.send_signal(signal.SIGCONT)
    assert server.process.wait(spawning.STOP_S) == 0
    assert "cannot load the app" not in server.output
    assert "stopping on SIGTERM" in server.output


def test_sighup_of_a_closed_terminal_does_not_end_workers_early(serve, tmp_path):
    server = serve("--workers", "1")
    (worker,) = children(server.process.pid)
    responses = []
    url = f"{server.url}/slow?s=1&mark={tmp_path / 'mark'}"
    thread = threading.Thread(target=lambda: responses.append(requests.get(url, timeout=30).text))
    thread.start()
    wait_until((tmp_path / "mark").exists)
    os.kill(worker, signal.SIGHUP)
    assert server.stop() == 0
    thread.join()
    assert responses == ["done"]


def test_server_keeps_running_under_nohup(spawn, carboy_command, tmp_path):
    (tmp_path / "shop.py").write_text(APP)
    server = spawn(
        *("nohup", carboy_command, "serve", "shop:app", "--port", "{port}", "--workers", "1")
    )
    server.wait_until_it_prints("serving shop:app")
    server.process.send_signal(signal.SIGHUP)
    assert requests.get(server.url, timeout=30).text == "hello"
    assert server.stop(signal.SIGTERM) == 0


def hammer(port, responses, keep_alive):
    """Send requests until the server does not listen any more; count the responses."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    while True:
        try:
            connection.request("GET", "/", headers={} if keep_alive else {"Connection": "close"})
            response = connection.getresponse()
            response.read()
            responses[response.status] += 1
        except ConnectionRefusedError:
            return
        except OSError as exc:
            responses[repr(exc)] += 1
            return


@pytest.mark.parametrize("keep_alive", [True, False], ids=["keep-alive", "new connections"])
def test_no_request_is_lost_when_the_server_stops(serve, keep_alive):
    # Each client must get a response within the drain, also on a machine that is busy.
    server = serve("--workers", "2", "--drain", "2")
    responses = collections.Counter()
    threads = [
        threading.Thread(target=hammer, args=(server.port, responses, keep_alive)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: responses[200] > 100)
    assert server.stop() == 0
    for thread in threads:
        thread.join()
    assert set(responses) == {200}


def test_idle_connections_do_not_delay_the_stop(serve):
    server = serve("--workers", "1")
    with (
        socket.create_connection(("127.0.0.1", server.port)),
        requests.Session() as session,
    ):
        session.get(server.url)
        began_s = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began_s < 5


def test_request_that_outlasts_the_grace_is_cut_off_and_logged(serve, tmp_path):
    server = serve("--workers", "1", "--grace", "0.2")
    url = f"{server.url}/slow?s=30&mark={tmp_path / 'mark'}"
    lost = []

    def ask():
        try:
            requests.get(url, timeout=30)
        except requests.ConnectionError as exc:
            lost.append(exc)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until((tmp_path / "mark").exists)
    assert server.stop() == 1
    thread.join()
    assert lost
    assert "has not finished its requests: killed" in server.output


def test_worker_that_dies_while_the_server_stops_is_logged(serve, tmp_path):
    server = serve("--workers", "1", "--grace", "600")
    (worker,) = children(server.process.pid)
    head = f"GET /slow?s=600&mark={tmp_path / 'mark'} HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head.encode())
        wait_until((tmp_path / "mark").exists)
        server.process.send_signal(signal.SIGTERM)
        server.wait_until_it_prints("stopping on SIGTERM")
        os.kill(worker, signal.SIGKILL)
        assert server.process.wait(spawning.STOP_S) == 1
    how = "was killed by SIGKILL (out of memory?) during its last requests"
    assert f"worker 1 (pid {worker}) {how}" in server.output


def test_worker_that_dies_is_restarted(serve):
    server = serve("--workers", "2")
    before = children(server.process.pid)
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: server.output.count("is ready") == 4)
    after = children(server.process.pid)
    assert len(after) == 2
    assert not set(after) & set(before)
    assert requests.get(server.url, timeout=10).text == "hello"
    assert "was killed by SIGKILL (out of memory?)" in server.output


@pytest.mark.parametrize("how", ["stopped", "holds the GIL"])
def test_worker_that_hangs_is_killed_and_replaced(serve, how):
    server = serve("--workers", "1", "--worker-timeout", "1.5")
    (first,) = children(server.process.pid)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        if how == "stopped":
            os.kill(first, signal.SIGSTOP)
        else:
            client.sendall(b"GET /gil HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_until_it_prints("was killed because it hung")
        wait_until(lambda: not is_running(first))
    wait_until(lambda: server.output.count("is ready") == 2)
    assert int(requests.get(f"{server.url}/pid", timeout=10).text) != first
    log = server.output
    assert f"worker 1 (pid {first}) hangs: it has shown no sign of life for 1.5 s" in log
    assert ("in gil" in log) == (how != "stopped")


def test_view_that_takes_longer_than_the_timeout_of_workers_is_no_hang(serve, tmp_path):
    server = serve("--workers", "1", "--worker-timeout", "0.6", "--threads", "1")
    mark = tmp_path / "mark"
    assert requests.get(f"{server.url}/slow?s=3&mark={mark}", timeout=20).text == "done"
    assert "hangs" not in server.output


def test_signals_that_reopen_the_logs_of_other_servers_do_nothing(serve):
    server = serve("--workers", "1")
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        server.process.send_signal(number)
    assert requests.get(server.url, timeout=10).text == "hello"
    assert server.stop(signal.SIGQUIT) == 0


def test_worker_finishes_its_requests_on_sigterm(serve, tmp_path):
    server = serve("--workers", "1")
    (worker,) = children(server.process.pid)
    responses = []
    url = f"{server.url}/slow?s=1&mark={tmp_path / 'mark'}"
    thread = threading.Thread(target=lambda: responses.append(requests.get(url, timeout=30).text))
    thread.start()
    wait_until((tmp_path / "mark").exists)
    os.kill(worker, signal.SIGTERM)
    thread.join()
    assert responses == ["done"]
    wait_until(lambda: server.output.count("is ready") == 2)


def test_workers_do_not_outlive_their_supervisor(serve):
    server = serve("--workers", "2")
    workers = children(server.process.pid)
    server.process.kill()
    wait_until(lambda: not any(is_running(pid) for pid in workers))
    wait_until(lambda: server.output.count("the supervisor has died") == 2)


def is_running(pid):
    try:
        return ") Z " not in pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_supervisor_loads_neither_the_app_nor_the_server(serve):
    server = serve("--workers", "1")
    maps = pathlib.Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "/httptools/" not in maps


def test_worker_of_an_app_without_models_loads_no_code_of_models(serve, tmp_path):
    view = "import sys\n@app.get('/modules')\ndef modules():\n    return list(sys.modules)\n"
    (tmp_path / "shop.py").write_text(APP + view)
    modules = requests.get(f"{serve('--workers', '1').url}/modules", timeout=10).json()
    assert "carboy.models.host" in modules
    assert not {"carboy.models.collection", "carboy.models.queue"} & {*modules}


# ------------------------------------------------------------------------------- starting


@pytest.mark.parametrize(
    "words",
    [
        ["--app", "shop:app", "serve"],
        ["--app", "shop", "serve"],
        ["serve", "shop.py"],
        ["serve", "shop:create('made')"],
        ["serve"],
    ],
    ids=" ".join,
)
def test_app_may_be_named_in_several_ways(spawn, carboy_command, tmp_path, words):
    (tmp_path / "shop.py").write_text(APP + "\n\ndef create(name):\n    return app\n")
    (tmp_path / "app.py").write_text("from shop import app\n")
    server = spawn(carboy_command, *words, "--port", "{port}", env={"WEB_CONCURRENCY": "1"})
    assert requests.get(server.url, timeout=10).text == "hello"
    server.wait_until_it_prints(" 1 worker ")


def test_host_and_port_come_from_the_environment(spawn, carboy_command, tmp_path, free_port):
    (tmp_path / "shop.py").write_text(APP)
    environ = {
        "HOST": "x86_64-conda-linux-gnu",
        "CARBOY_SERVE_HOST": "localhost",
        "PORT": str(free_port),
    }
    server = spawn(carboy_command, "serve", "shop:app", env=environ)
    server.wait_until_it_prints(f"http://127.0.0.1:{free_port}")
    assert requests.get(server.url, timeout=10).text == "hello"


PROGRAM = APP + "\nif __name__ == '__main__':\n    app.serve(ARGUMENTS)\n"


@pytest.mark.parametrize(
    ("command", "arguments", "length"),
    [
        pytest.param(["carboy", "serve", "shop:app"], "", 1500, id="command"),
        pytest.param(["carboy", "serve", "shop:app", "--max-body", "1K"], "", 900, id="option"),
        pytest.param(["python", "shop.py"], "", 1500, id="program"),
        pytest.param(["python", "shop.py"], "workers=0", 1500, id="program without workers"),
        pytest.param(["python", "shop.py"], "max_body='1K'", 900, id="argument"),
    ],
)
@pytest.mark.parametrize("source", ["environment", ".env"])
def test_settings_come_from_the_environment(
    spawn, carboy_command, tmp_path, free_port, command, arguments, length, source
):
    """In particular the limit of bodies holds for both ways to start the server."""
    (tmp_path / "shop.py").write_text(PROGRAM.replace("ARGUMENTS", arguments))
    variables = {
        "CARBOY_SERVE_PORT": str(free_port),
        "CARBOY_SERVE_MAX_BODY": "1500",
        "CARBOY_SERVE_WORKERS": "1",
        "CARBOY_SERVE_TREADS": "4",
    }
    if source == ".env":
        lines = (f"{name}={value}\n" for name, value in variables.items())
        (tmp_path / ".env").write_text("".join(lines))
        variables = {}
    program = {"carboy": carboy_command, "python": sys.executable}[command[0]]
    server = spawn(program, *command[1:], env=variables)
    server.wait_until_it_prints(f"http://127.0.0.1:{free_port}")
    url = f"{server.url}/length"
    assert requests.post(url, data=b"x" * length, timeout=10).text == str(length)
    assert requests.post(url, data=b"x" * (length + 200), timeout=10).status_code == 413
    assert "Did you mean 'CARBOY_SERVE_THREADS'" in server.output


@pytest.mark.parametrize(
    ("options", "variables", "words"),
    [
        (["--port", "http"], {}, "'http' from the option --port"),
        ([], {"CARBOY_SERVE_GRACE_S": "1m"}, "'1m' from the environment variable CARBOY_SERVE_G"),
        ([], {"WEB_CONCURRENCY": "0"}, "'workers': expected at least 1, got 0"),
    ],
    ids=["option", "variable", "no workers"],
)
def test_invalid_setting_is_a_usage_error(carboy_command, tmp_path, options, variables, words):
    done = subprocess.run(
        [carboy_command, "serve", "shop:app", *options],
        env={**os.environ, **variables},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_port_in_use_is_an_error_that_names_it(serve, carboy_command, tmp_path):
    server = serve("--workers", "1")
    done = subprocess.run(
        [carboy_command, "serve", "shop:app", "--port", str(server.port)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert f"port {server.port} is in use by another program" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("import not_installed_anywhere", ["bad.py", "not_installed_any"], id="import"),
        pytest.param("1 / 0", ["bad.py", "line 1", "ZeroDivisionError"], id="exception"),
        pytest.param("def f(:", ["bad.py", "SyntaxError"], id="syntax"),
        pytest.param("raise SystemExit(3)", ["sys.exit(3)"], id="exit"),
        pytest.param("import os; os.kill(os.getpid(), 9)", ["SIGKILL", "while loading"], id="kill"),
        pytest.param("", ["holds no application"], id="no app"),
    ],
)
def test_server_ends_if_the_app_cannot_be_loaded(carboy_command, tmp_path, text, words):
    (tmp_path / "bad.py").write_text(text)
    done = subprocess.run(
        [carboy_command, "serve", "bad", "--port", "0", "--workers", "2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("cannot load the app 'bad'") == 1
    for word in words:
        assert word in done.stderr
    for foreign in ("src/carboy/", "importlib"):
        assert foreign not in done.stderr


@pytest.mark.parametrize(
    ("end", "words"),
    [
        pytest.param("app.serve(port=PORT, workers=2)", "shop.py:app on http", id="by its name"),
        pytest.param("app.serve(port=PORT, workers=0)", "from this process", id="in this process"),
        pytest.param("create().serve(port=PORT)", "from this process", id="without a name"),
    ],
)
def test_app_serve_uses_workers_or_the_calling_process(spawn, tmp_path, free_port, end, words):
    (tmp_path / "shop.py").write_text(
        APP
        + "\ndef create():\n    app = Carboy('made')\n    app.get('/')(index)\n    return app\n"
        + "if __name__ == '__main__':\n    "
        + end.replace("PORT", str(free_port))
        + "\n    print('left')\n"
    )
    server = spawn(sys.executable, "shop.py")
    server.wait_until_it_prints(words)
    assert requests.get(server.url, timeout=10).text == "hello"
    assert server.stop() == 0
    assert "left" in server.output


def test_app_serve_is_ignored_while_a_worker_imports_the_module(spawn, tmp_path, free_port):
    (tmp_path / "shop.py").write_text(f"{APP}\napp.serve(port={free_port}, workers=1)\n")
    server = spawn(sys.executable, "shop.py")
    server.wait_until_it_prints("serving")
    assert requests.get(server.url, timeout=10).text == "hello"
    assert "Ignoring a call of 'app.serve()'" in server.output


IN_MAIN_BLOCK = """\
from carboy import Carboy
app = Carboy(__name__)
if __name__ == "__main__":
    @app.model("/double")
    def double(x: float) -> float:
        return 2 * x
    @app.get("/")
    def index():
        return ""
    app.serve(port=1)
"""
APP_IN_MAIN_BLOCK = """\
from carboy import Carboy
if "__main__" == __name__:
    app = Carboy(__name__)
    app.serve(port=1)
"""


@pytest.mark.parametrize(
    ("program", "parts"),
    [
        (IN_MAIN_BLOCK, "the model 'double' (line 4) and the view 'index' (line 7)"),
        (APP_IN_MAIN_BLOCK, "the app 'app'"),
    ],
)
def test_app_serve_refuses_what_workers_would_lack(tmp_path, program, parts):
    path = tmp_path / "shop.py"
    path.write_text(program)
    done = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"carboy.errors.ServingError: app.serve() starts workers, which import '{path}:app' without"
        f' the code under `if __name__ == "__main__"`, so that they would lack {parts}. Move the'
        " definition above that line, or serve from this process: app.serve(workers=0)."
    )


ON_ANOTHER_THREAD = (
    "app.serve() was called on the thread 'mine', but only the main thread gets the signals that"
    " stop a server. Call it on the main thread, run 'carboy serve' beside this program, or use"
    " app.run(use_reloader=False), which any thread may call."
)


@pytest.mark.parametrize("workers", [0, 1])
def test_app_serve_on_another_thread_is_refused_with_the_ways_out(app, workers):
    caught = []

    def serve():
        with pytest.raises(ServingError) as error:
            app.serve(workers=workers, port=1)
        caught.append(str(error.value))

    thread = threading.Thread(target=serve, name="mine")
    thread.start()
    thread.join()
    assert caught == [ON_ANOTHER_THREAD]


# --------------------------------------------------------------------------- models

MODEL_APP = """
from carboy import Carboy

app = Carboy(__name__)

@app.model("/next", batch=4)
class Next:
    def __init__(self):
        print("loading", flush=True)

    def predict(self, x: list[int]) -> list[int]:
        return [number + 1 for number in x]

    def close(self):
        print("closing", flush=True)
"""


def test_models_are_loaded_before_ready_and_closed_after_the_last_response(
    spawn, carboy_command, tmp_path
):
    (tmp_path / "numbers_app.py").write_text(MODEL_APP)
    command = [carboy_command, "serve", "numbers_app:app", "--port", "{port}", "--workers", "1"]
    program = spawn(*command)
    program.wait_until_it_prints("serving numbers_app:app")
    assert "loading" in program.output
    response = requests.post(f"{program.url}/next", json=41, timeout=10)
    assert response.json() == 42, response.text
    assert "closing" not in program.output
    assert program.stop() == 0
    assert "closing" in program.output
