from __future__ import annotations

import pytest
from werkzeug.routing import BaseConverter, Map, Rule

from carboy.openapi.paths import may_refuse, path_parameters, path_template
from carboy.openapi.samples import parameter_texts, sample


class Even(BaseConverter):
    regex = r"\d*[02468]"


class Odd(BaseConverter):
    regex = r"(?a)\d*[13579]\Z"


def rule_of(text: str, **options) -> Rule:
    url_map = Map([Rule(text, endpoint="e", **options)], converters={"even": Even, "odd": Odd})
    return next(url_map.iter_rules())


@pytest.mark.parametrize(
    ("rule", "schema"),
    [
        ("/<x>", {"type": "string", "minLength": 1}),
        ("/<string(minlength=2):x>", {"type": "string", "minLength": 2}),
        (
            "/<string(minlength=2, maxlength=3):x>",
            {"type": "string", "minLength": 2, "maxLength": 3},
        ),
        ("/<string(length=4):x>", {"type": "string", "minLength": 4, "maxLength": 4}),
        ("/<path:x>", {"type": "string", "minLength": 1}),
        ("/<int:x>", {"type": "integer", "minimum": 0}),
        ("/<int(signed=True):x>", {"type": "integer"}),
        ("/<int(min=2, max=9):x>", {"type": "integer", "minimum": 2, "maximum": 9}),
        ("/<int(fixed_digits=3):x>", {"type": "integer", "minimum": 0, "examples": [100]}),
        ("/<float:x>", {"type": "number", "minimum": 0, "examples": [0.5]}),
        ("/<float(signed=True):x>", {"type": "number", "examples": [0.5]}),
        (
            "/<float(signed=True, max=0):x>",
            {"type": "number", "maximum": 0, "examples": [-0.5]},
        ),
        (
            "/<float(min=1, max=1.5):x>",
            {"type": "number", "minimum": 1, "maximum": 1.5, "examples": [1.25]},
        ),
        ("/<uuid:x>", {"type": "string", "format": "uuid"}),
        ("/<any(b, a):x>", {"type": "string", "enum": ["a", "b"]}),
        ("/<even:x>", {"type": "string", "pattern": r"^(?:\d*[02468])$"}),
        ("/<odd:x>", {"type": "string"}),
    ],
)
def test_converters_become_schemas(rule, schema):
    (parameter,) = path_parameters(rule_of(rule))
    assert parameter == {"name": "x", "in": "path", "required": True, "schema": schema}


@pytest.mark.parametrize(
    "rule",
    [
        *("/<x>", "/<string(length=4):x>", "/<path:x>", "/<int:x>", "/<int(min=2, max=9):x>"),
        *("/<int(fixed_digits=3):x>", "/<float:x>", "/<float(signed=True, max=0):x>", "/<uuid:x>"),
        *("/<float(min=1, max=1.5):x>", "/<any(b, a):x>", "/<even:x>"),
    ],
)
def test_sample_of_a_variable_is_a_url_of_its_rule(rule):
    bound = rule_of(rule)
    (parameter,) = path_parameters(bound)
    (text,) = parameter_texts(parameter, sample(parameter["schema"], {}))
    assert bound.map.bind("localhost").match(f"/{text}")[0] == bound.endpoint


@pytest.mark.parametrize(
    ("rule", "template"),
    [
        ("/", "/"),
        ("/a/<int:x>/b.<any(json, xml):kind>", "/a/{x}/b.{kind}"),
        ("/<x>/", "/{x}/"),
        ("/plain", "/plain"),
    ],
)
def test_rules_become_path_templates(rule, template):
    assert path_template(rule_of(rule)) == template


def test_subdomain_is_not_part_of_the_path():
    rule = rule_of("/<x>", subdomain="<tenant>")
    assert path_template(rule) == "/{x}"
    assert [parameter["name"] for parameter in path_parameters(rule)] == ["x"]


def test_only_variables_that_accept_any_text_cannot_cause_404():
    assert not may_refuse(path_parameters(rule_of("/<x>/<path:y>")))
    assert may_refuse(path_parameters(rule_of("/<x>/<int:y>")))
