"""Public import paths of the documentation and of Flask must not change when modules move."""

from __future__ import annotations

import importlib
import importlib.metadata
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

# carboy has Flask's modules under the same names, because programs and extensions import them.
FLASK_MODULES = """
    app blueprints cli config ctx debughelpers globals helpers json json.provider json.tag logging
    sansio sansio.app sansio.blueprints sansio.scaffold sessions signals templating testing typing
    views wrappers
"""

# carboy's own public names, by the module from which the documentation imports them.
PUBLIC = {
    "carboy": (
        "Blueprint Body Carboy Config Cookie File Flask Form Header Image Query Request Response"
        " Tensor Upload abort after_this_request copy_current_request_context current_app flash g"
        " get_flashed_messages has_app_context has_request_context install_as_flask json jsonify"
        " make_response raises redirect render_template render_template_string request send_file"
        " send_from_directory session stream_template stream_with_context url_for"
    ),
    "carboy.compat": "install_as_flask",
    "carboy.errors": "CarboyError ConfigError ServingError SetupError SignatureError",
    "carboy.models": (
        "AnswerError CancelledError Card ClosedError DataFrame DeadlineError Image ImageOptions"
        " InputError Model ModelFileError ModelLoadError Models QueueFullError QueuedTooLongError"
        " StuckError TableOptions Tensor TensorOptions UnavailableError load save"
    ),
    "carboy.openapi": "deprecated operation swag_from",
    "carboy.testing": "CallError FlaskClient FlaskCliRunner",
}

_IMPORT = re.compile(r"^\s*from (carboy[\w.]*) import \(?([\w, ]+)", re.MULTILINE)


def documented() -> list[tuple[str, str]]:
    """Return each `from carboy... import name` of the README, the documentation and the
    examples.
    """
    files = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.py")]
    found = {
        (module, name.split(" as ")[0].strip())
        for file in files
        for module, names in _IMPORT.findall(file.read_text(encoding="utf-8"))
        for name in names.split(",")
        if name.strip()
    }
    return sorted(found)


@pytest.mark.parametrize("name", FLASK_MODULES.split())
def test_module_of_flask_is_importable(name: str) -> None:
    importlib.import_module(f"carboy.{name}")


@pytest.mark.parametrize(
    ("module", "name"),
    [(module, name) for module, names in PUBLIC.items() for name in names.split()],
)
def test_public_name_is_importable_from_its_module(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize(("module", "name"), documented())
def test_documented_import_works(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


def test_commands_of_the_entry_points_are_importable() -> None:
    for entry in importlib.metadata.entry_points(group="carboy.commands"):
        assert callable(entry.load())
