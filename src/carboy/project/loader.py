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
import re
import sys
import typing as t

from ..config import ABSENT
from ..core.advice import did_you_mean
from ..core.masking import mask_text, note_secret_change
from ..core.objectfields import field_names, field_values
from ..errors import ConfigError, ProjectError
from ..helpers import get_debug_flag, get_load_dotenv
from . import DECLARED_SECRETS, AppPlace, Project
from .configproblems import describe_value, nearest
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
from .keytypes import built_in_types, checked, from_text, from_text_like
from .layers import (
    STANDARD_ENVIRONMENTS,
    ConfigFile,
    Layer,
    Loaded,
    full_name,
    merge_peers,
    same_environment,
    sections_for,
)
from .origins import DEFAULT, Origin
from .reloading import forget_inherited_variables, watch
from .secretfiles import SUFFIX, read_secret_files
from .secretkey import make_key_when_read
from .valuechecks import check_value
from .variables import Variables, key_of

if t.TYPE_CHECKING:
    from ..config import Config
    from .declaredkeys import DeclaredKey

_STEM = "config"
# Matches the names of config files for one environment. `config_test.py` has tests for pytest.
_OF_ENVIRONMENT = re.compile(rf"{_STEM}_(?!test\.py)(.+)\.py|{_STEM}\.(.+)\.(?:toml|json)")
# Files such as config.example.toml are hardly for an environment of that name.
_PATTERNS_OF_FILES = frozenset({"dist", "example", "sample", "schema", "template"})


def load_project(config: Config, root: str | None, environment: str | None) -> None:
    """Load the configuration of a project into `config`.

    Raises:
        ProjectError: the configuration has problems; the text names all of them.
    """
    root_path = os.fspath(config.root_path)
    place = AppPlace(*(config._place or ("", root_path, os.path.join(root_path, "instance"))))
    base = project_root(place.root_path, place.import_name)
    loader = _Loader(os.path.join(base, root or ""), base, place)
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
        instance_path=place.instance_path,
        environment=loader.environment,
        environments=loader.environments,
        origins=origins,
        secrets=frozenset(loader.secrets),
        declared=loader.declared,
        unused=loader.variables.without_key(loader.unprefixed()),
        replaced={key: before.get(key, ABSENT) for key in layer},
    )
    note_secret_change()  # the project may have declared more secrets
    make_key_when_read(config)


def _values_without_project(config: Config) -> dict[str, t.Any]:
    """Return the values that the config would have if `from_project` had not been called before."""
    values = dict(config)
    if config.project is None:
        return values
    for key, value in config.project.replaced.items():
        origin = config.project.origins.get(key, DEFAULT)
        if origin.source == "code":  # code has assigned it since `from_project()`
            continue
        if value is ABSENT:
            values.pop(key, None)
        else:
            values[key] = value
    return values


def _remove_missing(config: Config, before: dict[str, t.Any], layer: Layer) -> None:
    """Undo the keys that an earlier `from_project()` has set and this call does not set: restore
    the values that they had before, or remove the keys.
    """
    for key, value in dict(config).items():
        if key in layer or value is before.get(key, ABSENT):
            continue
        if key in before:
            config[key] = before[key]
        else:
            del config[key]
        if config._origins is not None:
            config._origins.pop(key, None)


def project_root(root_path: str, import_name: str = "") -> str:
    """Return the folder of the project to which an app belongs.

    It is the folder that contains the app's module or outermost package; if that folder is the
    `src` of a project, it is the parent folder. For an app that is installed in site-packages, it
    is the current folder.

    Args:
        root_path: the folder of the app.
        import_name: the module of the app. If it was imported without its package, the folder is
            not one: a file `__init__.py` may be there by mistake. If the folder has no
            configuration, but the one around the package has, it is a package nevertheless.
    """
    folder = os.path.abspath(root_path)
    if {"site-packages", "dist-packages"} & set(folder.split(os.sep)):
        return os.getcwd()
    inner, outer = _package_parents(folder, _levels_imported(import_name, folder))
    # A script in a package, as in `python shop/app.py`, is not imported as a part of it, nor is a
    # module that `gunicorn --chdir shop app:app` imports.
    is_script = import_name in ("__main__", "__mp_main__")  # the latter in a child process
    is_in_package = _has_config(outer) and (is_script or not _has_config(inner))
    folder = outer if is_in_package else inner
    parent = os.path.dirname(folder)
    if os.path.basename(folder) == "src" and os.path.isfile(os.path.join(parent, "pyproject.toml")):
        return parent
    return folder


