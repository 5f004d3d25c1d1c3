"""The document of each example is valid, and its samples are answered as it says."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import openapi_spec_validator
import pytest
import samplerequests
import showcase

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


@pytest.mark.timeout(300)
@pytest.mark.parametrize("app", EXAMPLES, ids=lambda app: app.parent.name)
def test_samples_of_an_example_are_answered_as_documented(app):
    showcase.make(app.parent.name)
    # A process of its own: the modules of the examples have the same names.
    program = [sys.executable, samplerequests.__file__, app, "X-API-Key", "only-for-trying"]
    env = {**os.environ, "SECRET_KEY": "a key for trying the samples of examples"}
    done = subprocess.run(
        program, cwd=app.parent, env=env, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("asked: True\n", 0), done.stderr
