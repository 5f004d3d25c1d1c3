"""Other WSGI servers answer as `carboy serve` does, but for documented differences."""

from __future__ import annotations

import contextlib
import http.client
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

import deployedapp
import guides
import pytest
import spawning
import wsgiservers
from polling import PATIENCE_S, wait_until

pytestmark = pytest.mark.integration

GUIDE = wsgiservers.ROOT / "docs" / "howto" / "other-servers.md"


@pytest.mark.parametrize("name", wsgiservers.servers())
def test_server_answers_as_carboy_serve_does(name, project, reference, tmp_path):
    server = wsgiservers.servers()[name]
    running = wsgiservers.start(server, project, tmp_path / "log")
    try:
        answers = deployedapp.ask_all(running.url)
        assert wsgiservers.unexpected_differences(server, reference, answers) == {}
        assert "secret of the inside" not in str(answers)
        assert deployedapp.first_item_is_sent_alone(running.url, tmp_path / "until")
    finally:
        code = running.stop(server.stops_on)
    assert code == server.exit_code, running.output


@pytest.fixture(scope="module")
def models_server(project, tmp_path_factory):
    """The environment variables of servers whose models compute in `carboy models serve`."""
    folder = tmp_path_factory.mktemp("models")
    env = {"DIGITS_REPLICAS": "2", "CARBOY_MODELS_SOCKET": str(folder / "models.sock")}
    program = spawning.start(
        [spawning.script("carboy"), "models", "serve", "app:app", "--control", "off"],
        log=folder / "log",
        port=0,
        cwd=project,
        env=env,
    )
    try:
        program.wait_until_it_prints("serving the models of app:app")
        yield env
    finally:
        program.stop()


@pytest.mark.parametrize("name", wsgiservers.servers())
def test_server_whose_models_compute_in_replicas_answers_the_same(
    name, project, reference, tmp_path, models_server
):
    server = wsgiservers.servers()[name]
    running = wsgiservers.start(server, project, tmp_path / "log", env=models_server)
    try:
        answers = deployedapp.ask_all(running.url)
        assert wsgiservers.unexpected_differences(server, reference, answers) == {}
    finally:
        code = running.stop(server.stops_on)
    assert code == server.exit_code, running.output
    assert "loaded by process" not in running.output


def test_differences_are_documented():
    text = " ".join(GUIDE.read_text().split())
    for server in (*wsgiservers.servers().values(), wsgiservers.uwsgi_behind_nginx()):
        for reason in server.differs.values():
            assert reason in text


def test_guide_works_as_written(tmp_path):
    wsgiservers.program("uwsgi")
    reader = guides.Reader(GUIDE, tmp_path)
    # carboy of the tests' own environment, gunicorn and uWSGI of theirs
    os.symlink(spawning.script("carboy"), tmp_path / "carboy")
    reader.env["PATH"] = f"{tmp_path}:{wsgiservers.BIN}:{os.environ['PATH']}"
    try:
        reader.follow()
    finally:
        reader.close()


# ------------------------------------------------------------------------------- generated files


@pytest.fixture
def own_project(project, tmp_path):
    """A copy of the project, in which a test may write."""
    folder = tmp_path / "digits"
    shutil.copytree(project, folder)
    return folder


@pytest.fixture
def start(own_project, tmp_path):
    """Starts servers in the copy of the project, and stops them."""
    running: list[spawning.Program] = []

    def run(*command: str, port: int) -> spawning.Program:
        log = tmp_path / f"server-{len(running)}.log"
        started = wsgiservers.start(wsgiservers.Server(list(command)), own_project, log, port)
        running.append(started)
        return started

    yield run
    for each in running:
        each.stop(signal.SIGKILL if each.process.poll() is None else signal.SIGTERM)


def carboy(folder, *arguments: str) -> None:
    subprocess.run([spawning.script("carboy"), *arguments], cwd=folder, check=True)


