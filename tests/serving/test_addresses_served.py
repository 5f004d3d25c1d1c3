"""Addresses of a real `carboy serve`: Unix sockets, several addresses, sockets of systemd."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
import spawning
from polling import PATIENCE_S, wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="Windows has no Unix sockets"),
]

APP = """
import os
from carboy import Carboy, request

app = Carboy(__name__)

@app.get("/")
def index():
    return "hello"

@app.get("/environ")
def environ():
    names = ["REMOTE_ADDR", "SERVER_NAME", "SERVER_PORT", "wsgi.url_scheme"]
    return {**{name: request.environ[name] for name in names}, "url": request.base_url}

@app.get("/pid")
def pid():
    return str(os.getpid())

@app.get("/listen")
def listen():
    return " ".join(name for name in os.environ if name.startswith("LISTEN_"))
"""


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: object) -> None:
        super().__init__("localhost", timeout=PATIENCE_S)
        self.path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(self.path)


def get(address: pathlib.Path | int, path: str = "/", **headers: str) -> str:
    """Ask a Unix socket, or a port of 127.0.0.1, on a connection of its own."""
    if isinstance(address, int):
        connection = http.client.HTTPConnection("127.0.0.1", address, timeout=PATIENCE_S)
    else:
        connection = UnixConnection(address)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Connection": "close", **sent})
        return connection.getresponse().read().decode()


@pytest.fixture
def serve(tmp_path):
    """Starts servers in a folder, and stops them."""
    (tmp_path / "shop.py").write_text(APP)
    started: list[spawning.Program] = []

    def run(
        *options: str, ready: bool = True, launcher: t.Sequence[str] = (), **more: t.Any
    ) -> t.Any:
        program = spawning.start(
            [*launcher, spawning.script("carboy"), "serve", "shop:app", *options],
            log=tmp_path / f"log-{len(started)}",
            port=0,
            cwd=tmp_path,
            **more,
        )
        started.append(program)
        if ready:
            program.wait_until_it_prints("serving shop:app")
        return program

    yield run
    for program in started:
        program.stop()


def refused(folder: pathlib.Path, *options: str, **environ: str) -> str:
    """What a server says that must not start."""
    done = subprocess.run(
        [spawning.script("carboy"), "serve", "shop:app", *options],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=spawning.START_S,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "loading" not in done.stderr  # it was refused before the app was loaded
    return " ".join(done.stderr.split())


# -------------------------------------------------------------------------------- Unix sockets


def test_unix_socket_is_served_with_its_permissions_and_removed_at_the_end(serve, tmp_path):
    path = tmp_path / "app.sock"
    program = serve("--bind", f"unix:{path}", "--workers", "1")
    assert f"serving shop:app on unix:{path}: 1 worker" in program.output
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert json.loads(get(path, "/environ")) == {
        "REMOTE_ADDR": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "url": "http://localhost/environ",
    }
    assert program.stop() == 0
    assert not path.exists()


def test_permissions_of_a_unix_socket_are_a_setting(serve, tmp_path):
    serve("--bind", "unix:app.sock", "--socket-mode", "606", "--workers", "1")
    assert stat.S_IMODE((tmp_path / "app.sock").stat().st_mode) == 0o606


def test_all_addresses_are_served_by_all_workers(serve, tmp_path):
    port, path = spawning.free_port(), tmp_path / "app.sock"
    program = serve(
        *("--bind", f"127.0.0.1:{port}", "--bind", f"unix:{path}", "--bind", "[::1]:0"),
        *("--workers", "2"),
    )
    assert f"on http://127.0.0.1:{port}, unix:{path}, http://[::1]:" in program.output

    def pids(address: pathlib.Path | int) -> set[str]:
        with ThreadPoolExecutor(8) as threads:
            return set(threads.map(lambda _: get(address, "/pid"), range(32)))

    for address in (port, path):
        found: set[str] = set()
        wait_until(lambda: found.update(pids(address)) or len(found) == 2)  # noqa: B023


def test_app_serve_takes_several_addresses_without_workers(tmp_path):
    port, path = spawning.free_port(), tmp_path / "app.sock"
    text = f"{APP}\napp.serve(bind=['127.0.0.1:{port}', 'unix:{path}'], workers=0)\n"
    (tmp_path / "alone.py").write_text(text)
    program = spawning.start(
        [sys.executable, "alone.py"], log=tmp_path / "log", port=port, cwd=tmp_path
    )
    try:
        program.wait_until_it_prints("serving alone on ")
        assert get(port) == get(path) == "hello"
        assert program.stop() == 0
    finally:
        program.stop()
    assert not path.exists()


def test_stale_socket_of_a_killed_server_is_replaced(serve, tmp_path):
    path = tmp_path / "app.sock"
    first = serve("--bind", f"unix:{path}", "--workers", "1")
    first.stop(signal.SIGKILL)
    assert path.exists()
    serve("--bind", f"unix:{path}", "--workers", "1")
    assert get(path) == "hello"


def test_path_of_a_living_server_is_refused_and_left_alone(serve, tmp_path):
    path = tmp_path / "app.sock"
    serve("--bind", f"unix:{path}", "--workers", "1")
    text = refused(tmp_path, "--bind", f"unix:{path}")
    assert f"Cannot listen on unix:{path}: another server listens on it." in text
    assert get(path) == "hello"


def test_of_servers_that_start_at_once_one_gets_the_socket(serve, tmp_path):
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    programs = [serve("--bind", f"unix:{path}", "--workers", "1", ready=False) for _ in range(4)]
    wait_until(lambda: sum(each.process.poll() is None for each in programs) == 1)
    (winner,) = (each for each in programs if each.process.poll() is None)
    winner.wait_until_it_prints("serving shop:app")
    assert get(path) == "hello"
    assert [each.process.returncode for each in programs if each is not winner] == [2, 2, 2]


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_file_that_is_no_socket_is_refused_and_left_alone(serve, tmp_path, kind):
    path = tmp_path / "app.sock"
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "shop.py")
    assert "there is a file that is not a socket" in refused(tmp_path, "--bind", f"unix:{path}")
    assert path.exists()


def test_server_leaves_a_socket_alone_that_has_replaced_its_own(serve, tmp_path):
    path = tmp_path / "app.sock"
    program = serve("--bind", f"unix:{path}", "--workers", "1")
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        assert program.stop() == 0
        assert path.exists()


def test_requests_through_a_unix_socket_survive_reload_and_stop(serve, tmp_path):
    path = tmp_path / "app.sock"
    program = serve("--bind", f"unix:{path}", "--workers", "2", "--drain", "0.5")
    first = get(path, "/pid")

    def ask() -> int:
        count = 0
        while True:
            with contextlib.closing(UnixConnection(path)) as client:
                try:
                    client.connect()
                except (FileNotFoundError, ConnectionRefusedError):  # the server has stopped
                    return count
                client.request("GET", "/")
                assert client.getresponse().read() == b"hello"
            count += 1

    with ThreadPoolExecutor(3) as threads:
        counts = [threads.submit(ask) for _ in range(3)]
        try:
            program.process.send_signal(signal.SIGHUP)
            program.wait_until_it_prints("reloaded")
            wait_until(lambda: get(path, "/pid") != first)
        finally:
            assert program.stop() == 0
        assert min(count.result(PATIENCE_S) for count in counts) > 0


def test_proxy_that_connects_to_a_unix_socket_is_trusted(serve, tmp_path):
    path = tmp_path / "app.sock"
    for proxy in ("1", "10.0.0.1"):
        program = serve("--bind", f"unix:{path}", "--workers", "1", "--proxy", proxy)
        sent = {"X_Forwarded_For": "192.0.2.7", "X_Forwarded_Proto": "https"}
        seen = json.loads(get(path, "/environ", **sent))
        assert (seen["REMOTE_ADDR"], seen["wsgi.url_scheme"]) == ("192.0.2.7", "https")
        program.stop()


def test_access_log_has_a_dash_for_the_client_of_a_unix_socket(serve, tmp_path):
    path = tmp_path / "app.sock"
    program = serve("--bind", f"unix:{path}", "--workers", "1", "--access-log", "text")
    get(path)
    program.wait_until_it_prints("- - - [")
    program.wait_until_it_prints('"GET / HTTP/1.1" 200 5')


NGINX = """
daemon off; pid nginx.pid; error_log stderr; events {{}}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    upstream shop {{ server unix:{path}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://shop;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
}}
"""


def test_nginx_reaches_the_server_by_a_unix_socket(serve, tmp_path):
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("no nginx: `make test` as root installs it by apt")
    path, port = tmp_path / "app.sock", spawning.free_port()
    # nginx started by root runs as another user, so that everybody must be allowed to connect, and
    # to pass through the folders.
    options = ("--socket-mode", "666", "--workers", "1", "--proxy", "1")
    short = pathlib.Path(f"/tmp/carboy-{os.getpid()}.sock")
    serve("--bind", f"unix:{short}", *options)
    (tmp_path / "nginx.conf").write_text(NGINX.format(path=short, port=port))
    proxy = spawning.start(
        [nginx, "-p", str(tmp_path), "-c", "nginx.conf", "-e", "stderr"],
        log=tmp_path / "nginx.log",
        port=port,
        cwd=tmp_path,
    )
    try:
        proxy.wait_until_it_listens()
        assert not path.exists()
        seen = json.loads(get(port, "/environ"))
        assert seen["REMOTE_ADDR"] == "127.0.0.1"
        assert seen["url"] == f"http://127.0.0.1:{port}/environ"
        assert {get(port) for _ in range(20)} == {"hello"}
    finally:
        proxy.stop()


# ----------------------------------------------------------------------- addresses that are wrong


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param(["unix:/" + "x" * 200], "has 201 bytes, but the system allows", id="too long"),
        pytest.param(["unix:none/app.sock"], "there is no folder", id="no folder"),
        pytest.param(["unix:shop.py/app.sock"], "is not a folder", id="file as a folder"),
        pytest.param(["unix:/proc/app.sock"], "Cannot listen on unix:/proc/app.sock:", id="proc"),
        pytest.param(["unix:a.sock", "unix:a.sock"], "a.sock is named twice", id="twice"),
        pytest.param(["192.0.2.1:0"], "this machine does not have that address", id="foreign"),
        pytest.param(["nobody.invalid:80"], "'nobody.invalid:80' (", id="unknown host"),
    ],
)
def test_unusable_address_is_refused_before_the_app_is_loaded(serve, tmp_path, options, words):
    assert words in refused(tmp_path, *(part for each in options for part in ("--bind", each)))


def test_addresses_that_include_each_other_are_refused(serve, tmp_path):
    port = spawning.free_port()
    for both in ((f"0.0.0.0:{port}", f"127.0.0.1:{port}"), (f"[::]:{port}", f"0.0.0.0:{port}")):
        text = refused(tmp_path, "--bind", both[0], "--bind", both[1])
        assert f"Cannot listen on http://{both[1]}: http://{both[0]}, on which the server" in text


def test_port_of_a_server_that_still_loads_its_app_is_refused(serve, tmp_path):
    (tmp_path / "slow.py").write_text("import time\nwhile True: time.sleep(0.1)")
    port = spawning.free_port()
    options = ("--port", str(port), "--workers", "1")
    program = spawning.start(
        [spawning.script("carboy"), "serve", "slow:app", *options],
        log=tmp_path / "slow.log",
        port=port,
        cwd=tmp_path,
    )
    try:
        program.wait_until_it_prints("loading slow:app")
        assert f"port {port} is in use by another program" in refused(tmp_path, *options)
    finally:
        program.stop()


def test_no_unix_socket_is_left_if_another_address_cannot_be_used(serve, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        text = refused(tmp_path, "--bind", "unix:app.sock", "--bind", f"127.0.0.1:{port}")
    assert f"port {port} is in use by another program" in text
    assert not (tmp_path / "app.sock").exists()


def test_certificate_without_a_port_is_refused(serve, tmp_path):
    from authority import Authority

    issued = Authority(tmp_path).issue("server")
    text = refused(tmp_path, "--bind", "unix:app.sock", *issued.options)
    assert "'tls_cert' has no effect, because all addresses are Unix sockets" in text
    assert "key without" not in text


def test_certificate_without_its_key_is_refused(serve, tmp_path):
    from authority import Authority

    issued = Authority(tmp_path).issue("server")
    assert "has no private key" in refused(tmp_path, "--tls-cert", str(issued.cert))


# ------------------------------------------------------------------------- sockets of systemd

# Does what systemd does before it starts a service: the sockets become 3, 4, ...
LAUNCHER = """
import os, sys
fds = [int(fd) for fd in sys.argv[1].split(",")]
kept = [os.dup(fd) for fd in fds]
for index, fd in enumerate(kept):
    os.dup2(fd, 30 + index)
