"""Configuration: each way to fill it, how it prints, and what a wrong file says."""

from __future__ import annotations

import json
import pprint
import tomllib
import typing as t
from datetime import timedelta
from pathlib import Path

import pytest

from carboy import Carboy
from carboy.config import ABSENT, DEFAULT_CONFIG, OWN_KEYS, Config, ConfigAttribute, get_env
from carboy.core.masking import MASK
from carboy.errors import ConfigError, ConfigFileError, ConfigSourceError


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(tmp_path)


def test_defaults_are_shared_and_cannot_change() -> None:
    with pytest.raises(TypeError):
        DEFAULT_CONFIG["DEBUG"] = True  # type: ignore[index]
    assert DEFAULT_CONFIG["PERMANENT_SESSION_LIFETIME"] == timedelta(days=31)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ENV", "production"),
        ("JSON_AS_ASCII", True),
        ("JSON_SORT_KEYS", True),
        ("JSONIFY_MIMETYPE", "application/json"),
        ("JSONIFY_PRETTYPRINT_REGULAR", False),
        ("PRESERVE_CONTEXT_ON_EXCEPTION", None),
    ],
)
def test_old_keys_exist_with_their_defaults(
    key: str, value: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CARBOY_ENV", raising=False)
    monkeypatch.delenv("FLASK_ENV", raising=False)
    assert Carboy(__name__).config[key] == value


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "production"),
        ({"FLASK_ENV": "testing"}, "testing"),
        ({"FLASK_ENV": "testing", "CARBOY_ENV": "staging"}, "staging"),
        ({"FLASK_ENV": "testing", "CARBOY_ENV": ""}, "testing"),
    ],
    ids=["none", "flask", "carboy first", "empty is unset"],
)
def test_environment_name_comes_from_a_variable(
    variables: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("FLASK_ENV", "CARBOY_ENV"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    assert get_env() == name


def test_own_keys_are_there_when_a_subclass_replaces_the_defaults() -> None:
    of_flask = {name: value for name, value in DEFAULT_CONFIG.items() if name not in OWN_KEYS}

    class Shop(Carboy):
        default_config = {**of_flask, "MODEL_PAGES": False}

    config = Shop(__name__).config
    assert config["MODEL_PAGES"] is False
    assert config["OPENAPI_JSON_PATH"] == "/openapi.json"
    assert {name for name, key in OWN_KEYS.items() if key.default is not ABSENT} <= set(config)


# --- Printing ------------------------------------------------------------------------------------

SECRETS = {
    "SECRET_KEY": "s3cr3t",
    "SECRET_KEY_FALLBACKS": ["s3cr3t-old"],
    "API_TOKEN": "s3cr3t",
    "DB_PASSWORD": 53537,
    "SENTRY_DSN": "https://s3cr3t@sentry.example/1",
    "SQLALCHEMY_DATABASE_URI": "postgresql://ada:s3cr3t@db/shop",
    "STORE": {"bucket": "pictures", "credentials": {"id": "s3cr3t"}, "urls": ["a://b:s3cr3t@c"]},
}


@pytest.mark.parametrize(
    "show",
    [repr, str, "{}".format, lambda c: f"{c}", lambda c: f"{c!r}", pprint.pformat],
    ids=["repr", "str", "format", "f-string", "f-string !r", "pprint"],
)
def test_printed_form_has_every_key_and_no_secret(show: t.Callable[[Config], str]) -> None:
    app = Carboy(__name__)
    app.config.update(SECRETS)
    shown = show(app.config)
    assert "s3cr3t" not in shown
    assert "53537" not in shown
    assert all(repr(key) in shown for key in app.config)
    assert "'bucket': 'pictures'" in shown
    assert f"postgresql://ada:{MASK}@db/shop" in shown
    assert "'JSON_SORT_KEYS': True" in shown
    assert app.config["SECRET_KEY"] == "s3cr3t"
    assert app.config["STORE"] == SECRETS["STORE"]


def test_unset_key_prints_as_none() -> None:
    assert "'SECRET_KEY': None" in repr(Carboy(__name__).config)


def test_subclass_prints_its_name() -> None:
    class MyConfig(Config):
        pass

    assert repr(MyConfig(".", {"A": 1})) == "<MyConfig {'A': 1}>"


# --- Objects, mappings, environment --------------------------------------------------------------


def test_upper_case_attributes_of_an_object_are_read(config: Config) -> None:
    class Base:
        BASE = 1
        lower = 2

    class Production(Base):
        OWN = 3

    config.from_object(Production)
    assert config == {"BASE": 1, "OWN": 3}


def test_object_is_imported_by_its_name(config: Config) -> None:
    config.from_object("errno")
    assert config["ENOENT"] == 2
    with pytest.raises(ImportError, match="no_such_module"):
        config.from_object("no_such_module.Config")


@pytest.mark.parametrize(
    "args", [({"A": 1, "b": 2},), ([("A", 1), ("b", 2)],), (None,)], ids=["dict", "pairs", "None"]
)
def test_upper_case_keys_of_mappings_and_arguments_are_read(
    config: Config, args: tuple[t.Any, ...]
) -> None:
    assert config.from_mapping(*args, C=3, d=4)
    assert config.items() >= {"C": 3}.items()
    assert "b" not in config
    assert "d" not in config
    assert config.get("A", 1) == 1


def test_from_mapping_refuses_two_positional_arguments(config: Config) -> None:
    with pytest.raises(TypeError):
        config.from_mapping({}, {})  # type: ignore[call-arg]


def test_variables_with_a_prefix_are_read(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    config["DB"] = {"kept": 1}
    for name, value in {
        "SHOP_NAME": "Ada's",
        "SHOP_FLAG": "true",
        "SHOP_LIST": "[1, 2]",
        "SHOP_DB__port": "5432",
        "SHOP_DB__OPTIONS__ssl": "{}",
        "SHOPPING": "1",
    }.items():
        monkeypatch.setenv(name, value)
    assert config.from_prefixed_env("SHOP")
    assert config == {
        "NAME": "Ada's",
        "FLAG": True,
        "LIST": [1, 2],
        "DB": {"kept": 1, "port": 5432, "OPTIONS": {"ssl": {}}},
    }


def test_variables_with_a_prefix_are_read_by_a_given_loader(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASK_A", "1")
    config.from_prefixed_env(loads=str)
    assert config["A"] == "1"


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, {"path": "/x", "type": "fs"}),
        ({"lowercase": False}, {"PATH": "/x", "TYPE": "fs"}),
        ({"trim_namespace": False}, {"store_path": "/x", "store_type": "fs"}),
    ],
    ids=["default", "upper", "whole"],
)
def test_namespace_has_the_keys_of_its_prefix(
    config: Config, options: dict[str, bool], found: dict[str, str]
) -> None:
    config.update(STORE_PATH="/x", STORE_TYPE="fs", OTHER=1)
    assert config.get_namespace("STORE_", **options) == found


def test_config_attribute_reads_and_writes_its_key() -> None:
    class App:
        config: t.ClassVar[dict[str, t.Any]] = {"A": 1}
        plain = ConfigAttribute[int]("A")
        text = ConfigAttribute[str]("A", get_converter=str)

    app = App()
    assert (app.plain, app.text) == (1, "1")  # type: ignore[call-overload]
    app.plain = 2  # type: ignore[misc]
    assert app.config == {"A": 2}
    assert isinstance(App.plain, ConfigAttribute)


# --- Files ---------------------------------------------------------------------------------------


def test_upper_case_names_of_a_python_file_are_read(config: Config, tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_bytes("# coding: latin-1\nA = 'ü'\nb = 2\n".encode("latin-1"))
    assert config.from_pyfile("conf.py")
    assert config == {"A": "ü"}


def test_keys_of_json_and_toml_files_are_read(config: Config, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"A": "ü", "b": 2}', encoding="utf-8")
    (tmp_path / "c.toml").write_text("B = 1\n[C]\nx = 2\n")
    assert config.from_file("c.json", load=json.load)
    assert config.from_file(tmp_path / "c.toml", load=tomllib.load, text=False)
    assert config == {"A": "ü", "B": 1, "C": {"x": 2}}


def test_file_named_by_an_environment_variable_is_read(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.cfg").write_text("A = 1\n")
    monkeypatch.setenv("SHOP_SETTINGS", "c.cfg")
    assert config.from_envvar("SHOP_SETTINGS")
    assert config == {"A": 1}


def test_environment_variable_that_is_not_set_raises_unless_silent(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHOP_SETTINGS", raising=False)
    with pytest.raises(RuntimeError, match="'SHOP_SETTINGS' is not set") as caught:
        config.from_envvar("SHOP_SETTINGS")
    assert isinstance(caught.value, ConfigSourceError)
    assert not config.from_envvar("SHOP_SETTINGS", silent=True)


@pytest.mark.parametrize(
    "load",
    [
        lambda config, name, **options: config.from_pyfile(name, **options),
        lambda config, name, **options: config.from_file(name, json.load, **options),
    ],
    ids=["python", "data"],
)
def test_missing_file_raises_unless_silent(config: Config, load: t.Callable[..., bool]) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        load(config, "missing.cfg")
    message = str(caught.value)
    assert message.startswith("[Errno 2] Unable to load configuration file (No such file")
    assert message.endswith("missing.cfg'")
    assert "silent=True" in caught.value.__notes__[0]
    assert not load(config, "missing.cfg", silent=True)


def test_annotations_of_a_python_file_are_not_evaluated(config: Config, tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from datetime import timedelta\n"
        "LIFETIME: timedelta | int = 60\n"
    )
    assert config.from_pyfile("conf.py")
    assert config["LIFETIME"] == 60


def from_pyfile(config: Config, name: str) -> None:
    config.from_pyfile(name)


def from_json(config: Config, name: str) -> None:
    config.from_file(name, load=json.load)


def from_toml(config: Config, name: str) -> None:
    config.from_file(name, load=tomllib.load, text=False)


@pytest.mark.parametrize(
    ("load", "content", "kind", "line"),
    [
        (from_pyfile, b"A = 1\nB = = 2\n", SyntaxError, 2),
        (from_pyfile, b"A = 1\n  B = 2\n", IndentationError, 2),
        (from_pyfile, b"A = 1\0\n", (SyntaxError, ValueError), None),
        (from_pyfile, b"A = '\xff'\n", SyntaxError, None),
        (from_json, b'{"A": 1,\n "B": }', json.JSONDecodeError, 2),
        (from_json, b"", json.JSONDecodeError, 1),
        (from_json, b'{"A": "\xff"}', UnicodeDecodeError, None),
        (from_toml, b"A = 1\nB = \n", tomllib.TOMLDecodeError, 2),
        (from_json, b"12", TypeError, None),
        (from_json, b"[1, 2]", TypeError, None),
        (from_json, b'["ab", "c"]', ValueError, None),
        (from_json, b"[[1, 2]]", AttributeError, None),
    ],
    ids=[
        "syntax", "indent", "null byte", "encoding", "json", "empty", "not utf-8", "toml",
        "number", "list", "texts", "keys",
    ],
)  # fmt: skip
def test_wrong_file_is_named_with_line_and_remedy(
    config: Config,
    tmp_path: Path,
    load: t.Callable[[Config, str], None],
    content: bytes,
    kind: type[Exception] | tuple[type[Exception], ...],
    line: int | None,
) -> None:
    path = tmp_path / "wrong.cfg"
    path.write_bytes(content)
    with pytest.raises(kind) as caught:
        load(config, "wrong.cfg")
    error = caught.value
    assert isinstance(error, ConfigFileError)
    assert isinstance(error, ConfigError)
    message = str(error)
    assert str(path) in message
    if line is not None:
        assert f"{path}:{line} " in message
        assert error.line == line
    assert "Correct it" in message or "Write, in JSON" in message
    assert error.__cause__ is not None


def test_error_while_a_python_file_runs_is_the_users_own(config: Config, tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text("A = 1\nB = undefined\n")
    with pytest.raises(NameError, match="undefined") as caught:
        config.from_pyfile("conf.py")
    assert f"{tmp_path / 'conf.py'}:2" in caught.value.__notes__[0]


def test_loader_error_of_a_final_class_is_raised_with_the_file_as_a_note(
    config: Config, tmp_path: Path
) -> None:
    class Final(Exception):
        def __init_subclass__(cls) -> t.NoReturn:
            raise TypeError("this class is final")

    def load(file: t.IO[t.Any]) -> t.NoReturn:
        raise Final("bad mark")

    (tmp_path / "c.x").touch()
    with pytest.raises(Final, match="bad mark") as caught:
        config.from_file("c.x", load=load)
    assert str(tmp_path / "c.x") in caught.value.__notes__[0]


def test_loader_of_bytes_needs_a_binary_file(config: Config, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("A = 1")
    with pytest.raises(ConfigFileError, match=r"as tomllib.load does, pass text=False"):
        config.from_file("c.toml", load=tomllib.load)


def test_error_names_the_line_that_yaml_reports(config: Config, tmp_path: Path) -> None:
    class Mark:
        line = 4

    class YAMLError(Exception):
        problem_mark = Mark()

    def load(file: t.IO[t.Any]) -> t.NoReturn:
        raise YAMLError("mapping values are not allowed here")

    (tmp_path / "c.yaml").touch()
    with pytest.raises(YAMLError, match=r"c\.yaml:5 cannot be loaded"):
        config.from_file("c.yaml", load=load)
