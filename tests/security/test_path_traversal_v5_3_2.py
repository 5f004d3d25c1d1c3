"""Path traversal: no name that a client, a card or a command line has leads out of its folder.

ASVS 5.0: 5.3.2, 5.3.3
Also tested in: tests/core/test_statics.py, tests/uploads/test_sending.py,
tests/models/sources/test_sources.py, tests/starter/test_names.py
"""

from __future__ import annotations

import json
import pathlib
import re

import pytest
from jinja2 import TemplateNotFound

import carboy
from carboy import Carboy, render_template
from carboy.errors import ModelFileError
from carboy.models.saved.card import read_card

PACKAGE = pathlib.Path(carboy.__file__).parent

# Ways to write "the file secret.txt above this folder".
OUT = [
    "../secret.txt",
    "..%2fsecret.txt",
    "%2e%2e/secret.txt",
    "%2e%2e%2fsecret.txt",
    "..%5csecret.txt",
    "..\\secret.txt",
    "a/../../secret.txt",
    "a/%2e%2e/%2e%2e/secret.txt",
    "....//secret.txt",
    "..;/secret.txt",
    "%c0%ae%c0%ae/secret.txt",
    "%252e%252e/secret.txt",
    "..%00/secret.txt",
    "{root}/secret.txt",
    "%2f{root}/secret.txt",
    "file:{root}/secret.txt",
    "~/secret.txt",
]


@pytest.fixture
def site(tmp_path: pathlib.Path) -> Carboy:
    (tmp_path / "secret.txt").write_text("TOP SECRET")
    for folder in ("static/a", "templates/a"):
        (tmp_path / folder).mkdir(parents=True)
    app = Carboy("site", root_path=str(tmp_path))
    app.config["MODEL_PROTOCOLS"] = ["v2"]
    app.model("/double")(double)
    app.add_url_rule("/page/<path:name>", "page", lambda name: render_template(name))
    return app


def double(x: float) -> float:
    return 2 * x


PREFIXES = [
    "/static/",
    "/page/",
    "/double/_page/x/",
    "/docs/assets/",
    "/v2/models/",
    "/v2/models/double/versions/",
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_url_leads_to_no_file_outside(site: Carboy, prefix: str):
    client = site.test_client()
    # A template that is missing is an error of the program.
    expected = {404, 500} if prefix == "/page/" else {404}
    for name in OUT:
        response = client.get(prefix + name.format(root=site.root_path), follow_redirects=True)
        assert "TOP SECRET" not in response.text, name
        assert response.status_code in expected, name


@pytest.mark.parametrize("name", ["../secret.txt", "a/../../secret.txt", "{root}/secret.txt"])
def test_template_outside_of_the_folder_is_not_found(site: Carboy, name: str):
    with site.test_request_context(), pytest.raises(TemplateNotFound):
        render_template(name.format(root=site.root_path))


@pytest.mark.parametrize(
    "name",
    [
        "../x.bin",
        "a/../../x.bin",
        "/x.bin",
        "..\\x.bin",
        "a\\..\\..\\x.bin",
        "C:x.bin",
        "\\x.bin",
        "",
    ],
)
def test_card_that_names_a_file_outside_of_its_folder_is_refused(tmp_path: pathlib.Path, name: str):
    record = {"bytes": 1, "sha256": "0" * 64}
    card = {
        "name": "m",
        "version": "1",
        "format": "joblib",
        "files": {name: record},
        "made_at": "2026-11-29",
        "python": "3.11",
        "libraries": {},
    }
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(ModelFileError, match="not in its folder"):
        read_card(str(tmp_path))


def test_no_archive_is_unpacked():
    """Archives of clients and of model stores are not unpacked, so that none can place a file."""
    for path in PACKAGE.rglob("*.py"):
        found = re.search(r"\b(extractall|unpack_archive|tarfile)\b", path.read_text("utf-8"))
        assert found is None, path
