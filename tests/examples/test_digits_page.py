"""The digits example's page in a real Chromium: drawing, files, keyboard, phone."""

from __future__ import annotations

import re
import typing as t

import digits
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(300)]

# The events that a browser sends when a file is dropped or pasted; without a desktop there is no
# other way to create them.
DROP = """([bytes, name, type]) => {
  const carried = new DataTransfer();
  carried.items.add(new File([new Uint8Array(bytes)], name, {type}));
  for (const kind of ["dragenter", "dragover", "drop"])
    document.body.dispatchEvent(
      new DragEvent(kind, {dataTransfer: carried, bubbles: true, cancelable: true}));
}"""
PASTE = """([bytes, name, type]) => {
  const carried = new DataTransfer();
  carried.items.add(new File([new Uint8Array(bytes)], name, {type}));
  document.body.dispatchEvent(
    new ClipboardEvent("paste", {clipboardData: carried, bubbles: true, cancelable: true}));
}"""


@pytest.fixture
def digits_url(serve_digits):
    return serve_digits("run").url


@pytest.fixture
def site(page, digits_url):
    page.goto(digits_url)
    return page


def draw(page: t.Any, *strokes: list[tuple[float, float]]) -> None:
    box = page.locator("#pad").bounding_box()

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return box["x"] + point[0] * box["width"], box["y"] + point[1] * box["height"]

    for stroke in strokes:
        page.mouse.move(*at(stroke[0]))
        page.mouse.down()
        for point in stroke[1:]:
            page.mouse.move(*at(point), steps=8)
        page.mouse.up()


def answered(page: t.Any) -> str:
    page.locator("#answer[data-state=full]").wait_for()
    return page.locator("#digit").inner_text()


def file_of(data: bytes, name: str = "seven.png", kind: str = "image/png") -> list[t.Any]:
    return [list(data), name, kind]


def test_drawn_digit_is_recognised_and_explained(site):
    draw(site, digits.SEVEN)
    assert answered(site) == "7"
    assert re.fullmatch(r"It is (probably )?a 7\.", site.locator("#sentence").inner_text())
    shares = site.locator(".bars .share").all_inner_texts()
    assert len(shares) == 10
    assert all(re.fullmatch(r"[<>]?\d+\.\d\s%", share) for share in shares)
    assert site.locator(".bars .best .name").inner_text() == "7"
    cells = "pad => pad.getContext('2d').getImageData(0, 0, 8, 8).data.some(value => value)"
    assert site.locator("#seen").evaluate(cells)


def test_tap_leaves_a_dot(site):
    box = site.locator("#pad").bounding_box()
    site.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    answered(site)
    middle = "pad => pad.getContext('2d').getImageData(280, 280, 1, 1).data[3]"
    assert site.locator("#pad").evaluate(middle) == 255


def test_second_stroke_is_added_and_can_be_undone(site):
    draw(site, [(0.5, 0.15), (0.5, 0.85)])
    assert answered(site) == "1"
    draw(site, [(0.5, 0.15), (0.2, 0.6), (0.8, 0.6)])
    site.locator("#digit", has_text="4").wait_for()
    site.get_by_role("button", name="Undo").click()
    site.locator("#digit", has_text="1").wait_for()
    site.get_by_role("button", name="Clear").click()
    site.locator("#answer[data-state=empty]").wait_for()
    assert site.locator("#digit").inner_text() == "?"
    assert site.get_by_role("button", name="Clear").is_disabled()


@pytest.mark.parametrize("script", [DROP, PASTE], ids=["dropped", "pasted"])
def test_dropped_and_pasted_pictures_are_shown_and_recognised(site, script):
    site.evaluate(script, file_of(digits.drawn(digits.SEVEN)))
    assert answered(site) == "7"
    shown = site.locator("#shown")
    shown.wait_for()
    assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") == 200


def test_chosen_picture_is_recognised_and_replaced_by_a_new_drawing(site):
    picture = {"name": "7.png", "mimeType": "image/png", "buffer": digits.drawn(digits.SEVEN)}
    site.locator("#file").set_input_files(picture)
    assert answered(site) == "7"
    draw(site, [(0.5, 0.15), (0.5, 0.85)])
    site.locator("#digit", has_text="1").wait_for()
    assert site.locator("#shown").is_hidden()


def test_digit_can_be_drawn_by_keyboard(site):
    site.keyboard.press("Tab")
    assert site.evaluate("() => document.activeElement.id") == "pad"
    site.keyboard.press("Space")
    for _ in range(24):
        site.keyboard.press("ArrowDown")
    site.keyboard.press("Space")
    assert answered(site) == "1"
    site.keyboard.press("Escape")
    site.locator("#answer[data-state=empty]").wait_for()


@pytest.mark.parametrize(
    ("data", "name", "says"),
    [
        (b"hello", "text.png", "got text"),
        (digits.giant(30_000, 30_000), "giant.png", "pixels"),
        (digits.drawn(), "empty.png", "no digit on the picture"),
        (b"<svg onload='alert(1)'></svg>", "<img src=x onerror=alert(1)>.svg", "got SVG"),
    ],
    ids=["text", "giant", "empty", "svg"],
)
def test_bad_picture_is_refused_with_an_explanation_and_not_shown(site, data, name, says):
    site.evaluate(DROP, file_of(data, name))
    problem = site.get_by_role("alert")
    problem.wait_for()
    assert says in problem.inner_text()
    assert site.locator("#shown").is_hidden()
    assert site.locator("#digit").inner_text() == "?"
    draw(site, digits.SEVEN)
    assert answered(site) == "7"
    assert problem.is_hidden()


def test_responses_never_become_markup(site):
    """Markup in a response is shown as text."""
    site.route(
        "**/digits",
        lambda route: route.fulfill(
            status=422,
            content_type="application/problem+json",
            body='{"detail": "<img src=x onerror=document.title=1><b>bold</b>"}',
        ),
    )
    draw(site, digits.SEVEN)
    problem = site.get_by_role("alert")
    problem.wait_for()
    assert "<b>bold</b>" in problem.inner_text()
    assert problem.locator("b, img").count() == 0


def test_unreachable_server_is_reported(site):
    site.route("**/digits", lambda route: route.abort())
    draw(site, digits.SEVEN)
    site.get_by_role("alert").wait_for()
    assert "cannot be reached" in site.get_by_role("alert").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1240])
def test_page_fits_the_window_and_has_enough_contrast(browser, digits_url, width, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, has_touch=width < 500
    )
    page = context.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(digits_url)
    if width < 500:
        box = page.locator("#pad").bounding_box()
        page.touchscreen.tap(box["x"] + 50, box["y"] + 50)
    draw(page, digits.SEVEN)
    answered(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert refused == []  # the policy has blocked nothing
    context.close()
