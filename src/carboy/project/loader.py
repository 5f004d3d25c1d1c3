"""Load the configuration of a project into the config of an app: `app.config.from_project()`.

The layers, lowest precedence first:

    the values that the config has           defaults, and what code has assigned before
    config.py, config.toml, config.json      in the project's folder, or beside the app
    the environment's section or file        class ProductionConfig, [production], config.production.toml
    the same files in the instance folder    instance/config.py
    .flaskenv, .env                          variables CARBOY_X and FLASK_X
    environment variables                    likewise
    options of the command line              --debug

All of them are read before a key is set, and all problems are reported together.
"""  # noqa: E501

from __future__ import annotations

import contextlib
import os
import typing as t

import msgspec

from ..config import ABSENT
from ..core.advice import did_you_mean
from ..core.masking import mask_text, note_secret_change
from ..errors import ProjectError
from ..helpers import get_debug_flag, get_load_dotenv
from . import DECLARED_SECRETS, AppFolders, Project
from .check import describe_value, nearest
from .dotenvfile import (
    DEFAULT_NAMES,
    EnvLine,
    files_read,
    is_env_file,
    read_env_file,
    restore_variable,
    set_for_project,
    variables_of,
)
from .keytypes import built_in_types, checked, from_text
from .layers import (
    STANDARD_ENVIRONMENTS,
    ConfigFile,
    Layer,
    Loaded,
    full_name,
    merge_peers,
    section_for,
)
from .origins import DEFAULT, Origin
from .reloading import forget_inherited_variables, watch
from .secretfiles import SUFFIX, read_secret_files
from .secretkey import make_key_when_read
from .variables import Variables

if t.TYPE_CHECKING:
    from ..config import Config
    from .declaredkeys import DeclaredKey

_STEM = "config"


def load_project(config: Config, root: str | None, environment: str | None) -> None:
    """Load the configuration of a project.

    Raises:
        ProjectError: the configuration has problems; the text names all of them.
    """
    root_path = os.fspath(config.root_path)
    folders = AppFolders(*(config._folders or (root_path, os.path.join(root_path, "instance"))))
    base = project_root(folders.root_path)
    loader = _Loader(os.path.join(base, root or ""), folders)
    before = _values_without_project(config)
    is_debug_default = before.get("DEBUG") == get_debug_flag()
    with variables_of(loader.read_env_files()):
        loader.choose_environment(environment)
        with loader.environment_variable():
            loader.read_config_files()
        layer = loader.values(
            loader.assigned_before(before, config._origins or {}, is_debug_default)
        )
    if loader.problems:
        raise ProjectError(_summary(loader.problems))
    origins = config._origins if config._origins is not None else {}
    config._origins = origins
    _remove_missing(config, before, layer)
    for key, loaded in layer.items():
        config[key] = loaded.value
        origins[key] = loaded.origin
    config.project = Project(
        root=loader.root,
        instance_path=folders.instance_path,
        environment=loader.environment,
        environments=loader.environments,
        origins=origins,
        secrets=frozenset(loader.secrets),
        declared=loader.declared,
        unused=loader.variables.without_key(loader.unprefixed()),
        replaced={key: before.get(key, ABSENT) for key in layer},
    )
    note_secret_change()  # the project declares secrets
    make_key_when_read(config)


def _values_without_project(config: Config) -> dict[str, t.Any]:
    """Return the values that the config would have if `from_project` had not been called before."""
    values = dict(config)
    if config.project is None:
        return values
    for key, value in config.project.replaced.items():
        origin = config.project.origins.get(key, DEFAULT)
        if origin.source == "code":  # assigned since then
            continue
        if value is ABSENT:
            values.pop(key, None)
        else:
            values[key] = value
    return values


def _remove_missing(config: Config, before: dict[str, t.Any], layer: Layer) -> None:
    """Give the keys that the project does not set any more the values that they had before."""
    for key, value in dict(config).items():
        if key in layer or value is before.get(key, ABSENT):
            continue
        if key in before:
            config[key] = before[key]
        else:
            del config[key]
        if config._origins is not None:
            config._origins.pop(key, None)


