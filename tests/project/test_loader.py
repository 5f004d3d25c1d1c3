"""`app.config.from_project()`: layers, environments, secrets in files, and what is refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import timedelta

import pytest

from carboy import Carboy
from carboy.core.masking import MASK, mask_text
from carboy.errors import ProjectError
from carboy.project.configproblems import problems_of
from carboy.project.loader import project_root

LAYERS = [
    ("config.py", 'TITLE = "file"\n', "file", "config.py:1"),
    ("config.staging.toml", 'TITLE = "section"\n', "section", "config.staging.toml:1"),
    ("instance/config.py", 'X = 1\nTITLE = "instance"\n', "instance", "instance/config.py:2"),
    ("instance/config.staging.json", '{"TITLE": "own"}', "own", "instance/config.staging.json:1"),
    (".env", "# a comment\n\nCARBOY_TITLE=dotenv\n", "dotenv", ".env:3"),
    ("environment", "FLASK_TITLE", "variable", "environment variable FLASK_TITLE"),
]


def test_nothing_is_loaded_unless_the_program_asks(project):
    project.write("config.py", 'TITLE = "file"\n')
    project.write(".env", "CARBOY_TITLE=dotenv\n")
    project.setenv(CARBOY_TITLE="variable")
    app = project.app()
    assert "TITLE" not in app.config
    assert app.config.project is None
    assert app.config._origins is None


@pytest.mark.parametrize("count", range(1, len(LAYERS) + 1))
def test_later_layer_takes_precedence(project, count):
    for name, text, value, _ in LAYERS[:count]:
        if name == "environment":
            project.setenv(**{text: value})
        else:
            project.write(name, text)
    app = project.load(environment="staging")
    _, _, value, origin = LAYERS[count - 1]
    assert (app.config["TITLE"], project.origin(app, "TITLE")) == (value, origin)


def test_values_assigned_before_are_overridden_and_those_assigned_after_win(project):
    project.write("config.py", 'TITLE = "file"\nSIZE = 1\n')
    app = project.app()
    app.config["TITLE"] = app.config["OTHER"] = "before"
    app.config.from_project()
    assert (app.config["TITLE"], app.config["OTHER"]) == ("file", "before")
    app.config["SIZE"] = 2
    assert app.config["SIZE"] == 2


@pytest.mark.parametrize(
    "assign",
    [
        lambda app: app.config.__setitem__("SECRET_KEY", "code"),
        lambda app: setattr(app, "secret_key", "code"),
        lambda app: app.config.update(SECRET_KEY="code"),
        lambda app: app.config.from_mapping(SECRET_KEY="code"),
        lambda app: app.config.setdefault("NEW", "code"),
        lambda app: app.config.__ior__({"NEW": "code"}),
    ],
    ids=["item", "attribute", "update", "from_mapping", "setdefault", "ior"],
)
def test_origin_is_the_line_of_code_that_assigned_the_value(project, assign):
    app = project.load()
    assign(app)
    key = "NEW" if "NEW" in app.config else "SECRET_KEY"
    line = assign.__code__.co_firstlineno
    assert project.origin(app, key) == f"{__file__}:{line}"


def test_keys_that_an_assignment_does_not_change_keep_their_origin(project):
    project.write("config.py", 'TITLE = "file"\n')
    app = project.load()
    app.config.update(TITLE=app.config["TITLE"], OTHER=1)
    del app.config["OTHER"]
    assert project.origin(app, "TITLE") == "config.py:1"
    assert "OTHER" not in app.config.project.origins


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "production"),
        ({"FLASK_ENV": "development"}, "development"),
        ({"FLASK_ENV": "development", "CARBOY_ENV": "testing"}, "testing"),
    ],
)
def test_variables_choose_the_environment(project, variables, expected):
    project.setenv(**variables)
    project.write("config.toml", "".join(f'[{n}]\nN = "{n}"\n' for n in ("testing", "production")))
    app = project.load()
    assert app.config.project.environment == app.config["ENV"] == expected
    assert app.config.get("N") == (None if expected == "development" else expected)
    assert app.debug is (expected == "development")


def test_env_file_chooses_the_environment_and_sets_variables_for_config_py(project):
    project.write(".env", "FLASK_ENV=staging\nDATABASE_URL=postgres://db\n")
    project.write(
        "config.py",
        """
        import os
        DATABASE = os.environ["DATABASE_URL"]
        STAGE = os.environ["FLASK_ENV"]
        """,
    )
    app = project.load()
    assert (app.config["DATABASE"], app.config["STAGE"]) == ("postgres://db", "staging")
    assert project.origin(app, "ENV") == ".env:1"


def test_flask_env_is_production_by_default_while_config_py_runs(project):
    project.write("config.py", 'import os\nSECURE = os.environ["FLASK_ENV"] == "production"\n')
    assert project.load().config["SECURE"] is True


def test_misspelt_environment_is_refused_if_others_have_sections(project):
    project.write("config.toml", "[staging]\nX = 1\n")
    with pytest.raises(ProjectError, match=r"'stagin'.*Did you mean 'staging'") as info:
        project.load(environment="stagin")
    assert "from_project(environment=...)" in str(info.value)
    project.write("config.toml", "X = 1\n")
    assert project.load(environment="anything").config["X"] == 1
    with pytest.raises(ProjectError, match=r"'developement'.*Did you mean 'development'"):
        project.load(environment="developement")


@pytest.mark.parametrize(
    "name", ["config_prod.py", "config_PRODUCTION.py", "config.prod.toml", "config.Prod.json"]
)
def test_file_for_an_environment_may_have_its_short_name(project, name):
    project.write(name, '{"TITLE": "x"}' if name.endswith("json") else 'TITLE = "x"\n')
    project.write(name.replace("rod", "rodx").replace("ROD", "RODX"), "nonsense (")
    project.write("config.example.toml", "nonsense (")
    app = project.load()
    assert app.config["TITLE"] == "x"
    others = set() if name.endswith("py") else {"prodx", "Prodx"}
    assert {*app.config.project.environments} - others == {"production"}


@pytest.mark.parametrize(
    "name", ["config.staging.toml", "config.staging.json", "config_staging.py"]
)
def test_misspelt_environment_is_refused_if_others_have_files(project, name):
    project.write(name, '{"TITLE": "x"}' if name.endswith("json") else 'TITLE = "x"\n')
    with pytest.raises(ProjectError, match=r"'stagng'.*Did you mean 'staging'"):
        project.load(environment="stagng")
    assert project.load(environment="staging").config["TITLE"] == "x"
    project.write(f"instance/{name}", '{"A": "x"}' if name.endswith("json") else 'A = "x"\n')
    (project.root / name).unlink()
    with pytest.raises(ProjectError, match=r"'stagng'.*Did you mean 'staging'"):
        project.load(environment="stagng")


@pytest.mark.parametrize(
    ("name", "environments"), [("config.local.toml", ("local",)), ("config.model.json", ("model",))]
)
def test_file_of_another_name_makes_no_section_necessary(project, name, environments):
    project.write("config.toml", "A = 1\n")
    project.write(name, "nonsense (")
    app = project.load(environment="staging")
    assert app.config["A"] == 1
    assert app.config.project.environments == environments
    project.write("config.toml", "A = 1\n[demo]\nA = 2\n")
    with pytest.raises(ProjectError, match=r"'staging'.*no file has a section for it"):
        project.load(environment="staging")


@pytest.mark.parametrize("name", ["config_utils.py", "config.example.toml", "config_test.py"])
def test_file_with_another_purpose_is_for_no_environment(project, name):
    project.write(name, "A = 1\n")
    app = project.load(environment="demo")
    assert "A" not in app.config
    assert app.config.project.environments == ()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"config_prod.py": "A = 1\nB = 2\n", "config_production.py": "A = 1\nB = 3\n"},
            "B is set by config_prod.py:2 and, to another value, by config_production.py:2",
        ),
        (
            {"config.toml": "[prod]\nA = 1\nB = 2\n[production]\nB = 3\n"},
            "B is set by config.toml:3 [prod] and, to another value, by config.toml:5",
        ),
        (
            {"config.py": "class ProdConfig:\n    B = 2\nclass ProductionConfig:\n    B = 3\n"},
            "B is set by config.py:2 and, to another value, by config.py:4",
        ),
        (
            {"config.py": "class ConfigProduction: B = 2\nclass ProductionConfig: B = 3\n"},
            "config.py: the classes ConfigProduction and ProductionConfig are both for",
        ),
    ],
    ids=["files", "sections", "classes", "classes of one name"],
)
def test_two_sections_of_one_environment_that_differ_are_refused(project, files, message):
    for name, text in files.items():
        project.write(name, text)
    with pytest.raises(ProjectError, match=re.escape(message)):
        project.load()


def test_tests_of_the_configuration_do_not_run_as_a_config_file(project):
    project.write("config_test.py", "raise SystemError\n")
    project.write("config_tests.py", "A = 1\n")
    assert project.load(environment="testing").config["A"] == 1


def test_two_sections_of_one_environment_hold_both(project):
    project.write("config.toml", "[prod]\nA = 1\nC = 4\n[production]\nB = 3\nC = 4\n")
    config = project.load().config
    assert (config["A"], config["B"], config["C"]) == (1, 3, 4)


def test_env_key_that_contradicts_the_environment_is_refused(project):
    project.write("config.py", 'ENV = "development"\n')
    with pytest.raises(ProjectError, match="set the variable FLASK_ENV=development"):
        project.load()
    project.setenv(FLASK_ENV="development")
    assert project.load().config["ENV"] == "development"


def test_two_files_that_contradict_each_other_are_refused(project):
    project.write("config.py", "A = 1\nB = 2\n")
    project.write("config.toml", "A = 1\n\nB = 3\n")
    with pytest.raises(ProjectError, match=r"B is set by config.py:2 and.*config.toml:3") as info:
        project.load()
    assert "A is" not in str(info.value)


def test_all_problems_are_reported_and_nothing_is_loaded(project):
    project.write("config.toml", 'TITLE = "x"\nMAX_CONTENT_LENGTH = "16 MB"\nDEBUG = 3\n')
    project.setenv(CARBOY_TESTING="perhaps")
    app = project.app()
    with pytest.raises(ProjectError) as info:
        app.config.from_project()
    text = str(info.value)
    assert "config.toml:2: MAX_CONTENT_LENGTH: expected int or None, got text '16 MB'." in text
    assert "config.toml:3: DEBUG: expected bool or None, got int 3." in text
    assert "environment variable CARBOY_TESTING: expected bool, got text" in text
    assert "TITLE" not in app.config
    assert app.config.project is None


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("MAX_CONTENT_LENGTH", "1000", 1000),
        ("MAX_CONTENT_LENGTH", "null", None),
        ("SESSION_COOKIE_SECURE", "yes", True),
        ("SESSION_COOKIE_SECURE", "False", False),
        ("SECRET_KEY", "12345", "12345"),
        ("SERVER_NAME", "null", None),
        ("OPENAPI_DOCS_PATH", "null", None),
        ("PERMANENT_SESSION_LIFETIME", "3600", timedelta(hours=1)),
        ("TRUSTED_HOSTS", '["a.org", "b.org"]', ["a.org", "b.org"]),
        ("TRUSTED_HOSTS", "a.org, b.org", ["a.org", "b.org"]),
        ("TRUSTED_HOSTS", "a.org", ["a.org"]),
        ("TRUSTED_HOSTS", "[::1]:80,a.org", ["[::1]:80", "a.org"]),
        ("JSON_NAN", "error", "error"),
        ("OWN_NUMBER", "5", 5),
        ("OWN_LIST", "[1, 2]", [1, 2]),
        ("OWN_TEXT", "a, b", "a, b"),
    ],
)
def test_text_of_a_variable_is_converted_to_the_type_of_its_key(project, key, text, expected):
    project.setenv(**{f"CARBOY_{key}": text})
    assert project.load().config[key] == expected


def test_empty_variable_counts_as_not_set(project):
    project.write("config.py", "SIZE = 5\n")
    project.setenv(CARBOY_SIZE="", SECRET_KEY="")
    app = project.load()
    assert (app.config["SIZE"], app.config["SECRET_KEY"]) == (5, None)


def test_two_underscores_set_a_member_and_leave_the_others(project):
    project.write("config.toml", '[DATABASE]\nHOST = "a"\nPORT = 1\n')
    project.setenv(CARBOY_DATABASE__PORT="2", FLASK_DATABASE__POOL__SIZE="3")
    app = project.load()
    assert app.config["DATABASE"] == {"HOST": "a", "PORT": 2, "POOL": {"SIZE": 3}}


def test_variables_of_commands_set_no_key(project):
    project.setenv(CARBOY_APP="a", FLASK_RUN_PORT="1", CARBOY_SERVE_THREADS="2", FLASK_ENV="x")
    config = project.load().config
    assert not config.keys() & {"APP", "RUN_PORT", "SERVE_THREADS"}


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("OPENAPI_DOCS_PATH", "OPENAPI_DOCS_PATH from environment variable"),
        ("OPENAPI_YAML_PATH", "OPENAPI_YAML_PATH from environment variable"),
        ("SESSION_COOKIE_SAMESITE", "SESSION_COOKIE_SAMESITE: expected str matching regex"),
    ],
)
def test_value_that_would_fail_in_a_request_is_refused(project, key, message):
    project.setenv(**{f"CARBOY_{key}": "foo"})
    with pytest.raises(ProjectError, match=f"{message}.*got.*foo"):
        project.load()


NO_LIMIT = r"expected a number from 0 on, or None for no limit, got -1\.$"
UNUSABLE = [
    ("TRUSTED_HOSTS", "*", r"'\*' is no host.* '\.a\.org' for all its subdomains"),
    ("TRUSTED_HOSTS", "a.org,*.a.org", r"'\*\.a\.org' is no host"),
    ("TRUSTED_HOSTS", "http://a.org", "'http://a.org' is no host"),
    ("TRUSTED_HOSTS", "a..org", r"'a\.\.org' is no host"),
    ("TRUSTED_HOSTS", ".", r"'\.' is no host: no request matches it"),
    ("TRUSTED_HOSTS", ",", "'' is no host"),
    ("TRUSTED_HOSTS", '[""]', "'' is no host"),
    ("TRUSTED_HOSTS", "[a.org]", r"'\[a\.org\]' is no host"),
    ("TRUSTED_HOSTS", '["a.org"', r"""'\["a\.org"' is no host"""),
    ("TRUSTED_HOSTS", '{"a.org":1}', r"""'{"a\.org":1}' is no host"""),
    ("TRUSTED_HOSTS", "'a.org'", r"""\"'a\.org'\" is no host"""),
    ("MAX_CONTENT_LENGTH", "-1", NO_LIMIT),
    ("MAX_FORM_MEMORY_SIZE", "-1", NO_LIMIT),
    ("MAX_FORM_PARTS", "-1", NO_LIMIT),
    ("PERMANENT_SESSION_LIFETIME", "nan", "expected a number of seconds, got nan"),
    ("SEND_FILE_MAX_AGE_DEFAULT", "inf", "expected a number of seconds, got inf"),
]


