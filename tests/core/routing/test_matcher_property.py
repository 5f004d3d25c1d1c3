"""The compiled matcher and Werkzeug's give the same result for any rules and paths.

The compiled matcher may return None ("ask Werkzeug") for any path, which would be correct but
useless. So the property has a second half: where Werkzeug matches without a redirect, the compiled
matcher must match too. Exceptions are paths that no server sends (empty, or without exactly one
leading slash), methods that are neither standard nor named by a rule, and maps that match by host.
"""

from __future__ import annotations

import os
import re
import typing as t
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.routing import BaseConverter, IntegerConverter, Rule, ValidationError

from carboy.core.routing import Map

# Takes a few seconds. ROUTING_EXAMPLES=20000 searches longer.
THOROUGH = settings(
    max_examples=int(os.environ.get("ROUTING_EXAMPLES", "120")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
UUID = "a8098c1a-f86e-11da-bd1a-00112444be1e"


class PairConverter(BaseConverter):
    regex = r"(\w+)\+(\w+)"

    def to_python(self, value: str) -> list[str]:
        return value.split("+")


class PickyConverter(BaseConverter):
    def to_python(self, value: str) -> str:
        if "a" in value:
            raise ValidationError
        return value[::-1]  # a different text, also for digits


class BrokenConverter(BaseConverter):
    def to_python(self, value: str) -> str:
        if value == "a":
            raise RuntimeError(value)
        return value


class TreeConverter(BaseConverter):
    regex = "[a-z]+/[a-z0-9]+"


class GreedyConverter(BaseConverter):
    part_isolating = False
    regex = "[a-z1-9]*"
    weight = 10


class MaybeConverter(BaseConverter):
    regex = "(?:a|1)?"
    weight = 70


class CaseConverter(BaseConverter):
    regex = "(?i:A|B)"


class EvenConverter(IntegerConverter):
    def to_python(self, value: str) -> int:
        if (number := super().to_python(value)) % 2:
            raise ValidationError
        return number


class HexConverter(IntegerConverter):
    regex = "[0-9a-f]+"
    num_convert = staticmethod(lambda text: int(text, 16))


class TextConverter(BaseConverter):
    regex = r"(?:\d|b)"


class BadRegexConverter(BaseConverter):
    regex = "(?P<oops"


CONVERTERS: dict[str, type[BaseConverter]] = {
    "pair": PairConverter,
    "picky": PickyConverter,
    "broken": BrokenConverter,
    "tree": TreeConverter,
    "greedy": GreedyConverter,
    "maybe": MaybeConverter,
    "case": CaseConverter,
    "even": EvenConverter,
    "hex": HexConverter,
    "digit": TextConverter,
    "bad": BadRegexConverter,
}

# `@` becomes the variable's name.
USUAL = ["<@>", "<int:@>", "<path:@>", "a", "b", "1", "ab"]
UNUSUAL = [
    "<int(fixed_digits=2):@>",
    "<int(min=3, max=50):@>",
    "<int(signed=True):@>",
    "<float:@>",
    "<float(min=1.0, signed=True):@>",
    "<string(length=2):@>",
    "<string(minlength=0):@>",
    "<string(minlength=2, maxlength=3):@>",
    "<string(minlength=3, maxlength=2):@>",
    "<any(a, b, 'x-y', '1'):@>",
    "<any(''):@>",
    "<uuid:@>",
    *(f"<{name}:@>" for name in CONVERTERS if name != "bad"),
    "<bad:@>",
    "<@>.<@>",
    "<int:@>-<int:@>",
    "<@><@>",
    "x<@>",
    "<int:@>.html",
    "<path:@>.html",
    "<path:@>-<path:@>",
    "<tree:@>b",
    "é",
    "�",
    "a.b",
    "x-y",
    "a b",
    "%41",
    "",
]
VALUES = [
    *("a", "b", "ab", "abc", "A", "1", "12", "42", "007", "-5", "1.5", "-1.5", "1.", "x-y", "1-2"),
    *("a.b", "a+b", "a b", "%41", "é", "�", "٣", "٣٤", "²", "1_0", "+1", " 1", "1\n", "\n", "a\nb"),
    *("xa", "a.html", "1.html", "", ".", "..", UUID, UUID.upper(), "ff", "9" * 700, "9" * 5000),
    "~" * 3000,
]
USUAL_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})
METHODS = ["GET", "HEAD", "POST", "PURGE", "OPTIONS"]


