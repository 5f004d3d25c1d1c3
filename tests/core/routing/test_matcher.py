"""Which paths the compiled matcher matches, and which it leaves to Werkzeug."""

from __future__ import annotations

import sys
import uuid

import pytest
from werkzeug.routing import Map as WerkzeugMap
from werkzeug.routing import MapAdapter, Rule, UnicodeConverter
from werkzeug.routing.matcher import StateMachineMatcher

from carboy.core.routing import Map

ID = uuid.UUID("a8098c1a-f86e-11da-bd1a-00112444be1e")


def wsgi(path: str) -> str:
    return path.encode().decode("latin-1")


@pytest.mark.parametrize(
    ("rule", "path", "args"),
    [
        ("/", "/", {}),
        ("/about/us", "/about/us", {}),
        ("/grüße", wsgi("/grüße"), {}),
        ("/<name>", wsgi("/grüße"), {"name": "grüße"}),
        ("/<name>", "/\xff", {"name": "\ufffd"}),
        ("/<name>", "/42", {"name": "42"}),
        ("/<name>", "/a\n", {"name": "a\n"}),
        ("/<int:id>", "/007", {"id": 7}),
        ("/<int:id>", wsgi("/٤٢"), {"id": 42}),
        ("/<int:id>", "/" + "9" * 641, {"id": int("9" * 641)}),
        ("/<int(signed=True):id>", "/-5", {"id": -5}),
        ("/<int(fixed_digits=3):id>", "/007", {"id": 7}),
        ("/<float:x>", "/1.5", {"x": 1.5}),
        ("/<uuid:id>", f"/{ID}", {"id": ID}),
        ("/<any(a, 'x-y'):word>", "/x-y", {"word": "x-y"}),
        ("/<string(length=2):code>", "/de", {"code": "de"}),
        ("/static/<path:name>", "/static/js/app.js", {"name": "js/app.js"}),
        ("/<path:page>/edit", "/a/b/edit", {"page": "a/b"}),
        ("/<a>.<b>", "/x.y.z", {"a": "x.y", "b": "z"}),
        ("/<int:a>-<int:b>", "/1-2", {"a": 1, "b": 2}),
        ("/u/<int:id>/posts/<int:post>", "/u/1/posts/2", {"id": 1, "post": 2}),
        ("/u/<int:id>/edit", "/u/007/edit", {"id": 7}),
        ("/u/<int:id>/", "/u/7/", {"id": 7}),
        ("/u/<int:id>/edit", "/u/" + "9" * 641 + "/edit", {"id": int("9" * 641)}),
        ("/u/<name>/edit", "/u/ann/edit", {"name": "ann"}),
        ("/u/<name>/edit", "/u/7/edit", {"name": "7"}),
        ("/u/<uuid:id>/edit", f"/u/{ID}/edit", {"id": ID}),
        ("/u/<id>/posts/<int:post>", "/u/1/posts/2", {"id": "1", "post": 2}),
        ("/u/<int:id>/posts/<post>", "/u/1/posts/2", {"id": 1, "post": "2"}),
        ("/u/<id>/<path:rest>", "/u/1/posts/2", {"id": "1", "rest": "posts/2"}),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_rule_matches_the_path_and_converts_its_arguments(
    rule: str, path: str, args: dict[str, object]
) -> None:
    url_map = Map([Rule(rule, endpoint="e", methods=["GET"])])
    assert url_map.fast_match(path, "GET") == (next(url_map.iter_rules()), args)


@pytest.mark.parametrize(
    ("rules", "path", "endpoint"),
    [
        (["/<name>", "/me"], "/me", "/me"),
        (["/<name>", "/<int:id>"], "/42", "/<int:id>"),
        (["/<name>", "/<int:id>"], "/x", "/<name>"),
        (["/<name>", "/42", "/<int:id>"], "/42", "/42"),
        (["/a/<x>/c", "/<y>/b/d"], "/a/b/d", "/<y>/b/d"),
        (["/<x>/edit", "/<int:id>/edit"], "/4/edit", "/<int:id>/edit"),
        (["/<x>/edit", "/4/edit", "/<int:id>/edit"], "/4/edit", "/4/edit"),
        (["/<x>/edit", "/me/<y>"], "/me/edit", "/me/<y>"),
        (["/<int:a>/x/<int:b>", "/<int:a>/x/4"], "/4/x/4", "/<int:a>/x/4"),
        (["/<int:a>/x/<int:b>", "/4/<y>/4"], "/4/x/4", "/4/<y>/4"),
        (["/<path:p>", "/a/<x>"], "/a/b/c", "/<path:p>"),
        (["/<path:p>", "/a/<x>"], "/a/b", "/a/<x>"),
    ],
)
def test_werkzeugs_precedence_is_kept(rules: list[str], path: str, endpoint: str) -> None:
    url_map = Map([Rule(rule, endpoint=rule, methods=["GET"]) for rule in rules])
    hit = url_map.fast_match(path, "GET")
    assert hit is not None
    assert hit[0].endpoint == endpoint


def test_each_method_has_its_own_rule() -> None:
    url_map = Map(
        [
            Rule("/x", endpoint="read", methods=["GET"]),
            Rule("/x", endpoint="write", methods=["POST"]),
            Rule("/<name>", endpoint="any"),
        ]
    )
    found = {m: url_map.fast_match("/x", m) for m in ("GET", "HEAD", "POST", "PUT")}
    assert {m: hit and hit[0].endpoint for m, hit in found.items()} == {
        "GET": "read",
        "HEAD": "read",
        "POST": "write",
        "PUT": "any",
    }


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/branch", "GET"),
        ("/leaf/", "GET"),
        ("//leaf", "GET"),
        ("", "GET"),
        ("/none", "GET"),
        ("/leaf", "POST"),
        ("/leaf", "get"),
        ("/leaf", "NEVER-HEARD-OF"),
        ("/old", "GET"),
        ("/alias", "GET"),
        ("/page/1", "GET"),
        ("/socket", "GET"),
        ("/build", "GET"),
        ("/www", "GET"),
        ("/number/" + "9" * 5000, "GET"),
        ("/number/3", "GET"),
        ("/not-latin/\u20ac", "GET"),
    ],
)
def test_redirects_errors_and_unusual_paths_are_left_to_werkzeug(path: str, method: str) -> None:
    url_map = Map(
        [
            Rule("/leaf", endpoint="leaf", methods=["GET"]),
            Rule("/branch/", endpoint="branch", methods=["GET"]),
            Rule("/old", endpoint="old", redirect_to="/leaf", methods=["GET"]),
            Rule("/alias", endpoint="leaf", alias=True, methods=["GET"]),
            Rule("/page/", endpoint="page", defaults={"n": 1}, methods=["GET"]),
            Rule("/page/<int:n>", endpoint="page", methods=["GET"]),
            Rule("/socket", endpoint="socket", websocket=True),
            Rule("/build", endpoint="build", build_only=True),
            Rule("/www", endpoint="www", subdomain="www"),
            Rule("/number/<int(min=5):n>", endpoint="number", methods=["GET"]),
            Rule("/not-latin/<x>", endpoint="latin", methods=["GET"]),
        ]
    )
    assert url_map.fast_match(path, method) is None