@pytest.mark.parametrize(("key", "text", "message"), UNUSABLE)
def test_value_with_which_every_request_fails_is_refused(project, key, text, message):
    project.setenv(**{f"CARBOY_{key}": text})
    with pytest.raises(
        ProjectError, match=f"{key} from environment variable CARBOY_{key}: {message}"
    ):
        project.load()


@pytest.mark.parametrize("hosts", [["a.org", ""], ["", ".a.org"]])
def test_empty_host_beside_others_is_passed_over(project, hosts):
    project.write("config.py", f"TRUSTED_HOSTS = {hosts!r}\n")
    app = project.load()
    app.add_url_rule("/", view_func=lambda: "")
    answers = [app.test_client().get("/", headers={"Host": each}) for each in ("a.org", "b.org")]
    assert [each.status_code for each in answers] == [200, 400]


@pytest.mark.parametrize("hosts", ["a.org", ".a.org", "[::1]", ["a.org"], None])
def test_trusted_hosts_that_code_assigns_may_be_one_text(project, hosts):
    app = project.load()
    app.config["TRUSTED_HOSTS"] = hosts
    assert problems_of(app.config) == []


def test_unusable_value_that_code_assigns_is_a_problem(project):
    app = project.load()
    app.config.update(TRUSTED_HOSTS=["*"], MAX_CONTENT_LENGTH=-1, MAX_FORM_PARTS=0)
    limit, hosts = map(str, problems_of(app.config))
    assert "MAX_CONTENT_LENGTH from" in limit
    assert "TRUSTED_HOSTS from" in hosts


