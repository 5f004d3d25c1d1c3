"""The gallery example in a real Chromium: choosing, dropping, progress, errors, phone, keyboard."""

from __future__ import annotations

import io
import shutil
import typing as t

import pytest
import requests
import showcase
import spawning
from polling import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(300)]

DROP = """([files, kind]) => {
  const carried = new DataTransfer();
  for (const [bytes, name, type] of files)
    carried.items.add(new File([new Uint8Array(bytes)], name, {type}));
  if (kind === "paste")
    return void document.body.dispatchEvent(
      new ClipboardEvent("paste", {clipboardData: carried, bubbles: true, cancelable: true}));
  for (const each of ["dragenter", "dragover", "drop"])
    document.body.dispatchEvent(
      new DragEvent(each, {dataTransfer: carried, bubbles: true, cancelable: true}));
}"""


def photo(seed: int, size: tuple[int, int] = (320, 240)) -> bytes:
    import PIL.Image

    file = io.BytesIO()
    PIL.Image.new("RGB", size, (seed * 40 % 256, 90, 160)).save(file, "JPEG")
    return file.getvalue()


def chosen(*pictures: bytes, name: str = "beach", kind: str = "image/jpeg") -> list[t.Any]:
    return [
        {"name": f"{name} {n}.jpg", "mimeType": kind, "buffer": each}
        for n, each in enumerate(pictures, 1)
    ]


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """The example, served from a copy of its folder, because it stores pictures there."""
    home = tmp_path_factory.mktemp("gallery")
    shutil.copytree(showcase.home("gallery"), home, dirs_exist_ok=True)
    port = spawning.free_port()
    program = spawning.start(
        [spawning.script("carboy"), "--app", "app.py", "serve", "--port", str(port)],
        log=home / "log",
        port=port,
        cwd=home,
        env={"CARBOY_SERVE_WORKERS": "2", "SECRET_KEY": "a key for the tests of the gallery page"},
    )
    program.wait_until_it_listens()
    yield program
    assert program.stop() == 0, program.output
    assert "Traceback" not in program.output, program.output


@pytest.fixture
def site(page, gallery):
    page.goto(gallery.url)
    return page


def says(page: t.Any, text: str) -> None:
    page.get_by_role("status").get_by_text(text).wait_for()


def shown(page: t.Any) -> list[int]:
    """The widths of the stored pictures, once the browser has loaded them."""
    widths = "all => Promise.all(all.map(each => each.decode().then(() => each.naturalWidth)))"
    return t.cast("list[int]", page.locator("#wall img").evaluate_all(widths))


def test_chosen_pictures_are_previewed_stored_and_shown_again(site):
    site.locator("#file").set_input_files(chosen(photo(1), photo(2, (200, 100))))
    previews = site.locator("#queue img:visible")
    previews.nth(1).wait_for()
    assert site.locator("#queue .name").all_inner_texts() == ["beach 1.jpg", "beach 2.jpg"]
    site.get_by_role("button", name="Upload 2 pictures").click()
    says(site, "2 pictures are stored.")
    assert site.locator("#queue").is_hidden()
    assert shown(site) == [200, 320]
    site.reload()
    assert shown(site) == [200, 320]
    assert site.locator("#count").inner_text() == "2"


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_dropped_and_pasted_pictures_are_stored(site, how):
    files = [[list(photo(3)), "dropped.jpg", "image/jpeg"]]
    site.evaluate(DROP, [files, how])
    assert site.locator("#curtain").is_hidden()
    site.get_by_role("button", name="Upload", exact=True).click()
    says(site, "1 picture is stored.")
    assert shown(site) == [320]


def test_visitors_see_only_their_own_pictures(site, browser, gallery):
    site.locator("#file").set_input_files(chosen(photo(1)))
    site.locator("#send").click()
    says(site, "1 picture is stored.")
    other = browser.new_context()
    page = other.new_page()
    page.goto(gallery.url)
    assert page.get_by_text("No pictures yet.").is_visible()
    own = site.locator("#wall a").get_attribute("href")
    answer = page.request.post(f"{gallery.url}{own}/remove", headers={"Accept": "*/*"})
    assert answer.status == 404
    other.close()
    site.reload()
    assert len(shown(site)) == 1


