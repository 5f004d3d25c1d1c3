"""The app under mod_wsgi: Debian's Apache by the configuration that `carboy apache --mod-wsgi`
writes, and mod_wsgi-express of PyPI.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import typing as t
from concurrent.futures import ThreadPoolExecutor

import apacheserver
import deployedapp
import guides
import pytest
import spawning
import website
from polling import PATIENCE_S, wait_until

if t.TYPE_CHECKING:
    import collections.abc as cabc

LOADED = re.compile(r"Model 'digits': loaded by process (\d+) of mod_wsgi in")

# Requests whose response differs from that of `carboy serve`, and why.
_UNTYPED = {
    "no content": "Apache sends no Content-Type without a body",
    "DELETE": "Apache sends no Content-Type without a body",
    "logout": "Apache sends no Content-Type without a body",
}
_DAEMON = {
    **_UNTYPED,
    "stream that fails": "mod_wsgi ends the body as if it were complete",
}
_STATIC = dict.fromkeys(
    (
        *("static file", "HEAD of a static file", "part of a static file"),
        *("part outside of a static file", "static file that was not modified"),
        "static file that is missing",
    ),
    "Apache sends static files itself, and its own pages for 404 and 416",
)
KNOWN = {
    "daemon": {**_DAEMON, **_STATIC},
    "embedded": {**_UNTYPED, **_STATIC},
    "express": {
        **_DAEMON,
        "encoded slash in a path": "Apache refuses it with its own page",
        "chunked body": "refused with 411, unless the option --chunked-request is given",
    },
}


class Site(t.NamedTuple):
    """A running Apache, and the folder of its app."""

    program: spawning.Program
    project: pathlib.Path
    folder: pathlib.Path  # of Apache's own files

    @property
    def log(self) -> str:
        return apacheserver.errors(self.folder)

    def get(self, path: str) -> deployedapp.Answer:
        return deployedapp.ask(self.program.url, deployedapp.Asked(path, "GET", path))


@contextlib.contextmanager
def served_by_apache(
    project: pathlib.Path,
    *,
    edit: cabc.Callable[[str], str] = str,
    before: str = "",
    app: str | None = None,
) -> cabc.Iterator[Site]:
    """Run the app by Debian's Apache.

    Args:
        project: the folder of the app, which is copied.
        edit: changes the generated configuration, as a user does.
        before: further directives for the whole server.
        app: the text of another app.
    """
    apacheserver.needs_apache()
    carboy = apacheserver.debian_script("carboy")
    with website.shared_folder() as folder:
        copied = pathlib.Path(shutil.copytree(project, folder / "digits"))
        if app is not None:
            (copied / "app.py").write_text(app)
        port = spawning.free_port()
        options = ["app:app", "--mod-wsgi", "--listen", f"127.0.0.1:{port}"]
        subprocess.run([carboy, "apache", *options], cwd=copied, check=True, capture_output=True)
        file = copied / "deploy" / "apache.conf"
        file.write_text(edit(file.read_text()))
        own = folder / "apache"
        own.mkdir()
        program = apacheserver.start(own, file, port, before=before)
        try:
            yield Site(program, copied, own)
        finally:
            program.stop()


def without(text: str, *directives: str) -> str:
    """Return a configuration without the lines that begin with these directives."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not line.strip().startswith(directives))


def embedded(text: str) -> str:
    """Let the app run in Apache's own processes, as docs/howto/apache.md says."""
    return without(text, "WSGIDaemonProcess", "WSGIProcessGroup", "WSGIImportScript")


def in_subinterpreter(text: str) -> str:
    return without(text, "WSGIApplicationGroup", "WSGIImportScript")


def unexpected(
    own: dict[str, deployedapp.Answer],
    answers: dict[str, deployedapp.Answer],
    known: dict[str, str],
) -> dict[str, str]:
    """Return the differences that are not known, and the known ones that are gone. `Vary` does not
    count, to which Apache adds what it compresses by.
    """
    found = deployedapp.differences(_without_vary(own), _without_vary(answers))
    gone = {name: "no longer differs" for name in known if name not in found}
    return {name: text for name, text in found.items() if name not in known} | gone


def _without_vary(answers: dict[str, deployedapp.Answer]) -> dict[str, deployedapp.Answer]:
    return {
        name: answer._replace(headers={k: v for k, v in answer.headers.items() if k != "vary"})
        for name, answer in answers.items()
    }