@pytest.mark.parametrize(
    "hosts", ["a.org,.b.org", "[::1],[::1]:80,::1", "a.org:8000", "bücher.example", "my_host"]
)
def test_hosts_that_can_match_a_request_are_taken(project, hosts):
    project.setenv(CARBOY_TRUSTED_HOSTS=hosts)
    assert project.load().config["TRUSTED_HOSTS"] == hosts.split(",")


def test_variables_that_others_read_set_no_key(project):
    project.setenv(
        CARBOY_MODELS_SOCKET="/run/s", CARBOY_MODEL_CACHE="/tmp/c", CARBOY_RUN_FROM_CLI="1"
    )
    config = project.load().config
    assert not config.keys() & {"MODELS_SOCKET", "MODEL_CACHE", "RUN_FROM_CLI"}


@pytest.mark.parametrize(
    ("key", "is_set_with_prefix"), [("RUN_MODE", True), ("SERVE_REGION", False), ("PROXY", False)]
)
def test_variables_that_can_set_a_declared_key_are_named(project, key, is_set_with_prefix):
    project.write(
        "config.py", f"from msgspec import Struct\nclass Config(Struct):\n    {key}: str\n"
    )
    with pytest.raises(ProjectError) as caught:
        project.load()
    assert (f"CARBOY_{key}" in str(caught.value)) == is_set_with_prefix
    assert f"the environment variable {key}" in str(caught.value)
    name = f"CARBOY_{key}" if is_set_with_prefix else key
    project.setenv(**{name: "x"})
    assert project.load().config[key] == "x"


