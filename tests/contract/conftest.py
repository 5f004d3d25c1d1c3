"""Pictures good and bad, and an app whose views are asked at once."""

from __future__ import annotations

import pytest
from pictures import claimed_png, picture

from carboy import Carboy

__all__ = ["claimed_png", "picture"]


@pytest.fixture
def app() -> Carboy:
    app = Carboy("typed")
    app.config["PROPAGATE_EXCEPTIONS"] = True
    return app


@pytest.fixture
def client(app):
    return app.test_client()
