"""The tutorial and the how-to guides work exactly as written."""

from __future__ import annotations

import sys

import guides
import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

HOWTOS = sorted(guides.DOCS.glob("howto/*.md"))
# How-tos that need other programs are followed by tests in tests/deployed, and those that need
# extensions of Flask in tests/extensions.
DEPLOYED = {"apache", "caddy", "mod-wsgi", "nginx", "other-servers", "systemd"}
EXTENDED = {"rate-limits-with-redis"}
FOLLOWED = [
    *(page for page in HOWTOS if page.stem not in DEPLOYED | EXTENDED),
    guides.DOCS / "scaling.md",
]


@pytest.fixture
def reader(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)  # the reader works at a prompt
    before = set(sys.modules)
    reader = guides.Reader(request.param, tmp_path)
    yield reader
    reader.close()
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("reader", FOLLOWED, ids=lambda page: page.stem, indirect=True)
def test_how_to_works_as_written(reader):
    reader.follow()


@pytest.mark.parametrize("reader", [guides.DOCS / "tutorial.md"], ids=["tutorial"], indirect=True)
def test_tutorial_works_as_written_in_a_notebook(reader):
    with guides.notebook(reader.folder) as run_cell:
        printed = reader.follow(run_cell)
    shown = guides.indented(reader.page, "422 Expected")
    assert shown in printed


@pytest.mark.parametrize(
    "page",
    [*(guides.DOCS / f"{name}.md" for name in ("tutorial", "deploy", "scaling")), *HOWTOS],
    ids=lambda p: p.stem,
)
def test_links_lead_to_existing_files(page):
    for target in guides.links(page):
        assert (page.parent / target).exists(), target
