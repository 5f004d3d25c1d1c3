"""The keys `LOG_*`: where they come from, what they mean, and what is refused."""

from __future__ import annotations

import logging
import os
import pathlib
import typing as t

import pytest
from alone import measured_alone

from carboy import Blueprint, Carboy, compat
from carboy.errors import ConfigError
from carboy.observability.logoptions import (
    DEFAULT_BACKUP_COUNT,
    DEFAULT_MAX_BYTES,
    LogOptions,
    read_options,
)
from carboy.observability.setup import open_directly


def options(**keys: t.Any) -> LogOptions:
    app = Carboy("shop", root_path=".")
    app.config.update(keys)
    found = read_options(app, {})
    assert found is not None
    return found


def test_without_a_key_there_are_no_options():
    assert read_options(Carboy("shop", root_path="."), {}) is None
    assert read_options(None, {"LOG_LEVEL": "INFO"}) is None


@pytest.mark.parametrize(
    ("key", "given", "field", "value"),
    [
        ("LOG_LEVEL", "debug", "level", logging.DEBUG),
        ("LOG_LEVEL", " WARN ", "level", logging.WARNING),
        ("LOG_LEVEL", logging.ERROR, "level", logging.ERROR),
        ("LOG_LEVEL", "15", "level", 15),
        ("LOG_FORMAT", "JSON", "format", "json"),
        ("LOG_FORMAT", "{message}", "format", "{message}"),
        ("LOG_LEVELS", {"a.b": "INFO"}, "levels", {"a.b": logging.INFO}),
        ("LOG_LEVELS", "a.b=INFO, c=15", "levels", {"a.b": logging.INFO, "c": 15}),
        ("LOG_LEVELS", '{"a.b": 10}', "levels", {"a.b": 10}),
    ],
)
def test_value_is_converted(key, given, field, value):
    assert getattr(options(**{key: given}), field) == value


def test_file_is_rotated_by_default():
    found = options(LOG_FILE="logs/app.log")
    assert found.file == os.path.realpath("logs/app.log")
    assert (found.max_bytes, found.backup_count) == (DEFAULT_MAX_BYTES, DEFAULT_BACKUP_COUNT)


def test_rotation_is_set_or_switched_off():
    found = options(LOG_FILE="app.log", LOG_MAX_BYTES="1.5M", LOG_BACKUP_COUNT="3")
    assert (found.max_bytes, found.backup_count) == (3 * 2**19, 3)
    assert options(LOG_FILE="app.log", LOG_MAX_BYTES=0).max_bytes == 0


def test_device_is_never_rotated():
    found = options(LOG_FILE="/dev/stdout")
    assert (found.file, found.max_bytes) == ("/dev/stdout", 0)


def test_stderr_may_be_named_as_a_file():
    assert options(LOG_FILE="/dev/stderr").file is None


def test_linked_file_is_rotated_where_it_is(tmp_path):
    (tmp_path / "link.log").symlink_to(tmp_path / "app.log")
    assert options(LOG_FILE=tmp_path / "link.log").file == str(tmp_path / "app.log")


def test_app_takes_precedence_over_the_environment():
    app = Carboy("shop", root_path=".")
    app.config["LOG_LEVEL"] = "ERROR"
    environ = {"CARBOY_LOG_LEVEL": "DEBUG", "CARBOY_LOG_FORMAT": "json"}
    found = read_options(app, environ)
    assert found == LogOptions(level=logging.ERROR, format="json")
    assert read_options(None, environ) == LogOptions(level=logging.DEBUG, format="json")


def test_config_has_no_key_that_nobody_has_set():
    """Programs have used these names for their own code since before carboy."""
    config = Carboy("shop", root_path=".").config
    assert config.get("LOG_LEVEL", "INFO") == "INFO"
    assert config.setdefault("LOG_FILE", "own.log") == "own.log"


def test_config_of_a_flask_program_is_not_read(monkeypatch, tmp_path):
    app = Carboy("shop", root_path=".")
    app.config["LOG_LEVEL"] = "as the program likes"
    monkeypatch.setattr("carboy.observability.keys.is_flask_installed_as_us", lambda: True)
    assert read_options(app, {}) is None
    app.config["LOG_LEVEL"] = "ERROR"
    app.config.from_project(tmp_path)  # which Flask's config does not have
    assert read_options(app, {}) == LogOptions(level=logging.ERROR)
    assert compat  # `install_as_flask` itself would change this process for ever


