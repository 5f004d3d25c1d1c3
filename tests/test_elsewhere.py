"""carboy without what Windows or macOS lacks: `support/elsewhere` takes it away from Python.

There is no Windows here, so its path names and its console are not tested.
"""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import subprocess
import sys
import textwrap

import pytest
import requests
import spawning
from polling import PATIENCE_S, wait_until

import carboy

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="hides what Linux has"),
]

# As on Windows, what is printed to a pipe is not UTF-8.
ENVIRON = {
    "PYTHONPATH": str(pathlib.Path(__file__).parent / "support" / "elsewhere"),
    "ELSEWHERE": "windows",
    "PYTHONIOENCODING": "cp1252",
    "NO_COLOR": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
APP = """
from carboy import Carboy, request, session

app = Carboy(__name__)
app.secret_key = "key"

@app.model("/double", batch=8)
def double(x: list[float]) -> list[float]:
    return [2 * each for each in x]

@app.model("/count")
def count(n: int) -> list[int]:
    return list(range(n))

@app.get("/")
def index():
    return "Grüße"

@app.get("/wait")
async def wait():
    import asyncio
    await asyncio.sleep(0)
    return "waited"

@app.post("/upload")
def upload():
    session["name"] = request.files["file"].filename
    return str(len(request.files["file"].read()))

@app.get("/name")
def name():
    return session.get("name", "")

if __name__ == "__main__":
    app.METHOD
"""


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "big.bin").write_bytes(bytes(range(256)) * 4000)
    (tmp_path / "templates").mkdir()
    write_app(tmp_path)
    return tmp_path


def write_app(folder: pathlib.Path, method: str = "run()", text: str = APP) -> None:
    (folder / "app.py").write_text(text.replace("METHOD", method), encoding="utf-8")


def run(folder: pathlib.Path, *command: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **ENVIRON, **environ},
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )


def cli(folder: pathlib.Path, *arguments: str, **environ: str) -> tuple[int, str, str]:
    """Run `carboy` elsewhere; return its exit code, stdout and stderr."""
    done = run(folder, spawning.script("carboy"), *arguments, **environ)
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("cp1252")


def program(folder: pathlib.Path, text: str) -> str:
    """Run a program elsewhere; return what it prints."""
    done = run(folder, sys.executable, "-c", textwrap.dedent(text))
    assert done.returncode == 0, done.stderr.decode("cp1252")
    return done.stdout.decode("cp1252")


@pytest.fixture
def start(folder):
    running: list[spawning.Program] = []

    def start(*command: str, **environ: str) -> spawning.Program:
        port = spawning.free_port()
        running.append(
            spawning.start(
                [each.replace("PORT", str(port)) for each in command],
                log=folder / f"log-{len(running)}",
                port=port,
                cwd=folder,
                env={**ENVIRON, **environ},
            )
        )
        running[-1].wait_until_it_listens()
        return running[-1]

    yield start
    for each in running:
        each.stop()


def get(url: str) -> requests.Response:
    return requests.get(url, timeout=PATIENCE_S)


def use(url: str) -> None:
    """Ask the app for everything that it has."""
    assert get(f"{url}/").text == "Grüße"
    assert get(f"{url}/wait").text == "waited"
    assert get(f"{url}/static/big.bin").content == bytes(range(256)) * 4000
    assert requests.post(f"{url}/double", json=4, timeout=PATIENCE_S).json() == 8
    assert requests.post(f"{url}/count", json=3, timeout=PATIENCE_S).json() == [0, 1, 2]
    client = requests.Session()
    file = {"file": ("a.bin", b"x" * 600_000)}
    assert client.post(f"{url}/upload", files=file, timeout=PATIENCE_S).text == "600000"
    assert client.get(f"{url}/name", timeout=PATIENCE_S).text == "a.bin"


# ------------------------------------------------------------------------------- importing


def test_child_processes_lack_what_is_hidden(folder):
    assert program(
        folder,
        """
        import subprocess, sys
        code = '''
        import os, select, selectors, signal, socket
        try:
            import fcntl
        except ImportError:
            lacking = [(os, "fork"), (select, "epoll"), (socket, "AF_UNIX"), (signal, "SIGHUP")]
            assert not any(hasattr(module, name) for module, name in lacking)
            here, there = socket.socketpair()
            with selectors.DefaultSelector() as selector:
                selector.register(here, selectors.EVENT_READ)
                there.send(b"x")
                assert selector.select(10)
            for call in (
                lambda: os.symlink("a", "b"),
                lambda: open("a:b", "w", encoding="ascii"),
                lambda: select.select([0], [], []),
            ):
                try:
                    call()
                except OSError as exc:
                    print(exc.errno, end=" ")
        '''
        import textwrap
        subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
        """,
    ).split() == ["1", "22", "10038"]


def test_every_module_can_be_imported(folder):
    text = """
    import importlib, pkgutil, carboy
    for module in pkgutil.walk_packages(carboy.__path__, "carboy."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as exc:
                if exc.name != "ray":  # of the extra carboy[ray]
                    raise
            print(module.name)
    """
    names = program(folder, text).split()
    assert "carboy.serving.process.worker" in names
    assert len(names) > 200


