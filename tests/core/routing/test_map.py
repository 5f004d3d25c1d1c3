"""`Map.fast_match` is up to date after any change of the map."""

from __future__ import annotations

import threading

import pytest
import werkzeug.routing
from werkzeug.routing import Rule, RuleFactory, Submount
from werkzeug.routing.matcher import StateMachineMatcher

from carboy.core.routing import Map, adopt


def warm_map(**options: object) -> Map:
    url_map = Map([Rule("/first", endpoint="first")], **options)  # type: ignore[arg-type]
    assert url_map.fast_match("/first", "GET") is not None
    assert url_map.fast_match("/second", "GET") is None
    return url_map


def endpoint(url_map: Map, path: str) -> object:
    hit = url_map.fast_match(path, "GET")
    return hit and hit[0].endpoint


def test_rule_added_after_a_match_is_found() -> None:
    url_map = warm_map()
    url_map.add(Rule("/second", endpoint="second"))
    assert endpoint(url_map, "/second") == "second"


def test_rule_is_found_when_another_call_has_updated_the_map() -> None:
    url_map = warm_map()
    url_map.add(Rule("/second", endpoint="second"))
    url_map.bind("localhost").build("first")
    assert endpoint(url_map, "/second") == "second"


def test_rules_of_a_factory_are_found() -> None:
    url_map = warm_map()
    url_map.add(Submount("/sub", [Rule("/second", endpoint="second")]))
    assert endpoint(url_map, "/sub/second") == "second"


def test_rules_added_before_a_factory_failed_are_found() -> None:
    class Half(RuleFactory):
        def get_rules(self, map):
            yield Rule("/second", endpoint="second")
            raise RuntimeError

    url_map = warm_map()
    with pytest.raises(RuntimeError):
        url_map.add(Half())
    assert url_map.bind("localhost").match("/second")[0] == "second"
    assert endpoint(url_map, "/second") == "second"


def test_setting_remap_compiles_again() -> None:
    url_map = warm_map()
    rule = next(url_map.iter_rules())
    rule.methods = {"POST"}
    url_map._remap = True
    assert endpoint(url_map, "/first") is None


def test_host_matching_leaves_all_paths_to_werkzeug_while_it_is_on() -> None:
    url_map = warm_map()
    url_map.host_matching = True
    assert endpoint(url_map, "/first") is None
    url_map.host_matching = False
    assert endpoint(url_map, "/first") == "first"


def test_rules_of_the_default_subdomain_are_matched() -> None:
    url_map = warm_map()
    url_map.default_subdomain = "www"
    assert endpoint(url_map, "/first") is None
    url_map.add(Rule("/second", endpoint="second"))
    assert endpoint(url_map, "/second") == "second"


def test_strict_slashes_set_to_false_applies_to_later_rules() -> None:
    url_map = warm_map()
    url_map.strict_slashes = False
    url_map.add(Rule("/second/", endpoint="second"))
    assert endpoint(url_map, "/second") == "second"
    assert endpoint(url_map, "/first/") is None


def test_merge_slashes_set_to_false_applies_to_later_rules() -> None:
    url_map = warm_map()
    url_map.merge_slashes = False
    url_map.add(Rule("/second//x", endpoint="second"))
    assert endpoint(url_map, "/second//x") == "second"


def test_converter_registered_late_is_used_by_later_rules() -> None:
    class Upper(werkzeug.routing.BaseConverter):
        def to_python(self, value: str) -> str:
            return value.upper()

    url_map = warm_map()
    url_map.converters["upper"] = Upper
    url_map.add(Rule("/upper/<upper:x>", endpoint="upper"))
    hit = url_map.fast_match("/upper/a", "GET")
    assert hit is not None
    assert hit[1] == {"x": "A"}


def test_redirect_defaults_is_read_at_each_match() -> None:
    url_map = warm_map()
    url_map.add(Rule("/all/", endpoint="all", defaults={"n": 1}))
    url_map.add(Rule("/all/<int:n>", endpoint="all"))
    assert endpoint(url_map, "/all/1") is None
    url_map.redirect_defaults = False
    assert endpoint(url_map, "/all/1") == "all"


def test_custom_matcher_is_not_compiled() -> None:
    class Own(StateMachineMatcher):
        pass

    url_map = warm_map()
    url_map._matcher = Own(merge_slashes=True)
    assert endpoint(url_map, "/first") is None


def test_replaced_bind_method_is_noticed_and_its_removal_too() -> None:
    url_map = warm_map()
    url_map.bind_to_environ = lambda *args, **kwargs: None  # type: ignore[method-assign]
    assert endpoint(url_map, "/first") is None
    del url_map.bind_to_environ
    assert endpoint(url_map, "/first") == "first"


def test_plain_map_is_adopted_in_place() -> None:
    plain = werkzeug.routing.Map([Rule("/first", endpoint="first")])
    adopted = adopt(plain)
    assert adopted is plain
    assert endpoint(adopted, "/first") == "first"
    plain.add(Rule("/second", endpoint="second"))
    assert endpoint(adopted, "/second") == "second"


def test_adopting_twice_changes_nothing() -> None:
    url_map = warm_map()
    match = url_map.fast_match
    assert adopt(url_map) is url_map
    assert url_map.fast_match is match


def test_adopted_map_of_a_custom_class_keeps_its_class() -> None:
    class Own(werkzeug.routing.Map):
        added = 0

        def add(self, rulefactory: RuleFactory) -> None:
            self.added += 1
            super().add(rulefactory)

    for _ in range(2):
        own = Own([Rule("/first", endpoint="first")])
        url_map = adopt(own)
        assert isinstance(own, Own)
        assert type(own).__name__ == "Own"
        url_map.add(Rule("/second", endpoint="second"))
        assert own.added == 2
        assert endpoint(url_map, "/second") == "second"


def test_map_class_with_its_own_bind_is_left_to_werkzeug() -> None:
    class Own(werkzeug.routing.Map):
        def bind_to_environ(self, *args, **kwargs):
            return super().bind_to_environ(*args, **kwargs)

    url_map = adopt(Own([Rule("/first", endpoint="first")]))
    assert endpoint(url_map, "/first") is None


def test_unknown_werkzeug_internals_leave_all_paths_to_werkzeug() -> None:
    url_map = Map([Rule("/first", endpoint="first")])
    url_map.update()
    del url_map._matcher._root
    assert endpoint(url_map, "/first") is None


def test_threads_find_each_rule_as_soon_as_add_has_returned() -> None:
    url_map = Map()
    missed: list[str] = []

    def work(name: str) -> None:
        for i in range(30):
            path = f"/{name}/{i}"
            url_map.add(Rule(path, endpoint=path))
            if endpoint(url_map, path) != path:
                missed.append(path)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missed == []
