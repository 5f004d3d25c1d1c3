"""Bodies without a server; pictures good and bad."""

from __future__ import annotations

import pytest
from bodies import FakeBody
from pictures import claimed_png, picture

__all__ = ["claimed_png", "picture"]


@pytest.fixture
def body() -> type[FakeBody]:
    return FakeBody
