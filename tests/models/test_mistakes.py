"""A mistake with a model in a program is answered with what to write."""

from __future__ import annotations

import functools
import re

import pytest
from werkzeug.routing import BuildError

from carboy import Blueprint, request, url_for
from carboy.errors import ContextError, EndpointConflictError, SignatureError


def predict(x: float) -> float:
    return x


OPTIONS = (
    "name, batch, wait_ms, deadline_s, queue, concurrency, example, examples, device, device_lock,"
    " max_body_bytes, source, replicas, resources, retry, max_rss, start_timeout_s, canary,"
    " canary_key, shadow, access, rate, cors, hold_s"
)
BODY = (
    "expected a whole number of bytes, at least 1, such as 64 * 1024 * 1024, or None for the config"
    " key MODEL_MAX_BODY."
)
NAME = "expected letters, digits, '_' and '-'. Pass another one: name=..."


@pytest.mark.parametrize(
    ("option", "suggestion"),
    [
        ("batch_size", "Did you mean 'batch'?"),
        ("exmaple", "Did you mean 'example' or 'examples'?"),
        ("max_body", "Did you mean 'max_body_bytes' or 'max_rss'?"),
        ("zoom", ""),
    ],
)
@pytest.mark.parametrize("of", ["app", "blueprint"])
def test_unknown_option_is_refused_with_all_options(app, of, option, suggestion):
    host = app if of == "app" else Blueprint("shop", __name__)
    with pytest.raises(TypeError) as caught:
        host.model("/m", **{option: 1})
    said = f"app.model() has no option {option!r}. {suggestion} Its options are {OPTIONS}."
    assert str(caught.value) == said.replace("  ", " ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": True}, "app.model(..., batch=True): expected a whole number, at least 1."),
        ({"queue": 0}, "app.model(..., queue=0): expected a whole number, at least 1."),
        ({"max_body_bytes": "1M"}, f"app.model(..., max_body_bytes='1M'): {BODY}"),
        ({"max_body_bytes": -5}, f"app.model(..., max_body_bytes=-5): {BODY}"),
        ({"max_body_bytes": 1.5}, f"app.model(..., max_body_bytes=1.5): {BODY}"),
    ],
)
def test_value_of_an_option_is_checked_at_registration(app, options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        app.model("/m", **options)(predict)


@pytest.mark.parametrize("name", ["a.b", "a b", "a:b", 3])
def test_name_that_cannot_be_an_endpoint_is_refused(app, name):
    said = (
        f"app.model('/m'): the name {name!r} cannot be used in `url_for` and `app.models`: {NAME}"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        app.model("/m", name=name)(predict)


def test_decorator_without_a_url_says_what_to_write(app):
    with pytest.raises(TypeError, match=r"write @app.model\('/path'\) above a class or def\.$"):
        app.model()


class Callable:
    def __call__(self, x: float) -> float:
        return x


@pytest.mark.parametrize("rule", ["/m", "/"])
@pytest.mark.parametrize(
    ("target", "kind"), [(functools.partial(predict, 1), "partial"), (Callable(), "Callable")]
)
def test_object_without_a_name_is_no_model(app, rule, target, kind):
    with pytest.raises(SignatureError, match=f"an object of the class {kind}.*Write `def predict"):
        app.model(rule)(target)


def test_function_with_a_cache_may_be_a_model(app):
    app.model("/m")(functools.cache(predict))
    assert app.test_client().post("/m", json=2).json == 2


def test_rule_may_be_given_by_name(app):
    app.model(rule="/double")(predict)
    assert list(app.models) == ["double"]


def test_method_without_self_is_refused_at_registration(app):
    class Double:
        def predict(x: float) -> float:
            return x

    with pytest.raises(SignatureError) as caught:
        app.model("/m")(Double)
    assert re.fullmatch(
        r"Model 'm': `.*Double\.predict` \(.*\.py:\d+\) has no parameter `self`, which a method of"
        r" a class needs as its first\. Write `def predict\(self, \.\.\.\)`\.",
        str(caught.value),
    )


def test_static_method_needs_no_self(app, client):
    @app.model("/double")
    class Double:
        @staticmethod
        def predict(x: float) -> float:
            return 2 * x

    assert client.call("double", x=2) == 4


def add_view(app):
    @app.get("/view")
    def m():
        return ""


def add_model(app):
    app.model("/model", name="m")(predict)


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (add_view, add_model, "Rule '/model' names the model 'm' at '/model', but the endpoint"),
        (add_model, add_view, "but the endpoint belongs to the model 'm' at '/model'. "),
    ],
)
def test_model_and_view_of_one_name_are_told_apart(app, first, second, says):
    first(app)
    with pytest.raises(EndpointConflictError) as caught:
        second(app)
    assert says in str(caught.value)
    ways = "Rename one: a model by app.model(..., name=...), a view by endpoint=."
    assert str(caught.value).endswith(ways)


def test_url_for_suggests_views_of_the_author_only(app):
    app.model("/model", name="model")(predict)
    app.add_url_rule("/", "zebra", lambda: "")
    with app.test_request_context():
        for asked, near in (("modle", "model"), ("model:pag", "model")):
            with pytest.raises(BuildError, match=f"Did you mean '{near}' instead"):
                url_for(asked)


NO_REQUEST = (
    "This happened in `predict`. A batch belongs to no request: with `batch` above 1, with"
    " `replicas`, which compute in other processes, and if Python code calls the model outside of a"
    " view, `predict` has no `request`. Pass what it needs as a parameter of `predict`."
)


def test_request_in_a_batch_says_that_a_batch_has_none(app, client):
    app.testing = True

    @app.model("/m", batch=4)
    def ask(x: list[float]) -> list[str]:
        return [request.path for _ in x]

    with pytest.raises(ContextError) as caught:
        client.call("m", x=1.0)
    assert caught.value.__notes__ == [NO_REQUEST]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda client: client.call("m", 0),
            "call('m'): arguments are given by name: client.call('m', x=...).",
        ),
        (
            lambda client: client.call("m", y=0, x=1),
            "call('m'): the view takes no argument named 'y'. It takes x.",
        ),
    ],
)
def test_wrong_call_of_a_test_client_names_the_parameters(app, client, call, message):
    app.model("/m")(predict)
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        call(client)
