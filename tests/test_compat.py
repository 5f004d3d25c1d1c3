"""`install_as_flask`: `import flask` is carboy, in this process and in child processes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from _carboy_as_flask import FLASK_VERSION

PROGRAM = """
import sys
import flask, flask.json.provider, flask.sansio.app
import carboy
assert flask is carboy
assert flask.json.provider is carboy.json.provider
assert flask.json.provider.__spec__.name == "carboy.json.provider"
print("flask is carboy", *sys.argv[1:])
"""


def python(code, *, cwd=None, **environ):
    """Run code in a new interpreter, because the import hook stays for the life of a process."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
        env={**os.environ, **environ},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def run(*command, cwd, **environ):
    done = subprocess.run(
        list(command),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
        env={**os.environ, **environ},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture
def fake_flask(tmp_path):
    """A folder in which something else is installed as Flask."""
    package = tmp_path / "site" / "flask"
    (package / "json").mkdir(parents=True)
    (package / "__init__.py").write_text("name = 'the other one'\n")
    (package / "json" / "__init__.py").touch()
    (package / "only_there.py").touch()
    return str(tmp_path / "site")


def test_every_flask_module_is_the_same_object_as_carboys():
    python(
        """
        import carboy, importlib, pkgutil, sys
        carboy.install_as_flask()
        import flask
        names = [m.name for m in pkgutil.walk_packages(carboy.__path__, "carboy.")]
        assert "carboy.json.provider" in names
        for name in names:
            if name.endswith("__main__") or name.startswith(("carboy.models", "carboy.serving")):
                continue
            there = importlib.import_module("flask" + name.removeprefix("carboy"))
            assert there is sys.modules[name], name
            assert there.__name__ == there.__spec__.name == name
        """
    )


def test_import_order_does_not_matter():
    python(
        """
        import carboy
        carboy.install_as_flask()
        import flask.testing
        import carboy.testing
        import carboy.views
        import flask.views
        from flask.views import MethodView
        assert flask.testing is carboy.testing
        assert MethodView is carboy.views.MethodView
        """
    )


def test_loaded_modules_get_their_flask_name_at_once():
    python(
        """
        import carboy, sys
        carboy.install_as_flask()
        for name in [n for n in sys.modules if n.split(".")[0] == "carboy"]:
            assert sys.modules["flask" + name.removeprefix("carboy")] is sys.modules[name]
        """
    )


def test_installed_flask_is_never_imported(fake_flask):
    python(
        """
        import carboy
        carboy.install_as_flask()
        import flask, flask.json
        assert flask is carboy and flask.json is carboy.json
        try:
            import flask.only_there
        except ModuleNotFoundError as exc:
            assert exc.name == "flask.only_there"
        else:
            raise AssertionError
        """,
        PYTHONPATH=fake_flask,
    )


def test_names_bound_before_keep_flasks_objects_and_are_named_in_a_warning(fake_flask):
    python(
        """
        import flask as before, flask.only_there, sys, warnings
        import carboy
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            carboy.install_as_flask()
            carboy.install_as_flask()
        (warning,) = caught
        assert "too late for __main__" in str(warning.message), warning
        assert warning.filename == "<string>"
        import flask
        assert before.name == "the other one"
        assert flask is carboy
        assert "flask.only_there" not in sys.modules
        """,
        PYTHONPATH=fake_flask,
    )


def test_installed_flask_that_nobody_has_kept_is_replaced_in_silence(fake_flask):
    python(
        """
        import importlib, carboy
        importlib.import_module("flask")
        carboy.install_as_flask()
        """,
        PYTHONPATH=fake_flask,
    )


def test_registering_what_uses_the_installed_flask_is_a_warning(flask_site, tmp_path):
    (tmp_path / "extension.py").write_text(
        "from flask import Blueprint, current_app\n"
        "blueprint = Blueprint('b', __name__)\n"
        "def before():\n"
        "    current_app.name\n"
        "class Extension:\n"
        "    def init_app(self, app):\n"
        "        app.after_request(self.after)\n"
        "    def after(self, response):\n"
        "        return response\n"
    )
    for action in (
        "app.before_request(extension.before)",
        "app.add_url_rule('/', 'e', extension.before)",
        "extension.Extension().init_app(app)",
        "app.register_blueprint(extension.blueprint)",
    ):
        python(
            f"""
            import warnings, carboy, extension
            app = carboy.Carboy("shop")
            app.before_request(lambda: None)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                {action}
            (warning,) = caught
            assert str(warning.message).startswith("extension registers"), warning
            assert "install_as_flask()" in str(warning.message)
            """,
            PYTHONPATH=os.pathsep.join([str(flask_site), str(tmp_path)]),
        )


def test_warnings_of_further_extensions_do_not_repeat_the_advice(tmp_path, flask_site):
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(
            "from flask import current_app\ndef before():\n    current_app.name\n"
        )
    python(
        """
        import warnings, carboy, one, two
        app = carboy.Carboy("shop")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            app.before_request(one.before)
            app.before_request(two.before)
        first, second = [str(warning.message) for warning in caught]
        assert "install_as_flask()" in first
        assert second.startswith("two registers") and "install_as_flask()" not in second
        """,
        PYTHONPATH=os.pathsep.join([str(flask_site), str(tmp_path)]),
    )


def test_installing_again_or_from_several_threads_installs_once():
    python(
        """
        import sys, threading
        import carboy
        threads = [threading.Thread(target=carboy.install_as_flask) for _ in range(8)]
        [t.start() for t in threads], [t.join() for t in threads]
        carboy.install_as_flask()
        assert sum(type(finder).__name__ == "FlaskFinder" for finder in sys.meta_path) == 1
        """
    )


def test_metadata_reports_a_flask_distribution(fake_flask):
    out = python(
        """
        import carboy
        carboy.install_as_flask()
        from importlib import metadata
        dist = metadata.distribution("Flask")
        assert metadata.version("flask") == dist.version
        assert any(line.startswith("werkzeug>=") for line in dist.requires)
        assert dist.metadata["Name"] == "Flask"
        assert "Flask" in {d.name for d in metadata.distributions()}
        print(dist.version)
        """,
        PYTHONPATH=fake_flask,
    )
    assert out == FLASK_VERSION


def test_program_sees_flasks_version_and_class_name():
    python(
        """
        import importlib.metadata
        import carboy
        own = carboy.__version__
        assert carboy.Flask.__name__ == "Carboy"
        carboy.install_as_flask()
        import flask
        from flask.cli import click, run_simple
        app = flask.Flask("shop")
        assert (type(app).__name__, repr(app)) == ("Flask", "<Flask 'shop'>")
        assert flask.__version__ == importlib.metadata.version("flask") != own
        """
    )


def test_program_started_as_flask_sees_flasks_class_name():
    python("import flask; assert flask.Flask.__name__ == 'Flask'", CARBOY_AS_FLASK="1")


def test_find_spec_of_flask_modules():
    python(
        """
        import importlib.util
        import carboy
        carboy.install_as_flask()
        assert importlib.util.find_spec("flask.app") is not None
        assert importlib.util.find_spec("flask.no_such_module") is None
        """
    )


def test_interpreter_without_the_environment_variable_loads_nothing():
    code = "import sys; print([m for m in sys.modules if 'carboy' in m])"
    assert python(code) == "[]"


def test_child_that_does_not_import_flask_does_not_load_carboy():
    code = "import sys; print('carboy' in sys.modules, '_carboy_as_flask' in sys.modules)"
    assert python(code, CARBOY_AS_FLASK="1") == "False True"


# ------------------------------------------------------------------------ from the command line


@pytest.fixture
def program(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


@pytest.mark.integration
@pytest.mark.parametrize(
    "words",
    [["program.py", "a", "--b"], ["./program.py", "a", "--b"], ["-m", "program", "a", "--b"]],
    ids=["file", "path", "module"],
)
@pytest.mark.parametrize("command", ["script", "module"])
def test_program_is_run_with_its_arguments(program, carboy_command, command, words):
    start = [carboy_command] if command == "script" else [sys.executable, "-m", "carboy"]
    assert run(*start, "--as-flask", *words, cwd=program) == "flask is carboy a --b"


@pytest.mark.integration
def test_program_is_main_and_its_folder_is_first_on_sys_path(tmp_path, carboy_command):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "neighbour.py").write_text("name = 'neighbour'\n")
    (tmp_path / "sub" / "main.py").write_text(
        "import sys, neighbour\n"
        "assert __name__ == '__main__' and sys.modules['__main__'].neighbour is neighbour\n"
        "print(neighbour.name, __file__, sys.argv)\n"
    )
    out = run(carboy_command, "--as-flask", "sub/main.py", cwd=tmp_path)
    assert out == f"neighbour {tmp_path}/sub/main.py ['sub/main.py']"


def run_program(folder, carboy_command, name, **variables):
    """Run a program under `carboy --as-flask`, with further environment variables."""
    return subprocess.run(
        [carboy_command, "--as-flask", name],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.integration
def test_program_keeps_its_annotations_and_reports_errors_by_its_own_hook(tmp_path, carboy_command):
    (tmp_path / "main.py").write_text(
        "import os, sys, traceback\n"
        "def price(x: int): ...\n"
        "def report(kind, error, trace):\n"
        "    frames = [each.name for each in traceback.extract_tb(trace)]\n"
        "    print(kind.__name__, error, frames, price.__annotations__['x'] is int)\n"
        "sys.excepthook = report\n"
        "def fail(): raise ValueError('mine')\n"
        "fail()\n"
    )
    (tmp_path / "wraps.py").write_text(
        "import os, sys\n"
        "sys.excepthook = lambda *args: sys.__excepthook__(*args)\n"
        "raise ValueError('login with ' + os.environ['API_KEY'])\n"
    )
    done = {
        name: run_program(tmp_path, carboy_command, name, API_KEY="hunter22hunter")
        for name in ("main.py", "wraps.py")
    }
    assert [each.returncode for each in done.values()] == [1, 1]
    assert done["main.py"].stdout == "ValueError mine ['<module>', 'fail'] True\n"
    assert done["main.py"].stderr == ""
    assert done["wraps.py"].stderr.endswith("ValueError: login with ********\n")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("report", "code"),
    [
        ("print('login with', key, file=sys.stderr, flush=True); os._exit(7)", 7),
        ("sys.stderr.writelines(['login with ', key])", 1),
        ("sys.stderr.buffer.write(b'login with ********')", 1),
        ("os.write(sys.stderr.fileno(), b'login with ********')", 1),
    ],
    ids=["ends", "lines", "buffer", "fileno"],
)
def test_hook_of_a_program_writes_to_stderr_at_once(tmp_path, carboy_command, report, code):
    (tmp_path / "main.py").write_text(
        "import os, sys\n"
        "key = os.environ['API_KEY']\n"
        f"def report(*args): {report}\n"
        "sys.excepthook = report\n"
        "1 / 0\n"
    )
    done = run_program(tmp_path, carboy_command, "main.py", API_KEY="hunter22hunter")
    assert (done.returncode, done.stderr.strip()) == (code, "login with ********")


@pytest.mark.integration
def test_secrets_that_a_hook_writes_in_pieces_are_masked(tmp_path, carboy_command):
    (tmp_path / "main.py").write_text(
        "import json, os, pprint, sys\n"
        "config = {'user': 'shop', 'db_password': 'hunter2-pw', 'note': 'x' * 70}\n"
        "def report(kind, error, trace):\n"
        "    pprint.pprint(config, stream=sys.stderr)\n"
        "    json.dump(config, sys.stderr, indent=1)\n"
        "    print('\\npassword:', config['db_password'], file=sys.stderr)\n"
        "    sys.__excepthook__(kind, error, trace)\n"
        "sys.excepthook = report\n"
        "error = ValueError('no login')\n"
        "error.add_note('-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBgkqhkiG\\n"
        "-----END PRIVATE KEY-----')\n"
        "error.add_note('read ' + os.environ['DB_PASSWORD'])\n"
        "raise error\n"
    )
    done = run_program(
        tmp_path, carboy_command, "main.py", DB_PASSWORD="first-s3cr3t-line\nsecond-s3cr3t-line"
    )
    assert done.returncode == 1
    assert "ValueError: no login" in done.stderr
    assert "-----BEGIN PRIVATE KEY-----********" in done.stderr
    for secret in ("hunter2-pw", "MIIEv", "first-s3cr3t", "second-s3cr3t"):
        assert secret not in done.stderr


@pytest.mark.integration
def test_traceback_and_exit_code_are_the_programs(tmp_path, carboy_command):
    (tmp_path / "bad.py").write_text("import flask\nraise ValueError('mine')\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit(7)\n")
    command = [carboy_command, "--as-flask"]
    results = {}
    for name in ("bad.py", "leaves.py", "absent.py", "-m absent"):
        results[name] = subprocess.run(
            [*command, *name.split()], cwd=tmp_path, capture_output=True, text=True, check=False
        )
    assert [done.returncode for done in results.values()] == [1, 7, 2, 2]
    lines = results["bad.py"].stderr.splitlines()
    assert lines[1].strip() == 'File "bad.py", line 2, in <module>'
    assert "'absent.py' cannot be read" in results["absent.py"].stderr
    assert results["-m absent"].stderr.startswith("Error: There is nothing to run after -m: No mod")


@pytest.mark.integration
@pytest.mark.parametrize(
    "child",
    [
        pytest.param(
            "import subprocess, sys\n"
            "subprocess.run([sys.executable, '-c', 'import flask; print(flask.__name__)'],"
            " check=True)\n",
            id="subprocess",
        ),
        pytest.param(
            "import multiprocessing\n"
            "def name():\n"
            "    import flask\n"
            "    print(flask.__name__)\n"
            "if __name__ == '__main__':\n"
            "    p = multiprocessing.get_context('spawn').Process(target=name)\n"
            "    p.start(); p.join()\n",
            id="spawn",
        ),
    ],
)
def test_child_processes_are_aliased_too(tmp_path, carboy_command, child):
    (tmp_path / "parent.py").write_text(child)
    assert run(carboy_command, "--as-flask", "parent.py", cwd=tmp_path) == "carboy"


FLASK_APP = """
import flask
app = flask.Flask(__name__)
@app.get("/")
def index():
    return flask.__name__
"""


@pytest.mark.integration
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["--app", "shop", "run", "--port", "{port}"], id="run"),
        pytest.param(["--app", "shop", "run", "--port", "{port}", "--debug"], id="reloader"),
        pytest.param(["serve", "shop:app", "--port", "{port}", "--workers", "2"], id="serve"),
        pytest.param(
            ["-m", "gunicorn", "-w", "2", "-b", "127.0.0.1:{port}", "shop:app"], id="gunicorn"
        ),
    ],
)
def test_servers_and_their_workers_are_aliased_too(spawn, tmp_path, carboy_command, words):
    import requests

    if "gunicorn" in words:
        pytest.importorskip("gunicorn")
    (tmp_path / "shop.py").write_text(FLASK_APP)
    server = spawn(carboy_command, "--as-flask", *words)
    if "serve" in words:
        server.wait_until_it_prints("serving")
    assert {requests.get(server.url, timeout=30).text for _ in range(4)} == {"carboy"}
