"""Fixtures: a request body without a server, a valid image, and an image with a false size."""

from __future__ import annotations

import pytest
from bodies import FakeBody
from pictures import claimed_png, picture

__all__ = ["claimed_png", "picture"]


@pytest.fixture
def body() -> type[FakeBody]:
    return FakeBody
