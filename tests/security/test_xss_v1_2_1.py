"""Cross-site scripting: no script of a client runs in the origin of the app, on any page of carboy.

ASVS 5.0: 1.2.1, 1.2.3, 1.3.4, 3.2.1, 3.2.2, 5.3.1
Also tested in: tests/models/test_page_answers_browser.py, tests/models/test_page_browser.py,
tests/contract/test_answers_of_models.py, tests/uploads/test_sending.py, tests/openapi/test_ui.py,
tests/examples/test_gallery_page.py, tests/examples/test_digits_page.py
"""

from __future__ import annotations

import threading
import typing as t
from urllib.parse import quote

import pytest
from polling import wait_until
from werkzeug.serving import make_server

from carboy import Carboy, Response, request, uploads
from carboy.cli.index import add_index

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import pathlib

    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.integration]

# A script that runs says so. A beacon arrives although the browser has left the page meanwhile.
CALL = "navigator.sendBeacon('/owned')"
SVG = f'<svg xmlns="http://www.w3.org/2000/svg"><script>{CALL}</script></svg>'
HTML = f'<!doctype html><script>{CALL}</script><img src=x onerror="{CALL}">'
TEXTS = [
    HTML,
    SVG,
    f"</script><script>{CALL}</script>",
    f"\"'><img src=x onerror={CALL}>",
    f"javascript:{CALL}",
    f"{{{{7*7}}}}<svg onload={CALL}>",
    f"[x](javascript:{CALL})",
]


class Site(t.NamedTuple):
    """The app of the test, and the pages whose scripts have run."""

    url: str
    uploads: dict[str, str]
    owned: list[str]


def make_app(folder: str, owned: list[str]) -> Carboy:
    app = Carboy(TEXTS[3])
    app.config.update(MODEL_PROTOCOLS=["v2"], OPENAPI_INFO={"description": HTML})

    @app.post("/owned")
    def owned_by() -> str:
        owned.append(request.headers.get("Referer", "?"))
        return ""

    @app.post("/arrived")
    def arrived() -> str:
        owned.append("")
        return ""

    @app.model("/echo", example=TEXTS[2])
    def echo(text: str) -> str:
        return text

    echo.__doc__ = HTML

    @app.model("/label", example=TEXTS[0])
    def label(text: str) -> dict[str, str]:
        return {text: text}

    @app.model("/refuse")
    def refuse(number: int) -> int:
        return number

    @app.get("/frame")
    def frame() -> Response:
        path = request.args["path"]
        tags = f'<img src="{path}"><iframe src="{path}"></iframe><object data="{path}"></object>'
        return Response(f"{tags}<embed src='{path}'>", mimetype="text/html")

    app.add_url_rule("/files/<name>", "files", uploads.view(folder))
    add_index(app)
    return app


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> cabc.Iterator[Site]:
    import io

    from werkzeug.datastructures import FileStorage

    folder: pathlib.Path = tmp_path_factory.mktemp("uploads")
    stored = {}
    for name, text in {"a.svg": SVG, "a.html": HTML, "a.png": HTML, "a.txt": HTML}.items():
        file = FileStorage(io.BytesIO(text.encode()), name, content_type="image/png")
        stored[name] = uploads.save(file, folder, types="*/*").name
    owned: list[str] = []
    server = make_server("127.0.0.1", 0, make_app(str(folder), owned), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Site(f"http://127.0.0.1:{server.port}", stored, owned)
    server.shutdown()
    thread.join()
    server.server_close()


def _scripts_that_ran(page: Page, site: Site) -> list[str]:
    """Return the pages whose scripts have run since the last call."""
    page.goto(f"{site.url}/frame?path=/files/none")
    page.evaluate("navigator.sendBeacon('/arrived')")
    wait_until(lambda: "" in site.owned)
    found = [each for each in site.owned if each]
    site.owned.clear()
    return found


def test_script_of_a_page_that_does_not_escape_is_noticed(page: Page, site: Site):
    path = "/frame?path=" + quote(f'"><script>{CALL}</script>')
    page.goto(site.url + path)
    assert _scripts_that_ran(page, site)


def test_own_pages_run_no_script_of_names_and_descriptions(page: Page, site: Site):
    for path in ("/", "/echo", "/label", "/docs", "/redoc"):
        page.goto(site.url + path, wait_until="networkidle")
    assert _scripts_that_ran(page, site) == []


def test_error_pages_run_no_script_of_the_url(page: Page, site: Site):
    for text in TEXTS[:3]:
        for prefix in ("/", "/v2/models/", "/docs/assets/"):
            page.goto(site.url + prefix + quote(text, safe=""))
    assert _scripts_that_ran(page, site) == []


SEND_FORM = """([path, name, value]) => {
    const form = document.createElement("form");
    form.method = "post"; form.enctype = "multipart/form-data"; form.action = path;
    const field = document.createElement("textarea");
    field.name = name; field.value = value;
    form.append(field); document.body.append(form); form.submit();
}"""


@pytest.mark.parametrize(("path", "name"), [("/echo", "text"), ("/refuse", "number")])
def test_answer_of_a_model_that_a_browser_shows_as_a_page_runs_no_script(
    page: Page, site: Site, path: str, name: str
):
    for text in TEXTS[:3]:
        page.goto(f"{site.url}/frame?path=/files/none")
        with page.expect_navigation():
            page.evaluate(SEND_FORM, [path, name, text])
        assert "sendBeacon" in page.content() or path == "/refuse"
    assert _scripts_that_ran(page, site) == []


def test_uploaded_file_runs_no_script_wherever_a_page_shows_it(page: Page, site: Site):
    for stored in site.uploads.values():
        page.goto(f"{site.url}/frame?path=/files/{stored}")
    assert _scripts_that_ran(page, site) == []
