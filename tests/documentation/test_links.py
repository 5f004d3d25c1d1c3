"""Every link of the site leads somewhere, and nothing is loaded from another host."""

from __future__ import annotations

import html.parser
import pathlib
import re
import typing as t
from urllib.parse import unquote, urlsplit

import pytest

# The build of the site takes most of this.
pytestmark = pytest.mark.timeout(300)

# By element: the attributes whose URL a browser loads without being asked to.
LOADED = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "img": ("src", "srcset"),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
}
_IN_STYLES = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""")


class Page(html.parser.HTMLParser):
    """The links, loaded URLs and anchors of a page."""

    def __init__(self, file: pathlib.Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = {"", "top"}
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value is not None}
        self.anchors.add(values.get("id", ""))
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        self.loaded += [values[name] for name in LOADED.get(tag, ()) if name in values]
        self.loaded += urls_of_styles(values.get("style", ""))


def urls_of_styles(text: str) -> list[str]:
    return [first or second for first, second in _IN_STYLES.findall(text)]


@pytest.fixture(scope="module")
def pages(site: pathlib.Path) -> dict[pathlib.Path, Page]:
    return {file: Page(file) for file in sorted(site.rglob("*.html"))}


def is_elsewhere(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.netloc) or parts.scheme not in {"", "data"}


def test_links_within_the_site_lead_to_pages_and_headings(pages):
    broken = []
    for file, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if not target.is_file() or (
                target in pages and unquote(parts.fragment) not in pages[target].anchors
            ):
                broken.append(f"{file.name}: {link}")
    assert broken == []


def test_links_to_other_sites_are_well_formed(pages):
    outside = {
        link
        for page in pages.values()
        for link in page.links
        if urlsplit(link).scheme or urlsplit(link).netloc
    }
    assert outside
    own_server = r"http://127\.0\.0\.1:(5000|8000)(/\S*)?"
    form = re.compile(rf"https://[a-z0-9-]+(\.[a-z0-9-]+)+(/[^\s<>\"']*)?|{own_server}")
    assert [link for link in sorted(outside) if not form.fullmatch(link)] == []


def test_no_page_loads_anything_from_another_host(pages):
    assert [
        (file.name, url) for file, page in pages.items() for url in page.loaded if is_elsewhere(url)
    ] == []


def test_no_style_sheet_loads_anything_from_another_host(site):
    sheets = sorted(site.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        urls = urls_of_styles(sheet.read_text(encoding="utf-8"))
        assert [url for url in urls if is_elsewhere(url)] == [], sheet.name


def test_no_picture_loads_anything_from_another_host(site):
    for picture in site.rglob("*.svg"):
        text = picture.read_text(encoding="utf-8")
        found = re.findall(r"""(?:href|src)\s*=\s*["']([^"']+)""", text) + urls_of_styles(text)
        assert [url for url in found if is_elsewhere(url)] == [], picture.name


def test_every_page_of_the_documentation_is_in_the_navigation(pages, site):
    listed = {
        (site / unquote(urlsplit(link).path)).resolve()
        for link in pages[site / "index.html"].links
        if not urlsplit(link).scheme
    }
    missing = [
        str(file.relative_to(site)) for file in written_pages(pages, site) if file not in listed
    ]
    assert missing == []


def written_pages(pages: t.Iterable[pathlib.Path], site: pathlib.Path) -> list[pathlib.Path]:
    made_by_sphinx = {site / "genindex.html", site / "search.html", site / "py-modindex.html"}
    return [file for file in pages if file not in made_by_sphinx | {site / "index.html"}]