def test_variables_without_prefix_set_declared_keys_only(project):
    project.setenv(SECRET_KEY="k", TESTING="1", MAX_CONTENT_LENGTH="5")
    config = project.load().config
    assert config["SECRET_KEY"] == "k"
    assert (config["TESTING"], config["MAX_CONTENT_LENGTH"]) == (False, None)


@pytest.mark.parametrize(
    ("dotenv", "variables", "host"),
    [
        ("CARBOY_DB__HOST=file", {"CARBOY_DB": '{"HOST": "set"}'}, "set"),
        ("CARBOY_DB__HOST=file", {"FLASK_DB": '{"HOST": "set"}'}, "set"),
        ("", {"FLASK_DB__HOST": "lower", "CARBOY_DB": '{"HOST": "set"}'}, "set"),
        ("CARBOY_DB__HOST__NAME=file", {"CARBOY_DB__HOST": "set"}, "set"),
        ("CARBOY_DB__HOST__NAME=file", {"CARBOY_DB": '{"HOST": "set"}'}, "set"),
        ("CARBOY_DB__HOST=file", {"CARBOY_DB__PORT": "5"}, "file"),
        ("FLASK_DB={}", {"CARBOY_DB__HOST": "set"}, "set"),
        ("CARBOY_DB={}", {"FLASK_DB__HOST": "set"}, "set"),
        ("CARBOY_DB={}\nCARBOY_DB__HOST=file", {}, "file"),
    ],
)
def test_member_is_set_only_if_nothing_of_higher_precedence_sets_all(
    project, dotenv, variables, host
):
    project.write("config.toml", "[DB]\nPORT = 5\n")
    project.write(".env", dotenv)
    project.setenv(**variables)
    assert project.load().config["DB"]["HOST"] == host


@pytest.mark.parametrize(
    ("dotenv", "variables", "expected"),
    [
        ("CARBOY_SECRET_KEY=file", {"SECRET_KEY": "set"}, "environment variable SECRET_KEY"),
        ("FLASK_SECRET_KEY=file", {"CARBOY_SECRET_KEY": "set"}, "environment variable CARBOY_SE"),
        ("SECRET_KEY=file", {}, ".env:1"),
        ("SECRET_KEY=file", {"SECRET_KEY": "set"}, "environment variable SECRET_KEY"),
    ],
)
def test_environment_takes_precedence_over_env_file(project, dotenv, variables, expected):
    project.write(".env", dotenv)
    project.setenv(**variables)
    app = project.load()
    assert app.config["SECRET_KEY"] == ("set" if variables else "file")
    assert project.origin(app, "SECRET_KEY").startswith(expected)


def test_env_file_is_skipped_if_a_variable_forbids_it(project):
    project.write(".env", "SECRET_KEY=file\n")
    project.setenv(FLASK_SKIP_DOTENV="1")
    assert project.load().config["SECRET_KEY"] is None


# ------------------------------------------------------------------------------ secrets in files


@pytest.mark.parametrize("place", ["environment", ".env", "config.toml"])
def test_secret_is_read_from_the_file_that_x_file_names(project, place):
    project.write("run/secret", "a key\n")
    if place == "environment":
        project.setenv(SECRET_KEY_FILE=str(project.root / "run/secret"))
    else:
        quoted = '"run/secret"' if place == "config.toml" else "run/secret"
        project.write(place, f"SECRET_KEY_FILE={quoted}\n")
    app = project.load()
    assert app.config["SECRET_KEY"] == "a key"
    assert "SECRET_KEY_FILE" not in app.config
    by = "environment variable SECRET_KEY_FILE" if place == "environment" else f"{place}:1"
    assert project.origin(app, "SECRET_KEY") == f"run/secret, named by {by}"


def test_x_file_is_a_key_like_others_unless_x_is_a_declared_secret(project):
    project.setenv(CARBOY_MAIL_PASSWORD_FILE="/nowhere", MAIL_PASSWORD_FILE="/nowhere")
    config = project.load().config
    assert config["MAIL_PASSWORD_FILE"] == "/nowhere"
    assert "MAIL_PASSWORD" not in config