def named(pattern: str, *, same_names: bool) -> str:
    pieces = pattern.split("@")
    out = pieces[0]
    for i, piece in enumerate(pieces[1:]):
        out += ("v" if same_names else f"v{i}") + piece
    return out


patterns = st.builds(
    lambda segments, slash, names: named("/" + "/".join(segments) + slash, same_names=names),
    st.lists(st.one_of(st.sampled_from(USUAL), st.sampled_from(UNUSUAL)), max_size=4),
    st.sampled_from(["", "", "/"]),
    st.integers(0, 20).map(lambda n: n == 0),
)
maybe = st.sampled_from([None, None, True, False])


def rarely(value: t.Any) -> st.SearchStrategy[t.Any]:
    return st.integers(0, 25).map(lambda n: value if n == 3 else None)


rules = st.fixed_dictionaries(
    {
        "string": patterns,
        "endpoint": st.sampled_from(["e", "f", "g"]),
        "methods": st.one_of(
            st.none(), st.lists(st.sampled_from(METHODS), max_size=2), st.just(["GET"])
        ),
        "strict_slashes": maybe,
        "merge_slashes": maybe,
        "defaults": st.sampled_from(
            [None, None, None, {"v0": 1}, {"v0": "a"}, {"v1": 42}, {"z": 1}, {"v": 1}]
        ),
        "redirect_to": rarely("/elsewhere"),
        "alias": rarely(True).map(bool),
        "websocket": rarely(True).map(bool),
        "build_only": rarely(True).map(bool),
        "subdomain": st.sampled_from([None] * 16 + ["", "www", "<sub>", "<any(''):sub>"]),
        "host": rarely("localhost"),
    }
)
maps = st.fixed_dictionaries(
    {
        "strict_slashes": st.booleans(),
        "merge_slashes": st.booleans(),
        "redirect_defaults": st.booleans(),
        "default_subdomain": st.sampled_from(["", "", "", "www"]),
        "host_matching": rarely(True).map(bool),
    }
)


LIKELY = {
    "int": ["1", "12", "42", "-5", "٣"],
    "float": ["1.5", "-1.5", "12.0"],
    "string": ["ab", "abc", "a"],
    "any": ["a", "b", "x-y", "1", ""],
    "uuid": [UUID, UUID.upper()],
    "path": ["a/b", "1", "a/b/", "a.html", "a-b"],
    "even": ["42", "12", "1"],
    "hex": ["ff", "12"],
    "pair": ["a+b"],
    "tree": ["ab/a1", "ab/a1b"],
    "greedy": ["a", ""],
    "maybe": ["a", "1", ""],
}
ORDINARY = ["a", "b", "ab", "1", "12", "42"]
VARIABLE = re.compile(r"<(?:([a-z]+)(?:\(.*?\))?:)?\w+>")


@st.composite
def segments_of(draw: st.DrawFn, segment: str) -> str:
    """Generate texts for a segment of a rule, most of which the rule accepts."""
    if not draw(st.integers(0, 14)):
        return draw(st.sampled_from(VALUES))
    out, end = "", 0
    for found in VARIABLE.finditer(segment):
        out += segment[end : found.start()]
        out += draw(st.sampled_from(LIKELY.get(found[1], ORDINARY)))
        end = found.end()
    return out + segment[end:]


@st.composite
def wsgi_paths(draw: st.DrawFn, strings: list[str]) -> str:
    """Generate paths from the parts of the rules, in WSGI's encoding, sometimes with invalid
    bytes.
    """
    shape = draw(st.sampled_from(strings)).removeprefix("/").split("/")
    segments = [draw(segments_of(segment)) for segment in shape]
    path = "/" + "/".join(segments)
    change = draw(st.sampled_from([*[""] * 12, "more", "less", "slash", "double", "lead", "bare"]))
    match change:
        case "more":
            path += "/" + draw(st.sampled_from(VALUES))
        case "less":
            path = path.rpartition("/")[0]
        case "slash":
            path = path[:-1] if path.endswith("/") else f"{path}/"
        case "double":
            path = path.replace("/", "//").removeprefix("/")
        case "lead":
            path = f"/{path}"
        case "bare":
            path = path.removeprefix("/")
    raw = path.encode()
    if not draw(st.integers(0, 14)):
        at = draw(st.integers(0, min(len(raw), 12)))
        raw = raw[:at] + draw(st.sampled_from([b"\xff", b"\xc3", b"\xe9", b"\xc3\xa9"])) + raw[at:]
    return raw.decode("latin-1")