def pids(url: str) -> set[str]:
    """Return the processes that answer some requests at once."""
    with ThreadPoolExecutor(8) as threads:
        return set(threads.map(lambda _: ask_text(url, "/pid"), range(24)))


def ask_text(url: str, path: str) -> str:
    return deployedapp.ask(url, deployedapp.Asked(path, "GET", path)).body


def predict(url: str) -> str:
    (asked,) = (each for each in deployedapp.REQUESTS if each.name == "prediction of numbers")
    return deployedapp.ask(url, asked).body


LOADED = re.compile(r"Model 'digits': loaded by process (\d+) of (\w+) in")


def test_generated_configuration_of_gunicorn_serves_and_each_worker_loads_the_models_once(
    start, own_project, reference
):
    port = spawning.free_port()
    carboy(own_project, "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "2")
    running = start(wsgiservers.program("gunicorn"), port=port)
    workers: set[str] = set()
    wait_until(lambda: workers.update(pids(running.url)) or len(workers) == 2)
    # before any prediction
    assert sorted(LOADED.findall(running.output)) == sorted((pid, "gunicorn") for pid in workers)
    assert deployedapp.differences(reference, deployedapp.ask_all(running.url)) == {}
    assert len(LOADED.findall(running.output)) == 2
    assert running.stop() == 0, running.output


def test_generated_configuration_of_uwsgi_serves_and_each_worker_loads_the_models_once(
    start, own_project, reference
):
    port = spawning.free_port()
    carboy(own_project, "uwsgi", "--bind", f"127.0.0.1:{port}", "--workers", "2")
    running = start(wsgiservers.program("uwsgi"), "uwsgi.ini", port=port)
    server = wsgiservers.servers()["uWSGI http"]
    answers = deployedapp.ask_all(running.url)
    assert wsgiservers.unexpected_differences(server, reference, answers) == {}

    wait_until(lambda: len(LOADED.findall(running.output)) == 2)
    assert {name for _, name in LOADED.findall(running.output)} == {"uWSGI"}
    assert len(set(LOADED.findall(running.output))) == 2
    assert running.stop() == 0, running.output


@pytest.mark.parametrize("when", ["at the start", "at a reload"])
@pytest.mark.parametrize("name", ["gunicorn", "uwsgi"])
def test_server_ends_if_a_model_cannot_be_loaded(start, own_project, name, when):
    port = spawning.free_port()
    carboy(own_project, name, "--bind", f"127.0.0.1:{port}")
    arguments = ["uwsgi.ini"] if name == "uwsgi" else []
    command = [wsgiservers.program(name), *arguments]
    model = own_project / "digits.npz"
    if when == "at the start":
        model.unlink()
        done = subprocess.run(
            command, cwd=own_project, capture_output=True, text=True, timeout=30, check=False
        )
        code, output = done.returncode, done.stdout + done.stderr
    else:
        running = start(*command, port=port)
        assert predict(running.url)
        model.unlink()
        if name == "uwsgi":
            (own_project / "uwsgi.reload").touch()
        else:
            running.process.send_signal(signal.SIGHUP)
        code, output = running.process.wait(PATIENCE_S), running.output
    assert code != 0
    assert "Model 'digits' could not be loaded: FileNotFoundError" in output


def test_uwsgi_behind_nginx_speaks_its_own_protocol(start, own_project, reference, tmp_path):
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("no nginx: `make test-servers` as root installs it by apt")
    behind, port = spawning.free_port(), spawning.free_port()
    carboy(own_project, "uwsgi", "--bind", f"127.0.0.1:{behind}", "--protocol", "uwsgi")
    start(wsgiservers.program("uwsgi"), "uwsgi.ini", port=behind)
    # nginx started by root runs as another user, who could not write into the test's folder
    user = "user root;" if os.geteuid() == 0 else ""
    (own_project / "nginx.conf").write_text(user + NGINX.format(port=port, behind=behind))
    running = start(nginx, "-p", str(own_project), "-c", "nginx.conf", "-e", "stderr", port=port)
    server = wsgiservers.uwsgi_behind_nginx()
    answers = deployedapp.ask_all(running.url)
    assert wsgiservers.unexpected_differences(server, reference, answers) == {}
    assert deployedapp.first_item_is_sent_alone(running.url, tmp_path / "until")


NGINX = """
daemon off; pid nginx.pid; error_log stderr; events {{}}
http {{
    access_log off; client_max_body_size 64m; uwsgi_buffering off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            uwsgi_pass 127.0.0.1:{behind};
            include /etc/nginx/uwsgi_params;
        }}
    }}
}}
"""


# ---------------------------------------------------------------------------------------- reload


def ask_until_told(url: str, told: threading.Event) -> int:
    """Send requests until the event is set; return how many were answered. Each must be."""
    count = 0
    while not told.is_set():
        asked = deployedapp.Asked("page", "GET", "/")
        assert deployedapp.ask(url, asked).status == 200
        count += 1
    return count


@contextlib.contextmanager
def under_load(url: str) -> t.Iterator[None]:
    told = threading.Event()
    with ThreadPoolExecutor(3) as threads:
        counts = [threads.submit(ask_until_told, url, told) for _ in range(3)]
        try:
            yield
        finally:
            told.set()
        assert min(count.result(PATIENCE_S) for count in counts) > 0


def change_code(folder: pathlib.Path) -> None:
    app = folder / "app.py"
    app.write_text(app.read_text().replace("return str(os.getpid())", 'return "new"'))


@pytest.mark.parametrize("how", ["chain reload of uWSGI", "HUP of gunicorn"])
def test_reload_takes_new_code_and_loses_no_request(start, own_project, how):
    port = spawning.free_port()
    options = ["--bind", f"127.0.0.1:{port}", "--workers", "2"]
    if how == "HUP of gunicorn":
        carboy(own_project, "gunicorn", *options)
        running = start(wsgiservers.program("gunicorn"), port=port)
    else:
        carboy(own_project, "uwsgi", *options)
        running = start(wsgiservers.program("uwsgi"), "uwsgi.ini", port=port)
    wait_until(lambda: len(pids(running.url)) == 2)
    with under_load(running.url):
        change_code(own_project)
        if how == "HUP of gunicorn":
            running.process.send_signal(signal.SIGHUP)
        else:
            (own_project / "uwsgi.reload").touch()
        wait_until(lambda: pids(running.url) == {"new"})
    assert predict(running.url)


def test_touch_reload_of_uwsgi_takes_new_code(start, own_project):
    port = spawning.free_port()
    carboy(own_project, "uwsgi", "--bind", f"127.0.0.1:{port}")
    running = start(
        *(wsgiservers.program("uwsgi"), "uwsgi.ini", "--touch-reload", "uwsgi.ini"), port=port
    )
    assert predict(running.url)
    change_code(own_project)
    # uWSGI compares whole seconds, and the file may be from the current one.
    os.utime(own_project / "uwsgi.ini", times=(time.time() + 2,) * 2)

    def is_new() -> bool:
        # It ends its process for HTTP with all others: clients that are connected lose requests.
        with contextlib.suppress(OSError, http.client.HTTPException):
            return ask_text(running.url, "/pid") == "new"
        return False

    wait_until(is_new)
    assert predict(running.url)


# ------------------------------------------------------------------------------------ .wsgi files


def test_wsgi_file_is_served_by_uwsgi_and_by_carboy(start, own_project, reference):
    carboy(own_project, "wsgi")
    assert (own_project / "digits.wsgi").exists()
    port = spawning.free_port()
    address = f"127.0.0.1:{port}"
    server = wsgiservers.servers()["uWSGI http"]
    # a name that is also that of a module which the file imports
    (own_project / "digits.wsgi").rename(own_project / "carboy.wsgi")
    running = start(
        *(wsgiservers.program("uwsgi"), "--http", address, "--wsgi-file", "carboy.wsgi"),
        *("--master", "--enable-threads", "--lazy-apps", *wsgiservers.UWSGI_BODIES),
        port=port,
    )
    answers = deployedapp.ask_all(running.url)
    assert wsgiservers.unexpected_differences(server, reference, answers) == {}
    for command in (["serve", "carboy.wsgi", "--workers", "1"], ["run", "--app", "carboy.wsgi"]):
        port = spawning.free_port()
        running = start(spawning.script("carboy"), *command, "--port", str(port), port=port)
        wait_until(lambda: predict(running.url))  # noqa: B023
        assert '"digit":0' in predict(running.url).replace(" ", "")


# ---------------------------------------------------------------------------- what is not possible

ONNX = """
import onnx, onnxruntime
from onnx import TensorProto, helper
from carboy import Carboy

value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])
graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [value("x")], [value("y")])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
session = onnxruntime.InferenceSession(model.SerializeToString())
app = Carboy(__name__)

@app.get("/pid")
def pid():
    return "here"
"""


def test_fork_after_a_library_was_used_is_named_once_by_each_worker(start, own_project):
    """gunicorn of the tests' own environment, which has ONNX Runtime."""
    (own_project / "onnx_app.py").write_text(ONNX)
    port = spawning.free_port()
    running = start(
        *(sys.executable, "-m", "gunicorn", "onnx_app:app"),
        *("--bind", f"127.0.0.1:{port}", "--preload"),
        port=port,
    )
    assert [ask_text(running.url, "/pid") for _ in range(3)] == ["here"] * 3
    found = re.findall(
        r"This worker of gunicorn \(pid \d+\) was forked from process (\d+) after onnxruntime had",
        running.output,
    )
    assert found == [str(running.process.pid)], running.output
    assert "without --preload" in running.output


def debian_uwsgi(port: int, *options: str) -> list[str]:
    """Return the command line for Debian's uWSGI, in which threads are off by default."""
    plugin = pathlib.Path("/usr/lib/uwsgi/plugins/python3_plugin.so")
    if not (plugin.exists() and wsgiservers.DEBIAN_BIN.exists()):
        pytest.skip("no uWSGI of Debian and environment for it: `make test-servers` as root")
    return [
        *("/usr/bin/uwsgi", "--plugin", "python3,http", "-H", str(wsgiservers.DEBIAN_BIN.parent)),
        *("--http", f"127.0.0.1:{port}", "--master", "--need-app", "--die-on-term", *options),
    ]


def test_uwsgi_of_debian_serves_with_threads(start, reference):
    port = spawning.free_port()
    options = ["--module", "app:app", "--enable-threads", *wsgiservers.UWSGI_BODIES]
    running = start(*debian_uwsgi(port, *options), port=port)
    server = wsgiservers.servers()["uWSGI http"]
    answers = deployedapp.ask_all(running.url)
    assert wsgiservers.unexpected_differences(server, reference, answers) == {}
    assert running.stop() == 0, running.output


@pytest.mark.parametrize(
    ("options", "more", "words"),
    [
        pytest.param(
            [], "", "uWSGI runs Python without threads, where a prediction", id="without threads"
        ),
        pytest.param(
            ["--enable-threads"],
            "app.load_models()",
            "Model 'digits' is used while uWSGI's master process imports the app",
            id="model loaded before the fork",
        ),
    ],
)
def test_uwsgi_in_which_a_model_would_hang_is_refused_at_the_start(
    own_project, options, more, words
):
    with (own_project / "app.py").open("a") as file:
        file.write(more)
    command = debian_uwsgi(spawning.free_port(), "--module", "app:app", *options)
    done = subprocess.run(
        command, cwd=own_project, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode != 0
    assert words in done.stderr + done.stdout
