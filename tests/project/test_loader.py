"""`app.config.from_project()`."""

from __future__ import annotations

from carboy import Carboy


def test_project_is_set_only_by_from_project():
    app = Carboy("x")
    assert app.config.project is None
    app.config.from_project(environment="testing")
    assert app.config.project.environment == "testing"
