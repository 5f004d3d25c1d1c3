"""An app in a sub-interpreter is told which setting of the server gives it the main interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Runs a program in a new interpreter, as mod_wsgi and uWSGI do, or in the main one.
START = """
import importlib, sys

def new_interpreter(program):
    if sys.version_info >= (3, 13):
        module = importlib.import_module("_interpreters")
        interpreter = module.create("legacy")
        failure = module.exec(interpreter, program)
        module.destroy(interpreter)
        if failure is not None:
            sys.exit(failure.formatted)
    else:
        module = importlib.import_module("_xxsubinterpreters")
        module.run_string(module.create(isolated=False), program)

def main_interpreter(program):
    exec(program, {{}})

{where}({program!r})
"""

APP = """
import sys, types
for name in {modules!r}:
    sys.modules[name] = types.ModuleType(name)
from carboy import Carboy
app = Carboy("shop")

@app.get("/")
def index():
    return "hello"

try:
    @app.model("/sum")
    def total(x: list[float]) -> float:
        return sum(x)
except Exception as exc:
    print(f"{{type(exc).__name__}}: {{exc}}", file=sys.stderr)
for _ in range(2):
    print(app.test_client().get("/").text, file=sys.stderr)
"""


def output(where: str, *modules: str) -> str:
    program = START.format(where=where, program=APP.format(modules=modules))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("server", "setting"),
    [
        ("mod_wsgi", "Add 'WSGIApplicationGroup %{GLOBAL}' to Apache's configuration"),
        ("uwsgi", "Add 'single-interpreter = true' to uWSGI's configuration"),
    ],
)
def test_model_is_refused_and_the_setting_of_the_server_named(server, setting):
    printed = output("new_interpreter", server)
    assert "ServingError: Model 'sum': the server runs this app in a sub-interpreter" in printed
    assert setting in printed
    assert printed.count("hello\n") == 2
    assert "WARNING" not in printed


def test_app_that_imports_numpy_answers_and_a_warning_is_logged_once():
    printed = output("new_interpreter", "mod_wsgi", "numpy", "torch")
    assert printed.count("where numpy and torch may hang or crash. Add 'WSGIAppl") == 1
    assert printed.count("hello\n") == 2


@pytest.mark.parametrize(
    ("where", "modules"),
    [
        ("main_interpreter", ("mod_wsgi", "numpy")),
        ("main_interpreter", ()),
        ("new_interpreter", ("numpy",)),
    ],
)
def test_nothing_is_said_in_the_main_interpreter_or_without_such_a_server(where, modules):
    assert output(where, *modules) == "hello\nhello\n"
