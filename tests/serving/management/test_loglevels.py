"""Levels of loggers that are changed in a running process."""

from __future__ import annotations

import logging

import pytest

from carboy.serving.management.loglevels import LogLevels


@pytest.fixture
def levels():
    """Restore all levels, whatever the test does."""
    names = (None, "carboy.serving", "shop", "shop.orders")
    before = {name: logging.getLogger(name).level for name in names}
    yield LogLevels()
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def test_level_is_set_for_root_app_and_server(levels):
    shown = levels.apply("shop", level="DEBUG")
    assert shown == {"root": "DEBUG", "shop": "DEBUG", "carboy.serving": "DEBUG"}
    assert logging.getLogger("shop").isEnabledFor(logging.DEBUG)


def test_level_of_one_logger_changes_no_other(levels):
    root = logging.getLogger().level
    levels.apply("shop", level="ERROR", logger="shop.orders")
    assert logging.getLogger("shop.orders").level == logging.ERROR
    assert logging.getLogger().level == root


def test_levels_are_shown_without_a_change(levels):
    logging.getLogger("shop").setLevel(logging.NOTSET)
    logging.getLogger().setLevel(logging.ERROR)
    assert levels.apply("shop")["shop"] == "ERROR (inherited)"


def test_reset_restores_the_first_level(levels):
    logging.getLogger("shop").setLevel(logging.WARNING)
    levels.apply("shop", level="DEBUG")
    levels.apply("shop", level="ERROR")
    levels.apply("shop", reset=True)
    assert logging.getLogger("shop").level == logging.WARNING


def test_changed_loggers_are_shown_until_they_are_reset(levels):
    levels.apply("shop", level="DEBUG", logger="shop.orders")
    assert levels.apply("shop")["shop.orders"] == "DEBUG"
    assert "shop.orders" not in levels.apply("shop", reset=True)
