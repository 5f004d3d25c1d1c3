"""What the judges visit: the examples, and a project of `carboy new` behind nginx."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import typing as t

import environments
import nginxserver
import showcase
import spawning
import website
from authority import Authority

if t.TYPE_CHECKING:
    import collections.abc as cabc

EXAMPLES = sorted(path.parent.name for path in showcase.EXAMPLES.glob("*/app.py"))
# The pages that their READMEs send visitors to, where the first one is none.
START_PAGES = {"flowers": "docs"}
# Of the flowers example, for tests.
API_KEY = "a-key-for-tests"
HOST = "localhost"
# The HTTP Observatory knows these ports only.
_PORTS = website.Ports(80, 443)
_ENV = {
    "FLOWERS_KEY": API_KEY,
    "SECRET_KEY": "a key for the judges, which protects nothing",
    # Its file would be that of a server on the same port of the machine's own network.
    "CARBOY_SERVE_CONTROL": "off",
}


@contextlib.contextmanager
def example(
    name: str, folder: pathlib.Path, env: cabc.Mapping[str, str] | None = None
) -> cabc.Iterator[spawning.Program]:
    """Serve a copy of an example: what clients upload would stay in its folder."""
    home = shutil.copytree(showcase.home(name), folder / name)
    with _served(home, "app.py", spawning.free_port(), env=env) as program:
        yield program


def tracebacks(log: str) -> list[str]:
    """Return what the log of an app says of the first error that nobody has handled."""
    _, found, rest = log.partition("Traceback")
    return [f"the log has a traceback:\n{found}{rest[:4000]}"] if found else []


class Site(t.NamedTuple):
    """A running website, and the authority that browsers must trust."""

    app: spawning.Program
    authority: Authority


@contextlib.contextmanager
def new_project_behind_nginx() -> cabc.Iterator[Site]:
    """Serve what `carboy new` writes, with all its parts, behind what `carboy nginx` writes."""
    with website.shared_folder() as folder:
        parts = [word for part in ("page", "api", "model", "upload") for word in ("--with", part)]
        _carboy(folder, "new", "shop", *parts)
        authority = Authority(folder)
        issued = authority.issue("site", host=HOST)
        port = spawning.free_port()
        addresses = (
            *("--upstream", f"127.0.0.1:{port}", "--listen", f"127.0.0.1:{_PORTS.http}"),
            *("--listen-tls", f"127.0.0.1:{_PORTS.https}", "--server-name", HOST),
        )
        _carboy(folder / "shop", "nginx", "app:app", *addresses, *issued.options)
        with _served(folder / "shop", "app:app", port, "--proxy", "1") as app:
            own = folder / "nginx"
            own.mkdir()
            nginx = nginxserver.start(_PORTS, own, folder / "shop" / "deploy" / "nginx.conf")
            try:
                yield Site(app, authority)
            finally:
                nginx.stop()


@contextlib.contextmanager
def _served(
    home: pathlib.Path,
    app: str,
    port: int,
    *options: str,
    env: cabc.Mapping[str, str] | None = None,
) -> cabc.Iterator[spawning.Program]:
    """Serve an app by one worker, which flowers needs: it keeps its records in memory."""
    program = spawning.start(
        [spawning.script("carboy"), "serve", app, "--port", str(port), "--workers", "1", *options],
        log=home.parent / f"{home.name}.log",
        port=port,
        cwd=home,
        env={**_ENV, **(env or {})},
    )
    try:
        program.wait_until_it_prints("serving app")
        yield program
    finally:
        program.stop()


def _carboy(folder: pathlib.Path, *arguments: str) -> None:
    done = environments.run([spawning.script("carboy"), *arguments], cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