def test_secret_given_both_ways_is_refused(project):
    project.write("secret", "from file")
    project.write(".env", "SECRET_KEY=canary\n")
    project.setenv(SECRET_KEY_FILE="secret")
    with pytest.raises(ProjectError) as info:
        project.load()
    assert "SECRET_KEY by .env:1, and SECRET_KEY_FILE by environment variable" in str(info.value)
    assert "canary" not in str(info.value)


def test_secret_file_takes_precedence_over_a_key_in_config_py(project):
    project.write("config.py", 'SECRET_KEY = "dev"\n')
    project.write("secret", "real")
    project.setenv(SECRET_KEY_FILE="secret")
    assert project.load().config["SECRET_KEY"] == "real"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "Is a directory"),
        (os.mkfifo, "it is a pipe or a device"),
        (lambda path: path.symlink_to(os.devnull), "it is a pipe or a device"),
        (lambda path: path.write_bytes(b" \n"), "it is empty"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "it is not UTF-8"),
        (lambda path: path.write_bytes(b"x" * 100_000), "larger than 64 KiB"),
    ],
    ids=["missing", "folder", "pipe", "device", "empty", "not text", "too large"],
)
def test_unusable_secret_file_is_refused(project, make, reason):
    make(project.root / "secret")
    project.setenv(SECRET_KEY_FILE="secret")
    with pytest.raises(
        ProjectError, match=f"the secret SECRET_KEY and nothing else, but .*{reason}"
    ):
        project.load()


# ------------------------------------------------------------------------------ declared keys

DECLARED = """
    from typing import Annotated
    from msgspec import Meta, Struct
    from carboy.project import Secret

    class Config(Struct):
        DATABASE_URL: str
        MAIL_PASSWORD: Secret | None = None
        PAGE_SIZE: Annotated[int, Meta(ge=1, le=100)] = 20
        ADMINS: list[str] = []
"""


def test_declared_keys_are_set_by_variables_without_prefix_and_converted(project):
    project.write("config.py", DECLARED)
    project.setenv(DATABASE_URL="sqlite://", PAGE_SIZE="30", ADMINS='["ann"]')
    app = project.load()
    values = [app.config[key] for key in ("DATABASE_URL", "PAGE_SIZE", "ADMINS", "MAIL_PASSWORD")]
    assert values == ["sqlite://", 30, ["ann"], None]
    assert app.config.project.declared.__name__ == "Config"
    assert "MAIL_PASSWORD" in app.config.project.secrets
    assert project.origin(app, "MAIL_PASSWORD") == "config.py:7"


NESTED = """
    from __future__ import annotations
    import dataclasses
    from typing import NamedTuple
    from msgspec import Struct
    from carboy.project import Secret

    class Card(NamedTuple):
        NUMBER: Secret | None = None

    @dataclasses.dataclass
    class Account:
        HOST: str
        PIN: Secret
        CARDS: list[Card] = dataclasses.field(default_factory=list)

    class Database(Struct):
        ACCOUNT: Account

    class Config(Struct):
        DATABASES: dict[str, Database]
"""
PIN, CARD = "p1n-0f-the-n3sted-t3st", "c4rd-0f-the-n3sted-t3st"


def test_secrets_in_classes_of_declared_values_are_masked(project):
    project.write("config.py", NESTED)
    account = {"HOST": "db", "PIN": PIN, "CARDS": [[CARD]]}
    project.setenv(CARBOY_DATABASES=json.dumps({"main": {"ACCOUNT": account}}))
    app = project.load()
    assert app.config["DATABASES"]["main"].ACCOUNT.PIN == PIN
    shown = repr(app.config)
    assert "'HOST': 'db'" in shown
    assert PIN not in shown
    assert CARD not in shown
    assert mask_text(f"{PIN} {CARD}") == f"{MASK} {MASK}"


def test_message_about_a_value_with_secrets_does_not_show_them(project):
    project.write("config.py", NESTED)
    account = {"HOST": 5, "PIN": PIN}
    project.setenv(CARBOY_DATABASES=json.dumps({"main": {"ACCOUNT": account}}))
    with pytest.raises(ProjectError) as caught:
        project.load()
    assert "DATABASES" in str(caught.value)
    assert PIN not in str(caught.value)


def test_secret_in_a_typed_dict_is_refused(project):
    project.write(
        "config.py",
        """
        from typing import TypedDict
        from msgspec import Struct
        from carboy.project import Secret

        class Account(TypedDict):
            PIN: Secret

        class Config(Struct):
            ACCOUNT: Account
        """,
    )
    with pytest.raises(ProjectError, match=r"PIN is a Secret. Write class Account\(Struct\)"):
        project.load()


def test_declared_secret_may_be_in_a_file(project):
    project.write("config.py", DECLARED)
    project.write("password", "hidden")
    project.setenv(DATABASE_URL="x", MAIL_PASSWORD_FILE="password")
    assert project.load().config["MAIL_PASSWORD"] == "hidden"


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({}, "DATABASE_URL is declared and has no value. Set it by the environment variable"),
        ({"DATABASE_URL": "x", "PAGE_SIZE": "many"}, "PAGE_SIZE: expected int, got text 'many'"),
        ({"DATABASE_URL": "x", "PAGE_SIZE": "0"}, "variable PAGE_SIZE: expected int >= 1, got"),
        ({"DATABASE_URL": "x", "ADMINS": "[1]"}, "ADMINS: expected list[str]"),
    ],
)
def test_values_that_do_not_fit_the_declared_class_are_refused(project, variables, problem):
    project.write("config.py", DECLARED)
    project.setenv(**variables)
    with pytest.raises(ProjectError) as info:
        project.load()
    assert problem in str(info.value)


