"""`config.py` as tutorials write it."""

from __future__ import annotations

import sys

import pytest

from carboy.errors import ProjectError

CLASSES = """
    import os

    basedir = "not a key"
    TITLE = "Shop"

    class Config:
        SECRET_KEY = os.environ.get("SECRET_KEY") or "dev"
        SIZE = 1
        lower = "not a key"

        @staticmethod
        def init_app(app):
            pass

    class DevelopmentConfig(Config):
        SIZE = 2

    class TestingConfig(Config):
        TESTING = True

    class ProductionConfig(Config):
        SIZE = 3

    class StagingEU(ProductionConfig):
        SIZE = 4
"""
DICT = """
    config = {
        "development": DevelopmentConfig,
        "live": ProductionConfig,
        "text": "config.StagingEU",
        "default": DevelopmentConfig,
    }
"""


@pytest.mark.parametrize(
    ("environment", "size", "testing", "line"),
    [
        ("production", 3, False, 22),
        ("development", 2, False, 16),
        ("dev", 2, False, 16),
        ("testing", 1, True, 8),
        ("staging_eu", 4, False, 25),
    ],
)
def test_class_is_chosen_by_the_name_of_the_environment(project, environment, size, testing, line):
    project.write("config.py", CLASSES)
    app = project.load(environment=environment)
    config = app.config
    assert (config["SIZE"], config["TESTING"], config["TITLE"]) == (size, testing, "Shop")
    assert project.origin(app, "SIZE") == f"config.py:{line}"
    assert not config.keys() & {"basedir", "lower", "init_app"}


@pytest.mark.parametrize(("environment", "size"), [("live", 3), ("text", 4), ("production", 3)])
def test_dict_names_environments(project, environment, size):
    project.write("config.py", CLASSES + DICT)
    assert project.load(environment=environment).config["SIZE"] == size


def test_inherited_value_does_not_override_that_of_a_file(project):
    project.write("config.py", CLASSES)
    project.write("config.production.toml", "")
    project.write("instance/config.py", "SIZE = 9\n")
    assert project.load(environment="testing").config["SIZE"] == 9


def test_property_is_read_from_an_object_of_the_class(project):
    project.write(
        "config.py",
        """
        class Config:
            HOST = "db"
            @property
            def URL(self):
                return f"postgres://{self.HOST}"
        """,
    )
    app = project.load()
    assert app.config["URL"] == "postgres://db"
    assert project.origin(app, "URL") == "config.py:4"


def test_dict_with_another_purpose_is_no_table_of_environments(project):
    project.write("config.py", 'config = {"version": 1}\nA = config["version"]\n')
    assert project.load(environment="anything").config["A"] == 1


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("A = 1\nB = \n", 2, "not valid Python: invalid syntax"),
        ("import os\n\nA = os.environ['NOPE']\n", 3, "raises KeyError: 'NOPE'.*set it; .env may"),
        ("def f():\n    1 / 0\nA = f()\n", 2, "ZeroDivisionError"),
        ("import absent_module\n", 1, "No module named 'absent_module'"),
        ("raise OSError('postgres://u:canary@h')", 1, r"postgres://u:\*+@h"),
    ],
)
def test_file_that_fails_is_named_with_its_line(project, text, line, reason):
    project.write("config.py", text)
    with pytest.raises(ProjectError, match=f"config.py:{line}: .*{reason}") as info:
        project.load()
    assert "canary" not in str(info.value)
    assert ".." not in str(info.value)


def test_instance_file_may_import_the_config_of_the_project(project, monkeypatch):
    monkeypatch.syspath_prepend(project.root)
    monkeypatch.delitem(sys.modules, "config", raising=False)
    project.write("config.py", "SIZES = [1]\n")
    project.write("instance/config.py", "from config import SIZES\nSIZES = [*SIZES, 2]\n")
    project.write("config_staging.py", "from config import SIZES\nFIRST = SIZES[0]\n")
    config = project.load(environment="staging").config
    assert (config["SIZES"], config["FIRST"]) == ([1, 2], 1)
    monkeypatch.delitem(sys.modules, "config")
    monkeypatch.delitem(sys.modules, "config_staging")
