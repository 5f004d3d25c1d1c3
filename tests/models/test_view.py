from __future__ import annotations

import io
import json
import logging
import subprocess
import sys

import msgspec
import pytest
from werkzeug.exceptions import ServiceUnavailable

from carboy import abort, g
from carboy.errors import SignatureError
from carboy.models import Image, InputError, ModelLoadError


class Size(msgspec.Struct):
    width: int
    height: int


class Measure:
    """How large is the picture?"""

    built = 0

    def __init__(self) -> None:
        type(self).built += 1

    def predict(self, image: Image) -> Size:
        return Size(*image.size)


@pytest.fixture
def measure(app):
    Measure.built = 0
    app.model("/v1/size")(Measure)
    return app.test_client()


def length(text: str) -> int:
    return len(text)


def double(x: float) -> float:
    return 2 * x


# --- registration ------------------------------------------------------------------------------


def test_decorator_returns_its_target(app):
    assert app.model("/size")(Measure) is Measure
    assert app.model("/double")(double) is double


def test_model_is_named_by_its_rule_unless_it_has_a_name(app):
    app.model("/v1/size")(Measure)
    app.model("/v2/size", name="better")(Measure)
    app.model("/")(double)
    assert list(app.models) == ["size", "better", "double"]
    with app.test_request_context():
        assert app.url_for("better") == "/v2/size"


def test_load_models_loads_and_registration_does_not(app, measure):
    assert Measure.built == 0
    app.load_models()
    app.load_models()
    assert Measure.built == 1


def test_load_models_without_models_does_nothing(app):
    app.load_models()


@pytest.mark.parametrize("rule", ["/digits/<int:size>", "/<path:x>"])
def test_rule_with_variables_is_refused(app, rule):
    with pytest.raises(ValueError, match="has no variables"):
        app.model(rule)(Measure)


def test_second_model_of_a_name_leaves_the_first_alone(app):
    app.model("/size")(Measure)
    with pytest.raises(ValueError, match="already, at '/size'"):
        app.model("/v2/size")(Measure)
    assert app.models["size"].rule == "/size"


def test_failed_registration_leaves_no_trace(app):
    app.add_url_rule("/double", endpoint="double", view_func=lambda: "mine")
    with pytest.raises(AssertionError):
        app.model("/double")(double)
    assert "double" not in app.models


def test_bad_signature_is_refused_at_registration(app):
    with pytest.raises(SignatureError, match="Model 'm': parameter 'x'"):

        @app.model("/m")
        def m(x): ...

    assert not app.models


def test_models_are_predicted_in_process_by_name(app):
    app.model("/double")(double)
    assert app.models["double"].predict(2) == 4