def test_rule_with_a_rival_that_has_defaults_matches() -> None:
    url_map = Map(
        [
            Rule("/page/", endpoint="page", defaults={"n": 1}),
            Rule("/page/<int:n>", endpoint="page"),
        ]
    )
    first, second = url_map.fast_match("/page/", "GET"), url_map.fast_match("/page/2", "GET")
    assert first is not None
    assert second is not None
    assert (first[1], second[1]) == ({"n": 1}, {"n": 2})


def test_arguments_are_a_new_dict_each_time() -> None:
    url_map = Map([Rule("/", endpoint="e"), Rule("/<x>", endpoint="f", defaults={"y": 1})])
    for path in ("/", "/a"):
        first, second = url_map.fast_match(path, "GET"), url_map.fast_match(path, "GET")
        assert first is not None
        assert second is not None
        assert first[1] == second[1]
        assert first[1] is not second[1]


def test_interpreters_limit_for_digits_is_no_error() -> None:
    url_map = Map([Rule("/<int:n>", endpoint="e")])
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert url_map.fast_match("/" + "9" * 641, "GET") is None
    finally:
        sys.set_int_max_str_digits(before)


@pytest.mark.parametrize("rule", ["/<tag:x>", "/<tag:x>/edit", "/<int:n>/tags/<tag:x>"])
@pytest.mark.parametrize("text", ["7", "a"])
def test_converter_for_any_text_is_called_for_digits_too(rule: str, text: str) -> None:
    class Tag(UnicodeConverter):
        def to_python(self, value: str) -> str:
            return f"#{value}"

    url_map = Map([Rule(rule, endpoint="e")], converters={"tag": Tag})
    hit = url_map.fast_match(rule.replace("<tag:x>", text).replace("<int:n>", "1"), "GET")
    assert hit is not None
    assert hit[1]["x"] == f"#{text}"


def test_digits_too_long_for_an_integer_match_a_text_variable() -> None:
    url_map = Map([Rule("/<x>", endpoint="text"), Rule("/<int:n>/<x>", endpoint="number")])
    hit = url_map.fast_match("/" + "9" * 5000, "GET")
    assert hit is not None
    assert hit[0].endpoint == "text"


def test_error_of_a_converter_is_left_to_werkzeug() -> None:
    class Broken(UnicodeConverter):
        def to_python(self, value: str) -> str:
            raise RuntimeError(value)

    url_map = Map(converters={"broken": Broken})
    url_map.add(Rule("/<broken:x>", endpoint="e"))
    assert url_map.fast_match("/a", "GET") is None
    with pytest.raises(RuntimeError, match="a"):
        url_map.bind("localhost").match("/a")


def test_to_python_replaced_on_one_converter_is_called() -> None:
    url_map = Map([Rule("/<int:n>", endpoint="e")])
    rule = next(url_map.iter_rules())
    rule._converters["n"].to_python = lambda value: f"own {value}"  # type: ignore[method-assign]
    assert url_map.fast_match("/5", "GET") == (rule, {"n": "own 5"})


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (WerkzeugMap, "bind_to_environ"),
        (MapAdapter, "match"),
        (StateMachineMatcher, "match"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_patched_werkzeug_methods_are_used(
    owner: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url_map = Map([Rule("/", endpoint="e")])
    monkeypatch.setattr(owner, name, lambda *args, **kwargs: None)
    assert url_map.fast_match("/", "GET") is None
