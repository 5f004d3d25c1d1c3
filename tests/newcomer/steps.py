"""What a new user does, in this order. The commands are read from README.md and the tutorial."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import typing as t
import urllib.request

import guides
import machine
import spawning

import bootstrap
import wheel

if t.TYPE_CHECKING:
    import collections.abc as cabc

README = bootstrap.ROOT / "README.md"
TUTORIAL = bootstrap.ROOT / "docs" / "tutorial.md"
# In the folder of the user.
CLONE = "carboy"
# Runs the blocks of the tutorial, with the interpreter that it has installed carboy for.
FOLLOW = """\
import pathlib, sys
sys.path.insert(0, "../carboy/tests/support")
import guides
sys.ps1 = ">>> "  # the reader works at a prompt
reader = guides.Reader(pathlib.Path("../carboy/docs/tutorial.md"), pathlib.Path.cwd())
reader.names = globals()
try:
    reader.follow()
finally:
    reader.close()
"""
# The first tests of `make test` that a user sees, in the order of the stages.
FIRST_TESTS = "tests/test_app.py tests/test_import.py tests/starter"


@dataclasses.dataclass(frozen=True)
class Step:
    name: str
    take: cabc.Callable[[machine.Machine], None]


def clone(fresh: machine.Machine) -> None:
    bundle = fresh.home / "carboy.bundle"
    bootstrap.run("git", "-C", bootstrap.ROOT, "bundle", "create", "-q", bundle, "HEAD", quiet=True)
    # A bundle of HEAD has no branch; the clone is of its commit.
    fresh.run(f"git clone -q carboy.bundle {CLONE}")


def make_run(fresh: machine.Machine) -> None:
    """Install, train, serve the page on which to draw a digit, and press Control+C."""
    command = commands(README, "make run")[0]
    port = spawning.free_port()
    server = fresh.start(f"{command} PORT={port}", port, CLONE)
    try:
        server.wait_until_it_prints(f"serving examples/digits/app.py on {server.url}", 1200)
        wheel.fetch_page(server.url + "/")
        wheel.fetch_page(server.url + "/digits")
        wheel.fetch_page(server.url + "/docs")
        assert predicted(server.url + "/digits")["digit"] in range(10)
        machine.press_control_c(server)
        assert server.output.rstrip().endswith("stopped"), server.output
        assert "Traceback" not in server.output, server.output
        assert "Warning" not in server.output, server.output
    finally:
        server.stop()


def install(fresh: machine.Machine) -> None:
    """Build the wheel and install it into an empty environment, as the README says."""
    lines = commands(README, "python3 -m venv")
    fresh.run("\n".join(["set -e", *lines]).replace("python3", fresh.python), CLONE)
    # Nothing of the source tree is needed.
    printed = fresh.run("venv/bin/carboy --version && venv/bin/pip check")
    assert "No broken requirements" in printed, printed


def run_by_pipx(fresh: machine.Machine) -> None:
    """Create a project without installing carboy."""
    (command,) = commands(README, "pipx run")
    fresh.run(command, CLONE)
    fresh.run("mv shop ../shop", CLONE)


def new_project(fresh: machine.Machine) -> None:
    """Install the new project, run its tests, and see its page."""
    fresh.run(f"{fresh.python} -m venv .venv", "shop")
    fresh.run(". .venv/bin/activate && pip install -r requirements-dev.txt", "shop")
    printed = fresh.run(". .venv/bin/activate && python -m pytest -q", "shop")
    assert re.search(r"^\d+ passed in", printed, re.MULTILINE), printed
    port = spawning.free_port()
    server = fresh.start(f".venv/bin/carboy run --debug --port {port}", port, "shop")
    try:
        server.wait_until_it_listens(120)
        wheel.fetch_page(server.url + "/")
    finally:
        server.stop()


def deployment_files(fresh: machine.Machine) -> None:
    """Write the files of a container, and ask whether the project is ready for production."""
    fresh.run(".venv/bin/carboy docker", "shop")
    assert (fresh.home / "shop" / "Dockerfile").is_file()
    assert (fresh.home / "shop" / "compose.yaml").is_file()
    fresh.run(".venv/bin/carboy check --deploy || test $? = 1", "shop")


def tutorial(fresh: machine.Machine) -> None:
    """A model of one's own: all of the tutorial."""
    (fresh.home / "follow.py").write_text(FOLLOW)
    fresh.run("mkdir models")
    lines = commands(TUTORIAL, "python3 -m venv")
    fresh.run("\n".join(["set -e", *lines]).replace("python3", fresh.python), "models")
    fresh.run(". .venv/bin/activate && python ../follow.py", "models")


def first_tests(fresh: machine.Machine) -> None:
    fresh.run("make check", CLONE)
    printed = fresh.run(f'make unit ARGS="{FIRST_TESTS}"', CLONE)
    assert re.search(r" passed.* in ", printed), printed


PAGE = Step("make run: install, train, serve the page", make_run)
STEPS = (
    Step("git clone", clone),
    PAGE,
    Step("build and install the wheel", install),
    Step("the tutorial, from a model to its tests", tutorial),
    Step("pipx run carboy new", run_by_pipx),
    Step("install, test and run the new project", new_project),
    Step("carboy docker, carboy check", deployment_files),
)
TESTS = (Step("make check, the first tests", first_tests),)


def commands(page: pathlib.Path, start: str) -> list[str]:
    """Return the commands of the block of a page that begins so, without their comments."""
    for block in guides.blocks(page):
        if block.text.startswith(start):
            return [re.split(r"\s{2,}#", line)[0] for line in block.text.splitlines()]
    raise AssertionError(f"{page.name} has no block that begins with {start!r}")


def predicted(url: str) -> dict[str, t.Any]:
    body = json.dumps([0.0, 8.0, 16.0, 0.0] * 16).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return t.cast("dict[str, t.Any]", json.load(answer))
