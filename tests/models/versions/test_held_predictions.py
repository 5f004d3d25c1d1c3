"""Predictions wait while a version takes the place of another one beside which it does not fit into
the memory.
"""

from __future__ import annotations

import os
import threading
import traceback
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
from modelversions import Counting, write_version
from polling import PATIENCE_S, wait_until

from carboy.errors import ClosedError, ModelLoadError

MB = 1_000_000


class Slow(Counting):
    """Loads when `may_load` is set, and computes a negative number when `may_compute` is set."""

    may_load: t.ClassVar[threading.Event]
    may_compute: t.ClassVar[threading.Event]
    seen: t.ClassVar[list[list[str]]]

    def __init__(self, path: t.Any) -> None:
        self.may_load.wait(PATIENCE_S)
        super().__init__(path)
        self.seen.append(list(self.alive))

    def predict(self, x: int) -> str:
        if x < 0:
            self.may_compute.wait(PATIENCE_S)
        return super().predict(x)


@pytest.fixture
def crowded(declare, store, monkeypatch):
    """Return a function that declares a model whose version 1 is loaded, and takes so much memory
    that another one of 1 MB does not fit beside it.
    """

    def crowd(*, target: type[Slow] = Slow, left: int = MB, freed: int = 2 * MB, **options: t.Any):
        events = {name: threading.Event() for name in ("may_load", "may_compute")}
        for event in events.values():
            event.set()
        write_version(store, "1", weights="0" * MB)
        model = declare(type("Counted", (target,), {"alive": [], "seen": [], **events}), **options)
        model.load()
        model.current.replica.loaded_bytes = freed
        monkeypatch.setattr("carboy.models.versions.memoryroom.available_bytes", lambda: left)
        return model

    return crowd


def test_version_takes_the_place_of_one_that_is_unloaded_first(crowded, app, store):
    """Requests, and groups of them, are answered by one version each, and none is lost."""
    model = crowded(hold_s=PATIENCE_S, batch=1)
    write_version(store, "2", weights="0" * MB)
    client = app.test_client
    stopped = threading.Event()

    def by_http() -> set[str]:
        http, seen = client(), set()
        while not stopped.is_set():
            answer = http.post("/m", json=5)
            assert answer.json == f"{answer.headers['X-Model-Version']}:5", answer.text
            seen.add(answer.headers["X-Model-Version"])
        return seen

    def by_python() -> set[str]:
        seen = set()
        while not stopped.is_set():
            seen |= {each.partition(":")[0] for each in (model.predict(1), *model.map([2, 3]))}
        return seen

    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(each) for each in (by_http, by_http, by_python, by_python)]
        wait_until(lambda: model.statistics().answered > 20)
        model.target.may_load.clear()
        changing = threading.Thread(target=model.versions.refresh)
        changing.start()
        wait_until(lambda: model.statistics().waiting >= 4)
        wait_until(lambda: model.target.alive == [])
        assert model.not_ready() == ""
        model.target.may_load.set()
        changing.join()
        wait_until(lambda: model.statistics().answered > 20)
        stopped.set()
        assert set().union(*(each.result() for each in running)) == {"1", "2"}
    assert model.target.seen == [["1"], ["2"]]
    assert [each["state"] for each in model.versions.states()] == ["serving"]


def test_waiting_predictions_are_computed_by_the_old_version_if_the_new_one_is_bad(crowded, store):
    model = crowded(hold_s=PATIENCE_S)
    model.target.may_load.clear()
    write_version(store, "2", weights="0" * MB, fails="init")
    with ThreadPoolExecutor(2) as threads:
        changing = threads.submit(model.versions.refresh)
        wait_until(lambda: not model.loaded)
        waiting = threads.submit(model.predict, 7)
        wait_until(lambda: model.statistics().waiting)
        model.target.may_load.set()
        assert waiting.result(PATIENCE_S) == "1:7"
        with pytest.raises(ModelLoadError, match="the weights are missing"):
            changing.result(PATIENCE_S)
    assert (model.predict(0), model.target.seen) == ("1:0", [["1"], ["1"]])
    assert [each["state"] for each in model.versions.states()] == ["serving", "failed"]


def test_predictions_are_refused_when_the_new_version_takes_longer(crowded, app, store):
    model = crowded(hold_s=0.05)
    model.current.replica.load_s = 0.0
    model.target.may_load.clear()
    write_version(store, "2", weights="0" * MB)
    changing = threading.Thread(target=model.versions.refresh)
    changing.start()
    wait_until(model.not_ready)
    assert model.not_ready() == "another version takes its place"
    refused = app.test_client().post("/m", json=0)
    assert (refused.status_code, "takes longer than the 0.05 s" in refused.text) == (503, True)
    assert "Retry-After" in refused.headers
    model.target.may_load.set()
    changing.join()
    assert (model.predict(0), model.not_ready()) == ("2:0", "")
    refused_count = model.statistics().refused
    assert refused_count == 1


