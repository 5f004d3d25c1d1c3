"""The files of a project, for each choice of its parts."""

from __future__ import annotations

import itertools
import json

import jinja2
import pytest

from carboy.starter import PARTS
from carboy.starter.sources import project_files, title_of

CHOICES = [
    choice for size in range(1, len(PARTS) + 1) for choice in itertools.combinations(PARTS, size)
]
TREE = {
    *("app.py", "config.py", "utils.py", "README.md", "pytest.ini"),
    *("requirements.txt", "requirements-dev.txt", ".env.example", ".gitignore"),
    *("templates/index.html", "static/css/style.css", "static/js/page.js", "static/img/icon.svg"),
    *("tests/conftest.py", "tests/test_app.py", "logs/.gitkeep"),
}
OF_ONE_PART = {"model.json": "model", "uploads/.gitkeep": "upload"}


@pytest.mark.parametrize("parts", CHOICES, ids="+".join)
def test_project_has_the_usual_tree_and_no_file_of_other_parts(parts):
    files = project_files("shop", parts, "carboy.whl")
    assert set(files) == TREE | {path for path, part in OF_ONE_PART.items() if part in parts}


@pytest.mark.parametrize("parts", CHOICES, ids="+".join)
def test_files_are_valid_text_without_remains_of_the_templates(parts):
    for path, content in project_files("my-shop", parts, "carboy.whl").items():
        text = content.decode()
        assert not {"[[", "[%", "\t", "\r"} & {
            text[i : i + n] for n in (1, 2) for i in range(len(text))
        }
        assert "\n\n\n\n" not in text
        assert not any(line != line.rstrip() for line in text.splitlines())
        assert text == "" or (text.endswith("\n") and not text.endswith("\n\n"))
        if path.endswith(".py"):
            compile(text, path, "exec")
        elif path.endswith(".html"):
            jinja2.Environment(autoescape=True).parse(text)
        elif path.endswith(".json"):
            json.loads(text)


@pytest.mark.parametrize(
    ("name", "title"),
    [("shop", "Shop"), ("my-shop", "My shop"), ("MyShop", "MyShop"), ("a__b-", "A b")],
)
def test_title_is_the_name_in_words(name, title):
    assert title_of(name) == title