def test_check_of_the_declared_class_itself_is_reported(project):
    project.write(
        "config.py",
        """
        from msgspec import Struct
        class Config(Struct):
            LOW: int = 1
            HIGH: int = 5
            def __post_init__(self):
                if self.LOW > self.HIGH:
                    raise ValueError("LOW must not exceed HIGH")
        class ProductionConfig(Config):
            HIGH: int = 7
        """,
    )
    assert project.load().config["HIGH"] == 7
    project.setenv(LOW="9")
    with pytest.raises(ProjectError, match="refuses the values: LOW must not exceed HIGH"):
        project.load()


def test_annotations_may_be_postponed(project):
    project.write(
        "config.py",
        """
        from __future__ import annotations
        from msgspec import Struct

        class Database(Struct):
            host: str

        class Config(Struct):
            DATABASE: Database = None
        """,
    )
    project.setenv(DATABASE='{"host": "db"}')
    assert project.load().config["DATABASE"].host == "db"


def test_declared_key_in_lower_case_is_refused(project):
    project.write(
        "config.py", "from msgspec import Struct\nclass Config(Struct):\n    size: int = 1\n"
    )
    with pytest.raises(ProjectError, match=r"declares 'size'.*Write SIZE"):
        project.load()


def test_declared_type_that_cannot_be_converted_is_refused(project):
    project.write(
        "config.py", "from msgspec import Struct\nclass Config(Struct):\n    A: str | bytes = ''\n"
    )
    with pytest.raises(ProjectError, match=r"class Config cannot declare.*str"):
        project.load()


# ------------------------------------------------------------------------------ the folders


@pytest.mark.parametrize(
    ("files", "root_path", "expected"),
    [
        ([], "", ""),
        (["shop/__init__.py"], "shop", ""),
        (["a/__init__.py", "a/b/__init__.py"], "a/b", ""),
        (["pyproject.toml", "src/shop/__init__.py"], "src/shop", ""),
        (["src/shop/__init__.py"], "src/shop", "src"),
    ],
    ids=["module", "package", "inner package", "src of a project", "folder named src"],
)
def test_project_is_the_folder_that_contains_the_app(tmp_path, files, root_path, expected):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert project_root(str(tmp_path / root_path)) == str(tmp_path / expected).rstrip("/")


def test_installed_app_belongs_to_the_current_folder():
    assert project_root("/usr/lib/python3/site-packages/shop") == os.getcwd()


REPORTS_ITS_PROJECT = """
    import os
    from carboy import Carboy
    app = Carboy(__name__)
    app.config.from_project()
    root = os.path.relpath(app.config.project.root, os.environ["PROJECTS"])
    print(root, app.config["SECRET_KEY"], app.config["RAN_AS"])
"""


@pytest.mark.parametrize(
    ("arguments", "folder", "expected"),
    [
        (["-c", "import app"], "shop", "shop inner config"),
        (["app.py"], "shop", "shop inner config"),
        (["-m", "app"], "shop", "shop inner config"),
        (["-c", "import shop.app"], ".", ". None shop.config"),
        (["-m", "shop.app"], ".", ". None shop.config"),
    ],
)
def test_folder_is_a_package_only_if_the_app_is_imported_from_it(
    project, arguments, folder, expected
):
    project.write("shop/__init__.py", "")
    project.write("shop/.env", "SECRET_KEY=inner")
    project.write("shop/config.py", "RAN_AS = __name__\n")
    project.write("shop/app.py", REPORTS_ITS_PROJECT)
    project.setenv(PROJECTS=str(project.root))
    assert output_of(project.root / folder, *arguments) == (f"{expected}\n", "")


def output_of(folder, *arguments):
    """Run Python in a folder; return what it has written to stdout and to stderr."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout, done.stderr


PRINTS_TITLE = """
    import multiprocessing
    from carboy import Carboy
    app = Carboy(__name__)
    app.config.from_project()
    print(__name__, app.config["TITLE"], flush=True)
    if __name__ == "__main__":
        child = multiprocessing.get_context("spawn").Process(target=print)
        child.start()
        child.join()