def _package_parents(folder: str, levels: int | None) -> tuple[str, str]:
    """Return the folders that contain the package in `folder` of at most `levels` levels, and the
    outermost package; twice the latter if `levels` is None.
    """
    parents = [folder]
    while os.path.isfile(os.path.join(parents[-1], "__init__.py")):
        parents.append(os.path.dirname(parents[-1]))
    return parents[-1] if levels is None else parents[: levels + 1][-1], parents[-1]


def _levels_imported(import_name: str, folder: str) -> int | None:
    """Return how many packages, one in the other, a module in `folder` is in, as it was imported;
    None if the app has the name of no such module.
    """
    module = sys.modules.get(import_name)
    file = getattr(module, "__file__", None)
    if file is None or os.path.dirname(os.path.abspath(file)) != folder:
        return None
    spec = getattr(module, "__spec__", None)  # that of `__main__` has the name after `python -m`
    name = import_name if spec is None else spec.name
    return name.count(".") + hasattr(module, "__path__")


def _has_config(folder: str) -> bool:
    own = [os.path.join(folder, name) for name in DEFAULT_NAMES]
    return bool(_existing([*own, *_paths_in(folder)]))


def _summary(problems: list[str]) -> str:
    if len(problems) == 1:
        return f"The configuration cannot be used: {problems[0]}"
    return "\n".join(["The configuration cannot be used:", *(f"  * {each}" for each in problems)])


