"""`config.py` as tutorials write it."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap

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


@pytest.mark.parametrize(
    "line",
    [
        "from configparser import ConfigParser",
        "from configparser import ConfigParser as StagingConfig",
        "from configparser import ConfigParser as Config",
        "from pydantic import ConfigDict",
        "from pydantic import BaseConfig as Config",
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_classes_of_python_and_pydantic_configure_nothing(project, line):
    project.write("config.py", f"{line}\nclass BaseConfig:\n    SIZE = 1\n")
    config = project.load(environment="production").config
    assert config["SIZE"] == 1
    assert config.project.environments == ()


INSTALLED = """
class Config:
    SIZE, NAME = 1, "a"

class ProductionConfig(Config):
    SIZE = 2
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder of installed packages, from which Python imports."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if name.startswith(("company", "idlelib")):
            del sys.modules[name]


def test_imported_classes_of_a_shared_library_count(project, installed):
    (installed / "company_library.py").write_text(INSTALLED)
    project.write("config.py", "from company_library import Config, ProductionConfig\n")
    config = project.load(environment="production").config
    assert (config["SIZE"], config["NAME"]) == (2, "a")


@pytest.mark.parametrize("name", ["company_shop", "idlelib"])  # Python has an idlelib, too
def test_installed_project_may_have_its_classes_in_another_file(installed, name):
    package = installed / name
    package.mkdir()
    (package / "__init__.py").write_text("import carboy\napp = carboy.Carboy(__name__)\n")
    (package / "base.py").write_text(INSTALLED)
    (package / "config.py").write_text("from .base import Config, ProductionConfig\n")
    config = importlib.import_module(name).app.config
    config.from_project(environment="production")
    assert (config["SIZE"], config["NAME"]) == (2, "a")


@pytest.mark.parametrize(
    "text",
    [
        "import dataclasses\nConfig = dataclasses.make_dataclass('Config', [('SIZE', int, 1)])\n",
        "import msgspec\nConfig = msgspec.defstruct('Config', [('SIZE', int, 1)])\n",
        "import types\nConfig = types.new_class('Config', (), {}, lambda ns: ns.update(SIZE=1))\n",
    ],
    ids=["make_dataclass", "defstruct", "new_class"],
)
def test_class_may_be_made_by_a_function_of_a_library(project, text):
    project.write("config.py", text)
    assert project.load().config["SIZE"] == 1


def test_classes_of_other_files_of_the_project_count(project, monkeypatch):
    monkeypatch.syspath_prepend(project.root)
    project.write("settings_base.py", "class Config:\n    SIZE, NAME = 1, 'a'\n")
    project.write(
        "config.py",
        """
        from settings_base import Config

        class ProductionConfig(Config):
            SIZE = 2
        """,
    )
    config = project.load().config
    assert (config["SIZE"], config["NAME"]) == (2, "a")
    monkeypatch.delitem(sys.modules, "settings_base")


def test_all_classes_for_all_environments_count(project):
    project.write(
        "config.py",
        """
        class BaseConfig:
            A, B = 1, 1

        class Config(BaseConfig):
            B = 2

        class DefaultConfig:
            C = 3

        class ProductionConfig(DefaultConfig):
            D = 4
        """,
    )
    config = project.load().config
    assert [config[key] for key in "ABCD"] == [1, 2, 3, 4]


BASES = """
    class BaseConfig:
        A, B = 1, 1

    class Config(%s):
        A = 2

    class DevelopmentConfig(Config):
        A, D = 3, 3

    class DefaultConfig(%s):
        A, C = 4, 4
"""


@pytest.mark.parametrize(
    ("base", "base_of_default", "values"),
    [
        ("", "", [2, 1, 4, None]),
        ("BaseConfig", "", [2, 1, 4, None]),
        ("", "BaseConfig", [2, 1, None, None]),
        ("BaseConfig", "BaseConfig", [2, 1, None, None]),
        ("", "Config", [2, 1, None, None]),
        ("", "DevelopmentConfig", [2, 1, None, None]),
    ],
)
def test_config_takes_precedence_over_the_other_classes_for_all_environments(
    project, base, base_of_default, values
):
    project.write("config.py", BASES % (base, base_of_default))
    config = project.load(environment="production").config
    assert [config.get(key) for key in "ABCD"] == values


def test_names_of_the_module_take_precedence_over_classes_below_config(project):
    project.write(
        "config.py",
        """
        A = 1

        class Config:
            B = 1

        class DefaultConfig:
            A, B, C = 2, 2, 2

        BaseConfig = DefaultConfig
        """,
    )
    config = project.load().config
    assert [config[key] for key in "ABC"] == [1, 1, 2]


