"""`carboy config`, and what commands do with the configuration of a project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

APP = """
    import os
    from carboy import Carboy

    app = Carboy(__name__)
    app.config["BEFORE"] = 1
    app.config.from_project()
    app.config["AFTER"] = 2
    print("FLASK_ENV", os.environ["FLASK_ENV"])
"""
PLAIN = """
    from carboy import Carboy

    app = Carboy(__name__)
    app.config.from_mapping(
        TITLE="Shop",
        SECRET_KEY="canary",
    )
"""


@pytest.fixture
def carboy(tmp_path):
    """Run a command in a folder with the given files; return the completed process."""

    def run(*words, files, **variables):
        for name, text in files.items():
            (tmp_path / name).write_text(textwrap.dedent(text).lstrip("\n"))
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CARBOY_", "FLASK_", "SECRET_", "LOG_"))
        }
        return subprocess.run(
            [sys.executable, "-m", "carboy", *words],
            cwd=tmp_path,
            env=environ | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def rows(text: str) -> dict[str, tuple[str, str]]:
    """The origin and value of each key in a table."""
    lines = [line.split("  ") for line in text.splitlines()]
    parts = [[part.strip() for part in line if part.strip()] for line in lines]
    return {line[0]: (line[1], line[2]) for line in parts if len(line) == 3 and line[2] != "-----"}


@pytest.mark.integration
def test_each_value_is_shown_with_its_origin_and_secrets_are_masked(carboy):
    files = {
        "app.py": APP,
        "config.py": 'TITLE = "Shop"\nDATABASE_URL = "postgres://ann:canary@db/shop"\n',
        "config.toml": "[development]\nSIZE = 5\n",
        ".env": "SECRET_KEY=canary\nFLASK_ENV=development\n",
    }
    done = carboy("--debug", "config", files=files, CARBOY_MAX_COOKIE_SIZE="100")
    assert done.returncode == 0, done.stderr
    assert "canary" not in done.stdout + done.stderr
    found = rows(done.stdout)
    expected = {
        "TITLE": ("config.py:1", "'Shop'"),
        "DATABASE_URL": ("config.py:2", "'postgres://ann:********@db/shop'"),
        "SIZE": ("config.toml:2 [development]", "5"),
        "SECRET_KEY": (".env:1", "'********'"),
        "ENV": (".env:2", "'development'"),
        "MAX_COOKIE_SIZE": ("environment variable CARBOY_MAX_COOKIE_SIZE", "100"),
        "DEBUG": ("option --debug", "True"),
        "BEFORE": ("app.py:5", "1"),
        "AFTER": ("app.py:7", "2"),
        "TESTING": ("default", "False"),
    }
    assert {key: found.get(key) for key in expected} == expected


@pytest.mark.integration
def test_origin_is_the_prefix_that_takes_precedence_if_dotenv_has_both(carboy):
    files = {"app.py": APP, ".env": "FLASK_TITLE=flask\nCARBOY_TITLE=carboy\n"}
    assert rows(carboy("config", "TITLE", files=files).stdout)["TITLE"] == (".env:2", "'carboy'")


@pytest.mark.integration
def test_unknown_key_that_dotenv_sets_without_prefix_is_explained(carboy):
    done = carboy("config", "TITLE", files={"app.py": APP, ".env": "TITLE=Shop\n"})
    assert "write CARBOY_TITLE there" in done.stderr


@pytest.mark.integration
def test_lines_of_code_are_shown_for_a_program_that_loads_nothing(carboy):
    done = carboy("config", "--json", files={"app.py": PLAIN, "config.py": "SIZE = 1\n"})
    assert "canary" not in done.stdout
    found = json.loads(done.stdout)
    assert (found["root"], found["environment"]) == (None, "production")
    assert found["values"]["TITLE"] == {"value": "Shop", "source": "code", "place": "app.py:4"}
    assert found["values"]["DEBUG"]["source"] == "default"
    assert "SIZE" not in found["values"]
    done = carboy("config", files={}, FLASK_DEBUG="1")
    assert "does not call app.config.from_project()" in done.stdout
    assert rows(done.stdout)["DEBUG"] == ("environment variable FLASK_DEBUG", "True")
    done = carboy("config", files={".env": "FLASK_ENV=development\n"})
    found = rows(done.stdout)
    assert found["ENV"] == (".env:1", "'development'")
    assert found["DEBUG"] == ("default (environment development)", "True")


@pytest.mark.integration
def test_values_that_json_does_not_have_are_shown(carboy):
    grid = (
        "    from typing import NamedTuple\n"
        "    class Point(NamedTuple):\n        x: int\n"
        "    app.config.update(GRID=({(1, 2): 'wall'},), POINTS={Point(1)})\n"
        "    app.config.update(LIMITS=[float('inf'), {'a': float('nan')}], BYTES='\\udcff')\n"
    )
    keys = ("GRID", "POINTS", "LIMITS", "BYTES")
    done = carboy("config", "--json", *keys, files={"app.py": PLAIN + grid})
    found = json.loads(done.stdout, parse_constant=pytest.fail)["values"]
    assert found["LIMITS"]["value"] == ["inf", {"a": "nan"}]
    assert found["BYTES"]["value"] == "\udcff"
    assert found["GRID"]["value"] == [{"(1, 2)": "wall"}]
    assert found["POINTS"]["value"] == [{"x": 1}]


@pytest.mark.integration
def test_named_keys_are_shown_alone(carboy):
    done = carboy("config", "TITLE", files={"app.py": PLAIN})
    assert list(rows(done.stdout)) == ["Key", "TITLE"]
    done = carboy("config", "TITEL", files={})
    assert done.returncode == 2
    assert "Did you mean 'TITLE'?" in done.stderr


@pytest.mark.integration
@pytest.mark.parametrize(
    ("files", "problems"),
    [
        ({}, []),
        (
            {"config.py": "SECRET_KYE = 'canary'\nOWN = 1\n"},
            ["config.py:1: SECRET_KYE is not a kn"],
        ),
        ({"config.py": "DEBUG = 'no'\n"}, ["config.py:1: DEBUG: expected bool or None, got text"]),
        (
            {".env": "SECRETKEY=canary\nMAX_CONTENT_LENGTH=1\nOTHER=1\n"},
            [
                ".env:1: SECRETKEY sets no config key. If SECRET_KEY is meant",
                ".env:2: MAX_CONTENT_LENGTH sets no config key. Write CARBOY_MAX_CONTENT_LENGTH.",
            ],
        ),
        (
            {
                "config.py": """
                    from msgspec import Struct
                    class Config(Struct):
                        PAGE_SIZE: int = 20
                """,
                "config.toml": "PAGESIZE = 3\nWHOLLY_OTHER_NAME = 1\n",
            },
            [
                "config.toml:1: PAGESIZE is not declared by the project's class. Did you mean",
                "config.toml:2: WHOLLY_OTHER_NAME is not declared",
            ],
        ),
        ({"config.py": "A = \n"}, ["config.py:1: this is not valid Python"]),
        ({"config.py": "LOG_LEVEL = 'loud'\n"}, ["LOG_LEVEL: expected one of", "config.py:1"]),
    ],
    ids=["none", "misspelt", "type", "dotenv", "declared", "syntax", "logging"],
)
def test_check_finds_wrong_types_and_misspelt_keys(carboy, files, problems):
    done = carboy("config", "--check", files={"app.py": APP, **files})
    text = done.stdout + done.stderr
    assert done.returncode == (2 if problems else 0), text
    assert all(problem in text for problem in problems), text
    assert "canary" not in text
    if not problems:
        assert "The configuration has no problems." in text


@pytest.mark.integration
@pytest.mark.parametrize("command", [("run", "-p", "0"), ("serve", "-p", "0"), ("routes",)])
@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        (".env", "A=1\nTHIS IS WRONG\n", ".env:2: this line is neither NAME=value nor a comment"),
        ("config.toml", 'MAX_CONTENT_LENGTH = "big"\n', "config.toml:1: MAX_CONTENT_LENGTH: exp"),
    ],
)
def test_bad_configuration_ends_a_command_with_exit_code_2(carboy, command, name, text, problem):
    done = carboy(*command, files={"app.py": APP, name: text})
    assert done.returncode == 2
    assert problem in done.stderr
    assert "Traceback" not in done.stderr
    assert "unning on" not in done.stderr
    assert "serving" not in done.stderr


@pytest.mark.integration
def test_program_for_flask_skips_lines_of_env_file_that_cannot_be_parsed(carboy):
    files = {"app.py": PLAIN.replace("carboy", "flask").replace("Carboy", "Flask")}
    done = carboy("--as-flask", "routes", files={**files, ".env": "THIS IS WRONG\n"})
    assert done.returncode == 0, done.stderr
    assert "could not parse" in done.stderr


@pytest.mark.integration
@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, "production"), ({"CARBOY_ENV": "staging"}, "staging"), ({"FLASK_ENV": "own"}, "own")],
)
def test_commands_set_flask_env(carboy, variables, expected):
    code = 'import os, carboy\nprint("ENV", os.environ["FLASK_ENV"])\napp = carboy.Carboy("x")\n'
    done = carboy("routes", files={"app.py": code}, **variables)
    assert f"ENV {expected}\n" in done.stdout, done.stderr


@pytest.mark.integration
def test_workers_of_carboy_serve_have_flask_env(carboy):
    code = 'import os, sys\nsys.exit("FLASK_ENV is " + os.environ["FLASK_ENV"])\n'
    done = carboy("serve", "-p", "0", files={"app.py": code})
    assert "FLASK_ENV is production" in done.stderr
    assert done.returncode == 1


def test_known_keys_are_shown_beside_unknown_ones(carboy):
    done = carboy("config", "BEFORE", "NOPE", "NOR_THIS", files={"app.py": APP})
    assert done.returncode == 2
    assert "BEFORE" in done.stdout
    assert "There is no config key 'NOPE'." in done.stderr
    assert "There is no config key 'NOR_THIS'." in done.stderr


def test_check_finds_variables_that_are_no_settings_of_the_server(carboy):
    done = carboy("config", "--check", files={"app.py": APP}, CARBOY_SERVE_THREDS="4")
    assert done.returncode == 2
    assert "CARBOY_SERVE_THREDS has no effect" in done.stdout
    assert "Did you mean 'CARBOY_SERVE_THREADS'?" in done.stdout


def test_check_finds_variables_that_the_server_refuses(carboy):
    done = carboy("config", "--check", files={"app.py": APP}, CARBOY_SERVE_THREADS="four")
    assert done.returncode == 2
    assert "got 'four' from the environment variable CARBOY_SERVE_THREADS." in done.stdout


def test_check_finds_values_that_would_fail_in_a_request(carboy):
    source = "from carboy import Carboy\napp = Carboy(__name__)\napp.config.from_project()\n"
    source += "app.config.update(OPENAPI_DOCS_PATH='docs', SESSION_COOKIE_SAMESITE='Foo')\n"
    done = carboy("config", "--check", files={"app.py": source})
    assert done.returncode == 2
    assert "OPENAPI_DOCS_PATH from app.py:" in done.stdout
    assert "such as '/docs', or None for no such URL, got 'docs'." in done.stdout
    assert "SESSION_COOKIE_SAMESITE: expected str matching regex" in done.stdout


def test_error_that_names_a_secret_is_not_masked_like_its_value(carboy):
    done = carboy("config", files={"app.py": APP}, SECRET_KEY_FILE="key")
    assert done.returncode == 2
    assert (
        "environment variable SECRET_KEY_FILE: the file 'key' should contain the secret SECRET_KEY"
        " and nothing else, but it cannot be read: No such file or directory."
    ) in done.stderr


def test_check_finds_a_variable_that_misspells_a_key_of_the_projects_files(carboy):
    files = {"app.py": APP, "config.py": "PAGE_SIZE = 20\nREGION_1 = 'a'\n"}
    done = carboy("config", "--check", files=files, CARBOY_PAGESIZE="9", CARBOY_REGION_2="b")
    assert done.returncode == 2
    assert "CARBOY_PAGESIZE: PAGESIZE is not a known key. Did you mean 'PAGE_SIZE'?" in done.stdout
    assert "REGION" not in done.stdout
