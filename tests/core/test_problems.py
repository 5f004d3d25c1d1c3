from __future__ import annotations

import json

import pytest
from werkzeug.exceptions import HTTPException, InternalServerError, UnprocessableEntity

from carboy.core.problems import Problem


@pytest.mark.parametrize(
    ("status", "title"), [(422, "Unprocessable Entity"), (507, "Insufficient Storage")]
)
def test_problem_is_json_with_the_title_of_its_status(status, title):
    response = Problem(status, "Why.", code="x", errors=[{"path": "$"}]).get_response()
    assert (response.status_code, response.content_type) == (status, "application/problem+json")
    assert json.loads(response.get_data()) == {
        "title": title,
        "status": status,
        "detail": "Why.",
        "code": "x",
        "errors": [{"path": "$"}],
    }


@pytest.mark.parametrize("handled", [422, UnprocessableEntity, Problem, HTTPException, Exception])
def test_handlers_find_a_problem_by_number_and_class(app, handled):
    app.register_error_handler(handled, lambda error: (f"{error.code}: {error.description}", 418))

    @app.route("/")
    def index() -> str:
        raise Problem(422, "Why.")

    answer = app.test_client().get("/")
    assert (answer.status_code, answer.text) == (418, "422: Why.")


def test_problem_of_500_has_the_original_exception():
    cause = ValueError()
    problem = Problem(500, "It failed.", original_exception=cause)
    assert isinstance(problem, InternalServerError)
    assert problem.original_exception is cause
    assert "original_exception" not in problem.to_dict()