def test_class_with_the_values_of_an_environment_is_not_for_all(project):
    project.write(
        "config.py",
        """
        from msgspec import Struct

        class Config(Struct, rename="upper"):
            a: int = 1

        class DevelopmentConfig(Config, rename="upper"):
            a: int = 2
            b: int = 2

        class DefaultConfig(DevelopmentConfig, rename="upper"):
            pass
        """,
    )
    config = project.load(environment="production").config
    assert (config["A"], "B" in config) == (1, False)


def test_environment_may_have_the_class_that_is_also_for_all(project):
    project.write(
        "config.py",
        """
        class Config:
            A, B = 1, 1

        class TestingConfig(Config):
            A = 2

        config = {"production": Config, "testing": TestingConfig}
        """,
    )
    for environment, a in [("production", 1), ("testing", 2)]:
        config = project.load(environment=environment).config
        assert (config["A"], config["B"]) == (a, 1)


def test_environment_may_have_the_class_that_would_be_for_all_with_less_precedence(project):
    project.write(
        "config.py",
        """
        class Config:
            A, B = 1, 1

        class DefaultConfig:
            A, C = 2, 2

        ProductionConfig = DefaultConfig
        """,
    )
    config = project.load(environment="production").config
    assert [config[key] for key in "ABC"] == [2, 1, 2]
    assert "C" not in project.load(environment="testing").config


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (
            "class ProductionConfig(Config): A = 2\nclass ProdConfig(ProductionConfig): A = 3",
            (2, 1),
        ),
        ("class Production: A = 2\nclass ProductionConfig(Production, Config): B = 3", (2, 1)),
        ("class ProductionConfig(Config): A = 2\nProdConfig = ProductionConfig", (2, 1)),
        ("class ProdConfig(Config): A = 2\nclass ProductionConfig(Config): B = 3", (2, 3)),
    ],
)
def test_first_of_two_classes_counts_if_one_is_derived_from_the_other(project, text, values):
    project.write("config.py", f"class Config:\n    A, B = 1, 1\n{text}\n")
    config = project.load(environment="production").config
    assert (config["A"], config["B"]) == values


def test_only_one_class_for_all_environments_may_declare_keys(project):
    project.write(
        "config.py",
        """
        from msgspec import Struct

        class Config(Struct):
            A: int = 1

        class BaseConfig(Struct):
            B: int = 1
        """,
    )
    message = "config.py: the classes Config and BaseConfig both declare the keys"
    with pytest.raises(ProjectError, match=message):
        project.load()


def test_class_that_declares_keys_may_be_derived_from_another_one(project):
    project.write(
        "config.py",
        """
        from msgspec import Struct

        class BaseConfig(Struct):
            A: int = 1

        class Config(BaseConfig):
            B: int = 1

        class DefaultConfig(BaseConfig):
            A: int = 2
        """,
    )
    config = project.load().config
    assert (config["A"], config["B"]) == (1, 1)


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


FAILS_ELSEWHERE = """
    import os

    class Config:
        TITLE = "Shop"

    class DevelopmentConfig(Config):
        URI = "sqlite://"

    class ProductionConfig(Config):
        @property
        def URI(self):
            return os.environ["SHOP_URI"]
"""


@pytest.mark.parametrize("end", ["", "config = {'production': ProductionConfig()}\n"])
def test_values_are_made_for_the_chosen_environment_only(project, end):
    project.write("config.py", textwrap.dedent(FAILS_ELSEWHERE) + end)
    app = project.load(environment="development")
    assert app.config["URI"] == "sqlite://"
    assert "production" in app.config.project.environments
    failure = r"config.py:12: class ProductionConfig raises KeyError: 'SHOP_URI'.*\.env may set it"
    with pytest.raises(ProjectError, match=failure):
        project.load()
    project.setenv(SHOP_URI="postgres://")
    assert project.load().config["URI"] == "postgres://"


def test_class_that_its_derived_classes_complete_is_left_out(project):
    project.write(
        "config.py",
        """
        class Config:
            TITLE = "Shop"
            @property
            def URI(self):
                raise NotImplementedError("no URI")

        class ProductionConfig(Config):
            URI = "postgres://"
        """,
    )
    config = project.load().config
    assert (config["TITLE"], config["URI"]) == ("Shop", "postgres://")
    with pytest.raises(ProjectError, match=r"config.py:5: class Config raises NotImplementedError"):
        project.load(environment="development")


DATACLASS = "import dataclasses\n@dataclasses.dataclass{}\nclass Config:"
FACTORY = "dataclasses.field(default_factory=lambda: ['a'])"
ATTRS = "import attrs\n@attrs.define\nclass Config:"
WITH_FIELDS = {
    "dataclass": (DATACLASS.format(""), FACTORY),
    "dataclass with slots": (DATACLASS.format("(slots=True)"), FACTORY),
    "named tuple": ("from typing import NamedTuple\nclass Config(NamedTuple):", "['a']"),
    "pydantic": ("from pydantic import BaseModel\nclass Config(BaseModel):", "['a']"),
    "attrs": (ATTRS, "attrs.Factory(lambda: ['a'])"),
}