class _Loader:
    """Reads the layers of one project's configuration, and collects the problems in them."""

    def __init__(self, root: str, base: str, place: AppPlace) -> None:
        self.root = os.path.abspath(root)
        self._base = base  # what contains the app's module or outermost package, or its `src`
        self.problems: list[str] = []
        self.environment = ""
        self.declared: type | None = None
        self.secrets = set(DECLARED_SECRETS)
        self._undescribed = set[str]()  # the declared keys whose values contain secrets
        self._environment_origin = DEFAULT
        self._app_place = place
        self._file_layers: list[Layer] = []
        self._missing: dict[str, Origin] = {}  # the fields of dataclasses without a value in a file
        self._names_of_modules = set[str]()  # config_NAME.py
        self._names_of_data_files = set[str]()  # config.NAME.toml, config.NAME.json
        self._types = built_in_types()
        self._keys: dict[str, DeclaredKey] = {}
        if not os.path.isdir(self.root):
            raise ProjectError(
                f"app.config.from_project(): the folder of the project, {self.root!r}, does not"
                " exist. Pass the one that has the files of the configuration: root=..."
            )

    # --- .env -------------------------------------------------------------------------------

    def read_env_files(self) -> dict[str, dict[str, EnvLine]]:
        """Read each `.flaskenv` and `.env`, and return their variables by file, lowest precedence
        first.

        The files of the project's folder are read even if the current folder is another one.
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

    # --- the environment --------------------------------------------------------------------

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
        """Set FLASK_ENV to the chosen environment during the `with` block, because files of the
        project that run in the block may read it.
        """
        before = os.environ.get("FLASK_ENV")
        if before is None or full_name(before) != self.environment:
            os.environ["FLASK_ENV"] = self.environment
        try:
            yield
        finally:
            restore_variable("FLASK_ENV", before)

    # --- files ------------------------------------------------------------------------------

    def read_config_files(self) -> None:
        places = [self.root, self._app_place.root_path]
        folder = next((each for each in places if _existing(_paths_in(each))), self.root)
        sections = self._read_folder(folder, _package_of(folder, self._base))
        # Modules of the instance folder get the prefix `instance_`, because `instance/config.py`
        # must not take the name of the module `config`, which it may import.
        instance = os.path.abspath(self._app_place.instance_path)
        sections += self._read_folder(instance, "instance_")
        self.environments = tuple(sorted({*sections, *self._names_of_data_files}))
        self._check_environment(sections)

    def _read_folder(self, folder: str, prefix: str) -> list[str]:
        """Read the config files in a folder, and add their values as layers. Return the
        environments for which the files have sections, and the chosen one if it has a file.

        Args:
            folder: the folder.
            prefix: a Python file in the folder runs as a module whose name is this text and the
                name of the file.
        """
        others = _files_of_environments(folder)
        own = [path for path, name in others.items() if same_environment(name, self.environment)]
        watch([*_paths_in(folder), *_paths_of_environment(folder, self.environment), *own])
        files = [self._read_file(path, prefix) for path in _existing(_paths_in(folder))]
        chosen = [sections_for(self.environment, each.sections) for each in files]
        self._add_layer(each.base for each in files)
        layers = [
            each.sections[name] for each, names in zip(files, chosen, strict=True) for name in names
        ]
        layers += [self._read_file(path, prefix).base for path in own]
        self._add_layer(layers)
        for each, names in zip(files, chosen, strict=True):
            of_sections = map(each.declared_by_section.get, names)
            declared = next(filter(None, of_sections), each.declared)
            if declared is not None:
                self._declare(declared)
        found = [name for each in files for name in each.sections]
        for path, name in others.items():
            if path in own:
                found.append(self.environment)
            elif path.endswith(".py"):
                self._names_of_modules.add(name)
            elif name not in _PATTERNS_OF_FILES:
                self._names_of_data_files.add(name)
        return found

    def _read_file(self, path: str, prefix: str) -> ConfigFile:
        from .datafiles import read_json, read_toml

        if path.endswith(".toml"):
            file = read_toml(path)
        elif path.endswith(".json"):
            file = read_json(path)
        else:
            from .pythonfile import read_python

            stem = os.path.basename(path).removesuffix(".py")
            file = read_python(path, prefix + stem, self.environment)
        self.problems += file.problems
        self._missing |= file.missing
        return file

    def _add_layer(self, peers: t.Iterable[Layer]) -> None:
        self._file_layers.append(merge_peers(peers, self.problems))

    def _check_environment(self, sections: list[str]) -> None:
        """Report the chosen environment if no file has a section for it and its name may be
        misspelt: files have sections for other environments, or the name is almost that of a
        standard one or of a file such as config_staging.py. (A file may have another purpose, such
        as a module, or config.local.toml.)
        """
        if self.environment in STANDARD_ENVIRONMENTS:
            return
        known = {*STANDARD_ENVIRONMENTS, *self._names_of_modules, *self._names_of_data_files}
        is_suspect = bool(sections) or nearest(self.environment, known) is not None
        if is_suspect and not sections_for(self.environment, sections):
            advice = did_you_mean(self.environment, sorted({*sections, *known}))
            self.problems.append(
                f"the environment is {self.environment!r} ({self._environment_origin}), but no file"
                f" has a section for it.{advice} Correct the name,"
                f" or write [{self.environment}] in config.toml, or a class"
                f" {self.environment.title().replace('_', '')}Config in config.py."
            )

    # --- declared keys ----------------------------------------------------------------------

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
            if field.has_secrets:
                self._undescribed.add(field.key)

    def unprefixed(self) -> set[str]:
        """Return the names of variables that set a key without the prefix `CARBOY_` or `FLASK_`:
        declared keys, secrets, `LOG_*`, and `X_FILE` for each secret `X`.
        """
        logs = {key for key in self._types if key.startswith("LOG_")}
        files = {key + SUFFIX for key in self.secrets}
        return {*self._keys, *self.secrets, *logs, *files}

    # --- values -----------------------------------------------------------------------------

    def assigned_before(
        self, before: dict[str, t.Any], origins: dict[str, Origin], is_debug_default: bool
    ) -> Layer:
        """Return a layer of the values that code has assigned to declared keys, and to fields
        without a value, before `from_project()`. It also sets DEBUG according to the environment,
        unless code has changed DEBUG.
        """
        earlier = Origin("code", "code before from_project()")
        codes = {key: each for key, each in origins.items() if each.source == "code"}
        layer = {
            key: Loaded(before[key], codes.get(key, earlier))
            for key in (*self._keys, *self._missing)
            if before.get(key) is not None
        }
        if is_debug_default:
            origin = Origin("default", f"environment {self.environment}")
            layer["DEBUG"] = Loaded(self.environment == "development", origin)
        return layer

    def values(self, before: Layer) -> Layer:
        """Merge all layers, and return the value of each key, converted to the type of the key."""
        merged = dict(before)
        for layer in self._file_layers:
            read_secret_files(layer, self.secrets, self.root, self.problems)
            merged |= layer
        of_files = dict(merged)
        layer = self.variables.layer(self.unprefixed())
        read_secret_files(layer, self.secrets, self.root, self.problems)
        self._set_members(merged, layer)
        merged |= layer
        self._check_env_key(merged.get("ENV"))
        merged["ENV"] = Loaded(self.environment, self._environment_origin)
        values = {
            key: self._typed(key, loaded, of_files.get(key)) for key, loaded in merged.items()
        }
        for key, field in self._keys.items():
            if not field.has_default and key not in values:
                self.problems.append(self._advice_on_missing(key))
        for key, origin in self._missing.items():
            if key not in values:
                self.problems.append(f"{origin}: {self._advice_on_missing(key)}")
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
        """Set members of dicts: the variable `CARBOY_DB__HOST` sets the member `HOST` of the dict
        `DB`.
        """
        for name in [name for name in layer if "__" in name and layer[name].is_text]:
            loaded = layer.pop(name)
            key, *path = name.split("__")
            try:
                members = self._with_member(
                    key, path, str(loaded.value), layer.get(key) or merged.get(key)
                )
            except ValueError as exc:
                self.problems.append(f"{_place(name, loaded)}: {exc}.")
            else:
                layer[key] = Loaded(members, loaded.origin)

    def _with_member(
        self, key: str, path: list[str], text: str, before: Loaded | None
    ) -> dict[str, t.Any]:
        """Return the members of a key, with one of them set by the text of a variable.

        Args:
            key: the key.
            path: the name of the member; before it, the names of the members around it.
            text: the text.
            before: the value of the key, if another variable or a file sets it.

        Raises:
            ValueError: what should have the member is no dict, or the text does not stand for a
                value like the one that the member has.
        """
        from .declaredkeys import member_type

        annotation = self._types.get(key, t.Any)
        members = inner = _as_dict(key, self._value_before(key, before))
        for part in path[:-1]:
            inner[part] = inner = _as_dict(part, inner.get(part))
            annotation = member_type(annotation, part)
        last = path[-1]
        if key in self._types:
            with contextlib.suppress(ValueError):  # `_typed` checks the whole dict afterwards
                inner[last] = text
                inner[last] = from_text(text, member_type(annotation, last))
            return members
        try:
            inner[last] = from_text_like(text, inner.get(last))
        except ValueError as exc:
            got = describe_value(last, text, self.secrets)
            raise ValueError(f"{exc}, as it has been, got {got}") from None
        return members

    def _value_before(self, key: str, before: Loaded | None) -> t.Any:
        if before is not None:
            return from_text(str(before.value), t.Any) if before.is_text else before.value
        field = self._keys.get(key)
        return field.default() if field is not None and field.has_default else None

    def _typed(self, key: str, loaded: Loaded, in_file: Loaded | None) -> Loaded:
        """Return a value converted to the type of its key. If the key has no type, the text of a
        variable is converted to the type of the value that a file has for the key.
        """
        like = ""
        try:
            if key in self._types or not loaded.is_text:
                convert = from_text if loaded.is_text else checked
                value = convert(loaded.value, self._types.get(key, t.Any))
            elif in_file is None or in_file.is_text:
                value = from_text(loaded.value, t.Any)
            else:
                like = f", as in {in_file.origin}"
                value = from_text_like(loaded.value, in_file.value)
        except ValueError as exc:
            got = describe_value(key, loaded.value, self._undescribed)
            self.problems.append(f"{_place(key, loaded)}: {exc}{like}, got {got}.")
            return loaded
        # The text of an environment variable is converted to the key's type, and so is each value
        # of a key that the project declares. A value that `config.py` gives to a key of Flask is
        # only checked, because Flask would use that very object, too.
        is_converted = loaded.is_text or key in self._keys
        loaded = Loaded(value if is_converted else loaded.value, loaded.origin)
        self._check_value(key, loaded)
        return loaded

    def _check_value(self, key: str, loaded: Loaded) -> None:
        """Report a value of the right type that would be refused by the part of carboy that uses
        it. Under a server other than carboy's, that part would find it only at the first request,
        which is too late.
        """
        try:
            check_value(key, loaded.value, str(loaded.origin))
        except ConfigError as exc:
            self.problems.append(str(exc))

    def _construct(self, declared: type, values: Layer) -> None:
        """Create an object of the declared class, and take the values of the keys from it, because
        its `__post_init__` may refuse or change values.
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
        prefixed = f"CARBOY_{key}"
        names = key if key_of(prefixed, {key}) is None else f"{key} or {prefixed}"
        names = names if key in self.unprefixed() else prefixed
        ways = f"the environment variable {names}, .env, or a file of the project"
        if key in self.secrets:
            ways = f"the environment variable {key}, .env, or {key}{SUFFIX}, the path of a file"
        return f"{key} is declared and has no value. Set it by {ways}."


