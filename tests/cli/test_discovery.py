"""How commands find the app, and the messages if there is none."""

from __future__ import annotations

import sys
import types

import pytest

from carboy import Carboy
from carboy.cli import (
    NoAppException,
    ScriptInfo,
    find_app_by_string,
    find_best_app,
    locate_app,
    prepare_import,
)
from carboy.cli.discovery import split_import_path

APP = Carboy("one")
OTHER = Carboy("two")


def module(**names):
    made = types.ModuleType("shop")
    made.__dict__.update(names)
    return made


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder, whose modules are removed from `sys.modules` afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    # other tests may have imported them, and an imported module is found before a file
    for name in ("app", "wsgi"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def make_app():
    return APP


def needs_a_name(name):
    return Carboy(name)


def forgets_to_return():
    Carboy("forgotten")


def raises_type_error():
    raise TypeError("inside the factory")


@pytest.mark.parametrize(
    "names",
    [
        pytest.param({"app": APP, "other": OTHER}, id="app before any other"),
        pytest.param({"application": APP, "other": OTHER}, id="application"),
        pytest.param({"shop": APP}, id="the only one"),
        pytest.param({"shop": APP, "same": APP}, id="one app under two names"),
        pytest.param({"create_app": make_app}, id="create_app"),
        pytest.param({"make_app": make_app}, id="make_app"),
        pytest.param({"create_app": lambda: None, "make_app": make_app}, id="the next factory"),
        pytest.param({"shop": APP, "create_app": lambda: OTHER}, id="an app before a factory"),
    ],
)
def test_best_app_is_found(names):
    assert find_best_app(module(**names)) is APP


@pytest.mark.parametrize(
    ("names", "words"),
    [
        pytest.param({}, ["'shop'", "no application", "'shop:name'"], id="nothing"),
        pytest.param({"a": APP, "b": OTHER}, ["'a', 'b'", "'shop:a'"], id="two"),
        pytest.param(
            {"create_app": needs_a_name},
            ["needs_a_name(name)", "missing a required argument: 'name'"],
            id="factory that needs an argument",
        ),
        pytest.param(
            {"make_app": forgets_to_return}, ["end it with 'return app'"], id="factory of nothing"
        ),
    ],
)
def test_module_without_a_best_app_is_explained(names, words):
    with pytest.raises(NoAppException) as caught:
        find_best_app(module(**names))
    for word in words:
        assert word in caught.value.message


def test_type_error_of_a_factory_propagates():
    with pytest.raises(TypeError, match="inside the factory"):
        find_best_app(module(create_app=raises_type_error))


def test_app_of_flasks_class_gets_the_hint_of_as_flask():
    foreign = type("Flask", (), {"__module__": "flask.app"})()
    with pytest.raises(NoAppException, match="carboy --as-flask"):
        find_best_app(module(app=foreign))


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("app", "one"),
        ("make", "one"),
        ("make()", "one"),
        ("named('x')", "x"),
        (' named( name="y", ) ', "y"),
    ],
)
def test_app_is_found_by_name_or_call(written, name):
    found = find_app_by_string(module(app=APP, make=make_app, named=needs_a_name), written)
    assert found.name == name


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("ap", ["nothing named 'ap'", "Did you mean 'shop:app'?"]),
        ("app.x", ["neither a name nor a call"]),
        ("app(", ["neither a name nor a call"]),
        ("a.b()", ["plain name"]),
        ("named(x)", ["must be literals"]),
        ("make(**{'name': 'x'})", ["by their names, as in 'make(name=", "without '**'"]),
        ("named()", ["missing a required argument"]),
        ("number", ["is not an application but int 3"]),
        ("forgets()", ["is not an application but NoneType", "end it with 'return app'"]),
        ("Carboy", ["the class 'Carboy'"]),
    ],
)
def test_wrong_name_is_explained(written, words):
    names = module(
        app=APP,
        make=make_app,
        named=needs_a_name,
        number=3,
        Carboy=Carboy,
        forgets=forgets_to_return,
    )
    with pytest.raises(NoAppException) as caught:
        find_app_by_string(names, written)
    for word in words:
        assert word in caught.value.message


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("hello", "hello"),
        ("hello.py", "hello"),
        ("pkg/__init__.py", "pkg"),
        ("pkg/inner/web.py", "pkg.inner.web"),
        ("pkg.inner", "pkg.inner"),
    ],
)
def test_path_is_turned_into_an_importable_name(folder, path, name):
    (folder / "pkg" / "inner").mkdir(parents=True)
    (folder / "pkg" / "__init__.py").touch()
    (folder / "pkg" / "inner" / "__init__.py").touch()
    assert prepare_import(path) == name
    assert sys.path[0] == str(folder)


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("a", ("a", None)),
        ("a:b", ("a", "b")),
        ("a:b(':')", ("a", "b(':')")),
        ("C:\\x\\a.py", ("C:\\x\\a.py", None)),
        ("C:/x/a.py:b", ("C:/x/a.py", "b")),
    ],
)
def test_import_path_is_split_at_the_right_colon(written, parts):
    assert split_import_path(written) == parts


def test_missing_module_gets_the_closest_name(folder):
    (folder / "hello.py").touch()
    with pytest.raises(NoAppException, match=r"no module 'helo' in .*Did you mean 'hello'"):
        locate_app(prepare_import("helo"), None)


