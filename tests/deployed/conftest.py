"""The app that other programs run or front, and what `carboy serve` answers for it."""

from __future__ import annotations

import typing as t

import deployedapp
import pytest
import spawning

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import pathlib


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of the app `app:app`, with its trained model. Tests must not write to it."""
    return deployedapp.make_project(tmp_path_factory.mktemp("deployed") / "digits")


@pytest.fixture(scope="session")
def served(
    project: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> cabc.Iterator[spawning.Program]:
    """`carboy serve`, with one worker."""
    port = spawning.free_port()
    program = spawning.start(
        [spawning.script("carboy"), "serve", "app:app", "--port", str(port), "--workers", "1"],
        log=tmp_path_factory.mktemp("carboy-serve") / "log",
        port=port,
        cwd=project,
    )
    try:
        program.wait_until_it_prints("serving app:app")
        yield program
    finally:
        program.stop()


@pytest.fixture(scope="session")
def reference(served: spawning.Program) -> dict[str, deployedapp.Answer]:
    """What `carboy serve` answers to the requests of the list."""
    return deployedapp.ask_all(served.url)
