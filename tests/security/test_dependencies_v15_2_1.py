"""Dependencies: the lowest version of each requirement has no known fault that a client can reach.

ASVS 5.0: 15.2.1
Also tested in: tests/deployment/test_dockerfiles.py
"""

from __future__ import annotations

import tomllib
import typing as t

import pytest
import securitylist
from packaging.requirements import Requirement
from packaging.version import Version

PROJECT = tomllib.loads((securitylist.ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]


class Fault(t.NamedTuple):
    """A published fault of a requirement, the version that mends it, and what a client sends."""

    package: str
    advisory: str
    fixed_in: str
    reached_by: str


FAULTS = [
    Fault("jinja2", "CVE-2024-22195", "3.1.3", "keys for the filter `xmlattr` of a template"),
    Fault("jinja2", "CVE-2024-34064", "3.1.4", "keys for the filter `xmlattr` of a template"),
    Fault("jinja2", "CVE-2024-56326", "3.1.5", "a template of a user in a sandbox"),
    Fault("jinja2", "CVE-2025-27516", "3.1.6", "a template of a user in a sandbox"),
    Fault("werkzeug", "CVE-2024-34069", "3.0.3", "the debugger by a page of another site"),
    Fault("werkzeug", "CVE-2024-49767", "3.0.6", "many parts of a form"),
    Fault("werkzeug", "CVE-2026-27199", "3.1.6", "the path of a static file on Windows"),
    Fault("werkzeug", "GHSA-g6x2-hccm-hh4m", "3.1.9", "the path of a static file on Windows"),
    Fault("pillow", "CVE-2024-28219", "10.3", "a picture with a color profile"),
    Fault("pillow", "CVE-2026-96639", "13.0", "a picture of several frames"),
    Fault("pillow", "GHSA-5x8w-8jj5-q52h", "13.0", "a JPEG picture"),
    Fault("pyarrow", "CVE-2023-47248", "14.0.1", "a table in Parquet or Arrow"),
    Fault("pyyaml", "CVE-2020-14343", "5.4", "nothing: carboy writes YAML, and reads the author's"),
]

# Published faults in functions that carboy does not call, so that the lowest version may have them.
NOT_REACHED = {
    "click": "CVE-2026-7246 is in `click.edit`",
    "fsspec": "CVE-2026-104851 is in the file system `reference`, which carboy does not use",
    "python-dotenv": "CVE-2026-28684 is in `set_key`: carboy writes `.env` files itself",
}


def _lowest() -> dict[str, Version]:
    """Return the lowest version of each requirement, also of the optional ones."""
    texts = [*PROJECT["dependencies"]]
    for group in PROJECT["optional-dependencies"].values():
        texts += group
    requirements = list(map(Requirement, texts))
    return {
        each.name: max(Version(part.version) for part in each.specifier if part.operator == ">=")
        for each in requirements
    }


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.package}-{fault.advisory}")
def test_lowest_version_has_the_fault_mended(fault: Fault):
    assert _lowest()[fault.package] >= Version(fault.fixed_in)


def test_each_requirement_has_a_lower_bound():
    assert set(NOT_REACHED) < set(_lowest())


def test_functions_with_faults_that_are_not_mended_are_not_called():
    package = securitylist.ROOT / "src" / "carboy"
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for name in ("click.edit(", "dotenv.set_key(", "dotenv.unset_key(", '"reference://'):
            assert name not in text, f"{path}: {name}"