for index in range(len(fds)):
    os.dup2(30 + index, 3 + index)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=sys.argv[2])
os.execv(sys.argv[3], sys.argv[3:])
"""


def launcher(sockets: t.Sequence[socket.socket], names: str = "") -> dict[str, t.Any]:
    """The arguments of `serve` for a start by systemd with these sockets."""
    fds = [sock.fileno() for sock in sockets]
    command = [sys.executable, "-c", LAUNCHER, ",".join(map(str, fds)), names]
    for sock in sockets:
        os.set_inheritable(sock.fileno(), True)
    return {"launcher": command, "pass_fds": fds}


def test_sockets_of_systemd_are_served_and_stay_open_without_the_server(serve, tmp_path):
    path = tmp_path / "systemd.sock"
    with socket.socket(socket.AF_UNIX) as unix, socket.create_server(("127.0.0.1", 0)) as tcp:
        unix.bind(str(path))
        unix.listen()
        port = tcp.getsockname()[1]
        started = launcher([tcp, unix], "web:local")
        program = serve("--workers", "2", **started)
        assert f"on http://127.0.0.1:{port}, unix:{path}: 2 workers" in program.output
        assert get(port) == get(path) == "hello"
        assert get(port, "/listen") == ""  # the variables are not meant for workers
        program.stop()
        assert path.exists()
        # A client that comes while no server runs waits for the next one.
        with ThreadPoolExecutor(2) as threads:
            waiting = [threads.submit(get, address) for address in (port, path)]
            serve("--workers", "1", "--bind", "127.0.0.1:0", **launcher([tcp, unix]))
            assert [each.result(PATIENCE_S) for each in waiting] == ["hello", "hello"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract sockets")
def test_abstract_socket_of_systemd_is_served(serve):
    """`ListenStream=@name`."""
    name = f"carboy-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"\0{name}")
        unix.listen()
        program = serve("--workers", "1", **launcher([unix]))
        assert f"on unix:@{name}: 1 worker" in program.output
        assert get(pathlib.Path(f"\0{name}")) == "hello"


@pytest.fixture
def nobody():
    """Listens, but accepts no client."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(
            lambda nobody: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
            "(web) that systemd has passed is a socket of another kind",
            id="datagrams",
        ),
        pytest.param(
            lambda nobody: socket.create_connection(nobody.getsockname()),
            "(web) that systemd has passed is the connection of one client. In the .socket unit,"
            " set Accept=no.",
            id="Accept=yes",
        ),
        pytest.param(lambda nobody: open(os.devnull), "is not a socket", id="file"),  # noqa: SIM115
    ],
)
def test_passed_descriptor_that_is_no_listening_socket_is_refused(serve, nobody, make, words):
    with make(nobody) as passed:
        program = serve(ready=False, **launcher([passed], "web"))
        assert program.process.wait(spawning.START_S) == 2
    assert words in " ".join(program.output.split())


def test_variables_for_another_process_are_ignored(serve):
    port = spawning.free_port()
    program = serve(
        *("--port", str(port), "--workers", "1"),
        env={"LISTEN_PID": "1", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "a:b:c"},
    )
    assert f"on http://127.0.0.1:{port}: " in program.output
    assert get(port, "/listen") == ""
    assert textwrap.dedent(program.output).count("Traceback") == 0