def project_root(root_path: str) -> str:
    """Return the folder of the project to which an app belongs.

    It is the folder that contains the app's module or outermost package; above it, if that is the
    `src` of a project. An app that is installed belongs to the current folder.
    """
    folder = os.path.abspath(root_path)
    if {"site-packages", "dist-packages"} & set(folder.split(os.sep)):
        return os.getcwd()
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder = os.path.dirname(folder)
    parent = os.path.dirname(folder)
    if os.path.basename(folder) == "src" and os.path.isfile(os.path.join(parent, "pyproject.toml")):
        return parent
    return folder


def _summary(problems: list[str]) -> str:
    if len(problems) == 1:
        return f"The configuration cannot be used: {problems[0]}"
    return "\n".join(["The configuration cannot be used:", *(f"  * {each}" for each in problems)])


class _Loader:
    """Reads the layers of one project, and collects what is wrong with them."""

    def __init__(self, root: str, folders: AppFolders) -> None:
        self.root = os.path.abspath(root)
        self.problems: list[str] = []
        self.environment = ""
        self.declared: type | None = None
        self.secrets = set(DECLARED_SECRETS)
        self._environment_origin = DEFAULT
        self._folders = folders
        self._file_layers: list[Layer] = []
        self._types = built_in_types()
        self._keys: dict[str, DeclaredKey] = {}
        if not os.path.isdir(self.root):
            raise ProjectError(f"The folder of the project, {self.root!r}, does not exist.")

    # -- .env --------------------------------------------------------------------------------

    def read_env_files(self) -> dict[str, dict[str, EnvLine]]:
        """Return the variables of each `.flaskenv` and `.env`, lowest precedence first.

        The files of the project's folder are read, also if the current folder is another one.
        """
        forget_inherited_variables()
        paths = [path for path in files_read if os.path.isfile(path)]
        if get_load_dotenv():
            own = [os.path.join(self.root, name) for name in DEFAULT_NAMES]
            watch(own)
            paths = [path for path in own if is_env_file(path) and path not in paths] + paths
        files = {path: read_env_file(path) for path in paths}
        self.variables = Variables(files)
        return files

    # -- the environment ---------------------------------------------------------------------

    def choose_environment(self, given: str | None) -> None:
        from ..config import get_env

        self.environment = full_name(given or get_env())
        if given:
            self._environment_origin = Origin("code", "from_project(environment=...)")
            return
        names = [each for each in ("CARBOY_ENV", "FLASK_ENV") if os.environ.get(each)]
        if names:
            self._environment_origin = self.variables.origin_of(names[0])
        if not os.environ.get("FLASK_ENV"):
            set_for_project("FLASK_ENV", self.environment)

    @contextlib.contextmanager
    def environment_variable(self) -> t.Iterator[None]:
        """Let FLASK_ENV name the environment while files run that may read it."""
        before = os.environ.get("FLASK_ENV")
        if before is None or full_name(before) != self.environment:
            os.environ["FLASK_ENV"] = self.environment
        try:
            yield
        finally:
            restore_variable("FLASK_ENV", before)

    # -- files -------------------------------------------------------------------------------

    def read_config_files(self) -> None:
        places = [self.root, self._folders.root_path]
        folder = next((each for each in places if _existing(_paths_in(each))), self.root)
        sections = self._read_folder(folder, _package_of(folder))
        # A name of its own, because `instance/config.py` may say `from config import ...`.
        instance = os.path.abspath(self._folders.instance_path)
        sections += self._read_folder(instance, "instance_")
        self.environments = tuple(sorted(set(sections)))
        self._check_environment(sections)

    def _read_folder(self, folder: str, prefix: str) -> list[str]:
        """Add the layers of the files in a folder; return the environments that they name.

        Args:
            folder: the folder.
            prefix: what stands before the name of a Python file in the name of its module.
        """
        own_paths = _paths_of_environment(folder, self.environment)
        watch([*_paths_in(folder), *own_paths])
        files = [self._read_file(path, prefix) for path in _existing(_paths_in(folder))]
        chosen = [section_for(self.environment, each.sections) for each in files]
        self._add_layer(each.base for each in files)
        layers = [each.sections[name] for each, name in zip(files, chosen, strict=True) if name]
        own = _existing(own_paths)
        layers += [self._read_file(path, prefix).base for path in own]
        self._add_layer(layers)
        for each, name in zip(files, chosen, strict=True):
            declared = each.declared_by_section.get(name or "") or each.declared
            if declared is not None:
                self._declare(declared)
        found = [name for each in files for name in each.sections]
        return [*found, self.environment] if own else found

    def _read_file(self, path: str, prefix: str) -> ConfigFile:
        from .datafiles import read_json, read_toml

        if path.endswith(".toml"):
            file = read_toml(path)
        elif path.endswith(".json"):
            file = read_json(path)
        else:
            from .pythonfile import read_python

            stem = os.path.basename(path).removesuffix(".py")
            file = read_python(path, prefix + stem)
        self.problems += file.problems
        return file

    def _add_layer(self, peers: t.Iterable[Layer]) -> None:
        self._file_layers.append(merge_peers(peers, self.problems))

    def _check_environment(self, sections: list[str]) -> None:
        """Report an environment that may be misspelt: it has no section while others have one, or
        its name is almost that of a standard environment.
        """
        if self.environment in STANDARD_ENVIRONMENTS:
            return
        is_suspect = bool(sections) or nearest(self.environment, STANDARD_ENVIRONMENTS) is not None
        if is_suspect and section_for(self.environment, sections) is None:
            known = sorted({*sections, *STANDARD_ENVIRONMENTS})
            self.problems.append(
                f"the environment is {self.environment!r} ({self._environment_origin}), but no file"
                f" has a section for it.{did_you_mean(self.environment, known)} Correct the name,"
                f" or write [{self.environment}] in config.toml, or a class"
                f" {self.environment.title().replace('_', '')}Config in config.py."
            )

    # -- declared keys -----------------------------------------------------------------------

    def _declare(self, declared: type) -> None:
        from .declaredkeys import fields_of

        self.declared = declared
        for field in fields_of(declared):
            if not field.key.isupper():
                self.problems.append(
                    f"class {declared.__name__} declares {field.key!r}, but config keys are in"
                    f" upper case. Write {field.key.upper()}, or class {declared.__name__}(Struct,"
                    ' rename="upper").'
                )
                continue
            self._keys[field.key] = field
            self._types[field.key] = field.type
            if field.is_secret:
                self.secrets.add(field.key)

    def unprefixed(self) -> set[str]:
        """Return the variables without a prefix that set a key: those of declared keys."""
        logs = {key for key in self._types if key.startswith("LOG_")}
        files = {key + SUFFIX for key in self.secrets}
        return {*self._keys, *self.secrets, *logs, *files}

    # -- values ------------------------------------------------------------------------------

    def assigned_before(
        self, before: dict[str, t.Any], origins: dict[str, Origin], is_debug_default: bool
    ) -> Layer:
        """Return the values of declared keys that code has assigned before, and the default of
        DEBUG, unless code has changed it.
        """
        earlier = Origin("code", "code before from_project()")
        codes = {key: each for key, each in origins.items() if each.source == "code"}
        layer = {
            key: Loaded(before[key], codes.get(key, earlier))
            for key in self._keys
            if before.get(key) is not None
        }
        if is_debug_default:
            origin = Origin("default", f"environment {self.environment}")
            layer["DEBUG"] = Loaded(self.environment == "development", origin)
        return layer

    def values(self, before: Layer) -> Layer:
        """Return the values of all layers, with their types."""
        merged = dict(before)
        for layer in [*self._file_layers, self.variables.layer(self.unprefixed())]:
            read_secret_files(layer, self.secrets, self.root, self.problems)
            self._set_members(merged, layer)
            merged |= layer
        self._check_env_key(merged.get("ENV"))
        merged["ENV"] = Loaded(self.environment, self._environment_origin)
        values = {key: self._typed(key, loaded) for key, loaded in merged.items()}
        for key, field in self._keys.items():
            if not field.has_default and key not in values:
                self.problems.append(self._advice_on_missing(key))
        if self.declared is not None and not self.problems:
            self._construct(self.declared, values)
        return values

    def _check_env_key(self, loaded: Loaded | None) -> None:
        if loaded is not None and full_name(str(loaded.value)) != self.environment:
            self.problems.append(
                f"{loaded.origin} sets ENV to {loaded.value!r}, but the environment is"
                f" {self.environment!r} ({self._environment_origin}). It is chosen before files are"
                f" read: set the variable FLASK_ENV={loaded.value}, or remove ENV from the file."
            )

    def _set_members(self, merged: Layer, layer: Layer) -> None:
        """Set the members of dicts that variables such as `CARBOY_DB__HOST` name."""
        for name in [name for name in layer if "__" in name and layer[name].is_text]:
            loaded = layer.pop(name)
            key, *path = name.split("__")
            before = layer.get(key) or merged.get(key)
            value = inner = _as_dict(before.value if before else None)
            for part in path[:-1]:
                inner[part] = inner = _as_dict(inner.get(part))
            inner[path[-1]] = from_text(str(loaded.value), t.Any)
            layer[key] = Loaded(value, loaded.origin)

    def _typed(self, key: str, loaded: Loaded) -> Loaded:
        annotation = self._types.get(key, t.Any)
        convert = from_text if loaded.is_text else checked
        try:
            value = convert(loaded.value, annotation)
            # Types of Flask's keys are checked only: an object that a file has made is kept.
            is_converted = loaded.is_text or key in self._keys
            return Loaded(value if is_converted else loaded.value, loaded.origin)
        except ValueError as exc:
            got = describe_value(key, loaded.value, self.secrets)
            self.problems.append(f"{loaded.origin}: {key}: {exc}, got {got}.")
            return loaded

    def _construct(self, declared: type, values: Layer) -> None:
        """Create an object of the declared class and take its values: its `__post_init__` may
        refuse or change them.
        """
        arguments = {
            field.name: values[key].value for key, field in self._keys.items() if key in values
        }
        try:
            made = declared(**arguments)
        except Exception as exc:  # noqa: BLE001  # `__post_init__` is code of the project
            reason = mask_text(str(exc)) or type(exc).__name__
            self.problems.append(f"class {declared.__name__} refuses the values: {reason}")
            return
        for key, field in self._keys.items():
            origin = values[key].origin if key in values else DEFAULT
            values[key] = Loaded(getattr(made, field.name), origin)

    def _advice_on_missing(self, key: str) -> str:
        ways = f"the environment variable {key} or CARBOY_{key}, .env, or a file of the project"
        if key in self.secrets:
            ways = f"the environment variable {key}, .env, or {key}{SUFFIX}, the path of a file"
        return f"{key} is declared and has no value. Set it by {ways}."


def _as_dict(value: t.Any) -> dict[str, t.Any]:
    """Return a copy of a dict, or of a value of a declared class; otherwise an empty dict."""
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    return dict(value) if isinstance(value, dict) else {}


def _package_of(folder: str) -> str:
    """Return the name of the package in a folder with a dot; "" if the folder is none."""
    name = ""
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder, last = os.path.split(folder)
        name = f"{last}.{name}"
    return name


def _existing(paths: t.Iterable[str]) -> list[str]:
    return [path for path in paths if os.path.isfile(path)]


def _paths_in(folder: str) -> list[str]:
    return [os.path.join(folder, f"{_STEM}.{ending}") for ending in ("py", "toml", "json")]


def _paths_of_environment(folder: str, environment: str) -> list[str]:
    names = (
        f"{_STEM}_{environment}.py",
        f"{_STEM}.{environment}.toml",
        f"{_STEM}.{environment}.json",
    )
    return [os.path.join(folder, name) for name in names]
