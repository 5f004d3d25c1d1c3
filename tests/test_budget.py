"""The budget of one warm request: Python frames, files, and memory that stays allocated.

A benchmark shows a small cost only in a long run; a count shows it at once: one more decorator, one
more helper, one more module for every request. The numbers are what the core needs today; lower
them when it needs less.
"""

from __future__ import annotations

import gc
import io
import pathlib
import sys
import tracemalloc
import types
import typing as t

import pytest
import werkzeug
from alone import measured_alone

import carboy

# Python frames from the server's call to the closed response, including the view's. For comparison:
# Flask 3.1.3 enters 176 frames in 22 files (with Werkzeug's), Falcon 22 in 8.
JSON_FRAMES, JSON_FILES = 10, 5

_OURS = str(pathlib.Path(carboy.__file__).parent)
_WERKZEUGS = str(pathlib.Path(werkzeug.__file__).parent)


def _environ(path: str) -> dict[str, t.Any]:
    return {
        "HTTP_ACCEPT": "*/*",
        "HTTP_HOST": "127.0.0.1:8000",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "REMOTE_ADDR": "127.0.0.1",
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.errors": sys.stderr,
        "wsgi.input": io.BytesIO(),
        "wsgi.multiprocess": False,
        "wsgi.multithread": True,
        "wsgi.run_once": False,
        "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0),
    }


def _start_response(status: str, headers: object, exc_info: object = None) -> None:
    assert status == "200 OK"


def _serve(app: t.Any, path: str) -> None:
    result = app(_environ(path), _start_response)
    for _ in result:
        pass
    close = getattr(result, "close", None)
    if close is not None:
        close()


def _warm_app() -> carboy.Flask:
    app = carboy.Flask(__name__)

    @app.get("/items/<int:item_id>")
    def item(item_id: int) -> dict[str, int]:
        return {"id": item_id}

    for _ in range(3):  # the first request finishes the set-up; the budget is for later ones
        _serve(app, "/items/42")
    return app


@pytest.fixture
def app() -> carboy.Flask:
    return _warm_app()


def _frames(app: t.Any, path: str) -> list[types.CodeType]:
    """Return the code object of each Python frame that one request enters."""
    environ = _environ(path)
    seen: list[types.CodeType] = []

    def profile(frame: types.FrameType, event: str, arg: object) -> None:
        if event == "call":
            seen.append(frame.f_code)

    before = sys.getprofile()
    gc.disable()  # the collector would call finalizers of objects from other tests
    sys.setprofile(profile)
    try:
        result = app(environ, _start_response)
        for _ in result:
            pass
        close = getattr(result, "close", None)
        if close is not None:
            close()
    finally:
        sys.setprofile(before)
        gc.enable()
    return [code for code in seen if code is not _start_response.__code__]


def _listing(codes: list[types.CodeType]) -> str:
    return "\n".join(f"{pathlib.Path(c.co_filename).name}: {c.co_qualname}" for c in codes)


def test_frames_of_a_warm_json_request_are_within_budget(app: carboy.Flask) -> None:
    codes = _frames(app, "/items/42")
    assert len(codes) <= JSON_FRAMES, _listing(codes)


def test_files_of_a_warm_json_request_are_within_budget(app: carboy.Flask) -> None:
    codes = _frames(app, "/items/42")
    # Werkzeug's frames count too: a call that is only moved there costs the same.
    files = {c.co_filename for c in codes if c.co_filename.startswith((_OURS, _WERKZEUGS))}
    assert len(files) <= JSON_FILES, sorted(files)


def test_hooks_of_other_blueprints_add_no_frame(app: carboy.Flask) -> None:
    alone = len(_frames(app, "/items/42"))
    other = carboy.Flask(__name__)
    for i in range(50):
        blueprint = carboy.Blueprint(f"b{i}", __name__, url_prefix=f"/b{i}")
        blueprint.add_url_rule("/", endpoint="index", view_func=lambda: "")
        other.register_blueprint(blueprint)
    other.add_url_rule("/items/<int:item_id>", view_func=lambda item_id: {"id": item_id})
    for _ in range(3):
        _serve(other, "/items/42")
    assert len(_frames(other, "/items/42")) <= alone


def what_stays() -> tuple[int, int]:
    """Count the objects that only the collector frees after 200 requests, and the bytes that
    stay.
    """
    app = _warm_app()
    gc.collect()
    gc.disable()
    tracemalloc.start()
    for _ in range(100):  # caches and free lists fill up while memory is traced
        _serve(app, "/items/42")
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(200):
        _serve(app, "/items/42")
    after, _ = tracemalloc.get_traced_memory()
    return gc.collect(), after - before


def test_warm_request_leaves_no_memory() -> None:
    """No reference cycle (the collector finds nothing) and no memory that grows per request."""
    found, grown = measured_alone(what_stays)
    assert found == 0
    # One object of 28 bytes per request would be 5600 bytes; caches may grow a little.
    assert grown < 2000