@pytest.mark.integration
def test_app_without_models_loads_nothing_for_them():
    code = (
        "import sys, carboy; carboy.Carboy('x').load_models()\n"
        "heavy = {'msgspec', 'PIL', 'numpy', 'carboy.contract.signature'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- answers -----------------------------------------------------------------------------------


def test_post_predicts_and_get_describes(measure, picture):
    answer = measure.post("/v1/size", data=picture(), content_type="image/png")
    assert (answer.status_code, answer.json) == (200, {"width": 8, "height": 4})
    assert answer.content_type == "application/json"
    described = measure.get("/v1/size").json
    assert (described["name"], described["doc"]) == ("size", "How large is the picture?")
    assert described["output"]["$ref"] == "#/$defs/Size"
    assert measure.head("/v1/size").status_code == 200
    assert measure.put("/v1/size").status_code == 405


def test_form_of_a_browser_is_predicted(measure, picture):
    form = {"image": (io.BytesIO(picture()), "x.png"), "other": (io.BytesIO(b""), "")}
    assert measure.post("/v1/size", data=form).json == {"width": 8, "height": 4}


def test_predictions_run_hooks_and_see_their_context(app):
    @app.before_request
    def before() -> None:
        g.factor = 5

    @app.after_request
    def after(response):
        response.headers["X-After"] = "yes"
        return response

    @app.model("/scale")
    def scale(x: int) -> int:
        return x * g.factor

    answer = app.test_client().post("/scale", json=2)
    assert (answer.json, answer.headers["X-After"]) == (10, "yes")


def test_first_request_builds_a_model_that_no_server_loaded(measure, picture):
    for _ in range(3):
        measure.post("/v1/size", data=picture(), content_type="image/png")
    assert Measure.built == 1


# --- refusals ----------------------------------------------------------------------------------


def test_refusal_is_a_problem_with_path_expected_and_got(app):
    app.model("/double")(double)
    answer = app.test_client().post("/double", json="two")
    assert (answer.status_code, answer.content_type) == (422, "application/problem+json")
    assert json.loads(answer.data) == {
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "Expected `float`, got `str` 'two' - at `$`.",
        "code": "input-invalid",
        "errors": [{"path": "$", "in": "body", "expected": "`float`", "got": "`str` 'two'"}],
    }


@pytest.mark.parametrize(
    ("kwargs", "status", "says"),
    [
        ({}, 400, "empty"),
        ({"data": b"1 2", "content_type": "application/json"}, 400, "not valid JSON"),
        ({"data": b"1", "content_type": "text/csv"}, 415, "text/csv"),
        ({"data": {"a": "b"}, "content_type": "multipart/form-data"}, 422, "a field named 'x'"),
        ({"data": b"x", "content_type": "multipart/form-data"}, 400, "boundary"),
    ],
)
def test_bad_input_is_refused(app, kwargs, status, says):
    app.model("/double")(double)
    answer = app.test_client().post("/double", **kwargs)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert says in json.loads(answer.data)["detail"]


def test_unused_file_input_is_no_file(measure):
    answer = measure.post("/v1/size", data={"image": (io.BytesIO(b""), "")})
    assert answer.status_code == 422
    assert "a file (image) named 'image'" in json.loads(answer.data)["detail"]


@pytest.mark.parametrize("kind", ["application/json", "image/png", "multipart/form-data"])
def test_body_above_the_limit_is_refused_unread(app, picture, kind):
    app.model("/size", max_body_bytes=1000)(Measure)
    data = {"image": (io.BytesIO(bytes(2000)), "x")} if kind.startswith("multi") else bytes(2000)
    answer = app.test_client().post("/size", data=data, content_type=kind)
    assert (answer.status_code, answer.content_type) == (413, "application/problem+json")
    assert answer.json["code"] == "input-too-large"
    assert "bytes, which exceeds the 1000 bytes that this model takes" in answer.json["detail"]


def test_form_field_may_be_as_long_as_the_body(app):
    app.model("/length")(length)
    # By hand: the client's own encoder leaves a file open for one of this length.
    head = b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\n'
    body = head + b"x" * 600_000 + b"\r\n--b--\r\n"
    kind = "multipart/form-data; boundary=b"
    assert app.test_client().post("/length", data=body, content_type=kind).json == 600_000


def test_form_with_too_many_parts_is_refused(app):
    app.model("/length")(length)
    parts = {f"part {i}": "x" for i in range(1001)} | {"text": "x"}
    answer = app.test_client().post("/length", data=parts, content_type="multipart/form-data")
    assert (answer.status_code, answer.json["code"]) == (413, "input-too-large")
    assert answer.json["detail"] == "The form has more than 1000 parts."


def test_limit_of_the_app_holds_for_a_model_without_one(app):
    app.config["MAX_CONTENT_LENGTH"] = 10
    app.model("/double")(double)
    app.model("/long", max_body_bytes=100)(double)
    client = app.test_client()
    body = b" " * 50 + b"2"
    assert client.post("/double", data=body, content_type="application/json").status_code == 413
    assert client.post("/long", data=body, content_type="application/json").json == 4


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({}, 32 * 1024 * 1024),
        ({"MAX_CONTENT_LENGTH": 20}, 20),
        ({"MODEL_MAX_BODY": 30}, 30),
        ({"MODEL_MAX_BODY": 30, "MAX_CONTENT_LENGTH": 20}, 30),
        ({"MODEL_MAX_BODY": 10, "MAX_CONTENT_LENGTH": 20}, 10),
    ],
    ids=str,
)
def test_limit_of_all_models_comes_from_the_config(app, config, limit):
    app.config.update(config)
    app.model("/double")(double)
    client = app.test_client()
    announced = {"CONTENT_LENGTH": str(limit + 1)}
    response = client.post("/double", content_type="application/json", environ_overrides=announced)
    assert response.status_code == 413
    body = b" " * (min(limit, 1000) - 1) + b"2"
    assert client.post("/double", data=body, content_type="application/json").json == 4


