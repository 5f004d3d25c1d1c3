"""Which views the leader does itself, and that nothing a client sends fills the memory."""

from __future__ import annotations

import threading
import typing as t

import pytest
from werkzeug.routing import BaseConverter

from carboy import Carboy
from carboy.serving.threads import timing
from carboy.serving.threads.leader import Crew
from carboy.serving.threads.timing import Habits, Shift, View


def made_quick(view: View) -> View:
    for _ in range(3):
        view.note(0.00002, 0.000002)
    assert view.is_quick()
    return view


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
def test_a_view_is_quick_if_it_was(took_s: float, waited_s: float, quick: bool) -> None:
    view = View()
    for _ in range(3):
        assert not view.is_quick()  # it is not known yet
        assert view.is_sampled()
        view.note(took_s, waited_s)
    assert view.is_quick() == quick


def test_a_view_that_got_slower_is_not_quick_any_more_and_may_be_again() -> None:
    view = made_quick(View())
    view.note(0.05, 0.05)
    assert not view.is_quick()
    for _ in range(40):
        view.note(0.00002, 0.0)
    assert view.is_quick()


def test_a_view_that_held_the_leader_up_is_tried_again_after_many_calls() -> None:
    view = made_quick(View())
    view.waits()
    calls = 0
    while not view.is_quick():
        calls += 1
        if view.is_sampled():
            view.note(0.00002, 0.0)
    assert calls == timing._CAREFUL_CALLS


def test_care_that_two_threads_took_off_at_once_ends_all_the_same() -> None:
    view = made_quick(View())
    view._careful = -1
    assert view.is_quick()


def test_a_view_that_goes_on_waiting_never_leads_again() -> None:
    view = made_quick(View())
    view.waits()
    for _ in range(5000):
        assert not view.is_quick()
        if view.is_sampled():
            view.note(0.03, 0.03)


def test_few_calls_of_a_known_view_are_measured() -> None:
    view = made_quick(View())
    assert sum(view.is_sampled() for _ in range(800)) == 100


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


def test_a_view_is_one_under_all_its_addresses() -> None:
    known = Habits(an_app())
    assert known.of("GET", "/user/1") is known.of("GET", "/user/2")
    assert known.of("GET", "/page") is known.of("GET", "/page")
    assert known.of("GET", "/page") is not known.of("GET", "/")
    assert known.of("GET", "/missing") is known.of("GET", "/missing/too")


def test_a_view_may_be_slow_with_one_method_and_quick_with_another() -> None:
    known = Habits(an_app())
    assert known.of("GET", "/page") is not known.of("POST", "/page")


def test_applications_of_others_are_one_view() -> None:
    known = Habits(lambda environ, start_response: [])
    assert known.of("GET", "/a") is known.of("POST", "/b")


def test_clients_cannot_fill_the_memory() -> None:
    known = Habits(an_app())
    for i in range(2000):
        known.of("GET", f"/missing/{i}")
        known.of("GET", f"/user/{i}")
        known.of("GET", f"//page{'/' * (i % 7)}")
        known.of(f"ODD{i}", "/page")
        known.of("get", "/page")
        known.of("HEAD", f"/{i}")
        known.of("GET", f"/caf\xc3\xa9{i}")
        known.of("GET", f"/\udc80{i}")
        known.of("OPTIONS", "/page")
    assert len(known._by_path) <= 8
    assert len(known._views) <= 8


def test_a_rule_that_is_added_later_is_found() -> None:
    app = an_app()
    known = Habits(app)
    nobody = known.of("GET", "/new")
    app.add_url_rule("/new", "new", lambda: "")
    assert known.of("GET", "/new") is not nobody
    assert known.of("GET", "/page") is not nobody


def test_converters_of_the_application_are_called_by_the_application_only() -> None:
    """They may ask a database, and want a context."""
    Tenant.asked.clear()
    known = Habits(with_converter())
    unknown = known.of("GET", "/acme/page")
    assert Tenant.asked == []
    assert known.of("GET", "/user/1") is unknown
    for path in ("/page", "/", "/caf\xc3\xa9"):  # as WSGI spells it
        assert known.of("GET", path) is not unknown
    assert Tenant.asked == []


def test_a_converter_that_comes_with_a_later_rule_is_respected() -> None:
    Tenant.asked.clear()
    app = an_app()
    known = Habits(app)
    known.of("GET", "/page")
    app.url_map.converters["tenant"] = Tenant
    app.add_url_rule("/<tenant:name>/page", "tenant", lambda name: "")
    known.of("GET", "/acme/page")
    assert Tenant.asked == []


# --------------------------------------------------------------------------- who does it


def test_a_quick_view_is_done_by_the_leader_and_others_are_not() -> None:
    crew = Crew()
    shift = Shift(crew)
    quick, unknown = made_quick(View()), View()
    seen: list[tuple[bool, View | None]] = []

    def look() -> None:
        me = crew.me()
        assert me is not None
        seen.append((me.aside, me.view))

    crew.lead(shift.do, quick, look)
    crew.lead(shift.do, unknown, look)
    assert seen == [(False, quick), (True, None)]
    me = crew.me()
    assert me is not None
    assert me.view is None
    crew._members.clear()


def test_a_view_on_another_thread_is_just_done() -> None:
    seen: list[int] = []
    view = View()
    Shift(Crew()).do(view, seen.append, 1)
    assert seen == [1]
    assert view._samples == 0


def test_a_view_that_fails_is_measured_and_forgotten() -> None:
    crew = Crew()
    view = made_quick(View())
    view._calls = timing._SAMPLED - 1

    def fail() -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        crew.lead(Shift(crew).do, view, fail)
    assert view._samples == 4
    me = crew.me()
    assert me is not None
    assert me.view is None


def test_each_view_of_a_row_on_one_thread_has_its_own_time() -> None:
    """A thread with a slot takes one request after another from the line."""
    crew = Crew()
    shift, quick = Shift(crew), made_quick(View())

    def row() -> None:
        for _ in range(10):
            shift.do(quick, crew.look)

    crew.lead(row)
    assert quick.is_quick()
    assert threading.get_ident() in crew._members