"""


@pytest.mark.parametrize("name", [".env", "config.py"])
def test_module_imported_from_its_package_belongs_to_the_project_around_it(project, name):
    project.write("shop/__init__.py", "")
    project.write("shop/app.py", PRINTS_TITLE)
    project.write(name, "CARBOY_TITLE=outer" if name == ".env" else "TITLE = 'outer'\n")
    assert output_of(project.root / "shop", "-c", "import app") == ("app outer\n", "")


def test_child_process_of_a_script_belongs_to_the_same_project(project):
    project.write("shop/__init__.py", "")
    project.write("shop/config.py", "TITLE = 'inner'\n")
    project.write("config.py", "TITLE = 'outer'\n")
    project.write("shop/app.py", PRINTS_TITLE)
    assert output_of(project.root, "shop/app.py") == ("__main__ outer\n__mp_main__ outer\n\n", "")


def test_script_in_a_package_belongs_to_the_project_around_it(project):
    project.write("shop/__init__.py", "")
    project.write(".env", "SECRET_KEY=outer")
    project.write("shop/config.py", "RAN_AS = __name__\n")
    project.write("shop/app.py", REPORTS_ITS_PROJECT)
    project.setenv(PROJECTS=str(project.root))
    assert output_of(project.root, "shop/app.py") == (". outer shop.config\n", "")


def test_config_in_the_package_is_read_if_the_project_has_none(project):
    project.write("shop/__init__.py", "")
    project.write("shop/config.py", 'PLACE = "package"\n')
    app = Carboy("shop", root_path=str(project.root / "shop"))
    app.config.from_project()
    assert app.config["PLACE"] == "package"
    project.write("config.toml", 'PLACE = "project"\n')
    app.config.from_project()
    assert app.config["PLACE"] == "project"


def test_root_may_be_given(project):
    project.write("settings/config.json", '{"A": 1}')
    assert project.load(root="settings").config["A"] == 1
    with pytest.raises(ProjectError, match="does not exist"):
        project.load(root="absent")


def test_module_that_the_app_imports_too_runs_once(project):
    project.write("config.py", 'print("runs")\nclass Config:\n    A = 1\n')
    project.write(
        "app.py",
        """
        import config
        from carboy import Carboy
        app = Carboy(__name__)
        app.config.from_project()
        import config
        print(app.config["A"])
        """,
    )
    done = subprocess.run(
        [sys.executable, "app.py"], cwd=project.root, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("runs\n1\n", "")


def test_debug_mode_that_code_has_switched_on_before_is_kept(project):
    app = project.app()
    app.debug = True
    app.config.from_project()
    assert app.debug
    project.write("config.py", "DEBUG = False\n")
    app.config.from_project()
    assert not app.debug


def test_declared_key_may_have_been_assigned_before(project):
    project.write("config.py", DECLARED)
    app = project.app()
    app.config["DATABASE_URL"] = "before"
    app.config.from_project()
    assert app.config["DATABASE_URL"] == "before"


def test_given_environment_is_that_of_config_py_only_while_it_runs(project):
    project.setenv(FLASK_ENV="production")
    project.write("config.py", 'import os\nSEEN = os.environ["FLASK_ENV"]\n')
    app = project.load(environment="dev")
    assert (app.config["SEEN"], app.config["ENV"], app.debug) == ("development",) * 2 + (True,)
    assert os.environ["FLASK_ENV"] == "production"


def test_member_of_a_declared_value_is_set_by_a_variable(project):
    project.write(
        "config.py",
        """
        from msgspec import Struct

        class Database(Struct, frozen=True):
            host: str = "a"
            port: int = 1

        class Config(Struct):
            DATABASE: Database = Database()
            NAME: str = "x"
        """,
    )
    project.setenv(CARBOY_DATABASE__port="2")
    database = project.load().config["DATABASE"]
    assert (database.host, database.port) == ("a", 2)
    project.setenv(CARBOY_NAME__A="1")
    with pytest.raises(ProjectError, match=r"CARBOY_NAME__A: NAME is text, which has no members"):
        project.load()


MEMBERS = """
    import dataclasses
    from msgspec import Struct, field

    @dataclasses.dataclass
    class Pool:
        SIZE: int = 1
        NAME: str = ""

    class Database(Struct, frozen=True, rename={"user": "USER"}):
        PASSWORD: str
        HOSTS: list[str] = []
        POOLS: dict[str, Pool] = {}
        user: str | None = None

    class Config(Struct):
        DATABASE: Database = Database("a", ["b"], user="ann")
