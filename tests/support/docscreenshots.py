"""The screenshots of the documentation, made from the real pages in a Chromium: docs/img/*.png.

`make screenshots` takes them anew. They differ a little from machine to machine, by the fonts, so
no test compares them; a test requires that each picture of the documentation is made by a script.
"""

from __future__ import annotations

import io
import pathlib
import shutil
import tempfile
import typing as t

import digits
import PIL.Image
import spawning
from playwright.sync_api import sync_playwright

if t.TYPE_CHECKING:
    from playwright.sync_api import Page

IMAGES = pathlib.Path(__file__).resolve().parents[2] / "docs" / "img"


def model_page(page: Page, url: str) -> None:
    """The page of examples/digits, on which a 7 was drawn."""
    page.goto(f"{url}/digits")
    page.get_by_text("Draw", exact=True).click()
    box = page.locator("canvas").bounding_box()
    assert box is not None
    for number, (x, y) in enumerate([(0.28, 0.2), (0.7, 0.2), (0.45, 0.83)]):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=8)
        if number == 0:
            page.mouse.down()
    page.mouse.up()
    page.get_by_role("button", name="Predict").click()
    page.locator("#answer[data-state=full]").wait_for()


SCREENSHOTS: dict[str, t.Callable[[Page, str], None]] = {"page": model_page}


def save(name: str, taken: bytes) -> None:
    """Write a screenshot with as many colours as a page of text needs."""
    picture = PIL.Image.open(io.BytesIO(taken)).convert("RGB").quantize(128)
    picture.save(IMAGES / f"{name}.png", optimize=True)


def take(url: str) -> None:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
    if path is None:
        raise SystemExit("carboy: no Chromium: `make test` as root installs it by apt")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for name, show in SCREENSHOTS.items():
            page = browser.new_page(viewport={"width": 1240, "height": 1340})
            page.set_default_timeout(120_000)  # a busy machine
            page.emulate_media(color_scheme="light", reduced_motion="reduce")
            show(page, url)
            save(name, page.screenshot(full_page=True, animations="disabled"))
        browser.close()


def main() -> None:
    digits.train()
    port = spawning.free_port()
    command = [spawning.script("carboy"), "--app", digits.HOME / "app.py", "serve"]
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder) / "log"
        options = ["--port", str(port), "--workers", "1"]
        server = spawning.start([*command, *options], log=log, port=port, cwd=digits.HOME)
        try:
            server.wait_until_it_prints("serving ", within_s=100)
            take(server.url)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
