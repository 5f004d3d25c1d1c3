"""Bodies, pictures good and bad, and pages to try models on."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import spawning
from bodies import FakeBody
from pictures import claimed_png, picture
from tasks import Blocked

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from playwright.sync_api import Page

__all__ = ["body", "claimed_png", "picture"]


@pytest.fixture
def body() -> type[FakeBody]:
    return FakeBody


@pytest.fixture
def blocked() -> cabc.Iterator[Blocked]:
    blocked = Blocked()
    yield blocked
    blocked.opened.set()


@pytest.fixture(scope="session")
def tryout_url(tmp_path_factory: pytest.TempPathFactory) -> cabc.Iterator[str]:
    """The models of tests/support/tryout.py, served once for all tests of their pages."""
    port, app = spawning.free_port(), pathlib.Path(spawning.__file__).with_name("tryout.py")
    program = spawning.start(
        [spawning.script("carboy"), "--app", app, "run", "--port", str(port)],
        log=tmp_path_factory.mktemp("tryout") / "log",
        port=port,
        cwd=app.parent,
        env=None,
    )
    program.wait_until_it_listens()
    yield program.url
    program.stop()


@pytest.fixture
def visit(page: Page, tryout_url: str) -> cabc.Iterator[cabc.Callable[[str], Page]]:
    """Open a model's page; the test fails if the policy stopped something, or a script failed."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))

    def open_(path: str) -> Page:
        page.goto(tryout_url + path)
        page.locator("#predict").wait_for()
        return page

    yield open_
    # Chromium itself reports each answer of 400 and above.
    assert [text for text in said if "Failed to load resource" not in text] == []
