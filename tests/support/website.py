"""A website: `carboy serve` behind a web server, whose configuration `carboy NAME` has written."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import ssl
import subprocess
import tempfile
import typing as t

import spawning
from authority import Authority

if t.TYPE_CHECKING:
    import collections.abc as cabc

    # Starts a web server with the generated file; gets a folder for its other files.
    Start = cabc.Callable[["Ports", pathlib.Path, pathlib.Path], spawning.Program]

MODULE = pathlib.Path(__file__).resolve().parents[1] / "deployed" / "webservers" / "shop.py"
# A name of the website, and one that is none.
HOST, OTHER_HOST = "shop.example", "evil.example"


class Ports(t.NamedTuple):
    """Ports of 127.0.0.1 on which a web server listens."""

    http: int
    https: int


class Website(t.NamedTuple):
    """A running website, and what its tests need to know of it."""

    folder: pathlib.Path  # the project's, in which `shop.py` has its files
    ports: Ports
    authority: Authority
    app: spawning.Program
    web_server: spawning.Program
    start_app: cabc.Callable[[], spawning.Program]  # again, after it has been stopped
    configuration: pathlib.Path
    upstream: str  # where the app is reached without the web server

    @property
    def url(self) -> str:
        """The URL without TLS."""
        return f"http://127.0.0.1:{self.ports.http}"

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority.cert)


@contextlib.contextmanager
def shared_folder() -> cabc.Iterator[pathlib.Path]:
    """A folder that users without rights may read, as whom web servers run that root has started.
    Its path is short enough for Unix sockets.
    """
    folder = pathlib.Path(tempfile.mkdtemp(prefix="carboy-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_project(original: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Copy the app with its trained model, add what concerns web servers, and static files."""
    project = pathlib.Path(shutil.copytree(original, folder / "shop"))
    shutil.copy(MODULE, project)
    files = {
        "pictures/dot.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>",
        "static/.env": "SECRET=1",
        "static/.git/config": "secret",
        "static/long.css": "p { color: teal }\n" * 200,
        "static/script.js": "let x = 'ä'\n",
        "static/with space.txt": "spaced",
        "static/sub/page.html": "<p>page</p>",
        "static-secret/key.txt": "secret",
    }
    for name, text in files.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(text)
    return project


def generate(
    name: str, project: pathlib.Path, *options: str, app: str = "shop:app"
) -> pathlib.Path:
    """Run `carboy NAME` in a project as a user does, and return the file that it has written."""
    done = subprocess.run(
        [spawning.script("carboy"), name, app, *options],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=spawning.START_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return project / done.stdout.partition(": created")[0]


def serve_app(project: pathlib.Path, bind: str) -> spawning.Program:
    program = spawning.start(
        [
            *(spawning.script("carboy"), "serve", "shop:app", "--bind", bind, "--proxy", "1"),
            *(("--socket-mode", "666") if bind.startswith("unix:") else ()),
            *("--workers", "1", "--grace", "5"),
        ],
        log=project / "app.log",
        port=0,
        cwd=project,
    )
    try:
        program.wait_until_it_prints("serving shop:app")
    except BaseException:
        program.stop()
        raise
    return program


@contextlib.contextmanager
def website(
    name: str, original: pathlib.Path, start: Start, *options: str, tls: bool = False
) -> cabc.Iterator[Website]:
    """Serve the app behind a web server: by HTTP, with the app on a Unix socket; or by HTTPS, with
    the app on a port.

    Args:
        name: the command of carboy that writes the configuration, such as "nginx".
        original: the folder of the app of tests/deployed/servers.
        start: starts the web server, and waits until it listens.
        options: further options of the command.
        tls: whether clients use HTTPS.
    """
    with shared_folder() as folder, contextlib.ExitStack() as stack:
        project = make_project(original, folder)
        authority = Authority(folder)
        issued = authority.issue("site", host=HOST)
        ports = Ports(spawning.free_port(), spawning.free_port())
        bind = f"127.0.0.1:{spawning.free_port()}" if tls else f"unix:{folder}/app.sock"
        configuration = generate(
            name,
            project,
            *("--upstream", bind, "--listen", f"127.0.0.1:{ports.http}"),
            *("--listen-tls", f"127.0.0.1:{ports.https}", *(issued.options if tls else ())),
            *("--server-name", HOST, "--server-name", "127.0.0.1", *options),
        )

        def start_app() -> spawning.Program:
            program = serve_app(project, bind)
            stack.callback(program.stop)
            return program

        direct = f"http://{bind}" if tls else bind
        app = start_app()
        own = folder / name
        own.mkdir()
        web_server = start(ports, own, configuration)
        stack.callback(web_server.stop)
        yield Website(project, ports, authority, app, web_server, start_app, configuration, direct)