def _place(key: str, loaded: Loaded) -> str:
    """Return where a value comes from, with the name of its key."""
    place = str(loaded.origin)
    if f"{key}__" in place:
        return f"{place} ({key})"  # in "PASSWORD: DATABASE: ...", DATABASE would be masked
    return place if place.endswith(key) else f"{place}: {key}"


def _as_dict(name: str, value: t.Any) -> dict[str, t.Any]:
    """Return the members of a dict, or the fields of an object, as a new dict; an empty dict for
    None.

    Raises:
        ValueError: the value has no members.
    """
    if value is None or isinstance(value, dict):
        return dict(value or {})
    names = field_names(type(value))
    if names is None or isinstance(value, type):
        kind = "text" if isinstance(value, str) else type(value).__name__
        raise ValueError(f"{name} is {kind}, which has no members")
    fields = field_values(value, names)
    in_files = getattr(value, "__struct_encode_fields__", names)
    return {
        file_name: fields[own]
        for own, file_name in zip(names, in_files, strict=True)
        if own in fields
    }


def _package_of(folder: str, base: str) -> str:
    """Return the dotted name of the package in a folder, followed by a dot, such as "shop.api."; ""
    if the folder is not a package. The folder `base` contains packages and is none.
    """
    name = ""
    while folder != base and os.path.isfile(os.path.join(folder, "__init__.py")):
        folder, last = os.path.split(folder)
        name = f"{last}.{name}"
    return name


def _existing(paths: t.Iterable[str]) -> list[str]:
    return [path for path in paths if os.path.isfile(path)]


def _paths_in(folder: str) -> list[str]:
    return [os.path.join(folder, f"{_STEM}.{ending}") for ending in ("py", "toml", "json")]


def _files_of_environments(folder: str) -> dict[str, str]:
    """Return the config files in a folder that are for one environment each, such as
    config_prod.py, with the names of the environments.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return {}
    found = ((os.path.join(folder, name), _OF_ENVIRONMENT.fullmatch(name)) for name in names)
    return {
        path: match[match.lastindex or 0] for path, match in found if match and os.path.isfile(path)
    }


def _paths_of_environment(folder: str, environment: str) -> list[str]:
    names = (
        f"{_STEM}_{environment}.py",
        f"{_STEM}.{environment}.toml",
        f"{_STEM}.{environment}.json",
    )
    return [os.path.join(folder, name) for name in names]
