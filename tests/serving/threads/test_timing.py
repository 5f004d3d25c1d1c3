"""Which views are quick enough for the leading thread, and that the table is bounded."""

from __future__ import annotations

import typing as t

import pytest
from werkzeug.routing import BaseConverter

from carboy import Carboy
from carboy.serving.threads import timing
from carboy.serving.threads.timing import TimingTable, ViewTiming


def made_quick(view: ViewTiming) -> ViewTiming:
    for _ in range(3):
        view.record(0.00002, 0.000002)
    assert not blocks(view)
    return view


def blocks(view: ViewTiming) -> bool:
    """Whether the next call must leave the leading thread."""
    if view.quick_calls:
        view.quick_calls -= 1
        return False
    return view.may_block()


# --------------------------------------------------------------------------- one view


@pytest.mark.parametrize(
    ("took_s", "waited_s", "quick"),
    [
        (0.00002, 0.000002, True),
        (0.0004, 0.0, True),
        (0.002, 0.0, False),
        (0.0004, 0.0003, False),
        (0.03, 0.03, False),
    ],
    ids=["at-once", "computes-a-little", "computes-for-long", "waits-a-little", "waits"],
)
def test_view_that_was_quick_three_times_is_quick(
    took_s: float, waited_s: float, quick: bool
) -> None:
    view = ViewTiming()
    for _ in range(3):
        assert blocks(view)  # too few samples
        view.record(took_s, waited_s)
    assert blocks(view) != quick


def test_view_that_gets_slower_is_not_quick_until_it_recovers() -> None:
    view = made_quick(ViewTiming())
    view.quick_calls = 0
    view.record(0.05, 0.05)
    assert blocks(view)
    for _ in range(40):
        view.record(0.00002, 0.0)
    assert not blocks(view)


def test_view_that_was_stuck_is_tried_again_after_many_calls() -> None:
    view = made_quick(ViewTiming())
    view.record_block()
    calls = 0
    while blocks(view):
        calls += 1
        view.record(0.00002, 0.0)
    assert calls == timing._DEFERRED_CALLS


def test_countdown_that_two_threads_decrement_at_once_ends() -> None:
    view = made_quick(ViewTiming())
    view.quick_calls = 0
    view._deferred_calls = -1
    assert not blocks(view)


def test_view_that_goes_on_waiting_is_never_quick() -> None:
    view = made_quick(ViewTiming())
    view.record_block()
    for _ in range(5000):
        assert blocks(view)
        view.record(0.03, 0.03)


def test_one_call_in_eight_is_measured() -> None:
    view = made_quick(ViewTiming())
    view.quick_calls = measured = 0
    for _ in range(800):
        if view.quick_calls:
            view.quick_calls -= 1
        else:
            measured += 1
            view.record(0.00002, 0.0)
    assert measured == 100


# --------------------------------------------------------------------------- the view of a path


class Tenant(BaseConverter):
    asked: t.ClassVar[list[str]] = []

    def to_python(self, value: str) -> str:
        self.asked.append(value)
        return value


def an_app() -> Carboy:
    app = Carboy(__name__)
    app.add_url_rule("/", "index", lambda: "")
    app.add_url_rule("/page", "page", lambda: "", methods=["GET", "POST"])
    app.add_url_rule("/user/<int:number>", "user", lambda number: "")
    app.add_url_rule("/caf\xe9", "cafe", lambda: "")
    return app


def with_converter() -> Carboy:
    app = an_app()
    app.url_map.converters["tenant"] = Tenant
    app.add_url_rule("/<tenant:name>/page", "tenant", lambda name: "")
    return app


def test_all_urls_of_a_view_share_its_timing() -> None:
    timings = TimingTable(an_app())
    assert timings.of("GET", "/user/1") is timings.of("GET", "/user/2")
    assert timings.of("GET", "/page") is timings.of("GET", "/page")
    assert timings.of("GET", "/page") is not timings.of("GET", "/")
    assert timings.of("GET", "/missing") is timings.of("GET", "/missing/too")


def test_methods_of_a_view_are_timed_apart() -> None:
    timings = TimingTable(an_app())
    assert timings.of("GET", "/page") is not timings.of("POST", "/page")


def test_application_without_a_url_map_is_timed_as_one_view() -> None:
    timings = TimingTable(lambda environ, start_response: [])
    assert timings.of("GET", "/a") is timings.of("POST", "/b")


def test_table_does_not_grow_with_paths_and_methods_of_clients() -> None:
    timings = TimingTable(an_app())
    for i in range(2000):
        timings.of("GET", f"/missing/{i}")
        timings.of("GET", f"/user/{i}")
        timings.of("GET", f"//page{'/' * (i % 7)}")
        timings.of(f"ODD{i}", "/page")
        timings.of("get", "/page")
        timings.of("HEAD", f"/{i}")
        timings.of("GET", f"/caf\xc3\xa9{i}")
        timings.of("GET", f"/\udc80{i}")
        timings.of("OPTIONS", "/page")
    assert len(timings._by_path) <= 8
    assert len(timings._views) <= 8


def test_rule_that_is_added_later_is_timed() -> None:
    app = an_app()
    timings = TimingTable(app)
    nobody = timings.of("GET", "/new")
    app.add_url_rule("/new", "new", lambda: "")
    assert timings.of("GET", "/new") is not nobody
    assert timings.of("GET", "/page") is not nobody


def test_table_calls_no_converter_of_the_application() -> None:
    """They may ask a database, and want a context."""
    Tenant.asked.clear()
    timings = TimingTable(with_converter())
    untimings = timings.of("GET", "/acme/page")
    assert Tenant.asked == []
    assert timings.of("GET", "/user/1") is untimings
    for path in ("/page", "/", "/caf\xc3\xa9"):  # in the form of WSGI
        assert timings.of("GET", path) is not untimings
    assert Tenant.asked == []


def test_table_calls_no_converter_of_a_rule_that_is_added_later() -> None:
    Tenant.asked.clear()
    app = an_app()
    timings = TimingTable(app)
    timings.of("GET", "/page")
    app.url_map.converters["tenant"] = Tenant
    app.add_url_rule("/<tenant:name>/page", "tenant", lambda name: "")
    timings.of("GET", "/acme/page")
    assert Tenant.asked == []