def test_dot_instead_of_a_colon_is_explained(folder):
    (folder / "hello.py").write_text("from carboy import Carboy\napp = Carboy(__name__)\n")
    with pytest.raises(NoAppException, match=r"with a colon: 'hello:ap'. Did you mean 'hello:app'"):
        locate_app(prepare_import("hello.ap"), None)


def test_program_for_flask_gets_the_hint_of_as_flask(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "flask", None)
    (folder / "written_for_flask.py").write_text("from flask import Flask\n")
    with pytest.raises(NoAppException, match="carboy --as-flask"):
        locate_app(prepare_import("written_for_flask"), None)


def test_missing_module_is_none_if_it_need_not_exist(folder):
    assert locate_app(prepare_import("nothing_here"), None, raise_if_not_found=False) is None


def test_import_error_inside_the_app_shows_only_the_users_lines(folder):
    (folder / "broken.py").write_text("import not_installed_anywhere\n")
    with pytest.raises(NoAppException) as caught:
        locate_app(prepare_import("broken"), None, raise_if_not_found=False)
    message = caught.value.message
    assert "broken.py" in message
    assert "import not_installed_anywhere" in message
    assert "discovery.py" not in message


@pytest.mark.parametrize("name", ["wsgi.py", "app.py"])
def test_default_files_are_found(folder, name):
    (folder / name).write_text("import carboy\napp = carboy.Carboy('found')\n")
    info = ScriptInfo()
    assert info.load_app().name == "found"
    assert info.load_app() is info.load_app()


def test_message_without_any_app_names_folder_option_and_variable(folder):
    with pytest.raises(NoAppException) as caught:
        ScriptInfo().load_app()
    for word in (str(folder), "wsgi.py", "app.py", "--app", "CARBOY_APP", "FLASK_APP"):
        assert word in caught.value.message


@pytest.mark.parametrize("set_debug_flag", [True, False])
def test_debug_is_set_from_the_environment_unless_disabled(monkeypatch, set_debug_flag):
    monkeypatch.setenv("FLASK_DEBUG", "1")
    app = Carboy("x")
    app.debug = False
    assert (
        ScriptInfo(create_app=lambda: app, set_debug_flag=set_debug_flag).load_app().debug
        is set_debug_flag
    )


# ------------------------------------------------------------------------------------- .wsgi files

WSGI = "import sys\nsys.path.insert(0, {folder!r})\nfrom {module} import app as application\n"


@pytest.fixture
def wsgi_file(tmp_path, monkeypatch):
    """Writes a .wsgi file into one folder, and the app that it imports into another."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write(name: str, text: str = WSGI, module: str = "shop_of_wsgi") -> str:
        home = tmp_path / "home"
        home.mkdir()
        (home / f"{module}.py").write_text("from carboy import Carboy\napp = Carboy(__name__)\n")
        (tmp_path / name).write_text(text.format(folder=str(home), module=module))
        return str(tmp_path / name)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    "name", ["shop_of_wsgi.wsgi", "carboy.wsgi", "my-shop.v2.wsgi", "json.wsgi", ".wsgi"]
)
def test_wsgi_file_is_loaded_whatever_its_name_is(wsgi_file, name):
    app = ScriptInfo(wsgi_file(name)).load_app()
    assert app.name == "shop_of_wsgi"
    assert sys.modules["carboy"].Carboy is type(app)


def test_app_that_is_made_in_a_wsgi_file_has_the_file_s_folder_as_its_root(wsgi_file, tmp_path):
    path = wsgi_file("x.wsgi", "from carboy import Carboy\napplication = Carboy(__name__)\n")
    assert ScriptInfo(path).load_app().root_path == str(tmp_path)


def test_other_object_of_a_wsgi_file_may_be_named(wsgi_file):
    path = wsgi_file("x.wsgi", WSGI + "other = application\ndel application\n")
    assert ScriptInfo(f"{path}:other").load_app().name == "shop_of_wsgi"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("app = 1", ["has nothing named 'application'"], id="no application"),
        pytest.param(
            "import nothing_here", ["ImportError was raised", "nothing_here"], id="import"
        ),
        pytest.param(
            WSGI + "application = __import__('functools').partial(application)",
            ["not an application but partial", "app.wsgi_app = Middleware(app.wsgi_app)"],
            id="middleware",
        ),
        pytest.param(
            WSGI + "app = application\napplication = type('M', (), {{'__call__': app}})()",
            ["not an application but M", "app.wsgi_app = Middleware(app.wsgi_app)"],
            id="middleware beside the app",
        ),
    ],
)
def test_wsgi_file_without_an_app_is_refused(wsgi_file, text, words):
    with pytest.raises(NoAppException) as caught:
        ScriptInfo(wsgi_file("x.wsgi", text)).load_app()
    for word in words:
        assert word in caught.value.message


def test_wsgi_file_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(NoAppException, match=r"There is no file '.*none\.wsgi'"):
        ScriptInfo(str(tmp_path / "none.wsgi")).load_app()


def test_error_in_a_wsgi_file_is_raised_with_its_line(wsgi_file):
    with pytest.raises(ZeroDivisionError) as caught:
        ScriptInfo(wsgi_file("x.wsgi", "\n1 / 0")).load_app()
    assert caught.traceback[-1].path.name == "x.wsgi"
    assert caught.traceback[-1].lineno == 1
