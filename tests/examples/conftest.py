from __future__ import annotations

import pathlib
import typing as t

import digits
import pytest


@pytest.fixture(scope="session")
def digits_home() -> pathlib.Path:
    """The digits example with its model trained."""
    digits.train()
    return digits.HOME


@pytest.fixture(scope="session")
def digits_app(digits_home: pathlib.Path) -> t.Any:
    return digits.load("app").app
