"""`carboy new`: what it writes, what it refuses, and that a failure leaves nothing behind."""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import subprocess
import sys
import threading

import pytest
import requests
from click.testing import CliRunner

from carboy.cli import cli
from carboy.errors import StarterError
from carboy.starter import PARTS
from carboy.starter.creation import create_project

EVERYTHING = [word for part in PARTS for word in ("--with", part)]
# Each pytest of a project starts without the plugins of carboy's own tests.
QUICK = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def new(*arguments):
    return CliRunner().invoke(cli, ["new", *arguments])


def entries():
    return sorted(os.listdir())


def run(*command, cwd, check=True, **env):
    return subprocess.run(
        [os.fspath(word) for word in command],
        cwd=cwd,
        env={**os.environ, **QUICK, **env},
        capture_output=True,
        text=True,
        check=check,
    )


# ------------------------------------------------------------------------------- what is written


def test_project_is_created_with_the_permissions_of_any_new_folder():
    os.mkdir("ordinary")
    result = new("shop")
    assert result.exit_code == 0, result.output
    assert "cd shop" in result.output
    assert "carboy run --debug" in result.output
    assert entries() == ["ordinary", "shop"]
    assert os.stat("shop").st_mode == os.stat("ordinary").st_mode


@pytest.mark.parametrize("given", [[], ["--with", "page"]], ids=["nothing", "page"])
def test_page_is_the_default(given):
    assert new("shop", *given).exit_code == 0
    assert "Greet me" in pathlib.Path("shop/templates/index.html").read_text()


def test_order_and_repetition_of_parts_make_no_difference():
    new("one", "--with", "api", "--with", "model")
    new("two", "--with", "model", "--with", "api", "--with", "model")
    one, two = (pathlib.Path(name, "app.py").read_text().lower() for name in ("one", "two"))
    assert one.replace("one,", "two,") == two


# ------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["json"], "standard library", id="bad name"),
        pytest.param(["my shop"], "a space", id="space"),
        pytest.param(["x" * 300], "300 characters", id="long name"),
        pytest.param([], "Missing argument 'NAME'", id="no name"),
        pytest.param(["shop", "--with", "database"], "'database' is not one of", id="other part"),
    ],
)
def test_wrong_command_line_is_a_usage_error_and_writes_nothing(arguments, words):
    result = new(*arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert entries() == []


def make_folder():
    os.mkdir("shop")


def make_full_folder():
    os.mkdir("shop")
    pathlib.Path("shop/app.py").write_text("mine")


def make_file():
    pathlib.Path("shop").write_text("mine")


def make_dangling_link():
    os.symlink("absent", "shop")


@pytest.mark.parametrize("make", [make_folder, make_full_folder, make_file, make_dangling_link])
def test_what_exists_is_refused_and_left_as_it_is(make):
    make()
    before = {path: os.lstat(path).st_mtime_ns for path in pathlib.Path().rglob("*")}
    result = new("shop")
    assert result.exit_code == 2
    assert "'shop' here already" in result.output
    assert {path: os.lstat(path).st_mtime_ns for path in pathlib.Path().rglob("*")} == before


def test_of_several_at_the_same_time_one_creates_the_project():
    start = threading.Barrier(4)

    def create(_):
        start.wait()
        try:
            return create_project(os.getcwd(), "shop", ["page"])
        except StarterError:
            return None

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        done = list(pool.map(create, range(4)))
    (files,) = filter(None, done)
    assert entries() == ["shop"]
    found = [path for path in pathlib.Path("shop").rglob("*") if path.is_file()]
    assert sorted(path.relative_to("shop").as_posix() for path in found) == files


@pytest.mark.integration
def test_file_that_cannot_be_written_leaves_nothing_behind(tmp_path, carboy_command):
    """The limit of the size of files, in blocks of 1 KiB, stands for a full disk."""
    done = run(
        "bash", "-c", f"ulimit -f 100; exec {carboy_command} new shop", cwd=tmp_path, check=False
    )
    assert done.returncode == 1
    assert "'shop' cannot be created: File too large" in done.stderr
    assert entries() == []


# ------------------------------------------------------------------------------ it works at once


@pytest.mark.integration
@pytest.mark.parametrize(
    "given",
    [[], *(["--with", part] for part in PARTS if part != "page"), EVERYTHING],
    ids=["page", *(part for part in PARTS if part != "page"), "everything"],
)
def test_new_project_passes_its_own_tests(given, tmp_path):
    assert new("shop", *given).exit_code == 0
    pytest_ = (sys.executable, "-m", "pytest", "-q", "-W", "error")
    done = run(*pytest_, cwd=tmp_path / "shop", check=False)
    assert done.returncode == 0, done.stdout
    assert "warning" not in done.stdout


@pytest.mark.integration
@pytest.mark.parametrize("environment", ["development", "production", "testing"])
def test_configuration_of_a_new_project_has_no_problems(environment, tmp_path, carboy_command):
    assert new("shop", *EVERYTHING).exit_code == 0
    check = (carboy_command, "config", "--check")
    done = run(*check, cwd=tmp_path / "shop", CARBOY_ENV=environment)
    assert "no problems" in done.stdout


@pytest.fixture
def clean_environment(tmp_path):
    """Create virtual environments that have the libraries of the tests, but not carboy."""

    def create(name):
        folder = tmp_path / name
        run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=tmp_path)
        (site,) = folder.glob("lib/python*/site-packages")
        libraries = pathlib.Path(pytest.__file__).parents[1]
        (site / "libraries.pth").write_text(f"{libraries}\n")
        return folder / "bin"

    return create


def pip_install(binaries, *arguments, cwd):
    pip = [sys.executable, "-m", "pip", "--python", binaries / "python", "install", "-qq"]
    run(*pip, "--no-deps", "--no-index", *arguments, cwd=cwd)


@pytest.mark.integration
@pytest.mark.timeout(180)
def test_project_of_an_installed_carboy_installs_and_runs_in_a_clean_environment(
    tmp_path, clean_environment, spawn
):
    assert new("first", *EVERYTHING).exit_code == 0
    (wheel,) = (tmp_path / "first" / "wheels").iterdir()
    one = clean_environment("one")
    pip_install(one, wheel, cwd=tmp_path)
    run(one / "carboy", "new", "second", *EVERYTHING, cwd=tmp_path)

    (packed_again,) = (tmp_path / "second" / "wheels").iterdir()
    assert packed_again.read_bytes() == wheel.read_bytes()

    project, two = tmp_path / "second", clean_environment("two")
    pip_install(two, "-r", "requirements.txt", cwd=project)
    where = run(two / "python", "-c", "import carboy; print(carboy.__file__)", cwd=project)
    assert where.stdout.startswith(os.fspath(two.parent))
    assert run(two / "python", "-m", "pytest", "-q", cwd=project).returncode == 0
    for command in ("run", "serve"):
        server = spawn(two / "carboy", command, "--port", "{port}", cwd=project)
        assert "Hello, world!" in requests.get(server.url, timeout=10).text
        server.stop()