REFUSED: list[tuple[dict[str, t.Any], str]] = [
    ({"LOG_LEVEL": "loud"}, "DEBUG, INFO"),
    ({"LOG_LEVEL": "WARNIG"}, "WARNING"),
    ({"LOG_LEVEL": True}, "DEBUG, INFO"),
    ({"LOG_LEVELS": "shop"}, "shop=DEBUG"),
    ({"LOG_LEVELS": '{"shop": '}, "JSON"),
    ({"LOG_LEVELS": {"shop": "loud"}}, "LOG_LEVELS['shop']"),
    ({"LOG_LEVELS": ["shop"]}, "by name"),
    ({"LOG_FORMAT": "jsn"}, "'json'"),
    ({"LOG_FORMAT": 7}, "'json'"),
    ({"LOG_FORMAT": "%(message)s\n"}, "line break"),
    ({"LOG_FORMAT": "%(mesage)s"}, "message"),
    ({"LOG_FORMAT": "{asctime} {mesage}"}, "There is no field 'mesage'. Did you mean 'message'"),
    ({"LOG_FORMAT": "{levelname} {mesage!r:>5}"}, "There is no field 'mesage'"),
    ({"LOG_FORMAT": "$asctime $mesage"}, "There is no field 'mesage'"),
    ({"LOG_FORMAT": "${asctime} ${mesage}"}, "There is no field 'mesage'"),
    ({"LOG_FORMAT": "%(message)d"}, "a real number is required"),
    ({"LOG_FORMAT": "%(user)d"}, "a real number is required"),
    ({"LOG_FORMAT": "{message:d}"}, "Unknown format code"),
    ({"LOG_FORMAT": "%(message)s %(created)q"}, "cannot be written by it"),
    ({"LOG_FORMAT": "{message.__globals__}"}, "cannot be written by it"),
    ({"LOG_FILE": 7}, "path"),
    ({"LOG_FILE": "a\0b"}, "path"),
    ({"LOG_FILE": "static/app.log"}, "static"),
    ({"LOG_FILE": "a.log", "LOG_MAX_BYTES": "large"}, "10M"),
    ({"LOG_FILE": "a.log", "LOG_MAX_BYTES": 10}, "10M"),
    ({"LOG_FILE": "a.log", "LOG_MAX_BYTES": -1}, "10M"),
    ({"LOG_FILE": "a.log", "LOG_BACKUP_COUNT": "many"}, "whole number"),
    ({"LOG_FILE": "a.log", "LOG_BACKUP_COUNT": 0}, "LOG_MAX_BYTES to 0"),
    ({"LOG_FILE": "a.log", "LOG_BACKUP_COUNT": 3, "LOG_MAX_BYTES": 0}, "LOG_MAX_BYTES"),
    ({"LOG_FILE": "/dev/null", "LOG_MAX_BYTES": "1M"}, "device"),
    ({"LOG_MAX_BYTES": "1M"}, "LOG_FILE"),
    ({"LOG_BACKUP_COUNT": 3}, "LOG_FILE"),
]


@pytest.mark.parametrize(("keys", "words"), REFUSED, ids=[str(keys) for keys, _ in REFUSED])
def test_what_is_not_valid_is_refused_with_key_value_and_remedy(keys, words):
    with pytest.raises(ConfigError) as refused:
        options(**keys)
    message = str(refused.value)
    assert words in message
    assert any(message.startswith(key) for key in keys)
    assert any(repr(value) in message for value in keys.values()) or "shop" in message


@pytest.mark.parametrize("text", ["{message} {user}", "$message $user", "%(message)s %(user)s"])
def test_field_that_the_program_may_give_is_accepted_in_each_style(text):
    assert options(LOG_FORMAT=text).format == text


def test_file_among_the_static_files_of_a_blueprint_is_refused(tmp_path):
    app = Carboy("shop", root_path=str(tmp_path))
    admin = Blueprint("admin", "admin", root_path=str(tmp_path / "admin"), static_folder="static")
    app.register_blueprint(admin, url_prefix="/admin")
    app.config["LOG_FILE"] = str(tmp_path / "admin" / "static" / "logs" / "app.log")
    with pytest.raises(ConfigError, match="outside of the folder of static files"):
        read_options(app, {})
    app.config["LOG_FILE"] = str(tmp_path / "admin" / "app.log")
    assert read_options(app, {}).file == str(tmp_path / "admin" / "app.log")


def test_refusal_names_the_environment_variable():
    with pytest.raises(ConfigError, match="environment variable CARBOY_LOG_LEVEL"):
        read_options(None, {"CARBOY_LOG_LEVEL": "loud"})


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "It is a folder"),
        ("file/app.log", "is a file and no folder"),
        ("x" * 300, "name another file"),
    ],
    ids=["a folder", "below a file", "too long"],
)
def test_file_that_cannot_be_opened_is_refused(tmp_path: pathlib.Path, path, words):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="LOG_FILE: cannot write to") as refused:
        open_directly(options(LOG_FILE=tmp_path / path))
    assert words in str(refused.value)


def what_another_user_is_told():
    if os.geteuid() == 0:
        os.setuid(65534)  # root may write everywhere
    try:
        open_directly(LogOptions(file=os.path.abspath("app.log")))
    except ConfigError as exc:
        return str(exc)
    return "nothing"


def test_file_of_another_user_is_refused(tmp_path: pathlib.Path, monkeypatch):
    (tmp_path / "app.log").touch(mode=0o400)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o711)
    monkeypatch.chdir(tmp_path)
    told = measured_alone(what_another_user_is_told)
    assert told.startswith("LOG_FILE: cannot write to")
    assert "Permission denied. Let this user write there" in told