# -------------------------------------------------------------------------------- commands


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--version"], carboy.__version__),
        (["--help"], "serve"),
        (["run", "--help"], "--reload"),
        (["serve", "--help"], "--workers"),
        (["routes"], "/double"),
        (["models"], "double"),
        (["openapi"], '"openapi": "3.'),
        (["postman"], '"item": ['),
        (["config"], "TRUSTED_HOSTS"),
        (["config", "--check"], "no problems"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_command_works(folder, arguments, shown):
    code, out, err = cli(folder, *arguments)
    assert (code, err) == (0, "")
    assert shown in out


def test_inputs_of_a_file_are_predicted(folder):
    (folder / "in.jsonl").write_text("1\n2\n", encoding="utf-8")
    assert cli(folder, "models", "predict", "double", "in.jsonl") == (0, "2.0\n4.0\n", "")


@pytest.mark.parametrize("part", ["page", "upload"])
def test_new_project_passes_its_own_tests(folder, part):
    assert cli(folder, "new", "shop", "--with", part)[0] == 0
    project = folder / "shop"
    assert cli(project, "config", "--check")[::2] == (0, "")
    assert cli(project, "secret", "new")[0] == 0
    assert "SECRET_KEY=" in (project / ".env").read_text(encoding="utf-8")
    # Plugins of pytest need what is hidden.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = run(project, *command, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert done.returncode == 0, done.stdout.decode("cp1252")


def test_uploads_are_stored_and_replaced(folder):
    text = """
    import io, pathlib
    from PIL import Image
    from carboy import Carboy, request, uploads

    app = Carboy("uploading")

    @app.post("/")
    def save():
        return uploads.save(request.files["file"], "store", keep="latest", owner="me").name

    app.add_url_rule("/store/<path:name>", "store", view_func=uploads.view("store"))
    data = io.BytesIO()
    Image.new("RGB", (9, 9)).save(data, "PNG")
    client = app.test_client()

    def upload():
        file = io.BytesIO(data.getvalue()), "a.png"
        return client.post("/", data={"file": file}).text

    first, second = upload(), upload()
    answer = client.get(f"/store/{second}")
    assert (answer.data, answer.mimetype) == (data.getvalue(), "image/png")
    assert client.get(f"/store/{first}").status_code == 404
    """
    program(folder, text)


def test_test_client_works(folder):
    text = """
    import io
    from app import app

    client = app.test_client()
    assert client.get("/").text == "Grüße"
    assert client.get("/wait").text == "waited"
    assert len(client.get("/static/big.bin").data) == 1_024_000
    assert client.post("/double", json=4).json == 8
    file = io.BytesIO(b"x" * 600_000)
    assert client.post("/upload", data={"file": (file, "a.bin")}).text == "600000"
    assert client.get("/name").text == "a.bin"
    """
    program(folder, text)


def test_log_file_is_rotated(folder):
    text = """
    from carboy import Carboy

    app = Carboy("logging")
    app.config.update(
        LOG_FILE="a.log", LOG_LEVEL="INFO", LOG_MAX_BYTES="1K", LOG_BACKUP_COUNT=9,
        LOG_FORMAT="%(message)s",
    )
    for i in range(1000):
        app.logger.info("%d", i)
    """
    program(folder, text)
    files = sorted(folder.glob("a.log*"), key=os.path.getmtime)
    assert len(files) == 4
    assert b"".join(file.read_bytes() for file in files) == b"".join(
        b"%d\n" % i for i in range(1000)
    )


# -------------------------------------------------------------------------------- servers


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["carboy", "run", "--debug", "--port", "PORT"], id="carboy run"),
        pytest.param(["python", "app.py", "PORT"], id="app.run"),
    ],
)
def test_development_server_works_and_restarts_on_a_change(folder, start, command):
    text = APP.replace("METHOD", "run(debug=True, port=int(__import__('sys').argv[1]))")
    write_app(folder, text=text)
    name, *arguments = command
    server = start(spawning.script(name), *arguments)
    use(server.url)
    write_app(folder, text=text.replace("Grüße", "Changed"))
    wait_until(lambda: has_changed(server.url))


def has_changed(url: str) -> bool:
    try:
        return get(url).text == "Changed"
    except requests.RequestException:  # the server may end in the middle of a response
        return False


@pytest.mark.parametrize(
    ("command", "how"),
    [
        pytest.param(["carboy", "serve", "--port", "PORT"], signal.SIGINT, id="carboy serve"),
        pytest.param(["python", "app.py", "PORT"], signal.SIGTERM, id="app.serve"),
    ],
)
def test_production_server_works_in_its_own_process(folder, start, command, how):
    write_app(folder, "serve(port=__import__('sys').argv[1])")
    name, *arguments = command
    server = start(spawning.script(name), *arguments, CARBOY_SERVE_DRAIN_S="0")
    use(server.url)
    assert "from this process" in server.output
    assert server.stop(how) == 0
    assert "Traceback" not in server.output
    assert "stopped" in server.output


def test_worker_processes_serve_on_macos(folder, start):
    server = start(
        spawning.script("carboy"), "serve", "--port", "PORT", "--workers", "2", ELSEWHERE="macos"
    )
    server.wait_until_it_prints("2 workers")
    use(server.url)
    assert server.stop() == 0
    assert "Traceback" not in server.output


def test_production_server_says_that_nobody_restarts_it(folder, start):
    server = start(spawning.script("carboy"), "serve", "--port", "PORT")
    (line,) = (line for line in server.output.splitlines() if "worker processes" in line)
    assert "WARNING" in line
    assert "this system has no worker processes" in line
    assert "WSL 2" in line


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--workers", "2", "this system has no worker processes: only 0 is possible"),
        ("--connections", "501", "this system can wait for 500"),
    ],
)
def test_what_the_system_cannot_do_is_refused_in_one_line(folder, option, value, reason):
    code, out, err = cli(folder, "serve", option, value)
    assert (code, out) == (2, "")
    assert [reason in line for line in err.splitlines() if line.startswith("Error")] == [True]


def test_port_in_use_is_an_error(folder):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        for command, expected in (("run", 1), ("serve", 2)):
            code, _, err = cli(folder, command, "--port", port)
            assert code == expected
            assert f"port {port} is in use by another program" in err
            assert "Traceback" not in err
