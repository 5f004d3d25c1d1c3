"""The commands `carboy openapi` and `carboy postman`."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

APP = """
from msgspec import Struct
from carboy import Carboy, Upload

app = Carboy(__name__)

class Flower(Struct):
    name: str

@app.post("/flowers")
def add(flower: Flower) -> Flower: ...

@app.put("/scan")
def scan(sheet: Upload): ...
"""


@pytest.fixture
def home(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def carboy(carboy_command, home):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [carboy_command, *arguments], cwd=home, capture_output=True, text=True, check=False
        )

    return run


def test_openapi_prints_the_document(carboy, home):
    done = carboy("openapi")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["info"]["title"] == home.name
    assert list(document["paths"]) == ["/flowers", "/scan"]


def test_openapi_writes_yaml_by_option_and_by_name(carboy, home):
    import yaml

    printed = yaml.safe_load(carboy("openapi", "--yaml").stdout)
    assert carboy("openapi", "--output", "api.yml").returncode == 0
    assert yaml.safe_load((home / "api.yml").read_text()) == printed
    assert carboy("openapi", "-o", "api.json").returncode == 0
    assert json.loads((home / "api.json").read_text()) == printed


def test_postman_writes_the_collection_and_its_files(carboy, home):
    done = carboy("postman", "--base-url", "https://x.org", "-o", "shop.postman_collection.json")
    assert done.returncode == 0, done.stderr
    collection = json.loads((home / "shop.postman_collection.json").read_text())
    assert collection["variable"][0]["value"] == "https://x.org"
    assert {file.name for file in (home / "shop.files").iterdir()} == {"scan-sheet.png"}


def test_postman_prints_without_writing_files(carboy, home):
    assert json.loads(carboy("postman").stdout)["info"]["name"] == home.name
    assert [file.name for file in home.iterdir() if file.name != "__pycache__"] == ["app.py"]


@pytest.mark.parametrize("command", ["openapi", "postman"])
def test_dash_is_the_terminal(carboy, home, command):
    assert carboy(command, "-o", "-").stdout == carboy(command).stdout != ""
    assert [file.name for file in home.iterdir() if file.name != "__pycache__"] == ["app.py"]


def test_missing_pyyaml_is_reported_without_a_traceback(carboy, home):
    (home / "yaml.py").write_text("raise ImportError('none')\n")
    (home / "app.py").write_text(f"import sys; sys.path.insert(0, '.'){APP}")
    done = carboy("openapi", "--yaml")
    assert done.returncode == 1
    assert "pip install 'carboy[docs]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_fault_of_a_view_is_shown_and_fails_only_the_strict_command(carboy, home):
    (home / "app.py").write_text(f'{APP}\n\nscan.__doc__ = "Scan.\\n---\\n- a"\n')
    done = carboy("openapi", "-o", "api.json")
    assert done.returncode == 0, done.stderr
    assert "/scan" in json.loads((home / "api.json").read_text())["paths"]
    assert "The document lacks the YAML of 'scan'" in done.stderr
    assert str(home / "app.py") in done.stderr
    done = carboy("openapi", "--strict")
    assert (done.returncode, done.stdout) == (1, "")
    assert "'scan'" in done.stderr
    assert "faults: 1" in done.stderr


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (["openapi", "-o", "none/api.json"], "none/api.json"),
        (["postman", "-o", "none/api.json"], "none/api.json"),
        (["postman", "-o", "api.json"], "./api.files"),
    ],
    ids=["openapi", "postman", "files of postman"],
)
def test_file_that_cannot_be_written_is_refused_in_one_line(carboy, home, line, path):
    (home / "api.files").write_text("a file where a folder should be")
    done = carboy(*line)
    assert done.returncode == 2
    (message,) = done.stderr.splitlines()
    assert message.startswith("Error: --output: '")
    assert os.path.normpath(path) in message
    assert "cannot be written: " in message


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, of Linux")
@pytest.mark.parametrize("command", ["openapi", "postman"])
def test_full_disk_is_named_with_the_file(carboy, command):
    done = carboy(command, "-o", "/dev/full")
    assert done.returncode == 2
    (message,) = done.stderr.splitlines()
    assert message.startswith("Error: --output: '/dev/full' cannot be written: ")
