"""How the app is started: each check finds its mistake, and nothing in a project without it."""

from __future__ import annotations

import importlib.util
import pathlib
import sys

import pytest
from checkfindings import findings_of

from carboy import Carboy

RUNS = "from carboy import Carboy\n\nshop = Carboy(__name__)\nif shop:\n    shop.run(debug=True)\n"


@pytest.fixture(autouse=True)
def root(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)  # places are relative to the current folder
    return tmp_path


def found(code: str, root: pathlib.Path) -> list[tuple[str, str]]:
    findings = findings_of(code, Carboy(__name__, root_path=str(root)), root)
    return [(each.place, each.message) for each in findings]


# --- carboy.E110 ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "line", "message"),
    [
        ("Procfile", "web: flask run -p $PORT", "'flask run' is the development server."),
        ("Procfile", "web: flask --app shop --debug run", "'flask run' is"),
        ("Procfile", "web: python -m flask run", "'flask run' is"),
        ("Procfile", "web: carboy run shop.py", "'carboy run' is"),
        ("Dockerfile", 'CMD ["flask", "--app", "shop", "run"]', "'flask run' is"),
        ("Dockerfile", 'CMD ["python3.11", "/app/shop.py"]', "calls app.run() (shop.py:5)"),
        ("Dockerfile", "ENTRYPOINT python -u shop.py", "calls app.run() (shop.py:5)"),
        ("Dockerfile", "CMD python -m shop", "calls app.run() (shop.py:5)"),
        ("Dockerfile", "ENV FLASK_DEBUG=1", "FLASK_DEBUG=1 switches debug mode on."),
        ("Dockerfile", "ENV FLASK_ENV development", "FLASK_ENV development switches"),
        ("web.Dockerfile", "CMD flask run", "'flask run' is"),
        ("deploy/shop.service", "ExecStart=/srv/.venv/bin/flask run", "'flask run' is"),
        ("deploy/shop.service", "Environment=FLASK_DEBUG=true", "FLASK_DEBUG=true switches"),
        ("compose.yaml", "    command: flask run", "'flask run' is"),
        ("compose.yaml", "      FLASK_DEBUG: 1", "FLASK_DEBUG: 1 switches"),
        ("render.yaml", "    startCommand: python shop.py", "calls app.run()"),
        ("docker-entrypoint.sh", "exec flask run", "'flask run' is"),
    ],
)
def test_development_server_is_found(root, path, line, message):
    (root / "shop.py").write_text(RUNS)
    (root / path).parent.mkdir(exist_ok=True)
    (root / path).write_text(f"# flask run\n{line}\n")
    ((place, text),) = found("carboy.E110", root)
    assert place == f"{path}:2"
    assert message in text


def test_continued_line_has_the_number_of_its_first_line(root):
    (root / "Dockerfile").write_text("FROM python\nCMD flask \\\n    # a comment\n    run\n")
    assert [place for place, _ in found("carboy.E110", root)] == ["Dockerfile:2"]


@pytest.mark.parametrize("path", ["compose.yaml", "deploy/k8s.yaml"])
def test_command_that_is_a_list_in_yaml_is_found(root, path):
    (root / "deploy").mkdir()
    (root / path).write_text("shop:\n  command:\n    - flask\n    - --app=shop\n    - 'run'\n")
    assert [place for place, _ in found("carboy.E110", root)] == [f"{path}:2"]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("Procfile", "web: carboy serve shop.py"),
        ("Procfile", "web: gunicorn shop:app"),
        ("Dockerfile", "RUN pip install flask && ./run"),
        ("Dockerfile", "CMD python serve.py"),
        ("Dockerfile", "CMD python of_the_image.py"),
        ("Dockerfile", "ENV FLASK_DEBUG=0"),
        ("Dockerfile", "ENV FLASK_ENV=production"),
        ("Dockerfile.dev", "CMD flask run"),
        ("compose.override.yaml", "    command: flask run"),
        ("Procfile.dev", "web: flask run"),
        ("README.md", "flask run"),
        (".devcontainer/Dockerfile", "CMD flask run"),
    ],
)
def test_server_for_production_is_not_reported(root, path, line):
    (root / "shop.py").write_text(RUNS)
    (root / "serve.py").write_text("import subprocess\nsubprocess.run(['x'])\napp.serve()\n")
    (root / path).parent.mkdir(exist_ok=True)
    (root / path).write_text(f"{line}\n")
    assert found("carboy.E110", root) == []


def test_files_that_are_not_text_are_left_out(root):
    (root / "Dockerfile").write_bytes(b"CMD flask run \xff")
    (root / "Procfile").write_text("web: python broken.py")
    (root / "broken.py").write_text("app.run(")
    assert found("carboy.E110", root) == []


# --- carboy.E111 ----------------------------------------------------------------------------------


@pytest.fixture
def imported(root, monkeypatch):
    """Import a module of the project. As with `carboy check`, `app.run()` does nothing."""
    monkeypatch.setenv("FLASK_RUN_FROM_CLI", "true")

    def import_module(source: str) -> None:
        (root / "shop.py").write_text(source)
        spec = importlib.util.spec_from_file_location("shop", root / "shop.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "shop", module)
        spec.loader.exec_module(module)

    return import_module


@pytest.mark.parametrize(
    ("before", "call"),
    [
        ("", "app.run()"),
        ("", "app.serve()"),
        ("", "app.run(debug=True, host='0.0.0.0')"),
        ("if app:\n    ", "app.run()"),
        ("try:\n    pass\nfinally:\n    ", "app.run()"),
    ],
)
def test_run_at_import_is_found(root, imported, before, call):
    imported(f"from carboy import Carboy\napp = Carboy(__name__)\n{before}{call}\n")
    line = 3 + before.count("\n")
    called = call.partition("(")[0]
    assert found("carboy.E111", root) == [(f"shop.py:{line}", f"{called}() is called at import.")]


@pytest.mark.parametrize(
    "body",
    [
        "if __name__ == '__main__':\n    app.run(debug=True)",
        "def main():\n    app.run()",
        "class Task:\n    def run(self): pass\ntask = Task()\ntask.run()",
    ],
)
def test_run_that_is_not_called_at_import_is_not_reported(root, imported, body):
    imported(f"from carboy import Carboy\napp = Carboy(__name__)\n{body}\n")
    assert found("carboy.E111", root) == []
