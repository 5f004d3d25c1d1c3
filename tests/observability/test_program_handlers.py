"""Programs that configure logging themselves: each record appears once in each place that they, and
the keys `LOG_*`, have asked for.
"""

from __future__ import annotations

import json
import logging
import pathlib
import subprocess
import sys
import typing as t
from logging.handlers import RotatingFileHandler, TimedRotatingFileHandler

import logprograms
import pytest

from carboy.observability.programhandlers import find_writer, lossy_in_several_processes

# Where the marker of each program appears: without a key, with LOG_FILE, and with LOG_LEVEL.
# "own" is the program's own file, "file" is LOG_FILE. Without a key, carboy is as Flask.
EXPECTED = {
    "nothing": ("stderr", "file", "stderr"),
    "nothing_and_a_librarys_logger": ("stderr", "file", "stderr"),
    "basic_config": ("own", "own file", "own"),
    "basic_config_after_the_apps_logger": ("own stderr", "own file", "own"),
    "basic_config_by_logging_warning": ("stderr", "file stderr", "stderr"),
    "rotating_handler_on_the_apps_logger": ("own stderr", "own file", "own stderr"),
    "rotating_handler_on_the_root_logger": ("own", "own file", "own"),
    "rotating_handler_on_the_log_file": ("file stderr", "file", "file"),
    "dict_config": ("own", "own file", "own"),
    "dict_config_after_the_apps_logger": ("own stderr", "own file", "own"),
    "dict_config_of_the_apps_logger": ("own", "own file", "own"),
    "structlog_by_logging": ("stderr", "file", "stderr"),
    "structlog_by_print": ("stdout", "stdout", "stdout"),
    "loguru_to_a_file": ("own", "own", "own"),
    "loguru_receives_from_logging": ("own", "own file", "own"),
    "loguru_sends_to_logging": ("stderr", "file", "stderr"),
    "print_it": ("stdout", "stdout", "stdout"),
}
PLACES = {"own": "own.log", "file": "app.log", "stderr": "stderr", "stdout": "stdout"}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, int]]]:
    folder = tmp_path_factory.mktemp("programs")
    done = subprocess.run(
        [sys.executable, logprograms.__file__, folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return t.cast("dict[str, dict[str, dict[str, int]]]", json.loads(done.stdout))


@pytest.mark.parametrize("program", EXPECTED)
def test_each_record_appears_once_where_it_was_asked_for(found, program):
    expected = {
        keys: {PLACES[place]: 1 for place in places.split()}
        for keys, places in zip(logprograms.KEYS, EXPECTED[program], strict=True)
    }
    assert found[program] == expected


def test_each_program_is_tested():
    assert {program.__name__ for program in logprograms.PROGRAMS} == EXPECTED.keys()


# --- handlers that lose lines in several processes --------------------------------------------


@pytest.fixture
def add_handler(tmp_path: pathlib.Path) -> t.Iterator[t.Callable[[logging.Handler], None]]:
    logger = logging.getLogger("of a program")
    yield logger.addHandler
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: RotatingFileHandler(path, maxBytes=1000, backupCount=1), "renames the file"),
        (lambda path: TimedRotatingFileHandler(path), "renames the file"),
        (lambda path: logging.FileHandler(path, mode="w"), "empties the file"),
    ],
    ids=["by size", "by time", "emptied at the start"],
)
def test_handler_that_loses_lines_is_named_with_the_remedy(tmp_path, add_handler, make, reason):
    path = tmp_path / "own.log"
    add_handler(make(path))
    [warning] = lossy_in_several_processes()
    assert reason in warning
    assert str(path) in warning
    assert "LOG_FILE" in warning


@pytest.mark.parametrize(
    "make",
    [
        logging.FileHandler,
        RotatingFileHandler,  # without maxBytes it never rotates
        lambda path: logging.StreamHandler(),
    ],
)
def test_handler_that_appends_loses_nothing(tmp_path, add_handler, make):
    add_handler(make(tmp_path / "own.log"))
    assert lossy_in_several_processes() == []


def test_writer_of_a_file_is_found_through_a_link(tmp_path, add_handler):
    (tmp_path / "link.log").symlink_to(tmp_path / "own.log")
    handler = logging.FileHandler(tmp_path / "link.log")
    add_handler(handler)
    assert find_writer(str(tmp_path / "own.log")) is handler
    assert find_writer(str(tmp_path / "other.log")) is None
