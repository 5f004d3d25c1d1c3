"""What other WSGI servers do that models do not survive is refused or logged, with its remedy.

Each test is a program of its own, because forks and modules of servers belong to a process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import types

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")

BEGIN = """
import logging, os, sys, types

def add(name, **members):
    module = sys.modules[name] = types.ModuleType(name)
    vars(module).update(members)

class Library:
    pass

def fork_and_wait(function):
    pid = os.fork()
    if pid == 0:
        function()
        sys.stderr.flush()
        os._exit(0)
    os.waitpid(pid, 0)

from carboy import Carboy
app = Carboy("shop")

@app.get("/")
def index():
    return "hello"

def ask():
    app.test_client().get("/")
"""
MODEL = """
@app.model("/double")
class Double:
    def __init__(self):
        pass
    def predict(self, x: int) -> int:
        return 2 * x
"""


def stderr_of(program: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stderr


# ----------------------------------------------------------------------------------------- forks

LIBRARIES = {
    "torch": "add('torch', nn=types.SimpleNamespace(Module=Library))",
    "xgboost": "add('xgboost', Booster=Library)",
    "onnxruntime": "add('onnxruntime', InferenceSession=Library)",
}
FORKED = "was forked from process"


@pytest.mark.parametrize("name", LIBRARIES)
def test_fork_after_a_library_was_used_is_logged_once(name):
    text = stderr_of(f"{LIBRARIES[name]}\nmodel = Library()\nfork_and_wait(lambda: (ask(), ask()))")
    assert text.count(FORKED) == 1
    assert f"after {name} had been used there" in text


def test_first_load_of_a_model_logs_the_fork_as_well():
    program = f"{LIBRARIES['torch']}\nused = Library()\nfork_and_wait(lambda: app.load_models())"
    assert stderr_of(MODEL + program).count(FORKED) == 1


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("fork_and_wait(ask)", id="imported only"),
        pytest.param("fork_and_wait(lambda: (Library(), ask()))", id="used after the fork"),
        pytest.param("used = Library(); ask()", id="not forked"),
    ],
)
def test_other_processes_log_nothing(program):
    assert stderr_of(f"{LIBRARIES['torch']}\n{program}") == ""


def test_library_without_the_expected_class_is_ignored():
    assert stderr_of("add('torch'); add('xgboost', Booster=1); fork_and_wait(ask)") == ""


def test_advice_for_gunicorn_names_its_option():
    text = stderr_of(
        f"add('gunicorn.arbiter')\n{LIBRARIES['torch']}\nused = Library()\nfork_and_wait(ask)"
    )
    assert text.startswith("[")
    assert "This worker of gunicorn (pid" in text
    assert "let each worker import the app (without --preload)." in text


# ----------------------------------------------------------------------------------------- uWSGI

UWSGI = "add('uwsgi', has_threads={}, opt={}, worker_id=lambda: {}, masterpid=lambda: {})\n"


def test_model_under_uwsgi_without_threads_is_refused():
    text = stderr_of(UWSGI.format(0, {}, 1, 1) + MODEL, code=1)
    assert "Model 'double': uWSGI runs Python without threads" in text
    assert "Add 'enable-threads = true'" in text


def test_model_that_uwsgi_s_master_process_loads_is_refused():
    text = stderr_of(UWSGI.format(1, {}, 0, 4242) + MODEL + "app.load_models()", code=1)
    assert "Model 'double' is used while uWSGI's master process imports the app" in text
    assert "Add 'lazy-apps = true'" in text


@pytest.mark.parametrize(
    ("options", "worker", "master"),
    [
        pytest.param({}, 1, 4242, id="in a worker"),
        pytest.param({}, 0, 0, id="without a master process"),
        pytest.param({"py-call-uwsgi-fork-hooks": True}, 0, 4242, id="Python learns of the fork"),
    ],
)
def test_model_is_loaded_where_it_works_and_the_process_says_so(options, worker, master):
    text = stderr_of(UWSGI.format(1, options, worker, master) + MODEL + "app.load_models()")
    assert " INFO [" in text
    assert "Model 'double': loaded by process" in text
    assert " of uWSGI in 0.0" in text


# ------------------------------------------------------------------------------------ what is said


def test_message_goes_to_the_program_s_own_log_if_it_has_configured_one():
    program = "logging.basicConfig(level='INFO', format='%(name)s says %(message)s')\n"
    text = stderr_of(f"add('gunicorn.arbiter')\n{program}{MODEL}app.load_models()")
    assert text.startswith("carboy.models says Model 'double': loaded by process")
    assert text.count("\n") == 1


def test_nothing_is_said_without_another_server():
    assert stderr_of(f"{MODEL}app.load_models()") == ""


def test_model_is_loaded_once_per_process_after_the_fork():
    text = stderr_of(
        "add('gunicorn.arbiter')\n" + MODEL + "predict = app.models['double'].predict\n"
        "for _ in range(2):\n    fork_and_wait(lambda: (predict(1), predict(2)))"
    )
    lines = text.splitlines()
    assert len(lines) == 2
    assert len({line.partition("[")[2].partition("]")[0] for line in lines}) == 2


def test_names_of_servers_are_those_of_their_modules():
    from carboy.core.foreignservers import preforking_server

    assert preforking_server() == ""
    for name in ("uwsgi", "gunicorn.arbiter", "mod_wsgi"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, name, types.ModuleType(name))
            assert preforking_server()
