"""Print every public name of Flask as `flask` or `carboy` defines it, with its signature, as JSON.

`python describe.py flask|carboy FOLDER`, run on a path with that package. FOLDER contains Flask's
source, which decides what the names are: those that a module defines or deliberately re-exports
(`import X as X`). A class is described with its members, some objects with their attributes.
"""

from __future__ import annotations

import ast
import datetime as dt
import importlib
import inspect
import json
import operator
import pathlib
import re
import sys
import typing as t

PLAIN = (
    *(bool, int, str, bytes, float, type(None), tuple, list, set, frozenset, dict),
    dt.timedelta,
)
MISSING = {"is": "missing"}


def modules(folder: pathlib.Path) -> dict[str, list[str]]:
    """Yield Flask's modules, as suffixes of the package's name, with the public names of each."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if parts[-1] != "__main__":
            suffix = "".join(f".{part}" for part in parts if part != "__init__")
            found[suffix] = defined_names(path.read_text())
    return found


def reachable(package: str, suffixes: list[str]) -> list[str]:
    """Return the modules that are attributes after `import package`, on which programs rely."""
    root = importlib.import_module(package)
    found = []
    for suffix in suffixes:
        try:
            operator.attrgetter(suffix[1:])(root)
        except AttributeError:
            continue
        found.append(suffix)
    return found


def defined_names(source: str) -> list[str]:
    """Return the names that a module's source binds at top level; imports only as `X as X`."""
    names: list[str] = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.append(node.target.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names += [name.asname for name in node.names if name.asname == name.name]
    return [name for name in dict.fromkeys(names) if not name.startswith("_")]


def plain(text: object, package: str) -> str:
    """Return a repr without addresses, in a fixed order, without the package's name."""
    if isinstance(text, set | frozenset):
        text = sorted(text)
    shown = re.sub(r" at 0x[0-9a-f]+", "", repr(text)).replace(package, "flask")
    return shown.replace("Carboy", "Flask")


def signature(item: t.Any, package: str) -> list[str] | None:
    """Return one line per parameter: kind, name, default."""
    try:
        parameters = inspect.signature(item).parameters.values()
    except (TypeError, ValueError):
        return None
    lines = []
    for parameter in parameters:
        empty = parameter.default is parameter.empty
        default = "" if empty else f" = {plain(parameter.default, package)}"
        lines.append(f"{parameter.kind.description} {parameter.name}{default}")
    return lines


def describe(item: t.Any, package: str) -> t.Any:
    if isinstance(item, staticmethod | classmethod):
        item = item.__func__
    if isinstance(item, t.TypeVar):
        return {"is": "type variable"}
    if type(item).__module__ in {"types", "typing"} and t.get_origin(item):
        return {"is": "type"}
    if inspect.isclass(item):
        return {"is": "class", "signature": signature(item, package)}
    if isinstance(item, PLAIN):
        return {"is": "value", "value": plain(item, package)}
    if callable(item) and not hasattr(item, "_get_current_object"):
        return {"is": "callable", "signature": signature(item, package)}
    return {"is": "attribute"}


def members(cls: type, package: str) -> dict[str, t.Any]:
    """Return public members, and special methods that the package itself defines."""
    found = {}
    for name in dir(cls):
        special = name.startswith("__") and name.endswith("__")
        if name.startswith("_") and not special:
            continue
        owner = next((base for base in cls.__mro__ if name in vars(base)), None)
        if owner is None or (special and not owner.__module__.startswith(package)):
            continue
        if name in {"__init__", "__new__"} or not special:
            found[name] = describe(vars(owner)[name], package)
        elif callable(vars(owner)[name]):
            found[name] = {"is": "special method"}
    return found


def objects(package: str) -> dict[str, list[str]]:
    """Return attributes of objects: those that `__init__` sets are not on the class."""
    root = importlib.import_module(package)
    app = root.Flask("described")
    cli = importlib.import_module(f"{package}.cli")
    views = importlib.import_module(f"{package}.views")
    with app.test_request_context() as context:
        made = {
            "Flask()": app,
            "Blueprint()": root.Blueprint("b", "described"),
            "RequestContext()": context,
            "AppContext()": app.app_context(),
            "Request()": context.request,
            "Response()": root.Response(),
            "ScriptInfo()": cli.ScriptInfo(),
            "test_client()": app.test_client(),
            "test_cli_runner()": app.test_cli_runner(),
            "View.as_view()": views.View.as_view("v"),
            "session": context.session,
            "g": root.g._get_current_object(),
        }
        return {
            name: sorted(item for item in dir(value) if not item.startswith("__"))
            for name, value in made.items()
        }


def main(package: str, folder: pathlib.Path) -> None:
    described: dict[str, t.Any] = {}
    wanted = modules(folder)
    at_hand = reachable(package, [suffix for suffix in wanted if suffix])
    for suffix, names in wanted.items():
        module = importlib.import_module(package + suffix)
        for name in names:
            key = f"flask{suffix}.{name}"
            item = getattr(module, name, MISSING)
            described[key] = MISSING if item is MISSING else describe(item, package)
            if inspect.isclass(item) and item.__module__.startswith(package):
                for member, description in members(item, package).items():
                    described[f"{key}.{member}"] = description
    answer = {"names": described, "modules": at_hand, "objects": objects(package)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
