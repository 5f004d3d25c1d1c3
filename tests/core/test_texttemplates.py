"""Literals in generated files mean the same in each language of these files."""

from __future__ import annotations

import ast
import tomllib

import pytest
import yaml

from carboy.core.texttemplates import text_environment

TEXTS = {
    "emoji": "shop \U0001f600",
    "letters": "größe/данные",
    "quotes": 'it\'s "a" & <b> \\ud83d\\ude00',
    "control": "a\x00b\x7f\x85c",
    "line breaks": "a\nb\u2028c",
    "unprintable beyond U+FFFF": "a\U000e0001b",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_text_is_a_literal_of_python_yaml_and_toml(text):
    written = text_environment().from_string("{{ value|tojson }}").render(value=text)
    assert written.isprintable()
    assert ast.literal_eval(written) == text
    assert yaml.safe_load(written) == text
    assert tomllib.loads(f"key = {written}")["key"] == text


def test_letters_stay_readable():
    written = text_environment().from_string("{{ value|tojson }}").render(value="größe 😀")
    assert written == '"größe 😀"'
