"""Mistakes in how an app is served: limits, health checks, addresses."""

from __future__ import annotations

import pytest
from checkfindings import findings_of

from carboy import Carboy
from carboy.deployment.checks import serverchecks


@pytest.fixture
def app():
    return Carboy(__name__)


# ------------------------------------------------------------------------------------- body limit


def test_server_without_a_body_limit_is_found(app, tmp_path):
    assert findings_of("carboy.W005", app, tmp_path) == []
    assert len(findings_of("carboy.W005", app, tmp_path, max_body=0)) == 1
    app.config["MAX_CONTENT_LENGTH"] = 1000
    assert findings_of("carboy.W005", app, tmp_path, max_body=0) == []


@pytest.mark.parametrize("name", ["gunicorn.conf.py", "uwsgi.ini"])
def test_other_server_without_a_body_limit_is_found(app, tmp_path, name):
    (tmp_path / name).touch()
    (found,) = findings_of("carboy.W005", app, tmp_path)
    assert found.place == name
    app.config["MAX_CONTENT_LENGTH"] = 1000
    assert findings_of("carboy.W005", app, tmp_path) == []


def test_limit_of_bodies_above_that_of_the_server_is_found(app, tmp_path):
    app.config["MAX_CONTENT_LENGTH"] = 100_000_000
    (found,) = findings_of("carboy.W010", app, tmp_path)
    assert (
        "is 100000000 bytes, but 'carboy serve' refuses bodies of more than 64 MiB" in found.message
    )
    assert findings_of("carboy.W010", app, tmp_path, max_body="100M") == []
    assert findings_of("carboy.W010", app, tmp_path, max_body=0) == []
    (tmp_path / "gunicorn.conf.py").touch()  # a server without a limit of its own
    assert findings_of("carboy.W010", app, tmp_path) == []


# ----------------------------------------------------------------------------------- health check


def test_missing_health_check_is_found(app, tmp_path):
    app.add_url_rule("/uploads/<name>", view_func=str)
    assert len(findings_of("carboy.W006", app, tmp_path)) == 1
    assert findings_of("carboy.W006", app, tmp_path, probes=True) == []
    assert findings_of("carboy.W006", app, tmp_path, management="127.0.0.1:9000") == []


@pytest.mark.parametrize("path", ["/healthz", "/api/health-check", "/_status", "/readyz", "/ping/"])
def test_route_for_health_checks_is_recognised(app, tmp_path, path):
    app.add_url_rule(path, view_func=str)
    assert findings_of("carboy.W006", app, tmp_path) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Dockerfile", "HEALTHCHECK CMD true\n"),
        ("Dockerfile", "ENV CARBOY_SERVE_MANAGEMENT=127.0.0.1:9000\n"),
        ("deploy/k8s.yaml", "readinessProbe:\n"),
        ("deploy/shop.service", "WatchdogSec=30\n"),
        ("render.yaml", "healthCheckPath: /\n"),
        ("Procfile", "web: carboy serve --probes\n"),
    ],
)
def test_health_check_in_a_file_is_recognised(app, tmp_path, name, text):
    (tmp_path / "deploy").mkdir()
    (tmp_path / name).write_text(text)
    assert findings_of("carboy.W006", app, tmp_path) == []


# ------------------------------------------------------------------------ address in a container


