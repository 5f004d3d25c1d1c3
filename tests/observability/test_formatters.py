"""Lines of the log: fields, formats, and what messages may not do."""

from __future__ import annotations

import json
import logging
import math
import sys
import typing as t

import pytest

from carboy import Carboy
from carboy.observability.formatters import escape, make_formatter


def record(message: object = "saved", *args: object, **attributes: t.Any) -> logging.LogRecord:
    made = logging.LogRecord("shop", logging.INFO, "shop.py", 7, message, args, None)
    vars(made).update(attributes)
    return made


def line(format: str, *args: t.Any, **attributes: t.Any) -> str:
    return make_formatter(format).format(record(*args, **attributes))


def raised(text: str = "bad\nsecond line") -> t.Any:
    try:
        raise ValueError(text)
    except ValueError:
        return sys.exc_info()


def test_text_has_time_level_logger_process_request_and_message():
    time, level, where, request, message = line("text").split(" :: ")
    assert time[4] == "-"
    assert level == "INFO"
    assert where.startswith("shop[")
    assert (request, message) == ("-", "saved")


@pytest.mark.parametrize(
    "template",
    [
        "%(levelname)s :: %(name)s :: %(message)s",
        "{levelname} :: {name} :: {message}",
        "$levelname :: ${name} :: $message",
    ],
)
def test_format_of_logging_may_have_each_style(template):
    assert line(template, "saved %s", 3) == "INFO :: shop :: saved 3"


def test_field_that_a_record_lacks_is_a_dash():
    assert line("%(user)s: %(message)s") == "-: saved"
    assert line("%(user)s: %(message)s", user="ada") == "ada: saved"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain ütf-8 ☃", "plain ütf-8 ☃"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x00\x07\x7f\x9b", r"\x00\x07\x7f\x9b"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\u2028\u202e\u2066", r"\u2028\u202e\u2066"),
    ],
)
def test_control_characters_are_escaped_and_colours_removed(text, escaped):
    assert escape(text) == escaped


def test_message_stays_on_one_line():
    forged = "x\n2026-01-01 00:00:00,000 :: INFO :: shop[1] :: - :: forged"
    assert "\n" not in line("text", "%s", forged)
    assert "\n" not in line("%(user)s %(message)s", user=forged)
    assert "\n" not in line("json", "%s", forged, user=forged)


def test_lines_of_a_traceback_are_indented():
    first, *others = line("text", exc_info=raised()).splitlines()
    assert first.endswith("saved")
    assert others[0] == "    Traceback (most recent call last):"
    assert others[-2:] == ["    ValueError: bad", "    second line"]


def test_traceback_in_a_message_of_carboy_is_readable():
    message = "worker 1 cannot load the app:\n\n%s\n"
    written = line("text", message, "Traceback\n  line\x1b[2J", name="carboy.serving")
    assert written.endswith("cannot load the app:\n    Traceback\n      line\\x1b[2J")


def test_traceback_of_another_formatter_is_not_kept_in_the_record():
    made = record(exc_info=raised())
    make_formatter("text").format(made)
    assert made.exc_text is None


@pytest.mark.parametrize("format", ["text", "json"])
def test_secrets_are_masked(format):
    written = line(format, "password=%s to %s", "hunter2", "redis://:hunter2@db", token="hunter2")
    assert "hunter2" not in written
    assert "********" in written


@pytest.mark.parametrize(
    "template",
    [
        "%(msg)s",
        "{msg}",
        "${msg}",
        "%(args)s",
        "{args[0]}",
        "%(exc_info)s",
        "{exc_text}",
        "$stack_info",
    ],
)
def test_secrets_are_masked_in_each_field_that_a_template_names(template):
    secret = "password=hunter2"
    given = {"exc_info": raised(secret), "exc_text": secret, "stack_info": secret}
    written = line(f"{template} ", f"{secret} %s", secret, **given)
    assert "hunter2" not in written
    assert "********" in written.splitlines()[0]


@pytest.mark.parametrize("format", ["text", "%(message)s %(user)s", "json"])
def test_secret_with_a_colour_inside_is_masked(format):
    app = Carboy(__name__)
    app.secret_key = "canary-0123456789"
    coloured = "canary-\x1b[31m0123456789"
    written = line(format, "key %s", coloured, user=coloured, exc_info=raised(coloured))
    assert "canary-0123456789" not in written


def test_json_has_the_fields_and_those_of_the_program():
    made = json.loads(line("json", "saved %s", 3, user="ada", level="high", at={1, 2}))
    assert made["message"] == "saved 3"
    assert (made["level"], made["logger"], made["request_id"]) == ("INFO", "shop", None)
    assert made["time"][10] == "T"
    assert made["user"] == "ada"
    assert made["level_"] == "high"
    assert made["at"] == "{1, 2}"
    assert "exception" not in made


def test_json_has_the_traceback():
    made = json.loads(line("json", exc_info=raised()))
    assert made["exception"].endswith("ValueError: bad\nsecond line")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (math.nan, "nan"),
        (
            [-math.inf, 0.5, {"loss": math.nan, "tags": ("a", 1)}],
            ["-inf", 0.5, {"loss": "nan", "tags": ["a", 1]}],
        ),
        ({(1, 2): 3.5}, {"(1, 2)": 3.5}),
        ({math.inf: {1, 2}}, {"inf": "{1, 2}"}),
    ],
    ids=["NaN", "numbers in a list", "keys that are no text", "infinite keys"],
)
def test_json_is_valid_whatever_the_program_adds(value, shown):
    written = line("json", value=value, ms=1.5, tags=["a"])
    made = json.loads(written, parse_constant=pytest.fail)
    assert (made["value"], made["ms"], made["tags"]) == (shown, 1.5, ["a"])


def test_json_shows_a_value_that_contains_itself():
    value: list[object] = [0.5]
    value.append(value)
    assert json.loads(line("json", value=value))["value"] == [0.5, "Ellipsis"]


def test_json_escapes_what_json_itself_allows():
    written = line("json", "\x9b\u202e")
    assert written.isascii()
    assert json.loads(written)["message"] == "\x9b\u202e"


@pytest.mark.parametrize("format", ["text", "json"])
def test_request_id_of_the_server_is_in_the_line(format):
    app = Carboy("shop", root_path=".")
    with app.test_request_context(environ_overrides={"carboy.request_id": "r-17"}):
        assert "r-17" in line(format)


@pytest.mark.parametrize("format", ["text", "json"])
def test_request_id_of_the_record_is_in_the_line_outside_of_a_request(format):
    assert line(format, request_id="r-17\n").count("r-17\\n") == 1
