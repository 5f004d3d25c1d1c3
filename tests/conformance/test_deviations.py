"""docs/compat.md documents everything that deviations.toml lists."""

from __future__ import annotations

import pathlib
import re
import tomllib

import pytest

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
    assert len(LISTED["deviation_of_newest"]) <= ALLOWED


@pytest.mark.parametrize(
    ("key", "name"), [("deviation", "deviations"), ("deviation_of_newest", "newest deviations")]
)
def test_every_deviation_is_documented(key, name):
    listed = [(entry["test"], entry["reason"]) for entry in LISTED[key]]
    assert section(name) == bullets(listed)


def test_numbers_of_passing_tests_are_documented():
    newest = tomllib.loads((HERE / "newest.toml").read_text())
    pins = (HERE / "newest.txt").read_text()
    (werkzeug,) = re.findall(r"^werkzeug==(\S+)", pins, re.MULTILINE)
    page, readme = ((ROOT / name).read_text() for name in ("docs/compat.md", "README.md"))
    passing = LISTED["passing"]
    assert f"all {passing['pinned']} tests of Flask 3.1.3 pass" in " ".join(page.split())
    told = f"{passing['newest']} tests of Flask {newest['version']} pass with Werkzeug {werkzeug}"
    assert told in " ".join(page.split())
    assert f"{passing['pinned']} tests" in readme


def test_newest_flask_is_pinned_by_hash():
    newest = tomllib.loads((HERE / "newest.toml").read_text())
    assert re.fullmatch(r"[0-9a-f]{64}", newest["sha256"])
    pins = (HERE / "newest.txt").read_text()
    assert not re.search(r"^flask==", pins, re.MULTILINE)  # it would be tested in carboy's place
    for name in re.findall(r"^([\w.-]+)==", pins, re.MULTILINE):
        assert re.search(rf"^{re.escape(name)}==[^\n]+\n +--hash=sha256:", pins, re.MULTILINE), name


def test_every_differing_name_is_documented():
    listed = [("`, `".join(entry["names"]), entry["reason"]) for entry in LISTED["name"]]
    assert section("names") == bullets(listed)


def test_every_extension_is_documented():
    page, readme = ((ROOT / name).read_text() for name in ("docs/compat.md", "README.md"))
    listed = (HERE.parent / "extensions" / "requirements.txt").read_text()
    asked_for = listed.partition("# What those require.")[0]
    names = [line.partition("==")[0] for line in asked_for.splitlines() if "==" in line]
    helpers = {"cachelib", "email-validator", "httpx", "opentelemetry-sdk"}
    helpers |= {"Flask-Principal", "pytest", "pytest-randomly", "pytest-timeout"}
    helpers |= {"websocket-client"}
    extensions = [name for name in names if name not in helpers]
    assert [name for name in extensions if name not in page] == []
    assert f"{len(extensions)} extensions" in readme
