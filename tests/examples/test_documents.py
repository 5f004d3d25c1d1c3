"""The document of each example, written by `carboy openapi`, is valid."""

from __future__ import annotations

import json
import pathlib
import subprocess

import openapi_spec_validator
import pytest

EXAMPLES = sorted((pathlib.Path(__file__).resolve().parents[2] / "examples").glob("*/app.py"))


@pytest.mark.parametrize("app", EXAMPLES, ids=lambda app: app.parent.name)
def test_document_of_an_example_is_valid(app, carboy_command, tmp_path):
    command = [carboy_command, "--app", app, "openapi"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    openapi_spec_validator.validate(document)
    assert document["info"]["title"] in {app.parent.name, "Herbarium"}
    assert document["paths"]
