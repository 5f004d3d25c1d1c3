"""The page of Werkzeug's debugger, without the program's secrets."""

from __future__ import annotations

import typing as t

import pytest
from werkzeug.debug import DebuggedApplication
from werkzeug.debug.tbtools import DebugTraceback
from werkzeug.test import Client

from carboy import Carboy
from carboy.cli.debugpages import mask_tracebacks
from carboy.core.masking import MASK

KEY = "k3y-0f-th1s-t3st-4nd-n0-0th3r"
RENDERERS = ("render_debugger_html", "render_traceback_html", "render_traceback_text")


@pytest.fixture
def masked_tracebacks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RENDERERS:
        monkeypatch.setattr(DebugTraceback, name, getattr(DebugTraceback, name))
    mask_tracebacks()


@pytest.mark.usefixtures("masked_tracebacks")
def test_debugger_shows_no_key_and_works() -> None:
    app = Carboy(__name__)
    app.config.update(SECRET_KEY=KEY, PROPAGATE_EXCEPTIONS=True)

    @app.get("/")
    def fail() -> str:
        password = "in-the-source-17"  # unknown to the config
        raise ValueError(f"{KEY} {password}")

    debugger = DebuggedApplication(t.cast("t.Any", app), evalex=True)
    response = Client(debugger).get("/", base_url="http://localhost")
    page = response.get_data(as_text=True)
    assert response.status_code == 500
    assert f"ValueError: {MASK}" in page
    assert KEY not in page
    assert f"password = &#34;{MASK}&#34;" in page or f"password = &quot;{MASK}&quot;" in page
    # The browser sends the page's own secret with each command.
    assert f'SECRET = "{debugger.secret}"' in page


@pytest.mark.usefixtures("masked_tracebacks")
def test_tracebacks_are_masked_once() -> None:
    before = [getattr(DebugTraceback, name) for name in RENDERERS]
    mask_tracebacks()
    assert [getattr(DebugTraceback, name) for name in RENDERERS] == before