def test_prediction_that_waits_too_long_for_the_new_version_says_so(crowded, app, store):
    model = crowded(hold_s=PATIENCE_S, deadline_s=0.05)
    model.target.may_load.clear()
    write_version(store, "2", weights="0" * MB)
    changing = threading.Thread(target=model.versions.refresh)
    changing.start()
    wait_until(lambda: not model.loaded)
    late = app.test_client().post("/m", json=0)
    assert (late.status_code, "is being replaced by another version" in late.text) == (503, True)
    model.target.may_load.set()
    changing.join()


def test_old_version_goes_on_if_it_does_not_finish_its_predictions_in_time(crowded, store):
    model = crowded(hold_s=0.05, concurrency=2)
    model.current.replica.load_s = 0.0
    model.target.may_compute.clear()
    write_version(store, "2", weights="0" * MB)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(model.predict, -1)
        wait_until(lambda: model.statistics().computing)
        with pytest.raises(ModelLoadError, match=r"had not ended within 0\.05 s"):
            model.versions.refresh()
        assert model.predict(3) == "1:3"
        model.target.may_compute.set()
        assert running.result(PATIENCE_S) == "1:-1"


# --- a hold that does not end --------------------------------------------------------------------


@pytest.fixture
def held(crowded, store):
    """Return a model whose version 1 was unloaded for version 2, which loads until the test
    ends.
    """
    model = crowded(hold_s=PATIENCE_S)
    model.target.may_load.clear()
    write_version(store, "2", weights="0" * MB)
    changing = threading.Thread(target=model.versions.refresh)
    changing.start()
    wait_until(lambda: not model.loaded)
    yield model
    model.target.may_load.set()
    changing.join()


def test_predictions_that_wait_when_the_model_is_closed_are_refused_at_once(held, app):
    with ThreadPoolExecutor(2) as threads:
        by_http = threads.submit(app.test_client().post, "/m", json=0)
        by_python = threads.submit(held.predict, 0)
        wait_until(lambda: held.statistics().waiting == 2)
        assert held.close(PATIENCE_S)
        assert (by_http.result().status_code, by_http.result().json["code"]) == (
            503,
            "model-closed",
        )
        with pytest.raises(ClosedError, match="is being closed"):
            by_python.result()
        # As after each `close`, the next prediction gets the version that should be served.
        later = threads.submit(held.predict, 3)
        held.target.may_load.set()
        assert later.result(PATIENCE_S) == "2:3"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
def test_process_that_is_forked_during_a_hold_begins_anew(held):
    """No thread of the parent is there, so nobody would end the hold, or compute what waits."""
    waiting = held.submit(7)
    assert held.statistics().waiting == 1
    pid = os.fork()
    if pid == 0:
        try:
            with pytest.raises(ClosedError, match="in the process that was forked"):
                waiting.result(PATIENCE_S)
            held.target.may_load.set()
            assert held.predict(1) == "1:1"
            held.versions.refresh()
            assert held.predict(1) == "2:1"
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    held.target.may_load.set()
    assert waiting.result(PATIENCE_S) == "2:7"


class Recursive(Slow):
    def predict(self, x: int) -> str:
        if x < 10:
            return super().predict(x)
        self.may_compute.wait(PATIENCE_S)
        return t.cast("str", self.model().predict(x - 10))


def test_model_that_asks_itself_does_not_wait_for_its_next_version(crowded, store):
    model = crowded(target=Recursive, hold_s=PATIENCE_S)
    model.target.model = lambda _: model
    model.target.may_compute.clear()
    write_version(store, "2", weights="0" * MB)
    with ThreadPoolExecutor(2) as threads:
        running = threads.submit(model.predict, 11)
        wait_until(lambda: model.statistics().computing)
        changing = threads.submit(model.versions.refresh)
        wait_until(lambda: model.current.is_held)
        model.target.may_compute.set()
        assert running.result(PATIENCE_S) == "1:1"
        changing.result(PATIENCE_S)
    assert model.predict(12) == "2:2"


@pytest.mark.parametrize(
    ("options", "crowd", "reason"),
    [
        pytest.param(
            {},
            {},
            r"2 MiB of memory beside version '1', and 1 MiB .* by app.model\(..., hold_s",
            id="no hold_s",
        ),
        pytest.param(
            {"hold_s": 30},
            {"freed": 0},
            "Without that version, 1 MiB would be left",
            id="too large alone",
        ),
        pytest.param(
            {"hold_s": 1e-9}, {}, r"\(hold_s\) .* but loading that one took", id="too slow"
        ),
    ],
)
def test_version_is_refused_if_waiting_would_not_help(crowded, store, options, crowd, reason):
    model = crowded(**options, **crowd)
    write_version(store, "2", weights="0" * MB)
    with pytest.raises(ModelLoadError, match=reason):
        model.versions.refresh()
    assert (model.predict(0), model.target.alive) == ("1:0", ["1"])


@pytest.mark.parametrize("hold_s", [0, -1, float("inf"), "30", True])
def test_time_that_is_none_is_refused(declare, hold_s):
    with pytest.raises(ValueError, match="hold_s="):
        declare(hold_s=hold_s)


def test_hold_without_versions_is_refused(app):
    with pytest.raises(ValueError, match="no effect without source="):
        app.model("/x", hold_s=3)(Counting)
