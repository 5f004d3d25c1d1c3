"""The reloader of the development server, and what its child process reads again."""

from __future__ import annotations

import http.client
import os
import sys
import urllib.error
import urllib.request

import pytest
from tests.support import spawning
from tests.support.polling import wait_until

from carboy.project import reloading

APP = """\
import os
from carboy import Carboy

app = Carboy(__name__)
app.config.from_project()


@app.get("/")
def index():
    return " ".join([app.config["TITLE"], app.config["COLOUR"], os.environ.get("FLASK_ENV", "-")])


if __name__ == "__main__":
    app.run(debug=True, port={port})
"""


def answer(program):
    try:
        return read(program.url)
    except (OSError, http.client.HTTPException):
        return ""  # the reloader is restarting the server


def read(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return f"{exc.code} {exc.read().decode()}"


@pytest.fixture(params=["carboy run", "app.run()"])
def program(request, tmp_path, monkeypatch):
    for name in ("FLASK_ENV", "CARBOY_ENV", "FLASK_RUN_FROM_CLI"):
        monkeypatch.delenv(name, raising=False)
    port = spawning.free_port()
    (tmp_path / "app.py").write_text(APP.format(port=port))
    (tmp_path / ".env").write_text("CARBOY_TITLE=old\n")
    (tmp_path / "config.toml").write_text('COLOUR = "red"\n')
    command = [sys.executable, "app.py"]
    if request.param == "carboy run":
        command = [spawning.script("carboy"), "run", "--debug", "--port", str(port)]
    started = spawning.start(command, log=tmp_path / "log", port=port, cwd=tmp_path)
    try:
        wait_until(lambda: answer(started))
        yield started
    finally:
        started.stop()


def test_changes_of_configuration_files_reach_the_app(program, tmp_path):
    assert answer(program) == "old red production"
    (tmp_path / ".env").write_text("CARBOY_TITLE=new\nCARBOY_ENV=development\n")
    wait_until(lambda: answer(program) == "new red development", pause_s=0.05)
    (tmp_path / "config.toml").write_text('COLOUR = "green"\n')
    wait_until(lambda: answer(program) == "new green development", pause_s=0.05)


@pytest.mark.parametrize("program", ["carboy run"], indirect=True)
def test_changes_of_a_secret_file_reach_the_app(program, tmp_path):
    key = tmp_path / "key"
    key.write_text("the first secret key\n")
    (tmp_path / "app.py").write_text(
        (tmp_path / "app.py").read_text().replace('app.config["COLOUR"]', "app.secret_key")
    )
    (tmp_path / ".env").write_text("CARBOY_TITLE=old\nSECRET_KEY_FILE=key\n")
    wait_until(lambda: answer(program) == "old the first secret key production", pause_s=0.05)
    key.write_text("the second secret key\n")
    wait_until(lambda: answer(program) == "old the second secret key production", pause_s=0.05)


@pytest.mark.parametrize("program", ["carboy run"], indirect=True)
@pytest.mark.parametrize(
    ("name", "broken", "meanwhile", "repaired"),
    [
        ("config.toml", "COLOUR = \n", "500 ", 'COLOUR = "blue"\n'),
        (
            "config.toml",
            'COLOUR = "red"\nLOG_FILE = "/dev/null/x"\n',
            "old red production",
            'COLOUR = "blue"\n',
        ),
        (".env", 'CARBOY_TITLE="old\n', "500 ", "CARBOY_TITLE=old\nCARBOY_COLOUR=blue\n"),
    ],
)
def test_file_that_cannot_be_used_may_be_repaired(
    program, tmp_path, name, broken, meanwhile, repaired
):
    (tmp_path / name).write_text(broken)
    wait_until(lambda: answer(program).startswith(meanwhile), pause_s=0.05)
    (tmp_path / name).write_text(repaired)
    wait_until(lambda: answer(program) == "old blue production", pause_s=0.05)


def test_child_keeps_variables_that_were_not_set_from_files(monkeypatch):
    monkeypatch.setenv("MINE", "1")
    monkeypatch.setattr("carboy.project.dotenvfile._set_for_process", {"MINE": "0", "FILE_A": "2"})
    monkeypatch.setenv("FILE_A", "2")
    with reloading.variables_named_for_child():
        reloading.forget_inherited_variables()
        assert os.environ["MINE"] == "1"
        assert "FILE_A" not in os.environ
    monkeypatch.setenv("FILE_A", "3")
    reloading.forget_inherited_variables()
    assert os.environ["FILE_A"] == "3"


def test_child_forgets_the_copy_with_the_other_prefix(monkeypatch):
    monkeypatch.setattr("carboy.project.dotenvfile._set_for_process", {"CARBOY_TITLE": "a"})
    monkeypatch.setenv("CARBOY_TITLE", "a")
    with reloading.variables_named_for_child():
        monkeypatch.setenv("FLASK_TITLE", "a")
        reloading.forget_inherited_variables()
    assert not {"CARBOY_TITLE", "FLASK_TITLE"} & set(os.environ)
