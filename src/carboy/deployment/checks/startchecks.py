"""Checks of how the app is started: by a development server, or while it is imported."""

from __future__ import annotations

import ast
import os
import re
import sys
import typing as t

from ...cli.discovery import is_app
from ...project.origins import shortened
from ..projectfiles import TextLine, deployment_files, lines_of, read_text
from .checkregistry import Found, check

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import types

    from ..facts import Facts

# An item of a list in YAML that is no pair: neither of YAML, nor of an environment.
_WORD_OF_LIST = re.compile(r"\s*- +(-\S+|[^\s=]*[^\s=:])\s*")
_OPTIONS = r"(?:\s+-\S+(?:\s+[^-\s]\S*)?)*"
_RUN_COMMAND = re.compile(rf"(?<![\w.-])(flask|carboy){_OPTIONS}\s+run(?![\w.-])")
_PYTHON = re.compile(
    r"(?<![\w.-])python[\d.]*(?:\s+-[^m\s]\S*)*\s+(?:-m\s+([\w.]+)|(\S+\.py))(?!\S)"
)
_DEBUG = re.compile(
    r"(?<![A-Z_])((?:FLASK|CARBOY)_DEBUG[\s=:]+(?:1|true|yes|on)"
    r"|(?:FLASK|CARBOY)_ENV[\s=:]+development)(?!\S)",
    re.IGNORECASE,
)


@check(
    "carboy.E110",
    "A Dockerfile, a unit, a Procfile or the like starts the development server, or sets debug"
    " mode.",
    remedy="Start the app by 'carboy serve', or by another server for production.",
)
def find_development_server(facts: Facts) -> cabc.Iterator[Found]:
    for path in deployment_files(facts):
        for line in _join_lists(lines_of(facts.root, path)):
            if reason := _starts_development(facts.root, line):
                yield Found(line.place, reason)


def _join_lists(lines: list[TextLine]) -> list[TextLine]:
    """Join a command that is a list of words in YAML: the words follow the line before them."""
    joined: list[TextLine] = []
    for line in lines:
        word = _WORD_OF_LIST.fullmatch(line.text)
        if joined and word:
            joined[-1] = joined[-1].continued_by(word[1])
        else:
            joined.append(line)
    return joined


def _starts_development(root: str, line: TextLine) -> str | None:
    words = line.words
    if found := _RUN_COMMAND.search(words):
        return f"'{found[1]} run' is the development server."
    if found := _DEBUG.search(words):
        return f"{' '.join(found[1].split())} switches debug mode on."
    for place, _ in calls_in_programs(root, words, "run"):
        return f"The program calls app.run() ({place}), which starts the development server."
    return None


def calls_in_programs(root: str, words: str, method: str) -> cabc.Iterator[tuple[str, ast.Call]]:
    """Yield the calls of a method of an app, in the programs in Python that a command starts. Each
    comes with its place.
    """
    for found in _PYTHON.finditer(words):
        for file in _files_of_program(found[1], found[2]):
            path = os.path.join(root, file)
            for call in _calls_of(path, method):
                yield f"{shortened(path)}:{call.lineno}", call


def _files_of_program(module: str | None, script: str | None) -> cabc.Iterator[str]:
    """Yield where a program, which is a module or a script, may be in the project."""
    if module:
        yield from (f"{module.replace('.', '/')}{end}" for end in (".py", "/__main__.py"))
    if script:
        # In an image, the script is in another folder than here.
        yield from dict.fromkeys((script.lstrip("/"), os.path.basename(script)))


def _calls_of(path: str, method: str) -> cabc.Iterator[ast.Call]:
    """Yield the calls of a method of a variable that is an app by its name, or by its value."""
    tree = _parse(path)
    names = {"app", "application", *_names_of_apps(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _variable_with(node, method) in names:
            yield node


def _names_of_apps(tree: ast.AST) -> cabc.Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            name = ast.unparse(node.value.func).rpartition(".")[2]
            if name in {"Flask", "Carboy", "create_app", "make_app"}:
                yield from (each.id for each in node.targets if isinstance(each, ast.Name))


def _variable_with(call: ast.Call, method: str) -> str | None:
    """Return `x` if a call is `x.method()`."""
    function = call.func
    if isinstance(function, ast.Attribute) and function.attr == method:
        return function.value.id if isinstance(function.value, ast.Name) else None
    return None


def _parse(path: str) -> ast.Module:
    try:
        return ast.parse(read_text(path))
    except (SyntaxError, ValueError):
        return ast.Module([], [])


@check(
    "carboy.E111",
    "A module calls `app.run()` or `app.serve()` when it is imported: a server that imports the app"
    " starts another server instead of serving it.",
    remedy="Write the call below 'if __name__ == \"__main__\":', or use 'carboy run' and 'carboy"
    " serve' instead.",
)
def find_run_at_import(facts: Facts) -> cabc.Iterator[Found]:
    for module in _modules_of(facts):
        path = module.__file__ or ""
        for call in _calls_at_import(_parse(path).body):
            for method in ("run", "serve"):
                name = _variable_with(call, method)
                if name is not None and is_app(getattr(module, name, None)):
                    place = f"{shortened(path)}:{call.lineno}"
                    yield Found(place, f"{name}.{method}() is called at import.")


def _modules_of(facts: Facts) -> list[types.ModuleType]:
    """Return the imported modules of the project that have an app."""
    folder = os.path.join(os.path.abspath(facts.root), "")
    return [
        module
        for module in list(sys.modules.values())
        if (getattr(module, "__file__", None) or "").startswith(folder)
        if any(map(is_app, list(vars(module).values())))
    ]


def _calls_at_import(body: cabc.Iterable[ast.stmt]) -> cabc.Iterator[ast.Call]:
    """Yield the calls that are statements, and that run when a module is imported."""
    for statement in body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            yield statement.value
        elif not _runs_later(statement):
            nested = (n for n in ast.iter_child_nodes(statement) if isinstance(n, ast.stmt))
            yield from _calls_at_import(nested)


def _runs_later(statement: ast.stmt) -> bool:
    """Return whether the statements in a statement do not run at import: the body of a function,
    and of `if __name__ == "__main__":`.
    """
    if isinstance(statement, ast.If):
        return "__name__" in ast.unparse(statement.test)
    return isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
