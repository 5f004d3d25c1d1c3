"""Which names a project may have, and what is said about the others."""

from __future__ import annotations

import keyword
import sys

import pytest

from carboy.errors import StarterError
from carboy.starter.names import check_name


@pytest.mark.parametrize("name", ["shop", "my-shop", "my_shop", "Shop2", "a", "x" * 50])
def test_name_of_letters_digits_and_hyphens_is_accepted(name):
    check_name(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("class", "a keyword of Python", id="keyword"),
        pytest.param("None", "a keyword of Python", id="capital keyword"),
        pytest.param("json", "standard library has a module", id="standard library"),
        pytest.param("JSON", "standard library has a module", id="in capital letters"),
        pytest.param("test", "each project has or imports", id="test"),
        pytest.param("app", "each project has or imports", id="app"),
        pytest.param("config", "each project has or imports", id="config"),
        pytest.param("carboy", "each project has or imports", id="carboy"),
        pytest.param("flask", "each project has or imports", id="flask"),
        pytest.param("click", "a library that carboy uses", id="library"),
        pytest.param("com1", "Windows has no folders", id="device of Windows"),
        pytest.param("my.shop", "'.' (character 3)", id="dot"),
        pytest.param(".", "it is a path", id="current folder"),
        pytest.param("..", "it is a path", id="parent folder"),
        pytest.param("my shop", "a space (character 3)", id="space"),
        pytest.param("shop\n", r"'\n' (character 5)", id="line feed"),
        pytest.param("sh\x00p", r"'\x00' (character 3)", id="null"),
        pytest.param("café", "'é' (character 4)", id="accent"),
        pytest.param("店", "'店' (character 1)", id="Chinese"),
        pytest.param("shop\u202e", r"'\u202e' (character 5)", id="bidirectional mark"),
        pytest.param("1shop", "'1' at its start", id="digit first"),
        pytest.param("-shop", "'-' at its start", id="hyphen first"),
        pytest.param("", "no character", id="empty"),
        pytest.param("x" * 300, "300 characters", id="long"),
        pytest.param("../shop", "it is a path", id="path"),
        pytest.param("C:\\shop", "it is a path", id="path on Windows"),
    ],
)
def test_bad_name_is_refused_with_its_reason(name, reason):
    with pytest.raises(StarterError) as caught:
        check_name(name)
    message = str(caught.value)
    assert reason in message
    assert len(message) < 400
    assert message.isprintable()


@pytest.mark.parametrize("name", ["class", "json", "app", "click"])
def test_name_of_a_module_is_refused_with_a_name_that_is_accepted(name):
    with pytest.raises(StarterError) as caught:
        check_name(name)
    suggested = str(caught.value).split("'")[-2]
    check_name(suggested)


def test_each_keyword_and_each_module_of_the_standard_library_is_refused():
    for name in [*keyword.kwlist, *sys.stdlib_module_names]:
        with pytest.raises(StarterError):
            check_name(name)
