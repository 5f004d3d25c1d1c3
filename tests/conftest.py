"""What all tests share: fixtures (an app, real programs, a browser) and checks after each test."""

from __future__ import annotations

import gc
import importlib.util
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import typing as t

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))

import naming
import spawning
from rootlogger import logger_states, restore_loggers

pytest_plugins = ["contained_failures", "no_skips"]

ROOT = pathlib.Path(__file__).resolve().parent.parent
FLASK_HOME = ROOT / ".cache" / "flask-3.1.3"

# Tests of extensions run in their own environment (`make extensions`), because extensions install
# Flask.
collect_ignore = [] if importlib.util.find_spec("flask_login") else ["extensions"]

if importlib.util.find_spec("hypothesis"):  # the environment of extensions has no Hypothesis
    from hypothesis import settings

    # The same examples in each run of the same code, without a time limit per example.
    # `--hypothesis-profile=default` tries other examples.
    settings.load_profile("ci")

# A random order that is the same everywhere, so that a failure elsewhere can be reproduced here.
ORDER = 20260101

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from playwright.sync_api import Browser, Page

    from carboy import Carboy
    from carboy.testing import FlaskClient, FlaskCliRunner


# --------------------------------------------------------------------------- checks for every test


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("randomly_seed", None) == "default":
        config.option.randomly_seed = ORDER


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> cabc.Generator[None, object, object]:
    """Collect tests without the garbage collector: else it looks through all of them again and
    again, in a third of the time of the collection.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if naming.ADDRESS.search(item.nodeid):
            raise pytest.UsageError(
                f"The name differs in each run, use naming.stable_repr: {item.nodeid}"
            )


@pytest.fixture(autouse=True, scope="session")
def _signals_are_not_ignored() -> cabc.Iterator[None]:
    """Let programs under test receive SIGHUP and SIGINT also if the tests run under nohup or in the
    background of a shell, which make them ignore these: a new program gets the default action of a
    signal that has a handler here.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT)}
    signal.signal(signal.SIGHUP, lambda *_: None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True, scope="session")
def _own_runtime_folder() -> cabc.Iterator[None]:
    """Give the sockets of programs under test a folder that no other process of tests uses: some
    have the name of their app alone.
    """
    with (
        tempfile.TemporaryDirectory(prefix="run-") as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("XDG_RUNTIME_DIR", folder)
        yield


@pytest.fixture(autouse=True)
def _plain_environment() -> cabc.Iterator[None]:
    """Remove the developer's own settings for the programs under test, and afterwards what the test
    has set: a command that runs in this process reads `.env` files into the environment.
    """
    before = dict(os.environ)
    for name in before:
        if name.startswith(("FLASK_", "CARBOY_")) or name in {"HOST", "PORT", "SECRET_KEY"}:
            del os.environ[name]
    yield
    for name in os.environ.keys() - before.keys() - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]
    os.environ.update(
        {name: value for name, value in before.items() if os.environ.get(name) != value}
    )
    if "carboy.project.dotenvfile" in sys.modules:
        dotenvfile = sys.modules["carboy.project.dotenvfile"]
        for record in (
            dotenvfile.files_read,
            dotenvfile._set_for_projects,
            dotenvfile._set_for_process,
        ):
            record.clear()


@pytest.fixture(autouse=True)
def _loggers_as_before() -> cabc.Iterator[None]:
    """Take back the levels and handlers that a test gives to loggers, such as those of its app,
    which have the same names in other tests.
    """
    before = logger_states()
    yield
    restore_loggers(before)


@pytest.fixture(autouse=True)
def _no_context_left_behind() -> cabc.Iterator[None]:
    """Fail if a test leaves a context pushed, which the next test would see."""
    yield
    if "carboy.globals" not in sys.modules:
        return
    contexts = sys.modules["carboy.globals"]
    left = []
    for variable in (contexts._cv_request, contexts._cv_app):
        while (context := variable.get(None)) is not None:
            left.append(repr(context))
            context.pop()
    assert not left, "contexts still pushed at the end of the test"


# ------------------------------------------------------------------------------- an app in process


@pytest.fixture
def app() -> Carboy:
    from carboy import Carboy

    app = Carboy("carboy_test", root_path=os.path.dirname(__file__))
    app.config.update(TESTING=True, SECRET_KEY="test key")
    return app


@pytest.fixture
def client(app: Carboy) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def runner(app: Carboy) -> FlaskCliRunner:
    return app.test_cli_runner()


# ----------------------------------------------------------------------------------- real programs


@pytest.fixture
def free_port() -> int:
    return spawning.free_port()


@pytest.fixture
def carboy_command() -> str:
    """The `carboy` command of the environment that runs the tests."""
    return spawning.script("carboy")


@pytest.fixture
def spawn(
    tmp_path: pathlib.Path, free_port: int
) -> cabc.Iterator[cabc.Callable[..., spawning.Program]]:
    """Start programs that are stopped at the end of the test.

    `spawn(command, ..., cwd=, env=, port=)` returns once the port is open; `{port}` in an argument
    is
    replaced by its number. `listens=False` returns at once.
    """
    running: list[spawning.Program] = []

    def start(
        *command: str | os.PathLike[str],
        cwd: str | os.PathLike[str] | None = None,
        env: t.Mapping[str, str] | None = None,
        port: int = free_port,
        listens: bool = True,
    ) -> spawning.Program:
        program = spawning.start(
            [os.fspath(part).replace("{port}", str(port)) for part in command],
            log=tmp_path / f"program-{len(running)}.log",
            port=port,
            cwd=cwd or tmp_path,
            env=env,
        )
        running.append(program)
        if listens:
            program.wait_until_it_listens()
        return program

    yield start
    for program in running:
        program.stop()


@pytest.fixture(scope="session")
def flask_source() -> pathlib.Path:
    """The unpacked source distribution of Flask, downloaded by scripts/bootstrap.py."""
    tree = FLASK_HOME / "source"
    if not tree.is_dir():
        pytest.skip("Flask's source is not there: run `make test` or `make conformance` once")
    return tree


@pytest.fixture(scope="session")
def flask_site(flask_source: pathlib.Path) -> pathlib.Path:
    """A folder in which real Flask is installed, for the PYTHONPATH of a subprocess."""
    site = FLASK_HOME / "site"
    if not site.is_dir():
        pytest.skip("Flask is not installed beside the tests: run `make test` once")
    return site


# --------------------------------------------------------------------------------------- a browser


@pytest.fixture(scope="module")
def browser() -> cabc.Iterator[Browser]:
    """A real Chromium without a window.

    One per module and not per session: while it lives, Playwright's event loop counts as running in
    this thread, and tests of other modules may need a loop of their own.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
    if path is None:
        pytest.skip("no Chromium: `make test` as root installs it by apt")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium refuses to use its sandbox as root, for example in a container.
        args = ["--no-sandbox", "--disable-dev-shm-usage"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=args)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> cabc.Iterator[Page]:
    """An empty tab. The test fails if the page in it logs an error."""
    context = browser.new_context()
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_default_timeout(30_000)
    yield page
    context.close()
    assert not errors, "uncaught errors in the page's scripts"
