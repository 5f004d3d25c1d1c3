from __future__ import annotations

import pathlib
import typing as t

import digits
import pytest
import showcase
import spawning

if t.TYPE_CHECKING:
    import collections.abc as cabc


@pytest.fixture(scope="session")
def digits_home() -> pathlib.Path:
    """The digits example with its model trained."""
    digits.train()
    return digits.HOME


@pytest.fixture(scope="session")
def digits_app(digits_home: pathlib.Path) -> t.Any:
    return digits.load("app").app


@pytest.fixture(scope="module")
def serve_digits(
    digits_home: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> cabc.Iterator[cabc.Callable[[str], spawning.Program]]:
    """Start the example by a command of carboy, once per module, because loading takes seconds."""
    running: dict[str, spawning.Program] = {}

    def start(command: str) -> spawning.Program:
        if command not in running:
            carboy, port = spawning.script("carboy"), spawning.free_port()
            running[command] = spawning.start(
                [carboy, "--app", digits_home / "app.py", command, "--port", str(port)],
                log=tmp_path_factory.mktemp("digits") / "log",
                port=port,
                cwd=digits_home,
                env=None,
            )
            running[command].wait_until_it_listens()
        return running[command]

    yield start
    for program in running.values():
        program.stop()


@pytest.fixture(scope="module")
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> cabc.Iterator[spawning.Program]:
    """The example that the module names in EXAMPLE, prepared and served as its README says."""
    name = request.module.EXAMPLE
    showcase.make(name)
    port = spawning.free_port()
    program = spawning.start(
        [spawning.script("carboy"), "--app", "app.py", "serve", "--port", str(port)],
        log=tmp_path_factory.mktemp(name) / "log",
        port=port,
        cwd=showcase.home(name),
        env={"CARBOY_SERVE_WORKERS": "1"},
    )
    program.wait_until_it_listens()
    yield program
    assert program.stop() == 0, program.output
    assert "Traceback" not in program.output, program.output
