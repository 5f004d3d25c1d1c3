"""The page of a new project in a real browser: on a phone, in the dark, and what its scripts do."""

from __future__ import annotations

import base64

import pytest

from carboy.starter import PARTS
from carboy.starter.creation import create_project

pytestmark = [pytest.mark.integration, pytest.mark.browser]

# A GIF of one pixel.
GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
# Of the colours that the browser has computed for an element and for what is behind it, the
# contrast by WCAG 2.2.
CONTRAST = """element => {
    const channels = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
    const luminance = text => {
        const [r, g, b] = channels(text).map(value => {
            const share = value / 255;
            return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    let behind = element;
    while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') {
        behind = behind.parentElement;
    }
    const shades = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor]
        .map(luminance).sort((a, b) => b - a);
    return (shades[0] + 0.05) / (shades[1] + 0.05);
}"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("projects")
    create_project(str(folder), "shop", list(PARTS))
    return folder / "shop"


@pytest.fixture
def url(project, spawn, carboy_command):
    return spawn(carboy_command, "run", "--port", "{port}", cwd=project).url


def test_scripts_of_the_page_answer_in_the_page(url, page):
    page.goto(url)
    page.fill("#name", "<b>Ada</b>")
    assert page.inner_text("h2 >> nth=0") == "Hello, <b>Ada</b>!"
    page.fill("#text", "Hello, world!")
    page.click("text=Count >> nth=-1")
    page.wait_for_selector("#words output >> text=2 words, 10 letters")
    page.click("text=Ask the model")
    page.wait_for_selector("#flower output >> text=/^Iris versicolor/")
    picture = {"name": "cat.gif", "mimeType": "image/gif", "buffer": GIF}
    page.set_input_files("#picture", picture)
    page.click("text=Upload >> nth=-1")
    page.wait_for_selector(".pictures img")
    shown = "image => image.decode().then(() => image.naturalWidth)"
    assert page.eval_on_selector(".pictures img", shown) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_a_phone_and_can_be_read_by_day_and_in_the_dark(url, browser, scheme):
    phone = {"width": 320, "height": 640}
    context = browser.new_context(viewport=phone, color_scheme=scheme, is_mobile=True)
    page = context.new_page()
    page.goto(url)
    assert page.evaluate("document.documentElement.scrollWidth") == phone["width"]
    for element in page.query_selector_all("h1, h2, label, p, a, button, input, textarea"):
        assert element.evaluate(CONTRAST) >= 4.5, element.inner_text()
    for element in page.query_selector_all("button, input, textarea"):
        assert element.bounding_box()["height"] >= 44, element.get_attribute("id")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    is_dark = background == "rgb(17, 20, 19)"
    assert is_dark is (scheme == "dark")
    context.close()