@pytest.mark.parametrize("kind", WITH_FIELDS)
def test_fields_of_a_class_are_keys(project, kind):
    head, default = WITH_FIELDS[kind]
    project.write(
        "config.py",
        f"{head}\n"
        "    TITLE: str = 'Shop'\n"
        f"    HOSTS: list = {default}\n"
        "class TestingConfig(Config):\n"
        "    EXTRA: int = 1\n",
    )
    for environment in ("production", "testing"):
        config = project.load(environment=environment).config
        assert (config["TITLE"], config["HOSTS"]) == ("Shop", ["a"])


@pytest.mark.parametrize("kind", [each for each in WITH_FIELDS if each != "pydantic"])
def test_derived_class_without_a_decorator_sets_the_fields(project, kind):
    head, default = WITH_FIELDS[kind]
    project.write(
        "config.py",
        f"{head}\n"
        "    TITLE: str = 'Shop'\n"
        f"    HOSTS: list = {default}\n"
        "class ServerConfig(Config):\n"
        "    TITLE = 'Server'\n"
        "class ProductionConfig(ServerConfig):\n"
        "    HOSTS: list = ['b']\n",
    )
    config = project.load().config
    assert (config["TITLE"], config["HOSTS"]) == ("Server", ["b"])
    config = project.load(environment="testing").config
    assert (config["TITLE"], config["HOSTS"]) == ("Shop", ["a"])


def test_post_init_gets_the_values_of_a_derived_class_without_a_decorator(project):
    project.write(
        "config.py",
        """
        from dataclasses import dataclass

        @dataclass
        class Config:
            HOST: str
            URL: str = ""

            def __post_init__(self):
                self.URL = f"http://{self.HOST}"

        class ProductionConfig(Config):
            HOST = "b"

        class TestingConfig(Config):
            HOST = "x"

            def __init__(self):
                super().__init__("c")
        """,
    )
    assert project.load().config["URL"] == "http://b"
    assert project.load(environment="testing").config["URL"] == "http://c"


PROPERTY = "@{}\n    def URI(self): return 'x'"


@pytest.mark.parametrize(
    "attribute",
    [
        "__slots__ = ('URI',)\n    def __init__(self): self.URI = 'x'",
        PROPERTY.format("property"),
        PROPERTY.format("functools.cached_property"),
    ],
    ids=["slot", "property", "cached property"],
)
def test_descriptor_never_becomes_a_value(project, attribute):
    project.write("config.py", f"import functools\nclass Config:\n    {attribute}\n")
    assert project.load().config["URI"] == "x"


@pytest.mark.parametrize("kind", ["dataclass", "dataclass with slots", "attrs"])
def test_field_without_a_value_gets_that_of_another_source(project, kind):
    head, default = WITH_FIELDS[kind]
    project.write(
        "config.py",
        f"{head}\n"
        "    URI: str\n"
        f"    HOSTS: list = {default}\n"
        "class DevelopmentConfig(Config):\n"
        "    URI = 'sqlite://'\n",
    )
    assert project.load(environment="development").config["URI"] == "sqlite://"
    with pytest.raises(ProjectError, match=r"config.py:4: URI is declared .* variable CARBOY_URI"):
        project.load()
    app = project.app()
    app.config["URI"] = "before"
    app.config.from_project()
    assert app.config["URI"] == "before"
    project.setenv(CARBOY_URI="postgres://")
    config = project.load().config
    assert (config["URI"], config["HOSTS"]) == ("postgres://", ["a"])


@pytest.mark.parametrize(
    "code",
    [
        "def __post_init__(self): self.URL = self.HOST",
        "@property\n    def URL(self): return self.HOST",
    ],
    ids=["post_init", "property"],
)
def test_class_that_computes_values_needs_one_for_each_field(project, code):
    head, _ = WITH_FIELDS["dataclass"]
    project.write("config.py", f"{head}\n    HOST: str\n    {code}\n")
    project.setenv(CARBOY_HOST="a")
    with pytest.raises(ProjectError, match=r"class Config raises TypeError: .*'HOST'"):
        project.load()


def test_object_of_a_class_is_made_once(project):
    head, _ = WITH_FIELDS["dataclass"]
    project.write(
        "config.py",
        "made = []\n"
        f"{head}\n"
        "    SIZE: int = 1\n"
        "    def __post_init__(self): made.append(1)\n"
        "class ProductionConfig(Config):\n"
        "    MADE = made\n",
    )
    assert project.load().config["MADE"] == [1, 1]  # one object of each class


