"""Find out what a program adds to its app inside `if __name__ == "__main__"`.

Workers import the module of the app, which does not run the code of such a block, so that they
would lack what the code adds.
"""

from __future__ import annotations

import ast
import inspect
import sys
import typing as t

from ..contract.needs import unbound

if t.TYPE_CHECKING:
    from ..app import Carboy


def parts_in_main_block(app: Carboy) -> list[str]:
    """Return a description of each part of the app (the app itself, a model or a view) that is
    defined in a block `if __name__ == "__main__"`.
    """
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    try:
        with open(path or "", "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return []
    blocks = [node for node in tree.body if isinstance(node, ast.If) and _is_main(node.test)]
    if not blocks:
        return []
    # All lines of the blocks are collected: a view is found by the number of its first line, which
    # may be that of a decorator.
    lines = {
        line
        for block in blocks
        for line in range(block.lineno, (block.body[-1].end_lineno or block.lineno) + 1)
    }
    return [*_apps(app, tree, blocks), *_views(app, str(path), lines)]


def _is_main(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and {"__name__", "__main__"} == {
        getattr(each, "id", getattr(each, "value", None)) for each in (test.left, *test.comparators)
    }


def _apps(app: Carboy, tree: ast.Module, blocks: list[ast.If]) -> list[str]:
    above = _assigned([node for node in tree.body if node not in blocks])
    main = vars(sys.modules["__main__"])
    inside = _assigned([node for block in blocks for node in block.body])
    found = [name for name in inside if main.get(name) is app]
    return [f"the app {name!r}" for name in found if not above.intersection(found)]


def _assigned(nodes: t.Sequence[ast.stmt]) -> set[str]:
    """Return the names that statements assign or define, except inside functions and classes."""
    return {
        target.id
        for node in nodes
        for target in getattr(node, "targets", [getattr(node, "target", None)])
        if isinstance(target, ast.Name)
    }


def _views(app: Carboy, path: str, lines: set[int]) -> list[str]:
    found = []
    for endpoint, view in app.view_functions.items():
        model = getattr(view, "model", None)
        target = unbound(view) if model is None else model.target
        function = getattr(target, "predict", target) if model is not None else target
        code = getattr(inspect.unwrap(function), "__code__", None)
        if code is not None and code.co_filename == path and code.co_firstlineno in lines:
            kind = "view" if model is None else "model"
            found.append(f"the {kind} {endpoint!r} (line {code.co_firstlineno})")
    return found
