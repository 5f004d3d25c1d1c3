"""docs/compat.md documents everything that deviations.toml lists."""

from __future__ import annotations

import pathlib
import tomllib

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
LISTED = tomllib.loads((HERE / "deviations.toml").read_text())
# The number of Flask's tests that may fail for a reason. More would no longer be Flask.
ALLOWED = 5


def section(name: str) -> str:
    page = (ROOT / "docs" / "compat.md").read_text()
    return page.partition(f"<!-- {name} -->\n")[2].partition("<!-- end -->")[0].strip()


def bullets(entries: list[tuple[str, str]]) -> str:
    return "\n".join(f"* `{name}`: {reason}" for name, reason in entries) or "None."


def test_number_of_deviating_tests_is_bounded():
    assert len(LISTED["deviation"]) <= ALLOWED


def test_every_deviation_is_documented():
    listed = [(entry["test"], entry["reason"]) for entry in LISTED["deviation"]]
    assert section("deviations") == bullets(listed)


def test_every_differing_name_is_documented():
    listed = [("`, `".join(entry["names"]), entry["reason"]) for entry in LISTED["name"]]
    assert section("names") == bullets(listed)


def test_every_extension_is_documented():
    page = (ROOT / "docs" / "compat.md").read_text()
    listed = (HERE.parent / "extensions" / "requirements.txt").read_text()
    asked_for = listed.partition("# What those require.")[0]
    names = [line.partition("==")[0] for line in asked_for.splitlines() if "==" in line]
    helpers = {"cachelib", "email-validator", "httpx", "opentelemetry-sdk"}
    helpers |= {"Flask-Principal", "pytest", "pytest-randomly", "pytest-timeout"}
    helpers |= {"websocket-client"}
    assert [name for name in names if name not in helpers and name not in page] == []
