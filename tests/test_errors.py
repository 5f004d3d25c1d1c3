"""The error classes: unique codes, the tree in the docstring, and Flask's built-in bases."""

from __future__ import annotations

import ast
import inspect
import pathlib

import pytest

from carboy import errors


def all_errors() -> list[type[errors.CarboyError]]:
    return [
        value
        for _, value in inspect.getmembers(errors, inspect.isclass)
        if issubclass(value, errors.CarboyError)
    ]


def test_all_error_classes_are_defined_in_one_module() -> None:
    """`config` derives further classes at run time, without a class statement."""
    known = {kind.__name__ for kind in all_errors()}
    for path in pathlib.Path(errors.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and path != pathlib.Path(errors.__file__):
                bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
                assert not bases & known, f"{node.name} in {path}"


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in all_errors()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_docstring_shows_each_error_with_its_status_and_code(
    kind: type[errors.CarboyError],
) -> None:
    assert 400 <= kind.status <= 599
    assert errors.__doc__ is not None
    line = next(line for line in errors.__doc__.splitlines() if kind.__name__ in line.split())
    if kind is not errors.CarboyError:
        assert str(kind.status) in line and kind.code in line


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.ConfigError, ValueError),
        (errors.ConfigSourceError, RuntimeError),
        (errors.SetupFinishedError, AssertionError),
        (errors.EndpointConflictError, AssertionError),
        (errors.ContextError, RuntimeError),
        (errors.SessionUnavailableError, RuntimeError),
    ],
    ids=lambda kind: kind.__name__,
)
def test_each_error_derives_from_the_builtin_that_flask_raises(
    kind: type[errors.CarboyError], builtin: type[Exception]
) -> None:
    with pytest.raises(builtin, match="what to do"):
        raise kind("what to do")
