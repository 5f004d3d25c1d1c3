"""A mistake in `@app.model(...)`, or in the class below it, is refused with what to write."""

from __future__ import annotations

import re

import pytest

from carboy import Blueprint
from carboy.errors import SignatureError


def predict(x: float) -> float:
    return x


OPTIONS = "name, batch, wait_ms, deadline_s, queue, concurrency, example, max_body_bytes"
BODY = (
    "expected a whole number of bytes, at least 1, such as 64 * 1024 * 1024, or None for the config"
    " key MODEL_MAX_BODY."
)
NAME = "expected letters, digits, '_' and '-'. Pass another one: name=..."


@pytest.mark.parametrize(
    ("option", "suggestion"),
    [
        ("batch_size", "Did you mean 'batch'?"),
        ("exmaple", "Did you mean 'example'?"),
        ("max_body", "Did you mean 'max_body_bytes'?"),
        ("colour", ""),
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
