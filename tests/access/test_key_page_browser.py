"""The page of a model that needs an API key, in a real Chromium."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import spawning
from apikeys import make_key

from carboy.access.keyfile import changing

if t.TYPE_CHECKING:
    import collections.abc as cabc

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(120)]

APP = """
from carboy import Carboy

app = Carboy(__name__)

@app.model("/double", example=4)
def double(x: int) -> int:
    '''Doubles a confidential number.'''
    return 2 * x

@app.model("/other")
def other(x: int) -> int:
    return x
"""
KEY = make_key("tester", models=frozenset({"double"}))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> cabc.Iterator[str]:
    folder: pathlib.Path = tmp_path_factory.mktemp("keyed")
    with changing(str(folder / "instance" / "access-keys.json")) as keys:
        keys[KEY.stored.id] = KEY.stored
    program = spawning.serve(folder, "keyed", APP)
    yield program.url
    program.stop()


def enter(page: t.Any, key: str) -> None:
    page.locator("#key").fill(key)
    page.get_by_role("button", name="Open").click()


def test_page_asks_for_the_key_and_shows_nothing_of_the_model_before(page, url):
    page.goto(f"{url}/double")
    page.locator("#key").wait_for()
    assert "confidential" not in page.content()
    assert "other" not in page.content()
    enter(page, make_key("stranger").text)
    page.get_by_role("alert").wait_for()
    assert "not known, has expired or was revoked" in page.get_by_role("alert").inner_text()
    enter(page, KEY.text)
    page.get_by_text("confidential").wait_for()
    assert page.title() == "double: try it"


def test_key_is_sent_with_predictions_and_never_stored_or_shown(page, url):
    page.goto(f"{url}/double")
    enter(page, f"  {KEY.text} ")
    page.locator("#predict").click()
    page.locator("[data-state=full]").wait_for()
    assert page.locator(".big").inner_text() == "8"
    for language in ("Python", "JavaScript", "curl"):
        page.get_by_text(language, exact=True).click()
        page.locator("#snippet", has_text="API_KEY").wait_for()
        assert "Bearer" in page.locator("#snippet").inner_text()
    stored = "[document.cookie, localStorage.length, sessionStorage.length, location.href]"
    assert page.evaluate(stored) == ["", 0, 0, f"{url}/double"]
    assert KEY.text not in page.content()
    page.reload()
    page.locator("#key").wait_for()
    assert page.locator("#key").input_value() == ""


def test_key_of_another_model_is_refused(page, url):
    page.goto(f"{url}/other")
    enter(page, KEY.text)
    page.get_by_role("alert").wait_for()
    assert page.get_by_role("alert").inner_text() == "This key may not use this model."
