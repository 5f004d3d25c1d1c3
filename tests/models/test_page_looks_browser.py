"""The page by keyboard, by touch, on a phone, in light and dark mode."""

from __future__ import annotations

import pytest
import requests
from trying import answered, facts, png, predict, raw

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(120)]


def test_form_can_be_completed_by_keyboard_alone(visit):
    page = visit("/echo")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.tagName") == "TEXTAREA"
    page.keyboard.type("by hand")
    page.keyboard.press("Tab")  # field "times"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Tab")  # field "language", at "en"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Tab")  # the slider of "strength"
    page.keyboard.press("End")
    page.keyboard.press("Control+Enter")
    answered(page)
    assert raw(page) == {
        "text": "by hand",
        "times": 2,
        "language": "de",
        "strength": 1,
        "seed": None,
    }
    outline = "() => getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"
    for _ in range(3):
        page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == "predict"
    with page.expect_response("**/echo"):
        page.keyboard.press("Enter")


def test_picture_can_be_chosen_by_keyboard(visit, page):
    # Registered before the page is loaded: Playwright does not wait until the browser has the
    # listener.
    page.on("filechooser", lambda chooser: None)
    visit("/size")
    page.keyboard.press("Tab")  # "File" or "Draw"
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.type") == "file"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files({"name": "a.png", "mimeType": "image/png", "buffer": png()})
    page.get_by_text("30 × 20").wait_for()


def test_every_control_has_a_name(visit):
    nameless = """() => [...document.querySelectorAll("input, select, textarea, button")]
      .filter(each => !(each.labels?.length || each.ariaLabel || each.textContent.trim()))
      .map(each => each.outerHTML)"""
    for path in ["/iris", "/echo", "/size", "/either", "/orders", "/means", "/upper", "/count"]:
        assert visit(path).evaluate(nameless) == [], path


# The contrast of each text with the nearest background that is not transparent, by WCAG 2.1.
CONTRASTS = """() => {
  const parse = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || !element.checkVisibility()) continue;
    if (element.closest(":disabled, script")) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push([node.textContent.trim(), ratio]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1240])
def test_page_fits_the_window_and_has_enough_contrast(browser, tryout_url, width, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        reduced_motion="reduce",
        has_touch=width < 500,
    )
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))

    def check() -> None:
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width, page.url
        assert page.evaluate(CONTRASTS) == [], page.url

    for path in ["/iris", "/echo", "/size", "/orders", "/means", "/upper", "/hostile", "/tell"]:
        page.goto(tryout_url + path)
        page.locator("#predict").wait_for()
        check()
    for path, label, value in [
        ("/many", "n", "101"),
        ("/matrix", "n", "9"),
        ("/hostile", "text", "x" * 300),
        ("/orders", "rows", "name,weight\n" + "n" * 200 + ",2"),
    ]:
        page.goto(tryout_url + path)
        page.get_by_label(label, exact=True).fill(value)
        predict(page)
        check()
    page.goto(tryout_url + "/iris")
    predict(page)
    check()
    page.get_by_label("weight").fill("")
    page.locator("#predict").click()
    check()
    assert said == []
    context.close()


def test_picture_can_be_drawn_by_touch(browser, tryout_url):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    page.goto(f"{tryout_url}/size")
    page.get_by_text("Draw", exact=True).tap()
    page.locator(".pad").scroll_into_view_if_needed()
    box = page.locator(".pad").bounding_box()
    page.touchscreen.tap(box["x"] + 60, box["y"] + 60)
    predict(page)
    assert int(facts(page)["dark"]) > 100
    context.close()


def test_page_works_in_a_blueprint_with_a_trailing_slash(visit):
    page = visit("/shop/price/")
    page.get_by_label("pounds").fill("2.5")
    predict(page)
    assert page.locator(".big").inner_text() == "5"
    assert requests.get(page.url, timeout=30).json()["name"] == "shop.price"


@pytest.mark.parametrize("size", [(1280, 720), (1366, 768), (390, 844)])
@pytest.mark.parametrize("path", ["/iris", "/orders"])
def test_answer_covers_no_part_of_the_call_wherever_one_scrolls(visit, page, size, path):
    page.set_viewport_size({"width": size[0], "height": size[1]})
    visit(path)
    if path == "/orders":
        page.get_by_label("rows", exact=True).fill("name,weight\n" + "nuts,1.5\n" * 20)
    page.locator("#predict").click()
    page.locator("#answer[data-state=full]").wait_for()
    covered = page.evaluate("""() => {
      const seen = [];
      const height = document.documentElement.scrollHeight;
      for (let y = 0; y <= height; y += 40) {
        scrollTo({top: y, behavior: "instant"});
        for (const each of document.querySelectorAll(".snippets button, .snippets label")) {
          const box = each.getBoundingClientRect();
          if (box.top < 0 || box.bottom > innerHeight) continue;
          const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
          seen.push(each === top || each.contains(top));
        }
      }
      return [seen.length > 0, seen.includes(false)];
    }""")
    assert covered == [True, False]
