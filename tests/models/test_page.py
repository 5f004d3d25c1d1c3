"""The page of a model: who gets it, its content, and its security headers."""

from __future__ import annotations

import enum
import html
import json
import re
import typing as t
from html.parser import HTMLParser
from urllib.parse import urljoin

import msgspec
import pytest
import tryout

from carboy import Blueprint, Carboy
from carboy.errors import SignatureError
from carboy.models import DataFrame, Image
from carboy.models.page import files
from carboy.models.page.rendering import render

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' blob: data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
}


class Soil(enum.Enum):
    SAND = "sand"
    LOAM = "loam"
    CLAY = "clay"


class Row(msgspec.Struct):
    size: t.Literal["small", "medium", "large"]
    soil: Soil | None = None


def double(x: float) -> float:
    """Twice as much."""
    return 2 * x


@pytest.fixture
def client(app):
    app.model("/double")(double)
    return app.test_client()


def page_of(client, path="/double", **options):
    return client.get(path, headers={"Accept": BROWSER}, **options)


class Page(HTMLParser):
    """Parses a page: its tags, and the description for the script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def urls(self) -> list[str]:
        return [
            t.cast("str", attrs.get("href") or attrs.get("src"))
            for tag, attrs in self.tags
            if tag in {"link", "script"} and ("href" in attrs or "src" in attrs)
        ]

    @property
    def description(self) -> dict[str, t.Any]:
        found = [text for text in self.texts if text.startswith('{"name"')]
        return t.cast("dict[str, t.Any]", json.loads(found[0]))


# --- content negotiation -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (BROWSER, "text/html"),
        ("text/html", "text/html"),
        ("text/*", "text/html"),
        ("text/html, */*", "text/html"),
        ("text/html, application/json;q=0.9", "text/html"),
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("application/json, text/html", "application/json"),
        ("text/html;q=0.5, application/json", "application/json"),
        ("text/html;q=0, */*", "application/json"),
        ("image/png", "application/json"),
        ("no media type at all", "application/json"),
    ],
)
def test_browsers_get_the_page_and_programs_the_metadata(client, accept, kind):
    headers = {} if accept is None else {"Accept": accept}
    answer = client.get("/double", headers=headers)
    assert (answer.status_code, answer.mimetype) == (200, kind)
    assert "Accept" in answer.vary
    if kind == "application/json":
        assert answer.json["name"] == "double"
        assert "Content-Security-Policy" not in answer.headers


def test_head_and_options_work_as_for_any_view(client):
    whole = page_of(client)
    head = client.head("/double", headers={"Accept": BROWSER})
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == whole.headers["Content-Length"]
    assert head.mimetype == "text/html"
    options = client.options("/double")
    assert set(options.allow) == {"GET", "HEAD", "OPTIONS", "POST"}


def test_post_of_a_browser_is_a_prediction(client):
    answer = client.post("/double", json=2, headers={"Accept": BROWSER})
    assert answer.json == 4


def test_model_pages_can_be_disabled(app, client):
    url = urljoin("/double", Page(page_of(client).text).urls[0])
    app.config["MODEL_PAGES"] = False
    answer = page_of(client)
    assert answer.mimetype == "application/json"
    assert "Accept" not in answer.vary
    assert client.get(url).status_code == 404


def test_showing_the_page_does_not_load_the_model(app):
    class Slow:
        def __init__(self) -> None:
            raise AssertionError("loaded")

        def predict(self, x: float) -> float:
            return x

    app.model("/slow")(Slow)
    assert page_of(app.test_client(), "/slow").status_code == 200


# --- security headers --------------------------------------------------------------------------


def test_policy_allows_the_pages_own_files_and_nothing_inline(client):
    page = page_of(client)
    assert set(page.headers["Content-Security-Policy"].split("; ")) == POLICY
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["Cache-Control"] == "no-cache"
    for tag, attrs in Page(page.text).tags:
        assert tag != "style"
        assert not [name for name in attrs if name.startswith("on") or name == "style"]
        assert tag != "script" or "src" in attrs or attrs["type"] == "application/json"


def test_hooks_with_a_default_policy_do_not_replace_the_pages(app, client):
    @app.after_request
    def guard(response):
        response.headers.setdefault("Content-Security-Policy", "default-src 'self'")
        return response

    assert set(page_of(client).headers["Content-Security-Policy"].split("; ")) == POLICY


def test_hooks_protect_page_and_files(app, client):
    url = urljoin("/double", Page(page_of(client).text).urls[0])
    app.before_request_funcs.setdefault(None, []).append(lambda: ("no", 401))
    assert page_of(client).status_code == 401
    assert client.get(url).status_code == 401


# --- assets ------------------------------------------------------------------------------------


def site(app: Carboy) -> Carboy:
    blueprint = Blueprint("shop", __name__, url_prefix="/shop")
    blueprint.model("/double")(double)
    app.register_blueprint(blueprint)
    app.model("/")(double)
    app.model("/slash/")(double)
    app.model("/a/b c:d", name="odd")(double)
    return app


@pytest.mark.parametrize("root", ["", "/prefix"])
@pytest.mark.parametrize("path", ["/", "/slash/", "/shop/double", "/a/b%20c:d"])
def test_files_are_found_relative_to_the_page(app, path, root):
    client = site(app).test_client()
    base = f"http://localhost{root}"
    page = Page(page_of(client, path, base_url=base).text)
    # The script of the page that asks for a key is not one of this page.
    assert len(page.urls) == len(files.load().by_name) - 1
    for url in page.urls:
        assert not url.startswith("/")
        absolute = urljoin(f"{base}{path}", url)
        assert absolute.startswith(base)
        file = client.get(absolute.removeprefix(base), base_url=base)
        assert file.status_code == 200, absolute
        assert file.headers["X-Content-Type-Options"] == "nosniff"
        assert file.headers["Cache-Control"] == "public, max-age=31536000, immutable"


def test_files_have_their_types_and_are_compressed_if_accepted(client):
    home = f"/double/_page/{files.load().digest}"
    plain = client.get(f"{home}/main.js")
    zipped = client.get(f"{home}/main.js", headers={"Accept-Encoding": "gzip, br"})
    assert plain.mimetype == "text/javascript"
    assert client.get(f"{home}/page.css").mimetype == "text/css"
    assert "Content-Encoding" not in plain.headers
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert len(zipped.data) < len(plain.data)
    assert "Accept-Encoding" in plain.vary


def test_files_of_another_version_are_not_cached(client):
    file = client.get("/double/_page/0123456789ab/main.js")
    assert file.status_code == 200
    assert file.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "name", ["no.js", "../views.py", "..%2f..%2fviews.py", "../../__init__.py", "%00", "form"]
)
def test_other_files_are_404(client, name):
    assert client.get(f"/double/_page/{files.load().digest}/{name}").status_code == 404


def test_page_and_files_are_small(client):
    """Bytes sent at the first visit; later visits load the page only."""
    found = files.load().by_name.values()
    assert sum(len(file.zipped) for file in found) + len(page_of(client).data) < 60_000


def test_page_is_no_part_of_the_document(app, client):
    page_of(client)
    assert list(app.openapi()["paths"]) == ["/double"]


# --- content -----------------------------------------------------------------------------------


def test_description_for_the_script_has_metadata_defaults_and_example(app):
    def shout(text: str, times: int = 2, note: str | None = None) -> str:
        return text * times

    app.model("/shout", example={"text": "ho"})(shout)
    client = app.test_client()
    description = Page(page_of(client, "/shout").text).description
    assert description.items() >= client.get("/shout").json.items()
    assert description["defaults"] == {"times": 2, "note": None}
    assert description["examples"] == [{"title": "Example", "value": {"text": "ho"}}]


def test_example_picture_is_a_data_url(app):
    import PIL.Image

    def size(image: Image) -> int:
        return image.width

    app.model("/size", example=PIL.Image.new("L", (3, 2)))(size)
    client = app.test_client()
    [example] = Page(page_of(client, "/size").text).description["examples"]
    assert example["value"].startswith("data:image/png;base64,")
    assert client.post("/size", json=example["value"]).json == 3


def test_examples_are_shown_in_their_order_and_the_first_warms_the_model_up(app):
    seen = []

    def shout(text: str) -> str:
        seen.append(text)
        return text

    app.model("/one", example="a", examples={"Second": "b"})(shout)
    app.model("/two", examples={"First": "c", "Second": "d"})(shout)
    app.models.load()
    assert seen == ["a", "c"]
    client = app.test_client()
    titles = {
        url: [each["title"] for each in Page(page_of(client, url).text).description["examples"]]
        for url in ("/one", "/two")
    }
    assert titles == {"/one": ["Example", "Second"], "/two": ["First", "Second"]}


@pytest.mark.parametrize(
    ("examples", "error", "says"),
    [
        ({"Wrong": 1}, SignatureError, "the example 'Wrong' does not fit"),
        (["a"], ValueError, "expected a dict of inputs by their titles"),
        ({"": "a"}, ValueError, "expected a dict of inputs by their titles"),
        ({1: "a"}, ValueError, "expected a dict of inputs by their titles"),
    ],
)
def test_examples_that_do_not_fit_are_refused(app, examples, error, says):
    def shout(text: str) -> str:
        return text

    with pytest.raises(error, match=says):
        app.model("/shout", examples=examples)(shout)


def test_page_links_to_the_home_page_other_models_and_documentation(app):
    def same(x: int) -> int:
        return x

    app.model("/a/same")(same)
    app.model("/other")(same)
    app.add_url_rule("/", "home", lambda: "home")
    client = app.test_client()
    links = re.findall(r'<a href="(.*?)">(.*?)</a>', page_of(client, "/a/same").text)
    assert links == [
        ("../", "Home"),
        ("../other", "other"),
        ("../docs", "API documentation"),
        ("../redoc", "API reference"),
        ("../openapi.json", "OpenAPI document"),
    ]
    links = re.findall(r'<a href="(.*?)">(.*?)</a>', page_of(client, "/other").text)
    assert links[:2] == [("./", "Home"), ("a/same", "same")]


def test_page_without_other_pages_has_no_links(app):
    def same(x: int) -> int:
        return x

    app.config["OPENAPI_ENABLED"] = False
    app.model("/same")(same)
    assert "<nav" not in page_of(app.test_client(), "/same").text


def test_values_of_literals_and_enums_have_their_declared_order(app):
    def sizes(
        rows: list[Row], numbers: t.Literal[3, 1, 2] = 3, table: DataFrame[Row] | None = None
    ) -> Soil:
        return Soil.SAND

    app.model("/sizes")(sizes)
    small = '"enum":["small","medium","large"]'
    document = json.dumps(app.openapi(), separators=(",", ":"))
    for text in (page_of(app.test_client(), "/sizes").text, document):
        assert small in text
        assert '"large","medium"' not in text
        assert '"enum":["sand","loam","clay"]' in text
        assert '"enum":[3,1,2]' in text


def test_example_too_long_for_a_page_is_left_out(app):
    def take(text: str) -> str:
        return text

    app.model("/take", example="x" * 600_000)(take)
    assert Page(page_of(app.test_client(), "/take").text).description["examples"] == []


def test_default_without_json_leaves_the_field_empty(app):
    def take(text: str, way: t.Any = object) -> str:
        return text

    app.model("/take")(take)
    assert Page(page_of(app.test_client(), "/take").text).description["defaults"] == {"way": None}


def test_names_docs_and_texts_never_become_markup():
    page = Page(page_of(tryout.app.test_client(), "/hostile").text)
    names = [tag for tag, _ in page.tags]
    assert "img" not in names
    assert names.count("script") == 2  # main.js and the description
    assert page.description["doc"] == tryout.hostile.__doc__
    assert page.description["defaults"]["text"] == tryout.HOSTILE


def test_name_with_markup_is_escaped_everywhere():
    name = '"><img src=x onerror=alert(1)>&lt;{files}'
    text = render({"name": name, "doc": ""}, path=name, files="./f", modules=[])
    assert "<img" not in text
    assert text.count(html.escape(name)) == 3


def test_docstring_keeps_paragraphs_and_indented_text():
    doc = "First\nline.\n\nSecond\nparagraph.\n\n    indented\n      more"
    text = render({"name": "x", "doc": doc}, path="/x", files="./f", modules=[])
    assert '<p class="lead">First line.</p>' in text
    assert "<p>Second paragraph.</p>" in text
    assert '<p class="verbatim">    indented\n      more</p>' in text


def test_sections_of_a_docstring_are_lists():
    doc = (
        "Lead.\n\nArgs:\n    x: <one>,\n        and more.\n\nReturns:\n    two.\n\n"
        "Raises:\n    422: no."
    )
    text = render({"name": "x", "doc": doc}, path="/x", files="./f", modules=[])
    assert "<h2>Input</h2>" in text
    assert "<dt>x</dt><dd>&lt;one&gt;, and more.</dd>" in text
    assert "<h2>Answer</h2>\n<p>two.</p>" in text
    assert "<h2>Errors</h2>" in text
    assert "Args:" not in text.partition("</header>")[0]


def test_page_contains_nothing_of_config_or_machine(app, client):
    text = page_of(client).text
    assert app.config["SECRET_KEY"] not in text
    assert app.root_path not in text
    assert not re.search(r"/(home|root|usr|tmp)/", text)
