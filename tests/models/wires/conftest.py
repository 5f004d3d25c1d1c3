"""Apps whose models are served by protocols of other model servers."""

from __future__ import annotations

import pytest
import wireapp
from polling import PATIENCE_S


@pytest.fixture
def make_app():
    """Return a function that makes an app; its models are closed after the test."""
    made = []

    def make(*protocols: str, control: bool = False):
        made.append(wireapp.make_app(*protocols, control=control))
        return made[-1]

    yield make
    for app in made:
        app.models.close(PATIENCE_S)
