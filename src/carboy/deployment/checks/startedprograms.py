"""The Python programs of a project that commands start, and the calls of the app in them."""

from __future__ import annotations

import ast
import os
import re
import typing as t

from ...project.origins import shortened
from ..projectfiles import read_text

if t.TYPE_CHECKING:
    import collections.abc as cabc

# Matches a command that starts a module (group 1) or a script (group 2).
_PYTHON = re.compile(
    r"(?<![\w.-])python[\d.]*(?:\s+-[^m\s]\S*)*\s+(?:-m\s+([\w.]+)|(\S+\.py))(?!\S)"
)


def calls_in_programs(root: str, words: str, method: str) -> cabc.Iterator[tuple[str, ast.Call]]:
    """Yield the calls of a method of the app, such as `app.run()`, in the Python programs that a
    command starts. Each comes with its place.
    """
    for found in _PYTHON.finditer(words):
        for file in _files_of_program(found[1], found[2]):
            path = os.path.join(root, file)
            for call in _calls_of(path, method):
                yield f"{shortened(path)}:{call.lineno}", call


def _files_of_program(module: str | None, script: str | None) -> cabc.Iterator[str]:
    """Yield the paths at which a program, which is a module or a script, may be in the project."""
    if module:
        yield from (f"{module.replace('.', '/')}{end}" for end in (".py", "/__main__.py"))
    if script:
        # In an image, the script may be in another folder than in the project.
        yield from dict.fromkeys((script.lstrip("/"), os.path.basename(script)))


def _calls_of(path: str, method: str) -> cabc.Iterator[ast.Call]:
    """Yield the calls of a method of the app in a program: of a variable that has a usual name of
    an app, or whose value is made by a class or factory of apps.
    """
    tree = parse(path)
    names = {"app", "application", *_names_of_apps(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and variable_with(node, method) in names:
            yield node


def _names_of_apps(tree: ast.AST) -> cabc.Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            name = ast.unparse(node.value.func).rpartition(".")[2]
            if name in {"Flask", "Carboy", "create_app", "make_app"}:
                yield from (each.id for each in node.targets if isinstance(each, ast.Name))


def variable_with(call: ast.Call, method: str) -> str | None:
    """Return "x" if a call is `x.method()`, else None."""
    function = call.func
    if isinstance(function, ast.Attribute) and function.attr == method:
        return function.value.id if isinstance(function.value, ast.Name) else None
    return None


def parse(path: str) -> ast.Module:
    try:
        return ast.parse(read_text(path))
    except (SyntaxError, ValueError):
        return ast.Module([], [])
