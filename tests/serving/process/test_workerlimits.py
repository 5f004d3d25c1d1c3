"""When a worker asks to be replaced: requests, memory, views that hang."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from carboy.errors import ConfigError
from carboy.serving.process.workerlimits import WorkerLimits, lower_by_chance
from carboy.serving.settings import Settings
from carboy.serving.wsgi.viewwatch import ViewWatch

ENVIRON = {"REQUEST_METHOD": "GET", "PATH_INFO": "/slow"}


def limits_of(*, count=lambda: 0, watch=None, **settings):
    """Return limits, and the list of reasons for which they ask to leave."""
    reasons: list[str] = []
    settings = dataclasses.replace(Settings(), **settings)
    return WorkerLimits(settings, count, watch, reasons.append), reasons


def test_limit_is_lowered_by_chance_by_at_most_a_tenth_of_its_distance():
    lowered = {lower_by_chance(1000, 500) for _ in range(200)}
    assert min(lowered) >= 950
    assert max(lowered) <= 1000
    assert len(lowered) > 1


def test_worker_leaves_once_after_its_requests():
    counts = iter([899, 1000, 1001])
    limits, reasons = limits_of(count=lambda: next(counts), max_requests=1000)
    for expected in (0, 1, 1):
        limits.check()
        assert len(reasons) == expected
    assert reasons == ["it has answered 1000 requests (--max-requests)"]


def test_worker_does_not_leave_without_limits():
    limits, reasons = limits_of(count=lambda: 10**9)
    limits.check()
    assert not reasons


def test_limit_on_memory_that_the_app_already_exceeds_is_refused():
    with pytest.raises(ConfigError, match="not below the limit of 1 MiB"):
        limits_of(max_rss_bytes=2**20)


class HeldViews:
    """Views that run on threads of their own until the test lets them return."""

    def __init__(self, watch: ViewWatch) -> None:
        self.watch = watch
        self.go_on = threading.Event()
        self.threads: list[threading.Thread] = []

    def app(self, environ, start_response):
        self.began.set()
        self.go_on.wait(30)
        start_response("200 OK", [])
        return [b""]

    def begin(self, **environ: object) -> None:
        self.began = threading.Event()
        args = (self.app, {**ENVIRON, **environ}, 0)
        self.threads.append(threading.Thread(target=self.watch.call, args=args, name="view"))
        self.threads[-1].start()
        assert self.began.wait(30)

    def end(self) -> None:
        self.go_on.set()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def views():
    views = HeldViews(ViewWatch())
    yield views
    views.end()


def test_view_that_takes_too_long_is_logged_once_with_its_stack(views, caplog):
    limits, reasons = limits_of(watch=views.watch, view_timeout_s=1e-6, threads=2)
    views.begin()
    limits.check()
    limits.check()
    (record,) = caplog.records
    assert "GET /slow has taken more than 1e-06 s (--view-timeout)" in record.getMessage()
    assert "in app\n" in record.getMessage()
    assert not reasons
    views.end()
    assert views.watch.overdue(0) == []


def test_worker_leaves_if_all_its_threads_hang(views, caplog):
    limits, reasons = limits_of(watch=views.watch, view_timeout_s=1e-6, threads=2)
    views.begin()
    views.begin()
    limits.check()
    limits.check()
    assert reasons == ["its 2 threads all hang (--view-timeout)"]
    (record,) = caplog.records
    assert record.getMessage().count("in app\n") == 2
    assert "Thread MainThread:" in record.getMessage()


def test_view_that_is_within_its_time_is_not_overdue(views):
    views.begin()
    assert views.watch.overdue(600) == []
    assert [view.request for view in views.watch.overdue(0)] == ["GET /slow"]


def test_view_that_has_taken_over_the_socket_may_go_on(views):
    views.begin(**{"werkzeug.socket": object()})
    assert views.watch.overdue(0) == []