def test_no_limit_of_all_models_comes_from_the_config(app):
    app.config.update(MODEL_MAX_BODY=None, MAX_CONTENT_LENGTH=20)
    app.model("/double")(double)
    body = b" " * 1000 + b"2"
    answer = app.test_client().post("/double", data=body, content_type="application/json")
    assert answer.json == 4


def test_predict_may_refuse_its_input(app):
    @app.model("/picky")
    def picky(x: int) -> int:
        raise InputError("Only even numbers.")

    answer = app.test_client().post("/picky", json=1)
    assert (answer.status_code, json.loads(answer.data)["detail"]) == (422, "Only even numbers.")


def test_abort_in_predict_is_a_problem(app):
    @app.model("/gone")
    def gone(x: int) -> int:
        abort(410, "No longer.")

    answer = app.test_client().post("/gone", json=1)
    assert (answer.status_code, json.loads(answer.data)["detail"]) == (410, "No longer.")


def test_headers_of_abort_are_kept(app):
    @app.model("/busy")
    def busy(x: int) -> int:
        raise ServiceUnavailable(retry_after=3)

    answer = app.test_client().post("/busy", json=1)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "3")
    assert answer.content_type == "application/problem+json"


def test_error_handler_may_respond_instead(app):
    app.model("/double")(double)
    app.register_error_handler(422, lambda error: (f"mine: {error.description}", 422))
    assert app.test_client().post("/double", json="x").text.startswith("mine: Expected `float`")


# --- failures ----------------------------------------------------------------------------------


@pytest.fixture
def failing(app):
    app.config["TESTING"] = False

    @app.model("/fail")
    def fail(x: int) -> int:
        raise RuntimeError("secret weights")

    return app.test_client()


def test_failure_of_a_model_is_logged_and_not_shown_to_the_client(failing, caplog):
    with caplog.at_level(logging.ERROR):
        answer = failing.post("/fail", json=1)
    problem = json.loads(answer.data)
    assert (answer.status_code, answer.content_type) == (500, "application/problem+json")
    assert "secret" not in answer.text
    assert f"'fail' failed on request {problem['request_id']}" in caplog.text
    assert "RuntimeError: secret weights" in caplog.text


def test_logged_traceback_begins_with_predict(failing, caplog):
    failing.post("/fail", json=1)
    _, first = caplog.text.split("Traceback (most recent call last):\n")
    assert first.lstrip().startswith(f'File "{__file__}"')


def test_valid_request_id_of_the_client_is_kept(failing):
    kept = failing.post("/fail", json=1, headers={"X-Request-ID": "abc-1"})
    assert json.loads(kept.data)["request_id"] == "abc-1"
    odd = failing.post("/fail", json=1, headers={"X-Request-ID": "a b<script>"})
    assert len(json.loads(odd.data)["request_id"]) == 32


def test_exception_propagates_in_tests_and_debugger(app, failing):
    app.config["TESTING"] = True
    with pytest.raises(RuntimeError, match="secret weights"):
        failing.post("/fail", json=1)


def test_error_handler_for_the_exception_class_is_called(app, failing):
    app.register_error_handler(RuntimeError, lambda error: ("handled", 503))
    assert failing.post("/fail", json=1).text == "handled"


def test_error_handler_for_500_sees_the_cause(app, failing):
    app.register_error_handler(500, lambda error: (repr(error.original_exception), 500))
    assert failing.post("/fail", json=1).text == "RuntimeError('secret weights')"


def test_model_that_cannot_be_built_is_named_in_the_log(app):
    class Broken(Measure):
        def __init__(self) -> None:
            raise FileNotFoundError("weights.bin")

    app.model("/broken")(Broken)
    with pytest.raises(ModelLoadError, match=r"Model 'broken' .*weights.bin .*line \d+"):
        app.load_models()
    app.config["TESTING"] = False
    answer = app.test_client().post("/broken", data=b"x", content_type="application/json")
    assert answer.status_code == 400  # bad input is refused before a model is asked


def test_decorator_without_url_is_refused_with_advice(app):
    with pytest.raises(TypeError, match=r"write @app\.model\('/path'\) above 'Bare'"):

        @app.model
        class Bare:
            pass
