"""/docs and /redoc in a real Chromium: open a request, fill it in, execute it, see the response."""

from __future__ import annotations

import pathlib

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(300)]

FLOWERS = pathlib.Path(__file__).resolve().parents[2] / "examples" / "flowers" / "app.py"
KEY = "a-key-for-tests"


@pytest.fixture
def server(spawn, carboy_command):
    return spawn(
        *(carboy_command, "--app", FLOWERS, "run", "--port", "{port}"), env={"FLOWERS_KEY": KEY}
    )


@pytest.fixture
def console_errors(page):
    """Collect the errors of the console, such as requests that the page's policy has refused."""
    errors: list[str] = []
    page.on("console", lambda one: errors.append(one.text) if one.type == "error" else None)
    return errors


def open_docs(page, server):
    page.goto(f"{server.url}/docs")
    page.get_by_role("heading", name="Herbarium").wait_for()


def expand(page, operation):
    block = page.locator(f"#operations-flowers-{operation}")
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Execute").wait_for()
    return block


def execute(block):
    block.get_by_role("button", name="Execute").click()
    answer = block.locator(".live-responses-table tbody .response")
    answer.wait_for()
    return answer


def test_flower_is_added_with_the_key_and_found_again(page, server, console_errors):
    open_docs(page, server)
    page.get_by_role("button", name="Authorize").first.click()
    dialog = page.locator(".modal-ux")
    dialog.locator("input").fill(KEY)
    dialog.get_by_role("button", name="Apply credentials").click()
    dialog.get_by_role("button", name="Close").first.click()

    add = expand(page, "flowers_add")
    assert '"name": "Iris"' in add.locator("textarea").input_value()
    add.locator("textarea").fill('{"name": "Rose", "colour": "white", "petal_length": 30}')
    answer = execute(add)
    assert answer.locator(".response-col_status").inner_text().strip() == "201"
    assert '"name": "Rose"' in answer.inner_text()

    search = expand(page, "flowers_search")
    search.locator("tr[data-param-name=name] input").fill("Ros")
    search.locator("tr[data-param-name=colour] select").select_option("white")
    assert '"total": 1' in execute(search).inner_text()
    assert console_errors == []


def test_error_response_shows_its_problem(page, server):
    open_docs(page, server)
    add = expand(page, "flowers_add")
    answer = execute(add)
    assert "401" in answer.locator(".response-col_status").inner_text()
    assert "Send the key in the header X-API-Key." in answer.inner_text()


def test_file_is_uploaded(page, server, console_errors):
    open_docs(page, server)
    scan = expand(page, "flowers_scan")
    scan.locator("tr[data-param-name=number] input").fill("1")
    file = {"name": "a.png", "mimeType": "image/png", "buffer": b"\x89PNG"}
    scan.locator("input[type=file]").set_input_files(file)
    assert "401" in execute(scan).locator(".response-col_status").inner_text()
    assert not [one for one in console_errors if "Content Security Policy" in one]


def test_redoc_shows_the_document_under_the_same_policy(page, server, console_errors):
    page.goto(f"{server.url}/redoc")
    page.get_by_role("heading", name="Herbarium").first.wait_for()
    page.get_by_text("/flowers/{number}/scan").first.wait_for()
    # ReDoc loads its logo from its maker's server, which the policy refuses.
    assert [one for one in console_errors if "cdn.redoc" not in one] == []


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_no_other_server_is_asked(page, server, path):
    asked: list[str] = []
    page.on("requestfinished", lambda one: asked.append(one.url))
    page.goto(f"{server.url}{path}")
    page.get_by_role("heading", name="Herbarium").first.wait_for()
    assert asked
    assert all(url.startswith((server.url, "data:", "blob:")) for url in asked)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 390, 1240])
def test_page_fits_the_window_and_has_enough_contrast(browser, server, width, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, has_touch=width < 500
    )
    try:
        page = context.new_page()
        page.set_default_timeout(30_000)
        open_docs(page, server)
        execute(expand(page, "flowers_add"))
        wider = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        assert wider <= 0, f"{wider} pixels too wide"
        assert contrast(page, "#operations-flowers-flowers_add .opblock-summary-path") >= 4.5
        assert contrast(page, ".info .title") >= 4.5
    finally:
        context.close()


def contrast(page, selector):
    """Return the contrast of text and background. Source: WCAG 2.2, "contrast ratio"."""
    return page.locator(selector).first.evaluate("""element => {
      const numbers = text => (text.match(/[\\d.]+/g) || []).map(Number);
      const over = ([r, g, b, a = 1], below) =>
        [r, g, b].map((value, i) => value * a + below[i] * (1 - a));
      const layers = [];
      for (let at = element; at; at = at.parentElement)
        layers.unshift(numbers(getComputedStyle(at).backgroundColor));
      const ground = layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
      const light = color => {
        const [r, g, b] = color.map(value =>
          (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const ink = over(numbers(getComputedStyle(element).color), ground);
      const [high, low] = [light(ink), light(ground)].sort((a, b) => b - a);
      return (high + 0.05) / (low + 0.05);
    }""")
