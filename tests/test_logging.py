"""The app's logger, and the stream to which its records go."""

from __future__ import annotations

import io
import logging
import sys
import typing as t

import pytest

from carboy import Carboy, current_app
from carboy.logging import create_logger, default_handler, has_level_handler, wsgi_errors_stream
from carboy.testing import FlaskClient


@pytest.fixture
def parent() -> t.Iterator[logging.Logger]:
    """A logger in the place of the root logger, to which pytest adds handlers."""
    logger = logging.getLogger("isolated")
    stand_in = logging.Logger("stand-in", logging.WARNING)  # noqa: LOG001 - pytest must not find it
    real, logger.parent = logger.parent, stand_in
    yield stand_in
    logger.parent = real
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


@pytest.fixture
def app(parent: logging.Logger) -> Carboy:
    app = Carboy("isolated", root_path=".")
    app.testing = True
    return app


def test_logger_has_the_apps_name_and_the_default_handler(app: Carboy) -> None:
    assert app.logger.name == app.name
    assert app.logger.level == logging.NOTSET
    assert app.logger.handlers == [default_handler]
    assert app.logger is app.logger


def test_debug_mode_sets_the_level_only_if_none_was_set(app: Carboy) -> None:
    app.debug = True
    assert create_logger(app).level == logging.DEBUG
    logging.getLogger(app.name).setLevel(logging.ERROR)
    assert create_logger(app).level == logging.ERROR


@pytest.mark.parametrize("where", ["above", "own"])
def test_no_default_handler_if_the_user_has_added_one(
    app: Carboy, parent: logging.Logger, where: str
) -> None:
    logger = parent if where == "above" else logging.getLogger(app.name)
    logger.addHandler(logging.NullHandler())
    assert default_handler not in create_logger(app).handlers


def test_default_handler_is_added_once(app: Carboy) -> None:
    create_logger(app)
    assert create_logger(app).handlers == [default_handler]


@pytest.mark.parametrize(
    ("level", "handler_level", "propagate", "expected"),
    [
        (logging.INFO, logging.INFO, True, True),
        (logging.ERROR, logging.INFO, True, True),
        (logging.INFO, logging.ERROR, True, False),
        (logging.INFO, logging.INFO, False, False),
    ],
    ids=["same level", "lower handler", "higher handler", "not propagated"],
)
def test_parents_handler_counts_if_it_handles_the_level(
    parent: logging.Logger, level: int, handler_level: int, propagate: bool, expected: bool
) -> None:
    logger = logging.getLogger("isolated")
    logger.setLevel(level)
    logger.propagate = propagate
    handler = logging.NullHandler()
    handler.setLevel(handler_level)
    parent.addHandler(handler)
    assert has_level_handler(logger) is expected


def test_records_go_to_the_servers_stream_in_a_request_and_else_to_stderr(
    app: Carboy, client: FlaskClient, capsys: pytest.CaptureFixture[str]
) -> None:
    @app.get("/")
    def index() -> str:
        current_app.logger.error("inside")
        return ""

    stream = io.StringIO()
    client.get("/", errors_stream=stream)
    app.logger.error("outside")
    assert "] ERROR in test_logging: inside\n" in stream.getvalue()
    assert "outside" not in stream.getvalue()
    assert "] ERROR in test_logging: outside\n" in capsys.readouterr().err


def test_stream_is_looked_up_when_it_is_written_to(app: Carboy) -> None:
    stream = io.StringIO()
    assert wsgi_errors_stream._get_current_object() is sys.stderr
    with app.test_request_context(errors_stream=stream):
        assert wsgi_errors_stream._get_current_object() is stream
        wsgi_errors_stream.write("x")
    assert stream.getvalue() == "x"


def test_exception_in_a_view_is_logged_with_its_traceback(app: Carboy, client: FlaskClient) -> None:
    @app.get("/broken")
    def broken() -> str:
        raise ZeroDivisionError("in the view")

    app.testing = False
    stream = io.StringIO()
    response = client.get("/broken", errors_stream=stream)
    assert response.status_code == 500
    assert "Exception on /broken [GET]" in stream.getvalue()
    assert "ZeroDivisionError: in the view" in stream.getvalue()


def test_unhandled_error_is_logged_in_app_as_on_flask(
    app: Carboy, client: FlaskClient, capsys: pytest.CaptureFixture[str]
) -> None:
    app.testing = False
    app.add_url_rule("/", "fails", lambda: 1 // 0)
    assert client.get("/").status_code == 500
    assert "ERROR in app: Exception on / [GET]\n" in capsys.readouterr().err
