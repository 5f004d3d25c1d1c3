"""The site in a browser: on a phone, in the dark, without a network; and its search."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

if t.TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}

# The least contrast of text to its background (WCAG 2.2, 1.4.3), of each paragraph, list item and
# line of code that is shown.
_LOW_CONTRAST = """() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b]
    .map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const background = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const [r, g, b, a = 1] = channels(getComputedStyle(e).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const contrast = (element) => {
    const pair = [channels(getComputedStyle(element).color), background(element)].map(luminance);
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  };
  const ownText = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  return [...document.querySelectorAll("article *, .sidebar-tree a")]
    .filter((e) => ownText(e) && e.offsetParent && !e.closest(".headerlink, button"))
    .filter((e) => contrast(e) < 4.5)
    .map((e) => `${e.tagName}.${e.className}: ${e.textContent.slice(0, 40)}`);
}"""


@pytest.fixture
def opened(browser: Browser, address: str) -> t.Iterator[t.Callable[..., Page]]:
    """A function that opens a page of the site in a browser; other hosts are out of reach."""
    contexts = []
    asked_elsewhere: list[str] = []

    def open_page(path: str, **options: t.Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        context.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((address, "data:"))
                else asked_elsewhere.append(request.url)
            ),
        )
        page = context.new_page()
        page.goto(f"{address}/{path}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert asked_elsewhere == []


def test_no_page_is_wider_than_a_phone(opened, site: pathlib.Path, address: str):
    page = opened("index.html", viewport=PHONE)
    too_wide = []
    for file in sorted(site.rglob("*.html")):
        page.goto(f"{address}/{file.relative_to(site)}")
        width = page.evaluate("document.scrollingElement.scrollWidth")
        if width > PHONE["width"]:
            too_wide.append((str(file.relative_to(site)), width))
    assert too_wide == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["index.html", "tutorial.html", "serving.html", "compat.html"])
def test_text_has_contrast_in_the_scheme_of_the_reader(opened, scheme: str, path: str):
    page = opened(path, viewport=DESKTOP, color_scheme=scheme)
    shade = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
    assert (int(shade) < 60) == (scheme == "dark")
    assert page.evaluate(_LOW_CONTRAST) == []


def test_navigation_opens_on_a_phone(opened):
    page = opened("tutorial.html", viewport=PHONE)
    entry = page.locator(".sidebar-tree a", has_text="Batching").first
    assert not entry.is_visible() or entry.bounding_box()["x"] < 0
    page.locator(".mobile-header label[for=__navigation]").click()
    entry.click()
    page.wait_for_url("**/howto/batching.html")


def test_search_finds_pages_without_a_network(opened):
    page = opened("search.html?q=canary", viewport=DESKTOP)
    found = page.locator("#search-results li a", has_text="version")
    found.first.wait_for()


def test_site_works_without_scripts(opened):
    page = opened("tutorial.html", viewport=DESKTOP, java_script_enabled=False)
    assert page.locator("article h1").is_visible()
    assert page.locator(".sidebar-tree a", has_text="Batching").first.is_visible()
