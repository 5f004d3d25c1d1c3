"""The documentation site, built once for all tests of this folder."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import pathlib
import sys
import threading
import typing as t

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_site"))


def _build() -> t.Callable[[pathlib.Path], int]:
    spec = importlib.util.spec_from_file_location("docs_script", ROOT / "scripts" / "docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return t.cast("t.Callable[[pathlib.Path], int]", module.build)


@pytest.fixture(scope="session")
def site() -> pathlib.Path:
    """The folder of the site, built without a warning."""
    folder = ROOT / "build" / "docs"
    assert _build()(folder) == 0
    return folder


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: t.Any) -> None:
        pass


@pytest.fixture(scope="session")
def address(site: pathlib.Path) -> t.Iterator[str]:
    """The URL at which the site is served, without a final slash."""
    handler = functools.partial(_QuietHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
