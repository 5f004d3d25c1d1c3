"""docs/compat.md tells users what deviations.toml tells the machinery."""

from __future__ import annotations

import pathlib
import tomllib

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
LISTED = tomllib.loads((HERE / "deviations.toml").read_text())
# So many tests of Flask's may fail for a reason; more would not be Flask any more.
ALLOWED = 5


def section(name: str) -> str:
    page = (ROOT / "docs" / "compat.md").read_text()
    return page.partition(f"<!-- {name} -->\n")[2].partition("<!-- end -->")[0].strip()


def bullets(entries: list[tuple[str, str]]) -> str:
    return "\n".join(f"* `{name}`: {reason}" for name, reason in entries) or "None."


def test_few_tests_deviate():
    assert len(LISTED["deviation"]) <= ALLOWED


def test_every_deviation_stands_in_the_docs():
    listed = [(entry["test"], entry["reason"]) for entry in LISTED["deviation"]]
    assert section("deviations") == bullets(listed)


def test_every_differing_name_stands_in_the_docs():
    listed = [("`, `".join(entry["names"]), entry["reason"]) for entry in LISTED["name"]]
    assert section("names") == bullets(listed)


def test_every_extension_is_named_in_the_docs():
    page = (ROOT / "docs" / "compat.md").read_text()
    listed = (HERE.parent / "extensions" / "requirements.txt").read_text()
    asked_for = listed.partition("# What those require.")[0]
    names = [line.partition("==")[0] for line in asked_for.splitlines() if "==" in line]
    helpers = {"cachelib", "email-validator", "httpx", "opentelemetry-sdk"}
    helpers |= {"Flask-Principal", "pytest", "pytest-randomly", "pytest-timeout"}
    assert [name for name in names if name not in helpers and name not in page] == []