def build(options: dict[str, t.Any], specs: list[dict[str, t.Any]]) -> Map:
    url_map = Map(converters=CONVERTERS, **options)
    for spec in specs:
        try:
            url_map.add(Rule(**spec))
        except (LookupError, SyntaxError, TypeError, ValueError):
            continue  # a rule that no map accepts, such as a websocket with POST
    return url_map


def ask_werkzeug(url_map: Map, path_info: str, method: str) -> tuple[Rule, t.Any] | None:
    """Return Werkzeug's match; None for a redirect, an HTTP error, or a converter's exception."""
    environ = {
        "wsgi.url_scheme": "http",
        "HTTP_HOST": "localhost",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path_info,
    }
    subdomain = None if url_map.host_matching else url_map.default_subdomain
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return url_map.bind_to_environ(environ, subdomain=subdomain).match(return_rule=True)
    except Exception:  # noqa: BLE001
        return None


def has_one_leading_slash(path_info: str) -> bool:
    return path_info.startswith("/") and not path_info.startswith("//")


def is_of_default_subdomain(rule: Rule) -> bool:
    return not (rule.subdomain or "").startswith("<")


def check(url_map: Map, path_info: str, method: str) -> None:
    known = USUAL_METHODS.union(*(rule.methods or () for rule in url_map.iter_rules()))
    hit = url_map.fast_match(path_info, method)
    expected = ask_werkzeug(url_map, path_info, method)
    if hit is not None:
        assert expected is not None
        assert hit[0] is expected[0]
        assert list(hit[1].items()) == list(expected[1].items())
        assert [*map(type, hit[1].values())] == [*map(type, expected[1].values())]
        assert hit[1] is not t.cast("t.Any", url_map.fast_match(path_info, method))[1]
    elif (
        expected is not None
        and has_one_leading_slash(path_info)
        and method in known
        and not url_map.host_matching
        and is_of_default_subdomain(expected[0])
    ):
        pytest.fail(f"handed over, but Werkzeug simply matches: {expected!r}")


@THOROUGH
@given(st.data())
def test_matcher_equals_werkzeug(data: st.DataObject) -> None:
    specs = data.draw(st.lists(rules, min_size=1, max_size=8), label="rules")
    url_map = build(data.draw(maps, label="map"), specs)
    strings = [spec["string"] for spec in specs]
    for _ in range(4):
        path_info = data.draw(wsgi_paths(strings), label="path")
        method = data.draw(
            st.sampled_from([*["GET"] * 6, *METHODS, "get", "--", ""]), label="method"
        )
        check(url_map, path_info, method)


simple_rules = st.fixed_dictionaries(
    {
        "string": st.builds(
            lambda segments, slash: named("/" + "/".join(segments) + slash, same_names=False),
            st.lists(st.sampled_from(USUAL), max_size=4),
            st.sampled_from(["", "", "/"]),
        ),
        "endpoint": st.sampled_from("efghijkl"),
        "methods": st.sampled_from([["GET"], ["POST"], ["GET", "POST"]]),
    }
)


@THOROUGH
@given(st.data())
def test_matcher_equals_werkzeug_while_rules_are_added(data: st.DataObject) -> None:
    url_map = Map(strict_slashes=data.draw(st.booleans()))
    strings: list[str] = []
    for spec in data.draw(st.lists(simple_rules, min_size=1, max_size=6), label="rules"):
        url_map.add(Rule(**spec))
        strings.append(spec["string"])
        for _ in range(3):
            method = data.draw(st.sampled_from(["GET", "POST", "PUT"]))
            check(url_map, data.draw(wsgi_paths(strings), label="path"), method)