def test_secrets_that_a_failing_property_uses_are_masked(project):
    project.write(
        "config.py",
        """
        class Config:
            @property
            def URI(self):
                PASSWORD = "the-canary-of-9"
                raise ValueError(f"no connection with {PASSWORD}")
        """,
    )
    with pytest.raises(ProjectError, match=r"config.py:5: .* no connection with \*+") as info:
        project.load()
    assert "canary" not in str(info.value)
    assert info.value.__cause__ is None


def test_refused_values_of_pydantic_are_not_shown(project):
    project.write(
        "config.py",
        """
        from pydantic import BaseModel, Field

        class Config(BaseModel):
            PIN: int = Field(default="canary", validate_default=True)
        """,
    )
    with pytest.raises(ProjectError, match=r"config.py:3: class Config raises .*PIN: ") as info:
        project.load()
    assert "canary" not in str(info.value)
    assert info.value.__cause__ is None


def test_equal_value_that_an_object_inherits_does_not_override_that_of_a_file(project):
    head, default = WITH_FIELDS["dataclass"]
    project.write(
        "config.py",
        f"{head}\n    HOSTS: list = {default}\n"
        "class ProductionConfig(Config):\n    SIZE: int = 1\n",
    )
    project.write("config.production.toml", "")
    project.write("instance/config.py", "HOSTS = ['b']\n")
    assert project.load().config["HOSTS"] == ["b"]


@pytest.mark.parametrize("kind", WITH_FIELDS)
def test_field_in_lower_case_is_refused(project, kind):
    head, _ = WITH_FIELDS[kind]
    project.write("config.py", f"{head}\n    SIZE: int = 1\n    title: str = 'Shop'\n")
    with pytest.raises(ProjectError, match=r"class Config has the field 'title'.*Write TITLE"):
        project.load()


def test_field_in_lower_case_of_pydantic_settings_is_refused(project):
    project.write(
        "config.py",
        """
        from pydantic import BaseModel

        class BaseSettings(BaseModel):
            pass

        class Config(BaseSettings):
            title: str = "Shop"
        """,
    )
    with pytest.raises(ProjectError, match=r"class Config has the field 'title'.*Write TITLE"):
        project.load()


@pytest.mark.parametrize("kind", WITH_FIELDS)
def test_class_whose_fields_set_no_key_has_another_purpose(project, kind):
    head, _ = WITH_FIELDS[kind]
    project.write("config.py", f"{head}\n    data: str\n    rate: float = 0.1\nTITLE = 'Shop'\n")
    config = project.load().config
    assert config["TITLE"] == "Shop"
    assert not config.keys() & {"data", "rate"}


def test_variable_of_a_dataclass_is_no_field(project):
    project.write(
        "config.py",
        """
        from dataclasses import dataclass
        from typing import ClassVar

        @dataclass
        class Config:
            registry: ClassVar[dict] = {}
            SIZE: int = 1
        """,
    )
    assert project.load().config["SIZE"] == 1


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
        ("open('../absent')", 1, r"No such file or directory: '\.\./absent'"),
        ("raise OSError('It ends.')", 1, r"It ends\.$"),
        ("raise OSError('postgres://u:canary@h')", 1, r"postgres://u:\*+@h"),
    ],
)
def test_file_that_fails_is_named_with_its_line(project, text, line, reason):
    project.write("config.py", text)
    with pytest.raises(ProjectError, match=f"config.py:{line}: .*{reason}") as info:
        project.load()
    assert "canary" not in str(info.value)
    assert not str(info.value).endswith("..")


def test_annotations_of_a_file_are_those_that_it_would_have_as_a_module(project):
    project.write(
        "instance/config.py", "class Limits:\n    size: int\n\nA = Limits.__annotations__"
    )
    assert project.load().config["A"] == {"size": int}


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


@pytest.mark.parametrize(
    "text",
    [
        "SECRET_KEY = 'canary-key-17'\nraise ValueError(SECRET_KEY)",
        "class Config:\n    SECRET_KEY = 'canary-key-17'\nraise ValueError(Config.SECRET_KEY)",
        "class Config:\n    API_TOKENS = ['canary-key-17']\n    raise ValueError(*API_TOKENS)",
        "def f(PASSWORD):\n    raise ValueError(PASSWORD)\nf('canary-key-17')",
        "from beside import *",
        "SECRET_KEY = 'canary-key-17' + 1",
    ],
)
def test_file_that_fails_shows_no_key(project, text):
    project.write("beside.py", "SECRET_KEY = 'canary-key-17'\nraise ValueError(SECRET_KEY)")
    project.write("config.py", text)
    project.write("app.py", "from carboy import Flask\n\nFlask(__name__).config.from_project()\n")
    done = subprocess.run(
        [sys.executable, "app.py"], cwd=project.root, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "config.py" in done.stderr
    assert "canary" not in done.stderr
