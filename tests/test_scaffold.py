"""What apps and blueprints share: decorators, folders, and checks of registered objects."""

from __future__ import annotations

import os
import pathlib
import sys

import pytest
from werkzeug.exceptions import HTTPException, NotFound

from carboy import Blueprint, Carboy
from carboy.scaffold import Scaffold, _endpoint_from_view_func, find_package


@pytest.mark.parametrize("method", ["get", "post", "put", "delete", "patch"])
def test_each_http_method_has_a_decorator(app: Carboy, method: str) -> None:
    with pytest.raises(TypeError, match=rf"^{method}\(\) is for {method.upper()} alone"):
        getattr(app, method)("/", methods=["GET"])
    getattr(app, method)("/")(lambda: method)
    assert app.test_client().open("/", method=method.upper()).text == method


@pytest.mark.parametrize("name", ["route", "get", "post", "put", "delete", "patch", "errorhandler"])
def test_decorator_without_parentheses_raises(app: Carboy, name: str) -> None:
    with pytest.raises(TypeError, match=rf"@{name} is used without parentheses above 'view'"):

        @getattr(app, name)
        def view() -> str:
            return ""


def test_view_may_be_added_to_an_endpoint_later(app: Carboy) -> None:
    app.add_url_rule("/", endpoint="later")

    @app.endpoint("later")
    def view() -> str:
        return "late"

    assert app.test_client().get("/").text == "late"


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        (999, ValueError, "999 is not a recognized HTTP error code"),
        (KeyError("x"), TypeError, "is an instance, not a class"),
        (str, ValueError, "'str' is not a subclass of Exception"),
        (KeyboardInterrupt, ValueError, "'KeyboardInterrupt' is not a subclass of Exception"),
    ],
    ids=["code", "instance", "class", "base exception"],
)
def test_error_handler_is_for_a_code_or_a_class(app: Carboy, wanted, error, message: str) -> None:
    with pytest.raises(error, match=message):
        app.register_error_handler(wanted, lambda e: "")


def test_error_handlers_are_stored_by_code_and_class(app: Carboy) -> None:
    app.errorhandler(404)(lambda e: "")
    app.errorhandler(KeyError)(lambda e: "")
    spec = app.error_handler_spec[None]
    assert set(spec) == {404, None}
    assert set(spec[404]) == {NotFound}
    assert set(spec[None]) == {KeyError}
    assert app._get_exc_class_and_code(HTTPException) == (HTTPException, None)


def test_rule_without_a_view_requires_an_endpoint() -> None:
    with pytest.raises(AssertionError, match="endpoint="):
        _endpoint_from_view_func(None)


def test_base_class_methods_raise_not_implemented() -> None:
    scaffold = Scaffold("carboy")
    with pytest.raises(NotImplementedError):
        scaffold.get("/")


@pytest.mark.parametrize(
    ("folder", "url", "expected"),
    [
        (None, None, None),
        ("static", None, "/static"),
        ("files/css/", None, "/css"),
        (pathlib.Path("files"), None, "/files"),
        ("static", "/", ""),
        ("static", "/s/", "/s"),
        (None, "/s", "/s"),
    ],
    ids=["none", "by name", "nested", "path", "root", "given", "url alone"],
)
def test_static_url_is_derived_from_the_folder(folder, url, expected: str | None) -> None:
    blueprint = Blueprint("b", "carboy", static_folder=folder, static_url_path=url)
    assert blueprint.static_url_path == expected
    assert blueprint.has_static_folder is (folder is not None)
    if folder is not None:
        assert os.path.isabs(blueprint.static_folder or "")


def test_loader_is_none_without_a_template_folder(tmp_path: pathlib.Path) -> None:
    assert Blueprint("b", "carboy").jinja_loader is None
    assert Blueprint("b", "carboy", template_folder="t").jinja_loader is not None


def test_cli_group_has_the_blueprints_name() -> None:
    blueprint = Blueprint("b", "carboy")
    assert blueprint.cli.name == "b"
    assert repr(blueprint) == "<Blueprint 'b'>"


# --------------------------------------------------------------------------- locations of packages


def _write(root: pathlib.Path, *files: str) -> None:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")


@pytest.mark.parametrize(
    ("base", "prefix"),
    [
        ("project", None),
        ("lib/python3.11/site-packages", ""),
        ("Lib/site-packages", ""),
        ("odd/site-packages", "odd"),
    ],
    ids=["not installed", "unix", "windows", "elsewhere"],
)
@pytest.mark.parametrize(
    ("files", "name"),
    [
        (["single_scaffold.py"], "single_scaffold"),
        (["package_scaffold/__init__.py"], "package_scaffold"),
        (["space_scaffold/inner/__init__.py"], "space_scaffold.inner"),
        (["bare_scaffold/inner.py"], "bare_scaffold.inner"),
    ],
    ids=["module", "package", "in a namespace", "module in a namespace"],
)
def test_package_is_found(
    base: str,
    prefix: str | None,
    files: list[str],
    name: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = tmp_path / base
    _write(root, *files)
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.setattr(sys, "prefix", "/nowhere")
    expected = None if prefix is None else str(tmp_path / prefix).rstrip("/")
    try:
        assert find_package(name) == (expected, str(root))
    finally:
        for module in [m for m in sys.modules if m.partition(".")[0].endswith("_scaffold")]:
            del sys.modules[module]


def test_package_within_the_prefix(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, "here_scaffold.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert find_package("here_scaffold") == (str(tmp_path), str(tmp_path))


@pytest.mark.parametrize("name", ["no_such_module_at_all", "__main__"])
def test_unknown_package_is_in_the_current_directory(name: str, monkeypatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys, "prefix", "/nowhere")
    assert find_package(name) == (None, os.getcwd())
