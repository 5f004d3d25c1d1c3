"""What a real Chromium lets pages of other sites, and an app's own pages, do."""

from __future__ import annotations

import http.server
import os
import shutil
import threading
import typing as t

import pytest
import spawning

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(120)]

APP = """
from carboy import Carboy, render_template_string

app = Carboy(__name__)
app.config["STRICT_HEADERS"] = True
posts = []

@app.get("/page")
def page():
    return render_template_string('''<!doctype html><title>before</title>
        <link rel="icon" href="data:,">
        <style nonce="{{ csp_nonce() }}">p { color: rgb(1, 2, 3) }</style>
        <script nonce="{{ csp_nonce() }}">window.own = "ran"</script>
        <script>window.inserted = "ran"</script>
        <img src="data:," onerror="window.inserted = 'ran'">
        <p style="color: red">text</p>''')

@app.post("/form")
def form():
    posts.append(1)
    return "done"

@app.get("/posts")
def count():
    return str(len(posts))

@app.model("/double", batch=4, cors="http://shop.example:*")
def double(x: list[float]) -> list[float]:
    return [2 * each for each in x]
"""
# Sends a request, and returns its status and text; "blocked" if the page may not read the response.
FETCH = """async ([url, options]) => {
    try {
        const response = await fetch(url, options);
        return [response.status, await response.text()];
    } catch (error) {
        return "blocked";
    }
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    (folder / "app.py").write_text(APP)
    port = spawning.free_port()
    command = [spawning.script("carboy"), "serve", "app:app", "--port", str(port), "--workers", "1"]
    program = spawning.start(command, log=folder / "log", port=port, cwd=folder)
    program.wait_until_it_listens()
    yield program
    program.stop()


@pytest.fixture(scope="module")
def other_port():
    """The port of another site, whose pages are empty."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>other</title>")

        def log_message(self, *_: t.Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        yield other.server_port
        other.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser():
    """A Chromium for which all names below `example` lead to this machine."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
    if path is None:
        pytest.skip("no Chromium: `make test` as root installs it by apt")
    from playwright.sync_api import sync_playwright

    args = ["--host-resolver-rules=MAP *.example 127.0.0.1", "--disable-dev-shm-usage"]
    # Chromium refuses to use its sandbox as root, for example in a container.
    args += ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=args)
        yield browser
        browser.close()


def fetch(page, url: str, **options: t.Any):
    return page.evaluate(FETCH, [url, options])


def predict(page, server, value: str = "2"):
    headers = {"Content-Type": "application/json", "X-API-Key": "any"}
    return fetch(page, f"{server.url}/double", method="POST", body=value, headers=headers)


def test_page_of_a_declared_site_predicts(server, other_port, page):
    page.goto(f"http://shop.example:{other_port}/")
    assert predict(page, server) == [200, "4.0"]
    status, text = predict(page, server, '"a"')
    assert status == 422
    assert "Expected `float`" in text


def test_page_of_another_site_reads_nothing_and_changes_nothing(server, other_port, page):
    page.goto(f"http://thief.example:{other_port}/")
    assert predict(page, server) == "blocked"
    before = page.request.get(f"{server.url}/posts").text()
    # Browsers send these without asking, as they send forms; the first with a header of proxies,
    # which they leave out.
    simple = {"method": "POST", "body": "a=1", "mode": "no-cors"}
    fetch(page, f"{server.url}/form", headers={"X-Forwarded-For": "192.0.2.1"}, **simple)
    fetch(page, f"{server.url}/form", **simple)
    asked = {"method": "POST", "headers": {"X-Forwarded-For": "192.0.2.1"}}
    assert fetch(page, f"{server.url}/form", **asked) == "blocked"
    page.set_content(f'<form method="post" action="{server.url}/form"><button>Win</button></form>')
    with page.expect_response(f"{server.url}/form") as answer:
        page.get_by_role("button").click()
    assert answer.value.status == 403
    assert page.request.get(f"{server.url}/posts").text() == before


def test_page_of_another_port_of_this_machine_may_post(server, other_port, page):
    page.goto(f"http://localhost:{other_port}/")
    before = int(page.request.get(f"{server.url}/posts").text())
    fetch(page, f"{server.url}/form", method="POST", body="a=1", mode="no-cors")
    assert int(page.request.get(f"{server.url}/posts").text()) == before + 1


def test_page_whose_name_was_rebound_to_this_machine_reads_nothing(server, page):
    page.goto(f"http://thief.example:{server.port}/page")
    assert "DNS rebinding" in page.locator("body").inner_text()
    status, text = fetch(page, "/posts")
    assert status == 403
    assert "rebound-host" in text


def test_strict_policy_runs_only_scripts_with_the_nonce(server, page):
    blocked = []
    page.on("console", lambda message: blocked.append(message.text))
    page.goto(f"{server.url}/page")
    assert page.evaluate("() => [window.own, window.inserted]") == ["ran", None]
    color = "element => getComputedStyle(element).color"
    assert page.locator("p").evaluate(color) == "rgb(1, 2, 3)"
    assert len([text for text in blocked if "Content Security Policy" in text]) >= 2


def test_page_cannot_be_framed(server, other_port, page):
    page.goto(f"http://thief.example:{other_port}/")
    page.set_content(f'<iframe src="{server.url}/page"></iframe>')
    frame = page.frames[1]
    frame.wait_for_load_state()
    assert frame.url.startswith("chrome-error:")
