"""Checks of how the app is started: by a development server, or while it is imported."""

from __future__ import annotations

import ast
import re
import typing as t

from ...cli.discovery import is_app
from ...project.origins import shortened
from ..projectfiles import TextLine, lines_of
from .appcode import file_of, modules_of_project
from .checkregistry import Found, check
from .deploymentfiles import deployment_files
from .startedprograms import calls_in_programs, parse, variable_with

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..facts import Facts

# Matches an item of a list in YAML that can be a word of a command: neither `key: value` nor
# NAME=value.
_WORD_OF_LIST = re.compile(r"\s*- +(-\S+|[^\s=]*[^\s=:])\s*")
_OPTIONS = r"(?:\s+-\S+(?:\s+[^-\s]\S*)?)*"
_RUN_COMMAND = re.compile(rf"(?<![\w.-])(flask|carboy){_OPTIONS}\s+run(?![\w.-])")
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
    """Join each command that is a list of words in YAML, one word a line, with the line before the
    list.
    """
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


@check(
    "carboy.E111",
    "A module calls `app.run()` or `app.serve()` when it is imported: a server that imports the app"
    " starts another server instead of serving it.",
    remedy="Write the call below 'if __name__ == \"__main__\":', or use 'carboy run' and 'carboy"
    " serve' instead.",
)
def find_run_at_import(facts: Facts) -> cabc.Iterator[Found]:
    for module in modules_of_project(facts):
        if not any(map(is_app, list(vars(module).values()))):
            continue
        path = file_of(module)
        for call in _calls_at_import(parse(path).body):
            for method in ("run", "serve"):
                name = variable_with(call, method)
                if name is not None and is_app(getattr(module, name, None)):
                    place = f"{shortened(path)}:{call.lineno}"
                    yield Found(place, f"{name}.{method}() is called at import.")


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