def test_picture_can_be_removed(site, gallery):
    site.locator("#file").set_input_files(chosen(photo(1), photo(2)))
    site.locator("#send").click()
    says(site, "2 pictures are stored.")
    url = gallery.url + site.locator("#wall a").first.get_attribute("href")
    site.get_by_role("button", name="Remove beach 2.jpg").click()
    says(site, "The picture is removed.")
    assert site.locator("#wall img").count() == 1
    assert requests.get(url, timeout=30).status_code == 404
    focused = site.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused == "Remove beach 1.jpg"


def test_bad_files_are_explained_and_the_others_are_stored(site):
    files = [
        [list(b"hello"), "text.png", "image/png"],
        [list(photo(1)), "<b>good</b>.jpg", "image/jpeg"],
        [list(b"%PDF-"), "paper.pdf", "application/pdf"],
    ]
    site.evaluate(DROP, [files, "drop"])
    assert site.locator("#queue .name b").count() == 0  # a name is no markup
    notes = site.locator("#queue .note")
    assert notes.nth(2).inner_text() == "Not a PNG, JPEG, WebP or GIF"
    site.get_by_role("button", name="Upload 2 pictures").click()
    says(site, "1 picture is stored. 1 could not be stored.")
    assert "got text" in notes.first.inner_text()
    assert len(shown(site)) == 1
    site.get_by_role("button", name="Clear").click()
    assert site.locator("#queue").is_hidden()


def test_progress_is_shown_and_an_upload_can_be_cancelled(site, gallery):
    """The connection is slowed down, so that an upload takes a while."""
    slow = site.context.new_cdp_session(site)
    speed = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 30_000}
    slow.send("Network.emulateNetworkConditions", speed)
    import PIL.Image

    file = io.BytesIO()
    PIL.Image.effect_noise((1500, 1500), 80).save(file, "PNG")
    site.locator("#file").set_input_files(chosen(file.getvalue(), kind="image/png"))
    site.locator("#send").click()
    bar = site.get_by_role("progressbar", name="Uploading beach 1.jpg")
    bar.wait_for()
    wait_until(lambda: 0 < bar.evaluate("bar => bar.value") < 1)
    assert site.locator("#send").is_disabled()
    site.get_by_role("button", name="Do not upload beach 1.jpg").click()
    site.locator("#queue").wait_for(state="hidden")
    site.get_by_role("button", name="Upload", exact=True).wait_for()
    site.reload()
    assert site.locator("#wall img").count() == 0


def test_page_works_by_keyboard(site):
    site.keyboard.press("Tab")
    assert site.evaluate("document.activeElement.id") == "file"
    site.locator("#file").set_input_files(chosen(photo(1)))
    for _ in range(2):  # the button that takes the picture back, then "Upload"
        site.keyboard.press("Tab")
    site.keyboard.press("Enter")
    says(site, "1 picture is stored.")


def test_form_works_without_the_script(browser, gallery):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(gallery.url)
    page.locator("#file").set_input_files(chosen(photo(1), photo(2)))
    page.get_by_role("button", name="Upload").click()
    page.locator("#wall img").nth(1).wait_for()
    page.get_by_role("button", name="Remove stored picture 1").click()
    page.locator("#count", has_text="1").wait_for()
    page.locator("#file").set_input_files(chosen(b"hello"))
    page.get_by_role("button", name="Upload").click()
    page.get_by_role("heading", name="Unsupported Media Type").wait_for()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1240])
def test_page_fits_the_window(browser, gallery, width, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, has_touch=width < 500
    )
    page = context.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(gallery.url)
    page.locator("#file").set_input_files(chosen(photo(1), photo(2), name="name " * 20))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#send").click()
    says(page, "2 pictures are stored.")
    assert shown(page) == [320, 320]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert refused == []  # the policy has blocked nothing
    context.close()