@pytest.mark.parametrize("mode", ["daemon", "embedded"])
def test_app_answers_as_under_carboy_serve(project, reference, mode):
    edit, before = str, ""
    if mode == "embedded":
        home = pathlib.Path(apacheserver.debian_script("carboy")).parents[1]
        edit, before = embedded, f"WSGIPythonHome {home}"
    with served_by_apache(project, edit=edit, before=before) as site:
        answers = deployedapp.ask_all(site.program.url)
        found = unexpected(reference, answers, KNOWN[mode])
        assert found == {}, "\n".join(map(str, found.items()))
        assert '"digit":0' in answers["prediction of numbers"].body
        assert deployedapp.first_item_is_sent_alone(
            site.program.url, pathlib.Path(shared(site), "until")
        )
        loaded = LOADED.findall(site.log)
        assert len(loaded) == len(set(loaded)) > 0
        assert site.program.stop(signal.SIGWINCH) == 0  # what `apachectl graceful-stop` sends
        assert "still did not exit" not in site.log


def shared(site: Site) -> str:
    return os.fspath(site.project.parent)


def test_touched_file_restarts_the_processes_of_the_app(project):
    with served_by_apache(project) as site:
        before = site.get("/pid").body
        assert site.get("/pid").body == before
        os.utime(site.project / "digits.wsgi")
        wait_until(lambda: site.get("/pid").body not in {"", before})
        assert len(set(LOADED.findall(site.log))) <= 2


# ------------------------------------------------------------------------------- sub-interpreters


def test_model_in_a_subinterpreter_is_refused_and_the_directive_named(project):
    with served_by_apache(project, edit=in_subinterpreter) as site:
        assert site.get("/").status == 500
        wait_until(lambda: "sub-interpreter" in site.log)
        assert "Model 'digits': the server runs this app in a sub-interpreter" in site.log
        assert "Add 'WSGIApplicationGroup %{GLOBAL}' to Apache's configuration" in site.log


def test_numpy_in_a_subinterpreter_is_warned_of_and_requests_are_answered(project):
    app = (
        "import numpy\nfrom carboy import Carboy\napp = Carboy(__name__)\n"
        "app.add_url_rule('/', view_func=lambda: str(numpy.arange(3).sum()))\n"
    )
    with served_by_apache(project, edit=in_subinterpreter, app=app) as site:
        assert [site.get("/").body for _ in range(3)] == ["3"] * 3
        assert site.log.count("where numpy may hang or crash. Add 'WSGIApplicationGroup") == 1


# ------------------------------------------------------------------------------- mod_wsgi-express


@contextlib.contextmanager
def express(project: pathlib.Path, *options: str) -> cabc.Iterator[tuple[str, pathlib.Path]]:
    """Run the app by mod_wsgi-express, with the command of the usual Dockerfile; yield the URL, and
    the folder of the server.
    """
    command = apacheserver.debian_script("mod_wsgi-express")
    with website.shared_folder() as folder:
        copied = pathlib.Path(shutil.copytree(project, folder / "digits"))
        carboy = apacheserver.debian_script("carboy")
        subprocess.run([carboy, "wsgi", "app:app"], cwd=copied, check=True, capture_output=True)
        port, root = spawning.free_port(), folder / "server"
        subprocess.run(
            [
                *(command, "setup-server", "digits.wsgi", f"--port={port}", "--user", "www-data"),
                *("--group", "www-data", f"--server-root={root}", "--threads=4", "--processes=2"),
                *options,
            ],
            cwd=copied,
            check=True,
            capture_output=True,
        )
        program = spawning.start(
            [str(root / "apachectl"), "start", "-D", "FOREGROUND"],
            log=folder / "log",
            port=port,
            cwd=copied,
        )
        try:
            program.wait_until_it_listens()
            yield program.url, root
            subprocess.run([str(root / "apachectl"), "graceful-stop"], check=True)
            assert program.process.wait(PATIENCE_S) == 0
        finally:
            program.stop()


def test_mod_wsgi_express_answers_as_carboy_serve(project, reference):
    with express(project) as (url, root):
        answers = deployedapp.ask_all(url)
        found = unexpected(reference, answers, KNOWN["express"])
        assert found == {}, "\n".join(map(str, found.items()))

        def pids() -> set[str]:
            asked = deployedapp.Asked("pid", "GET", "/pid")
            with ThreadPoolExecutor(8) as threads:
                return {
                    each.body
                    for each in threads.map(lambda _: deployedapp.ask(url, asked), range(32))
                }

        wait_until(lambda: len(pids()) == 2)
        loaded = LOADED.findall((root / "error_log").read_text())
        assert len(loaded) == len(set(loaded)) > 0


def test_differences_are_documented():
    text = (guides.DOCS / "howto" / "mod-wsgi.md").read_text().replace("`", "")
    for reasons in KNOWN.values():
        for reason in reasons.values():
            assert reason in " ".join(text.split())


def test_how_to_works_as_written():
    scripts = os.path.dirname(apacheserver.debian_script("carboy"))
    with website.shared_folder() as folder:
        apacheserver.follow_guide("mod-wsgi.md", folder, scripts=scripts)
