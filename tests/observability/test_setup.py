"""When and how the keys `LOG_*` take effect."""

from __future__ import annotations

import logging
import logging.config
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest
from rootlogger import new_root_logger
from werkzeug.debug import DebuggedApplication

from carboy import Carboy
from carboy.errors import ConfigError
from carboy.logging import default_handler
from carboy.observability.handlers import LineHandler
from carboy.observability.setup import configure


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "app.log"


def make_app(**keys: t.Any) -> Carboy:
    app = Carboy("shop", root_path=".")
    app.config.update(keys)

    @app.get("/")
    def index() -> str:
        app.logger.info("from the view")
        return ""

    return app


def messages(path: pathlib.Path) -> list[str]:
    return [line.rsplit(" :: ", 1)[1] for line in path.read_text().splitlines()]


def test_app_without_keys_changes_nothing():
    with new_root_logger() as root:
        assert make_app().test_client().get("/").status_code == 200
        assert root.handlers == []
        assert root.level == logging.WARNING


def test_app_without_keys_loads_only_the_names_of_keys():
    code = (
        "import sys; from carboy import Carboy; app = Carboy('a'); app.logger.info('x')\n"
        "app.test_client().get('/')\n"
        "print([name for name in sys.modules if name.startswith('carboy.observability.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert sorted(re.findall(r"\w+(?=')", done.stdout)) == ["environkeys", "keys"]


def test_first_request_configures_logging(path):
    app = make_app(LOG_FILE=path)
    with new_root_logger():
        client = app.test_client()
        client.get("/")
        client.get("/")
        logging.getLogger("library").info("from a library")
        assert messages(path) == ["from the view", "from the view", "from a library"]


def test_configuring_again_adds_nothing(path):
    app = make_app(LOG_FILE=path)
    with new_root_logger() as root:
        configure(app)
        configure(app)
        assert len(root.handlers) == 1


def test_records_before_the_first_request_are_written_if_they_are_the_apps(path):
    app = make_app(LOG_FILE=path)
    with new_root_logger():
        app.logger.info("while the module is imported")
        assert not logging.getLogger().handlers
        app.test_client().get("/")
        assert messages(path) == ["while the module is imported", "from the view"]
        assert app.logger.level == logging.NOTSET


def test_default_handler_gives_way(path):
    app = make_app()
    with new_root_logger():
        assert default_handler in app.logger.handlers
        app.config["LOG_FILE"] = path
        configure(app)
        assert app.logger.handlers == []


def test_level_is_info_unless_the_program_or_a_key_says_otherwise(path):
    with new_root_logger() as root:
        configure(make_app(LOG_FILE=path))
        assert root.level == logging.INFO
    with new_root_logger() as root:
        configure(make_app(LOG_FILE=path, LOG_LEVEL="ERROR"))
        assert root.level == logging.ERROR
    with new_root_logger() as root:
        logging.basicConfig(level=logging.WARNING, handlers=[logging.StreamHandler()])
        configure(make_app(LOG_FILE=path))
        assert root.level == logging.WARNING


def test_level_holds_in_debug_mode_too(path):
    app = make_app(LOG_FILE=path, LOG_LEVEL="INFO")
    app.debug = True
    with new_root_logger():
        app.logger.debug("hidden")
        app.test_client().get("/")
        app.logger.debug("hidden")
        assert messages(path) == ["from the view"]


def test_levels_of_single_loggers(path):
    levels = {"library": "ERROR", "shop.orders": "DEBUG"}
    with new_root_logger():
        configure(make_app(LOG_FILE=path, LOG_LEVELS=levels))
        logging.getLogger("library").info("hidden")
        logging.getLogger("shop.orders").debug("shown")
        assert messages(path) == ["shown"]


def test_own_loggers_are_enabled_after_dict_config(path):
    logger = logging.getLogger("carboy.models")
    with new_root_logger():
        logger.disabled = True  # as `dictConfig` leaves loggers that it does not name
        configure(make_app(LOG_FILE=path))
        assert not logger.disabled


def test_two_apps_of_a_process_share_the_handler_of_a_file(path):
    with new_root_logger() as root:
        configure(make_app(LOG_FILE=path))
        configure(make_app(LOG_FILE=path))
        configure(make_app(LOG_FILE=f"{path}.other"))
        assert len(root.handlers) == 2


def test_terminal_shows_records_beside_the_file(path, capsys):
    app = make_app(LOG_FILE=path, LOG_FORMAT="json")
    with new_root_logger():
        configure(app, terminal=True)
        app.logger.info("seen twice")
        logging.getLogger("werkzeug").warning("as werkzeug writes it")
        assert path.read_text().count("seen twice") == 1
        shown = capsys.readouterr().err
        assert shown.count("seen twice") == 1
        assert '"message"' not in shown
        assert "\nas werkzeug writes it\n" in shown


def test_pin_of_the_debugger_and_the_start_screen_are_for_the_terminal_only(
    path, capsys, monkeypatch
):
    monkeypatch.setenv("WERKZEUG_RUN_MAIN", "true")  # otherwise the PIN is not logged
    app = make_app(LOG_FILE=path)
    with new_root_logger():
        configure(app, terminal=True)
        pin = DebuggedApplication(app, evalex=True).pin
        logging.getLogger("werkzeug").info("WARNING: for development\n * Running on x")
        logging.getLogger("werkzeug").info(" * Detected change in 'app.py', reloading")
        logging.getLogger("werkzeug").error("Error on request:\nValueError")
        in_file = path.read_text()
        shown = capsys.readouterr().err
    assert pin not in in_file
    assert "Running on" not in in_file
    assert "Detected change" in in_file
    assert "Error on request" in in_file
    assert f"PIN: {pin}" in shown
    assert "Running on" in shown


def test_format_without_effect_is_said():
    said: list[str] = []
    with new_root_logger():
        logging.basicConfig(handlers=[logging.StreamHandler()])
        configure(make_app(LOG_FORMAT="json"), warn=said.append)
    assert len(said) == 1
    assert said[0].startswith("LOG_FORMAT has no effect")


@pytest.mark.parametrize("keys", [{"LOG_FORMAT": "json"}, {"LOG_FILE": "/"}])
def test_what_a_server_has_reported_is_not_logged_again_at_the_first_request(keys, capsys):
    said: list[str] = []
    app = make_app(**keys)
    with new_root_logger():
        logging.basicConfig(handlers=[logging.StreamHandler()])
        try:
            configure(app, warn=said.append)
        except ConfigError as exc:
            said.append(str(exc))
        assert app.test_client().get("/").status_code == 200
        shown = capsys.readouterr().err
    assert len(said) == 1
    assert "LOG_" not in shown


def test_file_that_the_program_writes_itself_is_left_to_it(path):
    said: list[str] = []
    with new_root_logger() as root:
        root.addHandler(own := logging.FileHandler(path))
        configure(make_app(LOG_FILE=path), warn=said.append)
        assert not any(isinstance(handler, LineHandler) for handler in root.handlers)
        own.close()
    assert "the program's own FileHandler writes to" in said[0]


@pytest.mark.parametrize("use", [configure, lambda app: app.logger], ids=["server", "log"])
def test_value_that_is_not_valid_is_raised_before_requests(use):
    with new_root_logger(), pytest.raises(ConfigError, match="LOG_LEVEL"):
        use(make_app(LOG_LEVEL="loud"))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL: expected one of"),
        ({"LOG_MAX_BYTES": "10M"}, "LOG_MAX_BYTES: expected LOG_FILE beside it"),
        ({"LOG_FILE": "/"}, "LOG_FILE: cannot write to /"),
    ],
)
def test_wrong_keys_do_not_make_requests_fail(keys, words, capsys):
    app = make_app(**keys)
    app.add_url_rule("/boom", view_func=lambda: 1 / 0)
    with new_root_logger():
        client = app.test_client()
        assert [client.get(path).status_code for path in ("/boom", "/")] == [500, 200]
        shown = capsys.readouterr().err
    assert shown.count("The keys LOG_* have no effect in this process") == 1
    assert words in shown
    assert "ZeroDivisionError" in shown


def test_wrong_keys_do_not_hide_an_error_before_dispatch(capsys):
    app = make_app(LOG_LEVEL="loud")
    with new_root_logger(), app.test_request_context():
        app.logger.error("own error")
        shown = capsys.readouterr().err
    assert "The keys LOG_* have no effect" in shown
    assert "own error" in shown


def test_disk_that_is_full_at_the_start_is_no_mistake_of_the_configuration(capsys):
    app = make_app(LOG_FILE="/dev/full")
    with new_root_logger():
        assert app.test_client().get("/").status_code == 200
        shown = capsys.readouterr().err
    assert "from the view" in shown
    assert "/dev/full cannot be written (No space left on device)" in shown
