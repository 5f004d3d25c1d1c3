"""Read `config.py`: names of the module, and classes for environments.

TITLE = "Shop"                        # for all environments

class Config: ...                     # likewise; also BaseConfig, DefaultConfig

class ProductionConfig(Config): ...   # for the environment production

config = {"staging": SomeClass}       # or a dict that names the environments
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import os
import sys
import traceback
import types
import typing as t
from functools import cached_property

from ..core.masking import mask_text, watch_failed_file
from ..core.objectfields import field_names
from ..errors import ProjectError
from .declaredkeys import fields_of, is_declaration
from .layers import (
    BASE_SECTION,
    STANDARD_ENVIRONMENTS,
    ConfigFile,
    Layer,
    Loaded,
    merge_peers,
    same_environment,
    same_value,
    sections_for,
)
from .origins import Origin, shortened, unreadable

# Names of the classes whose values are for all environments, highest precedence first.
_BASE_CLASSES = ("Config", "BaseConfig", "DefaultConfig")
# Names of a dict in `config.py` that maps the name of each environment to its class, as in
# tutorials.
_DICTS = ("config", "configs", "config_by_name", "config_dict", "app_config")

# Packages whose classes are never meant as configuration. A class of another package, also of an
# installed one, may be: a company may share its base class by a library.
_FOREIGN_PACKAGES = sys.stdlib_module_names | {"pydantic"}

# Attributes that hold the fields of a dataclass and of an attrs class.
_FIELDS_OF_DECORATED = ("__dataclass_fields__", "__attrs_attrs__")

# The code that has run last for each file that the app's code can import, by the path of the file.
# If a file's code is no longer the same, the file runs again.
_imported: dict[str, types.CodeType] = {}

Lines = dict[tuple[str | None, str], int]


def read_python(path: str, module_name: str, environment: str) -> ConfigFile:
    """Run a Python file, and return what it configures. The sections for other environments than
    the chosen one have no values, because making them may run code that only works there.

    Args:
        path: the file.
        module_name: the name by which the app's code imports the file.
        environment: the chosen environment.

    Raises:
        ProjectError: the file cannot be read, is not valid Python, or raises an exception.
    """
    source = _read(path)
    return _PythonFile(path, source, _run(source, path, module_name)).read(environment)


class _PythonFile:
    """Makes layers from a module that has run, and from the lines of its assignments, which are the
    origins of the values.
    """

    def __init__(self, path: str, source: bytes, module: types.ModuleType) -> None:
        self._file = path
        self._path = shortened(path)
        self._source = source
        self._module = module
        self._lines = _assignment_lines(source)
        self._layers: dict[int, Layer] = {}  # by the id of the holder, because dicts have no hash
        self._missing: dict[str, Origin] = {}
        names = vars(module)
        self._classes = {name: each for name, each in names.items() if isinstance(each, type)}
        self._own = {
            name: each for name, each in self._classes.items() if not self._is_foreign(each)
        }
        self._bases = _base_classes([self._own[n] for n in _BASE_CLASSES if n in self._own])

    def read(self, environment: str) -> ConfigFile:
        file = ConfigFile()
        table = self._dict_of_environments()
        by_class = self._classes_of_environments(table, file.problems)
        chosen = {name: by_class[name] for name in sections_for(environment, by_class)}
        derived = list(chosen.values())
        default = table.get(BASE_SECTION)
        bases = self._bases or ([] if default is None else [default])
        bases = [each for each in bases if each not in by_class.values()]
        file.base = self._base_layer(bases, derived, file.problems)
        file.declared = self._declaring_class(file.problems)
        inherited = self._merged(self._bases, derived) if chosen else {}
        for name, holder in by_class.items():
            layer = self._layer_of(holder) if name in chosen else {}
            file.sections[name] = {
                key: loaded
                for key, loaded in layer.items()
                if not _has_same(file.base, key, loaded) or not _has_same(inherited, key, loaded)
            }
            if is_declaration(holder):
                file.declared_by_section[name] = t.cast("type", holder)
        file.missing = self._missing
        return file

    def _base_layer(self, bases: list[t.Any], derived: list[t.Any], problems: list[str]) -> Layer:
        """Return the values for all environments: those of the module and of the first class, which
        must not contradict each other, and below them those of the other classes.
        """
        peers = [self._module_layer(), self._merged(bases[:1], derived)]
        return {**self._merged(bases[1:], derived), **merge_peers(peers, problems)}

    def _merged(self, holders: list[t.Any], derived: list[t.Any]) -> Layer:
        """Return the values of classes, of which the first one takes precedence.

        A class that cannot make its values is left out if one of `derived`, the classes of the
        chosen environment, is derived from it: that class may complete it, and has all its values.
        """
        merged: Layer = {}
        for holder in reversed(holders):
            try:
                merged.update(self._layer_of(holder))
            except ProjectError:
                if not any(issubclass(_class_of(each), _class_of(holder)) for each in derived):
                    raise
        return merged

    def _is_foreign(self, kind: type) -> bool:
        """Return whether a class is one of the standard library or of pydantic, such as
        `ConfigParser`. A class that `make_dataclass` returns only carries the name of such a
        module, and a package of the project may be named `test`.
        """
        module = kind.__module__
        package = module.partition(".")[0]
        if package == self._module.__name__.partition(".")[0] or package not in _FOREIGN_PACKAGES:
            return False
        return getattr(sys.modules.get(module), kind.__name__, None) is kind

    def _declaring_class(self, problems: list[str]) -> type | None:
        """Return the class for all environments that declares the keys of the project."""
        declaring = list(filter(is_declaration, self._bases))
        if len(declaring) > 1:
            names = " and ".join(each.__name__ for each in declaring)
            problems.append(
                f"{self._path}: the classes {names} both declare the keys of the project. Keep one"
                " of them, or derive one from the other."
            )
        return next(iter(declaring), None)

    def _dict_of_environments(self) -> dict[str, t.Any]:
        for name in _DICTS:
            value = vars(self._module).get(name)
            if isinstance(value, dict):
                table = {key: self._holder(each) for key, each in value.items()}
                if table and all(map(_may_hold_values, table.values())):
                    return table
        return {}

    def _holder(self, value: object) -> object:
        """Return the class that a string such as "config.ProductionConfig" names; return other
        values as they are.
        """
        if isinstance(value, str):
            return self._classes.get(value.rpartition(".")[2])
        return value

    def _classes_of_environments(
        self, table: dict[str, t.Any], problems: list[str]
    ) -> dict[str, t.Any]:
        """Return the object that holds the values of each environment, usually a class, by the name
        of the environment. The dict `table` has some of them; the others are classes whose names
        contain that of an environment. If one of two classes for one environment is derived from
        the other, that of the first name counts.
        """
        found = {name: holder for name, holder in table.items() if name != BASE_SECTION}
        for name, kind in self._own.items():
            environment = self._environment_of(name, kind)
            if not environment or any(same_environment(environment, each) for each in table):
                continue
            peers = [each for key, each in found.items() if same_environment(environment, key)]
            if any(issubclass(kind, each) or issubclass(each, kind) for each in peers):
                continue
            other = found.setdefault(environment, kind)
            if other is not kind:
                problems.append(
                    f"{self._path}: the classes {other.__name__} and {name} are both for the"
                    f" environment {environment!r}. Keep one of them."
                )
        return found

    def _environment_of(self, name: str, kind: type) -> str:
        """Return the environment that the name of a class contains, such as "production" for
        `ProductionConfig`; "" if it contains none.
        """
        if name in _BASE_CLASSES or kind in self._bases[:1]:
            return ""
        stem = name.removeprefix("Config").removesuffix("Config").lower()
        is_named = name.startswith("Config") or name.endswith("Config")
        is_derived = issubclass(kind, tuple(self._bases))
        if is_named or is_derived or stem in STANDARD_ENVIRONMENTS:
            return stem
        return ""

    def _module_layer(self) -> Layer:
        return {
            name: Loaded(value, self._origin(None, name))
            for name, value in vars(self._module).items()
            if _is_key(name)
        }

    def _layer_of(self, holder: t.Any) -> Layer:
        """Return the values that a class, an object or a dict holds. They are read once."""
        if (layer := self._layers.get(id(holder))) is None:
            layer = self._layers[id(holder)] = self._read_layer(holder)
        return layer

    def _read_layer(self, holder: t.Any) -> Layer:
        """Return the values that a class, an object or a dict holds, or the defaults of a class
        that declares keys.
        """
        if isinstance(holder, dict):
            return {
                key: Loaded(value, Origin("file", self._path))
                for key, value in holder.items()
                if isinstance(key, str) and key.isupper()
            }
        if is_declaration(holder):
            return {
                field.key: Loaded(field.default(), self._origin(holder, field.name))
                for field in fields_of(holder)
                if field.has_default
            }
        kind = _class_of(holder)
        if _is_for_another_purpose(kind):
            return {}
        self._refuse_lower_case(kind)
        try:
            missing = _missing_of(holder)
            values = _values_of(holder, missing)
        except Exception as exc:  # noqa: BLE001  # code of the project
            line = self._lines.get((None, kind.__name__), 1)
            what = f"class {kind.__name__}"
            raise _raised(self._file, self._source, exc, what, line) from _cause(exc)
        self._missing |= {name: self._origin(kind, name) for name in missing}
        return {name: Loaded(value, self._origin(kind, name)) for name, value in values.items()}

    def _refuse_lower_case(self, kind: type) -> None:
        """Refuse a class that sets keys and has fields, as of a dataclass, that set none. (Other
        attributes in lower case have other purposes.)

        Raises:
            ProjectError: the class has such a field.
        """
        for name in field_names(kind) or ():
            if not name.isupper() and not name.startswith("_"):
                raise ProjectError(
                    f"{self._origin(kind, name)}: class {kind.__name__} has the field {name!r}, but"
                    f" config keys are in upper case. Write {name.upper()}."
                )

    def _origin(self, kind: type | None, name: str) -> Origin:
        names = [None] if kind is None else [each.__name__ for each in kind.__mro__]
        for owner in names:
            if (line := self._lines.get((owner, name))) is not None:
                return Origin("file", f"{self._path}:{line}")
        return Origin("file", self._path)


def _base_classes(classes: list[type]) -> list[type]:
    """Return the first of `classes`, and those of the others from which it is not derived and which
    inherit no values. Inherited values may be those of one environment, as in
    `class DefaultConfig(DevelopmentConfig)`.
    """
    first = classes[:1]
    others = [each for each in dict.fromkeys(classes) if not issubclass(classes[0], each)]
    return first + [each for each in others if not _inherits_values(each)]


def _inherits_values(kind: type) -> bool:
    return any(map(_sets_values, kind.__mro__[1:]))


def _sets_values(kind: type) -> bool:
    if is_declaration(kind):
        return bool(getattr(kind, "__struct_fields__", ()))
    return any(map(str.isupper, [*vars(kind), *(field_names(kind) or ())]))


def _has_same(layer: Layer, key: str, loaded: Loaded) -> bool:
    """Return whether a layer has the same value. Two objects of related classes have equal values,
    which the same line has made.
    """
    other = layer.get(key)
    if other is None:
        return False
    is_equal = other.origin == loaded.origin and same_value(other.value, loaded.value)
    return other.value is loaded.value or is_equal


def _is_for_another_purpose(kind: type) -> bool:
    """Return whether a class has fields, and nothing that sets a key, such as the dataclass of a
    training. The `BaseSettings` of pydantic is for configuration only.
    """
    has_fields = bool(field_names(kind))
    is_settings = any(each.__name__ == "BaseSettings" for each in kind.__mro__)
    return has_fields and not is_settings and not _sets_keys(kind)


def _sets_keys(kind: type) -> bool:
    return bool(_names_of_keys(kind)) or any(_is_key(name) for name in field_names(kind) or ())


def _class_of(holder: object) -> type:
    return holder if isinstance(holder, type) else type(holder)


def _values_of(holder: object, missing: t.Collection[str]) -> dict[str, t.Any]:
    """Return the values that a class or an object holds. Those of a class are read from an object
    of it if only objects have them.

    Args:
        holder: the class or the object.
        missing: the fields of the class to which it gives no value.
    """
    if isinstance(holder, type) and _needs_object(holder):
        holder = holder(**dict.fromkeys(missing), **_arguments(holder))
    return {name: getattr(holder, name) for name in _names_of_keys(holder) if name not in missing}


def _missing_of(holder: object) -> set[str]:
    """Return the fields of a dataclass or an attrs class to which it gives no value; none if its
    code may use the values of all fields when an object is made, or later in a property.
    """
    if not isinstance(holder, type) or not _is_decorated(holder):
        return set()
    parameters = inspect.signature(holder).parameters.values()
    required = {each.name for each in parameters if each.default is each.empty}
    missing = set(filter(_is_key, required - _arguments(holder).keys()))
    return set() if _uses_fields(holder, missing) else missing


def _uses_fields(kind: type, missing: set[str]) -> bool:
    """Return whether code of a class uses the values of its fields, of which some are missing."""
    special = ("__post_init__", "__attrs_post_init__", "__pydantic_validator__")
    attributes = [inspect.getattr_static(kind, name, None) for name in _names_of_keys(kind)]
    fields: t.Any = getattr(kind, "__attrs_attrs__", ())
    checked = {each.name for each in fields if each.validator or each.converter}
    return (
        any(hasattr(kind, name) for name in special)
        or any(isinstance(each, (property, cached_property)) for each in attributes)
        or any(getattr(each.default, "takes_self", False) for each in fields)
        or not missing.isdisjoint(checked)
    )


def _arguments(kind: type) -> dict[str, t.Any]:
    """Return the values for the fields of a dataclass or an attrs class that classes derived from
    it assign. If those are not decorated, `__init__` would set the values of the decorated class.
    """
    taken = inspect.signature(kind).parameters if _is_decorated(kind) else ()
    found: dict[str, t.Any] = {}
    for each in kind.__mro__:
        if not vars(each).keys().isdisjoint(_FIELDS_OF_DECORATED):
            break
        for name in vars(each).keys() & taken:
            if not inspect.isdatadescriptor(vars(each)[name]):
                found.setdefault(name, vars(each)[name])
    return found


def _is_decorated(kind: type) -> bool:
    return any(hasattr(kind, name) for name in _FIELDS_OF_DECORATED)


def _needs_object(kind: type) -> bool:
    """Return whether only objects of a class have its values: those of the fields of a dataclass,
    and those of properties and slots.
    """
    found = [getattr(kind, name, None) for name in _names_of_keys(kind)]
    return field_names(kind) is not None or any(
        inspect.isdatadescriptor(each) or isinstance(each, cached_property) for each in found
    )


def _names_of_keys(holder: object) -> list[str]:
    return [name for name in dir(holder) if _is_key(name)]


def _is_key(name: str) -> bool:
    return name.isupper() and not name.startswith("_")


def _may_hold_values(holder: object) -> bool:
    names = holder if isinstance(holder, dict) else dir(holder)
    return isinstance(holder, type) or any(isinstance(n, str) and n.isupper() for n in names)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as exc:
        raise unreadable(path, exc) from None


def _run(source: bytes, path: str, name: str) -> types.ModuleType:
    try:
        code = compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as exc:  # ValueError: a null byte, before Python 3.12
        line = getattr(exc, "lineno", None) or 1
        reason = exc.msg if isinstance(exc, SyntaxError) else str(exc)
        raise _failed(path, line, f"this is not valid Python: {reason}. Correct it") from None
    try:
        return _import(code, path, name)
    except Exception as exc:  # noqa: BLE001  # code of the project
        raise _raised(path, source, exc, "the file is run as Python, and") from _cause(exc)


def _raised(path: str, source: bytes, exc: Exception, subject: str, line: int = 1) -> ProjectError:
    """Return the error for an exception that code of a file has raised.

    Args:
        path: the file.
        source: its content.
        exc: the exception.
        subject: what raises it, for the message.
        line: the line to name if no line of the file has raised it.
    """
    watch_failed_file(path, exc)
    text = " ".join(mask_text(f"{type(exc).__name__}: {_text_of(exc)}").split()).removesuffix(".")
    advice = ""
    if isinstance(exc, KeyError) and "environ" in source.decode("utf-8", "replace"):
        advice = " If this is an environment variable, set it; .env may set it"
    return _failed(path, _line_raised(exc, path, line), f"{subject} raises {text}.{advice}")


def _cause(exc: Exception) -> Exception | None:
    """Return the exception as the cause of an error; None if it may show a secret, because Python
    prints causes without masking them.
    """
    return None if _text_of(exc) != str(exc) or _shows_secret(exc) else exc


def _text_of(exc: Exception) -> str:
    """Return the text of an exception. That of pydantic shows refused values, which may be secrets;
    they are left out.
    """
    pydantic: t.Any = sys.modules.get("pydantic")
    if pydantic is None or not isinstance(exc, pydantic.ValidationError):
        return str(exc)
    errors = exc.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in errors)


def _shows_secret(exc: Exception) -> bool:
    details = "".join(traceback.format_exception(exc))
    return mask_text(details) != details


def _import(code: types.CodeType, path: str, name: str) -> types.ModuleType:
    """Run a Python file, and return its module.

    If the app's code can import the file by `name`, it is imported in the same way, so that it runs
    once, and again only if it has changed, as in a notebook. Otherwise it runs as a module of that
    name, which is not left in `sys.modules`.
    """
    known = sys.modules.get(name)
    if known is not None and _is_file(getattr(known, "__file__", None), path):
        if _imported.setdefault(path, code) != code:
            _run_again(known, code)
            _imported[path] = code
        return known
    if known is None and _is_file(_importable_file(name), path):
        module = importlib.import_module(name)
        _imported[path] = code
        return module
    module = types.ModuleType(name)
    module.__file__ = path
    # The module must be in `sys.modules` while its file runs, because the annotations of its
    # classes are resolved by that entry.
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)  # noqa: S102 - a file of the project
        for kind in filter(is_declaration, list(vars(module).values())):
            # The error is raised again later if this is the class that declares the keys.
            with contextlib.suppress(ProjectError):
                fields_of(kind)
    finally:
        if known is None:
            del sys.modules[name]
        else:
            sys.modules[name] = known
    return module


def _run_again(module: types.ModuleType, code: types.CodeType) -> None:
    """Run a file that has changed again in its module. Config keys that the new code does not set
    are removed from the module; if the code raises an exception, all old keys are restored.
    """
    names = vars(module)
    before = {name: value for name, value in names.items() if name.isupper()}
    for name in before:
        del names[name]
    try:
        exec(code, names)  # noqa: S102 - a file of the project
    except BaseException:
        names.update(before)
        raise


def _importable_file(name: str) -> str | None:
    package = name.rpartition(".")[0]
    if package and package not in sys.modules:
        return None  # `find_spec` would import the package
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    return None if spec is None else spec.origin


def _is_file(one: str | None, path: str) -> bool:
    return one is not None and os.path.realpath(one) == os.path.realpath(path)


def _line_raised(exc: BaseException, path: str, default: int) -> int:
    frames = traceback.extract_tb(exc.__traceback__)
    lines = [frame.lineno for frame in frames if _is_file(frame.filename, path)]
    return next((line for line in reversed(lines) if line is not None), default)


def _failed(path: str, line: int, what: str) -> ProjectError:
    return ProjectError(f"{shortened(path)}:{line}: {what.removesuffix('.')}.")


# ------------------------------------------------------------------------- lines of assignments


def _assignment_lines(source: bytes) -> Lines:
    """Return the line of each assignment and class in a Python file, by the class that contains it
    (None for the module) and the name that it assigns.
    """
    lines: Lines = {}
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return lines
    _collect(tree.body, None, lines)
    return lines


def _collect(body: t.Iterable[ast.AST], owner: str | None, lines: Lines) -> None:
    for node in body:
        if isinstance(node, ast.ClassDef):
            lines[owner, node.name] = node.lineno
            _collect(node.body, node.name, lines)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines[owner, node.name] = node.lineno
        elif isinstance(node, ast.stmt):
            for name in _names_assigned(node):
                lines[owner, name] = node.lineno
            _collect(ast.iter_child_nodes(node), owner, lines)
        elif isinstance(node, (ast.ExceptHandler, ast.match_case)):
            _collect(ast.iter_child_nodes(node), owner, lines)


def _names_assigned(node: ast.stmt) -> list[str]:
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, (ast.AnnAssign, ast.AugAssign)):
        targets = [node.target]
    names = [name for target in targets for name in ast.walk(target)]
    return [name.id for name in names if isinstance(name, ast.Name)]
