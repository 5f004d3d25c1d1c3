"""The error classes: unique slugs, the tree in the docstring, and Flask's built-in bases."""

from __future__ import annotations

import ast
import inspect
import pathlib
import re
import typing as t

import pytest
from werkzeug.exceptions import NotFound

from carboy import Carboy, errors


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


def test_slugs_are_unique_words() -> None:
    slugs = [kind.slug for kind in all_errors()]
    assert len(slugs) == len(set(slugs))
    assert all(re.fullmatch("[a-z]+(-[a-z]+)*", slug) for slug in slugs)


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_docstring_shows_each_error_with_its_status_and_slug(
    kind: type[errors.CarboyError],
) -> None:
    assert 400 <= kind.status <= 599
    assert kind.code == kind.status
    assert errors.__doc__ is not None
    line = next(line for line in errors.__doc__.splitlines() if kind.__name__ in line.split())
    if kind is not errors.CarboyError:
        assert str(kind.status) in line and kind.slug in line


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


@pytest.mark.parametrize("name", ["status", "code"])
def test_subclass_sets_its_number_by_either_name(name: str) -> None:
    kind: t.Any = type("SoldOut", (errors.InputError,), {name: 409, "slug": "sold-out"})
    error = kind("Sold out.")
    assert (error.status, error.code, error.slug) == (409, 409, "sold-out")
    assert (errors.InputError.status, errors.InputError.code) == (422, 422)


def test_word_as_the_code_of_a_subclass_is_refused() -> None:
    with pytest.raises(TypeError, match=r"SoldOut: expected the number .* got 'sold-out'.* `slug`"):
        type("SoldOut", (errors.InputError,), {"code": "sold-out"})


def _as_handlers_do(error: Exception) -> tuple[str, int]:
    return str(error), getattr(error, "code", 500)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.SessionUnavailableError("no key"), 500),
        (errors.InputError("no name"), 422),
        (errors.QueueFullError("wait"), 503),
        (errors.DeadlineError("late"), 504),
        (ValueError("any"), 500),
        (NotFound("gone"), 404),
    ],
    ids=repr,
)
def test_handler_of_exceptions_answers_with_the_errors_code(
    app: Carboy, error: Exception, status: int
) -> None:
    """`getattr(error, "code", 500)` is a common idiom of Flask's users."""
    app.register_error_handler(Exception, _as_handlers_do)

    @app.get("/")
    def index() -> str:
        raise error

    assert app.test_client().get("/").status_code == status
