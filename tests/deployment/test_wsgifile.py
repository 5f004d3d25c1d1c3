"""`carboy wsgi` writes a file from which each WSGI server imports the app."""

from __future__ import annotations

import runpy
import subprocess
import sys

import pytest
import spawning

APPS = {
    "shop.py": "from carboy import Carboy\nmine = Carboy('shop')\n",
    "made.py": (
        "from carboy import Carboy\n"
        "def create_app(name='made', *, debug=False):\n"
        "    app = Carboy(name)\n"
        "    app.debug = debug\n"
        "    return app\n"
    ),
    "sub/inner.py": "from carboy import Carboy\napp = Carboy('inner')\n",
    "package/__init__.py": "",
    "package/web.py": "from carboy import Carboy\napp = Carboy('web')\n",
}


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "my project"
    for name, text in APPS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("shop", "shop"),
        ("shop.py", "shop"),
        ("shop:mine", "shop"),
        ("made", "made"),
        ("made:create_app", "made"),
        ("made:create_app('other', debug=True)", "other"),
        ("sub/inner.py", "inner"),
        ("package.web:app", "web"),
    ],
)
def test_application_is_the_app_that_was_named(folder, target, name, monkeypatch):
    command = [spawning.script("carboy"), "wsgi", target]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("my-project.wsgi: created\n")
    # Another folder than the project's, as that of a server.
    monkeypatch.chdir("/")
    before, path = set(sys.modules), sys.path.copy()
    try:
        application = runpy.run_path(str(folder / "my-project.wsgi"))["application"]
    finally:
        sys.path[:] = path
        for each in set(sys.modules) - before:
            del sys.modules[each]
    assert application.import_name == name
    assert application.debug is ("debug=True" in target)


def test_module_that_no_import_statement_can_name_is_refused(folder):
    (folder / "shop.py").rename(folder / "my shop.py")
    command = [spawning.script("carboy"), "wsgi", "my shop.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "cannot import a module of the name 'my shop'. Rename it" in done.stderr
    assert not list(folder.glob("*.wsgi"))


def test_program_for_flask_is_imported_with_carboy_in_its_place(tmp_path):
    (tmp_path / "shop.py").write_text("from flask import Flask\napp = Flask('shop')\n")
    command = [spawning.script("carboy"), "--as-flask", "wsgi", "shop"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (file,) = tmp_path.glob("*.wsgi")
    program = f"import runpy; print(type(runpy.run_path({str(file)!r})['application']).__mro__)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd="/", check=True, capture_output=True, text=True
    )
    assert "carboy.app" in done.stdout
