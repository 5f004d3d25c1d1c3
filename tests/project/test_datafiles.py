"""`config.toml` and `config.json`."""

from __future__ import annotations

import pytest

from carboy.errors import ProjectError

TOML = """
    # SIZE = 0
    TITLE = "Shop"
    SIZE = 1
    dev.SIZE = 5

    [default]
    COLOUR = "red"

    [DATABASE]
    SIZE = "another"

    [production]
    SIZE = 2

    [production.CACHE]
    HOST = "c"
"""
JSON = """
    {
        "TITLE": "Shop",
        "DATABASE": {"HOST": "db"},
        "production": {
            "SIZE": 2
        }
    }
"""


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        (
            "config.toml",
            TOML,
            {
                "TITLE": ("Shop", "config.toml:2"),
                "SIZE": (2, "config.toml:13 [production]"),
                "COLOUR": ("red", "config.toml:7 [default]"),
                "DATABASE": ({"SIZE": "another"}, "config.toml:9"),
                "CACHE": ({"HOST": "c"}, "config.toml:15 [production]"),
            },
        ),
        (
            "config.json",
            JSON,
            {
                "TITLE": ("Shop", "config.json:2"),
                "DATABASE": ({"HOST": "db"}, "config.json:3"),
                "SIZE": (2, "config.json:5 [production]"),
            },
        ),
    ],
    ids=["toml", "json"],
)
def test_values_and_sections_have_their_lines(project, name, text, values):
    project.write(name, text)
    app = project.load()
    found = {key: (app.config[key], project.origin(app, key)) for key in values}
    assert found == values


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("config.toml", "A = 1\nB = \n", r"config.toml:2: this is not TOML: Invalid value"),
        ("config.toml", "A = 1\nA = 2\n", r"config.toml:2: this is not TOML: Cannot overwrite"),
        ("config.toml", "title = 1\n", r"config.toml:1: 'title' is not a config.*Write TITLE"),
        ("config.toml", "[dev]\nsize = 1\n", r"config.toml:2 \[dev\]: 'size'.*Write SIZE"),
        ("config.toml", "\n[PRODUCTION]\nA = 1\n", r"config.toml:1: PRODUCTION.*Write production"),
        ("config.toml", "[database]\nhost = 1\n", r"config.toml:2 .*'host'.*write \[DATABASE\]"),
        ("config.json", '{\n"A": 1,}', r"config.json:2: this is not JSON"),
        ("config.json", '{"A": 1,\n"A": 2}', r"config.json:2: the key A is given twice"),
        ("config.json", "[1]", r"config.json:1: expected an object.*got list"),
        ("config.json", "", r"config.json:1: this is not JSON"),
    ],
)
def test_file_that_cannot_be_used_is_named_with_its_line(project, name, text, problem):
    project.write(name, text)
    with pytest.raises(ProjectError, match=problem):
        project.load()


def test_file_that_is_not_utf_8_is_refused(project):
    (project.root / "config.toml").write_bytes(b'A = "\xff"\n')
    with pytest.raises(ProjectError, match=r"config.toml cannot be read: it is not UTF-8"):
        project.load()