"""


@pytest.mark.parametrize(
    ("variables", "values"),
    [
        ({"PASSWORD": "123456"}, ("123456", ["b"], "ann")),
        ({"HOSTS": "x,y"}, ("a", ["x", "y"], "ann")),
        ({"USER": "5"}, ("a", ["b"], "5")),
        ({"USER": "bob", "PASSWORD": "null"}, ("null", ["b"], "bob")),
    ],
    ids=str,
)
def test_member_has_its_declared_type_and_the_others_stay(project, variables, values):
    project.write("config.py", MEMBERS)
    project.setenv(**{f"CARBOY_DATABASE__{name}": text for name, text in variables.items()})
    database = project.load().config["DATABASE"]
    assert (database.PASSWORD, database.HOSTS, database.user) == values


def test_member_of_a_class_in_a_dict_has_its_declared_type(project):
    project.write("config.py", MEMBERS)
    project.setenv(CARBOY_DATABASE__POOLS__main__SIZE="7", CARBOY_DATABASE__POOLS__main__NAME="7")
    pool = project.load().config["DATABASE"].POOLS["main"]
    assert (pool.SIZE, pool.NAME) == (7, "7")


@pytest.mark.parametrize("file", ["", 'DB = {"NAME": "x", "PORT": 1}\n'])
def test_variable_with_a_whole_dict_and_one_with_a_member_hold_both(project, file):
    project.write("config.py", file)
    project.setenv(CARBOY_DB='{"PORT": 5, "USER": "ann"}', CARBOY_DB__HOST="a")
    assert project.load().config["DB"] == {"PORT": 5, "USER": "ann", "HOST": "a"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("TITLE__X", "CARBOY_TITLE__X: TITLE is text, which has no members"),
        ("SIZES__X", "CARBOY_SIZES__X: SIZES is list, which has no members"),
        ("DB__HOST__X", "CARBOY_DB__HOST__X: HOST is text, which has no members"),
        ("OTHER__X", "CARBOY_OTHER__X: OTHER is text, which has no members"),
        ("MAIL__PASSWORD", "CARBOY_MAIL__PASSWORD (MAIL): expected Mail"),
    ],
)
def test_member_of_a_value_that_has_none_is_refused(project, name, message):
    project.write(
        "config.py",
        """
        from msgspec import Struct

        class Mail(Struct):
            PASSWORD: str
            HOST: str

        class Config(Struct):
            MAIL: Mail | None = None

        TITLE, SIZES, DB = "x", [1], {"HOST": "a"}
        """,
    )
    project.setenv(CARBOY_OTHER="x", **{f"CARBOY_{name}": "1"})
    with pytest.raises(ProjectError, match=re.escape(message)) as caught:
        project.load()
    assert message in mask_text(str(caught.value))


# ------------------------------------------------------------------------------ loading again


def test_second_call_reads_all_files_again_and_drops_what_is_gone(project, monkeypatch):
    monkeypatch.syspath_prepend(project.root)
    monkeypatch.delitem(sys.modules, "config", raising=False)
    project.write("config.py", "A = 1\nB = 1\nC = 1\nMAX_FORM_PARTS = 5\nDEBUG = True\n")
    app = project.app()
    app.config["C"] = "code"
    app.config.from_project()
    app.config["B"] = "code"
    project.write("config.py", "A = 2\n")
    app.config.from_project()
    found = [app.config.get(key) for key in ("A", "B", "C", "MAX_FORM_PARTS", "DEBUG")]
    assert found == [2, "code", "code", 1000, False]
    assert "MAX_FORM_PARTS" not in app.config.project.origins
    project.write("config.py", "")
    app.config.from_project()
    assert "A" not in app.config


def test_config_py_that_the_app_imports_runs_again_only_if_it_has_changed(project, monkeypatch):
    monkeypatch.syspath_prepend(project.root)
    monkeypatch.delitem(sys.modules, "config", raising=False)
    project.write("config.py", "A = object()\n")
    first, second = project.load(), project.load()
    assert first.config["A"] is second.config["A"] is sys.modules["config"].A
    project.write("config.py", "1 / 0\n")
    with pytest.raises(ProjectError, match="ZeroDivisionError"):
        project.load()
    assert sys.modules["config"].A is first.config["A"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('LOG_LEVEL = "loud"', "LOG_LEVEL: expected one of DEBUG"),
        ('LOG_FORMAT = "jsn"', "LOG_FORMAT: expected 'text', 'json'"),
        ('LOG_MAX_BYTES = "10X"', "LOG_MAX_BYTES: expected a size"),
        ("LOG_BACKUP_COUNT = -1", "LOG_BACKUP_COUNT: expected a whole number"),
        ('LOG_LEVELS = {"shop": "loud"}', "LOG_LEVELS['shop']: expected one of"),
        ('LOG_FILE = "a\\0b"', "LOG_FILE: expected the path of a file"),
    ],
)
def test_log_keys_that_are_wrong_in_themselves_are_refused(project, line, words):
    project.write("config.py", f"{line}\n")
    with pytest.raises(ProjectError, match=re.escape(words)) as caught:
        project.load()
    assert "config.py:1" in str(caught.value)


def test_log_keys_that_other_keys_may_complete_are_loaded(project):
    project.write("config.py", 'LOG_MAX_BYTES = "10M"\nLOG_LEVEL = ""\n')
    assert project.load().config["LOG_MAX_BYTES"] == "10M"


LIKE = """PORT = 587
TLS = True
HOSTS = ["a"]
SIZES = [1]
OPTIONS = {"depth": 1, "name": "x"}
PASSWORD = "x"
NOTHING = None
"""


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("PORT", "25", 25),
        ("PORT", "0.5", 0.5),
        ("PORT", "null", None),
        ("TLS", "off", False),
        ("HOSTS", "b, c", ["b", "c"]),
        ("SIZES", "[2, 3]", [2, 3]),
        ("OPTIONS", '{"depth": 2}', {"depth": 2}),
        ("OPTIONS__depth", "2", {"depth": 2, "name": "x"}),
        ("OPTIONS__name", "12", {"depth": 1, "name": "12"}),
        ("PASSWORD", "123456", "123456"),
        ("PASSWORD", '"y"', "y"),
        ("NOTHING", "x", "x"),
        ("NOTHING", "5", 5),
    ],
)
def test_variable_has_the_type_of_the_value_that_a_file_has(project, name, text, value):
    project.write("config.py", LIKE)
    project.setenv(**{f"CARBOY_{name}": text})
    assert project.load().config[name.partition("__")[0]] == value


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("PORT", "x", "expected int or float or null, as in config.py:1, got text 'x'"),
        ("TLS", "flase", "expected bool or null, as in config.py:2, got text 'flase'"),
        ("SIZES", "2,3", "expected list[Any] or null, as in config.py:4"),
        ("OPTIONS", "x", "expected dict[str, Any] or null, as in config.py:5"),
        ("OPTIONS__depth", "x", "expected int or float or null, as it has been, got text 'x'"),
    ],
)
def test_variable_of_another_type_than_a_file_has_is_refused(project, name, text, words):
    project.write("config.py", LIKE)
    project.setenv(**{f"CARBOY_{name}": text})
    with pytest.raises(ProjectError, match=re.escape(words)) as caught:
        project.load()
    assert f"environment variable CARBOY_{name.partition('__')[0]}" in str(caught.value)


# ------------------------------------------------------------------- programs without a command


def run_program(project, code):
    project.write("app.py", f"from carboy import Flask\n\n{code}\n")
    return subprocess.run(
        [sys.executable, "app.py"], cwd=project.root, capture_output=True, text=True, check=False
    )


def test_program_whose_configuration_cannot_be_used_ends_with_its_text_and_exit_code_2(project):
    project.write(".env", "garbage line\n")
    done = run_program(project, "Flask(__name__).config.from_project()")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: .env:1: this line is neither")
    assert "Traceback" not in done.stderr


def test_other_errors_of_a_program_keep_their_traceback(project):
    project.write(".env", "garbage line\n")
    code = "try:\n    Flask(__name__).config.from_project()\nexcept ValueError:\n    pass\n1 / 0"
    done = run_program(project, code)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    own = "import sys\nsys.excepthook = lambda *_: print('mine')\n"
    done = run_program(project, f"{own}Flask(__name__).config.from_project()")
    assert (done.returncode, done.stdout) == (1, "mine\n")
