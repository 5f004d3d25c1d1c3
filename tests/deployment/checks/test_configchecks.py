"""Mistakes in the configuration: each check finds its mistake, and nothing in an app without it."""

from __future__ import annotations

from checkfindings import findings_of

from carboy import Carboy


def test_debug_mode_is_found():
    app = Carboy(__name__)
    assert findings_of("carboy.E001", app) == []
    app.debug = True
    (found,) = findings_of("carboy.E001", app)
    assert "Debug mode is on" in found.message


def test_wrong_type_in_the_configuration_is_found():
    app = Carboy(__name__)
    assert findings_of("carboy.E002", app) == []
    app.config["MAX_CONTENT_LENGTH"] = "16M"
    (found,) = findings_of("carboy.E002", app)
    assert "MAX_CONTENT_LENGTH: expected int or None" in found.message
