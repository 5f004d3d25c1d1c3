"""The tutorial and the how-to guides work exactly as written."""

from __future__ import annotations

import sys

import guides
import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

FOLLOWED = sorted({*guides.FOLLOWED} - {guides.TUTORIAL, *guides.followed_elsewhere()})


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
def test_page_works_as_written(reader):
    reader.follow()


@pytest.mark.parametrize("reader", [guides.TUTORIAL], ids=["tutorial"], indirect=True)
def test_tutorial_works_as_written_in_a_notebook(reader):
    with guides.notebook(reader.folder) as run_cell:
        printed = reader.follow(run_cell)
    assert guides.shown(reader.page, "422 Expected") in printed


@pytest.mark.parametrize("page", guides.FOLLOWED, ids=lambda page: page.stem)
def test_links_lead_to_existing_files(page):
    for target in guides.links(page):
        assert (page.parent / target).exists(), target
