"""Swagger UI in a Chromium asks the operations of a zoo, below a prefix that a proxy strips."""

from __future__ import annotations

import http.server
import threading
import urllib.error
import urllib.request

import pytest
import spawning
import zoo
from samplerequests import JSON, faults_of
from werkzeug.wrappers import Response

from carboy.openapi.samples import follow

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(600)]

PREFIX = "/behind/zoo"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    port, folder = spawning.free_port(), tmp_path_factory.mktemp("zoo")
    command = [spawning.script("carboy"), "--app", zoo.__file__, "run", "--port", str(port)]
    program = spawning.start(command, log=folder / "log", port=port, cwd=folder)
    try:
        program.wait_until_it_listens()
        yield program
    finally:
        program.stop()


@pytest.fixture
def proxied(served):
    """Serve the zoo behind a proxy that strips a prefix, and says nothing of it."""

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if not self.path.startswith(PREFIX):
                self.send_error(404, "outside of the prefix")
                return
            length = int(self.headers.get("Content-Length", 0))
            ask = urllib.request.Request(
                served.url + self.path.removeprefix(PREFIX),
                data=self.rfile.read(length) if length else None,
                headers=dict(self.headers.items()),
                method=self.command,
            )
            try:
                answer = urllib.request.urlopen(ask, timeout=60)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                data = answer.read()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in {"connection", "transfer-encoding", "content-length"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_DELETE = do_GET

        def log_message(self, *args): ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}{PREFIX}"
        server.shutdown()
        thread.join()


# Returns the sample that the page proposes for each JSON body. Resolving references by the page
# itself takes minutes for so many operations.
SAMPLES = """bodies => bodies.map(({schema, example}) => {
  const sample = ui.getSystem().fn.getSampleSchema(schema, "application/json", {}, example);
  return typeof sample === "string" ? sample : JSON.stringify(sample);
})"""


def resolved(node, document, depth=0):
    """Return a schema with its references replaced; a recursive type ends with null."""
    if isinstance(node, list):
        return [resolved(each, document, depth) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = {"type": "null"} if depth > 5 else follow(node["$ref"], document)
        node, depth = {**target, **{k: v for k, v in node.items() if k != "$ref"}}, depth + 1
    return {key: resolved(each, document, depth) for key, each in node.items()}


def test_bodies_that_the_page_proposes_are_accepted(page, proxied):
    document, client = zoo.app.openapi(), zoo.app.test_client()
    page.goto(f"{proxied}/docs")
    page.locator(".opblock").first.wait_for()
    bodies = {
        path: resolved(media, document)
        for path, item in document["paths"].items()
        # Parameters, which the page does not fill in, are tested below.
        if "parameters" not in item.get("post", {"parameters": []})
        and (media := item["post"].get("requestBody", {}).get("content", {}).get(JSON))
    }
    assert len(bodies) > 60
    samples = page.evaluate(SAMPLES, list(bodies.values()))
    found = {}
    for path, text in zip(bodies, samples, strict=True):
        answer = client.post(path, data=text, content_type=JSON)
        if faults := faults_of(answer, document["paths"][path]["post"], document):
            found[path] = (text, faults)
    assert found == {}


def test_pages_lead_to_each_other(page, proxied):
    page.goto(f"{proxied}/")
    page.get_by_role("link", name="/docs", exact=True).click()
    page.locator(".opblock").first.wait_for()
    page.get_by_role("navigation", name="This app").get_by_role("link", name="double").click()
    page.locator("#predict").wait_for()
    page.get_by_role("link", name="API reference").click()
    page.get_by_text("/models/double").first.wait_for()
    page.get_by_role("navigation", name="This app").get_by_role("link", name="Home").click()
    page.get_by_text("In development its URLs are listed here").wait_for()
    assert page.url == f"{proxied}/"


def fill_path(block):
    block.locator("tr[data-param-name=number] input").fill("3")


def fill_list(block):
    row = block.locator("tr[data-param-name=value]")
    for position, number in enumerate(("3", "4")):
        row.get_by_role("button", name="Add").click()
        row.locator("input").nth(position).fill(number)


def fill_form(block):
    block.locator("tr[data-property-name=x] input").fill("3")


@pytest.mark.parametrize(
    ("method", "path", "fill"),
    [
        ("post", "/made", None),
        ("post", "/models/double", None),
        ("get", "/stream", None),
        ("get", "/query/list", fill_list),
        ("post", "/form/struct", fill_form),
        ("delete", "/gone/{number}", fill_path),
    ],
)
def test_operation_is_executed_below_the_prefix(page, proxied, method, path, fill):
    document = zoo.app.openapi()
    operation = document["paths"][path][method]
    tag = (operation.get("tags") or ["default"])[0]
    page.goto(f"{proxied}/docs#/{tag}/{operation['operationId']}")
    block = page.locator(f"#operations-{tag}-{operation['operationId']}")
    block.get_by_role("button", name="Execute").wait_for()
    if fill is not None:
        fill(block)
    with page.expect_response(lambda answer: answer.request.method == method.upper()) as waited:
        block.get_by_role("button", name="Execute").click()
    got = waited.value
    assert got.url.startswith(f"{proxied}/{path.split('/')[1]}")
    body = b"" if got.status == 204 else got.body()
    media_type = got.headers.get("content-type", "text/html")
    answer = Response(body, got.status, content_type=media_type)
    assert faults_of(answer, operation, document) == []