@pytest.mark.parametrize(
    ("dockerfile", "line"),
    [
        ('FROM python\nCMD ["carboy", "serve", "app.py"]\n', 2),
        ("FROM python\nCMD carboy serve --host 127.0.0.1\n", 2),
        ("FROM python\nENV CARBOY_SERVE_HOST=localhost\nCMD carboy serve\n", 3),
        ('FROM python\nENTRYPOINT ["carboy", "--app", "shop:app", "serve"]\n', 2),
        ("FROM python\nCMD gunicorn app:app\n", 2),
        ('FROM python\nCMD ["gunicorn", "--bind=127.0.0.1:8000", "app:app"]\n', 2),
        ("FROM a\nCMD carboy serve -h 0.0.0.0\nFROM b\nCMD carboy serve\n", 4),
        ("FROM a\nCMD carboy serve\nFROM b\nCMD carboy serve -h 0.0.0.0\n", None),
        ('FROM python\nCMD ["carboy", "serve", "--host", "0.0.0.0"]\n', None),
        ("FROM python\nCMD carboy serve --bind [::]:80\n", None),
        ("FROM python\nCMD carboy serve --bind unix:/run/app.sock\n", None),
        ("FROM python\nENV PORT=8000 A=1\nCMD carboy serve\n", None),
        ("FROM a\nENV PORT=80 CARBOY_SERVE_MANAGEMENT=127.0.0.1:9\nCMD carboy serve\n", None),
        ("FROM python\nENV A=1 \\\n    PORT=8000\nCMD carboy serve\n", None),
        ('FROM python\nCMD ["gunicorn", "-b", "0.0.0.0:80", "app:app"]\n', None),
        ("FROM python\nCMD gunicorn -c conf.py app:app\n", None),
        ("FROM python\nCMD waitress-serve app:app\n", None),
    ],
)
def test_loopback_address_in_a_dockerfile_is_found(app, tmp_path, dockerfile, line):
    (tmp_path / "Dockerfile").write_text(dockerfile)
    places = [each.place for each in findings_of("carboy.E008", app, tmp_path)]
    assert places == ([] if line is None else [f"Dockerfile:{line}"])


@pytest.mark.parametrize(
    ("call", "is_found"),
    [
        ("app.serve()", True),
        ("app.serve(host='localhost', threads=4)", True),
        ("app.serve(bind=['127.0.0.1:80'])", True),
        ("app.serve(host='0.0.0.0')", False),
        ("app.serve(host=HOST)", False),
        ("app.serve(**OPTIONS)", False),
        ("print(app)", False),
    ],
)
def test_program_that_serves_on_the_loopback_address_is_found(app, tmp_path, call, is_found):
    (tmp_path / "main.py").write_text(f"app = make_app()\n{call}\n")
    (tmp_path / "Dockerfile").write_text('FROM a\nCMD ["python", "/srv/main.py"]\n')
    assert len(findings_of("carboy.E008", app, tmp_path)) == is_found
    (tmp_path / "Dockerfile").write_text("FROM a\nENV PORT=80\nCMD python -m main\n")
    assert len(findings_of("carboy.E008", app, tmp_path)) == (is_found and call != "app.serve()")


def test_loopback_address_of_this_container_is_found_if_it_is_set(app, tmp_path, monkeypatch):
    monkeypatch.setattr(serverchecks, "_is_container", lambda: True)
    assert findings_of("carboy.E008", app, tmp_path) == []
    for name, field, value in (
        ("CARBOY_SERVE_HOST", "host", "localhost"),
        ("CARBOY_SERVE_BIND", "bind", "127.0.0.1:8000"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            (found,) = findings_of("carboy.E008", app, tmp_path, **{field: value})
            assert found.place == f"environment variable {name}"
            assert findings_of("carboy.E008", app, tmp_path, host="0.0.0.0") == []


# ------------------------------------------------------------------------------- workers x memory


@pytest.mark.integration
def test_workers_that_do_not_fit_into_the_memory_are_found(app, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = "from carboy import Carboy\napp = Carboy(__name__)\n"
    (tmp_path / "app.py").write_text(source)
    (found,) = findings_of("carboy.E009", app, tmp_path, workers=40, memory_limit="200M")
    assert "40 workers do not fit into the memory" in found.message
    assert "the 200 MiB of --memory-limit" in found.message
    assert findings_of("carboy.E009", app, tmp_path, workers=2, memory_limit="8G") == []


def test_number_of_workers_that_the_server_chooses_fits(app, tmp_path):
    assert findings_of("carboy.E009", app, tmp_path, memory_limit="64M") == []
    assert findings_of("carboy.E009", app, tmp_path, workers=1, memory_limit="64M") == []
    assert findings_of("carboy.E009", app, tmp_path, workers=40, memory_limit="0") == []


@pytest.mark.integration
def test_app_that_cannot_be_started_is_reported_instead_of_its_memory(app, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text("1 / 0\n")
    (found,) = findings_of("carboy.E009", app, tmp_path, workers=2, memory_limit="8G")
    assert "cannot be started" in found.message
