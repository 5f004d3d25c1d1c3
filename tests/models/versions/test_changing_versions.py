"""A version of a model takes the place of another one, or does not and says why."""

from __future__ import annotations

import gc
import os
import shutil
import threading
import typing as t
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from modelversions import Counting, write_version
from polling import PATIENCE_S, wait_until

from carboy.errors import ModelLoadError
from carboy.models.versions.versionset import VersionSet


def states(model) -> dict[str, str]:
    return {each["version"]: each["state"] for each in model.versions.states()}


def reason(model, name: str) -> str:
    return next(each["reason"] for each in model.versions.states() if each["version"] == name)


# --- which version is served ---------------------------------------------------------------------


def test_newest_version_is_loaded_at_the_first_prediction(declare, store):
    for name in ("9", "10"):
        write_version(store, name)
    model = declare()
    assert (model.loaded, model.version) == (False, None)
    assert model.predict(1) == "10:1"
    assert (model.loaded, model.version) == (True, "10")
    assert states(model) == {"10": "serving"}


@pytest.mark.parametrize("ask", ["predict", "submit"])
def test_example_and_check_of_the_first_version_may_ask_the_model(app, declare, store, ask):
    class Asking(Counting):
        alive: t.ClassVar[list[str]] = []

        def predict(self, x: int) -> str:
            if x == 0:
                return self.name
            model = app.models["m"]
            found = model.predict(x - 1) if ask == "predict" else model.submit(x - 1).result()
            return t.cast("str", found)

        def check(self) -> None:
            self.predict(1)

    write_version(store, "1")
    model = declare(Asking, example=2)
    app.load_models()
    assert model.predict(2) == "1"
    assert app.test_client().post("/m", json=1).json == "1"


def test_version_changes_although_the_close_of_the_old_one_fails(declare, store, caplog):
    class Clinging(Counting):
        alive: t.ClassVar[list[str]] = []

        def close(self) -> None:
            raise RuntimeError("cannot close")

    write_version(store, "1")
    model = declare(Clinging)
    model.load()
    write_version(store, "2")
    model.versions.refresh()
    assert model.predict(1) == "2:1"
    assert states(model) == {"2": "serving"}
    assert "Model 'm', version '1': the model's `close` method failed" in caplog.messages


def test_refresh_changes_to_a_newer_version_and_unloads_the_old_one(declare, store):
    write_version(store, "1")
    model = declare()
    model.load()
    write_version(store, "2")
    assert model.predict(1) == "1:1"
    model.versions.refresh()
    assert model.predict(1) == "2:1"
    assert model.target.alive == ["2"]
    assert states(model) == {"2": "serving"}


def test_version_that_appears_is_served_without_being_told(declare, store, watched):
    write_version(store, "1")
    model = declare()
    model.load()
    write_version(store, "2")
    wait_until(lambda: model.predict(0) == "2:0")


def test_choice_of_an_older_version_is_followed_and_ended_by_a_newer_one(declare, store):
    write_version(store, "1")
    write_version(store, "2")
    model = declare()
    model.load()
    model.versions.source.choose("1")
    model.versions.refresh()
    assert model.predict(0) == "1:0"
    write_version(store, "3")
    model.versions.refresh()
    assert model.predict(0) == "3:0"


def test_model_keeps_its_version_while_its_source_is_away(declare, store, watched, caplog):
    write_version(store, "1")
    model = declare()
    model.load()
    shutil.move(store, store.with_name("away"))
    wait_until(lambda: "There is no folder" in caplog.text)
    with pytest.raises(ModelLoadError, match="There is no folder"):
        model.versions.refresh()
    assert model.predict(0) == "1:0"
    shutil.move(store.with_name("away"), store)
    write_version(store, "2")
    wait_until(lambda: model.predict(0) == "2:0")


def test_model_that_is_unloaded_serves_no_version(declare, store):
    write_version(store, "1")
    write_version(store, "2", fails="init")
    model = declare()
    for _ in range(2):
        model.load()
        assert (model.predict(0), states(model)) == ("1:0", {"1": "serving", "2": "failed"})
        model.unload()
        assert states(model) == {"2": "failed"}
    model.unload()
    assert states(model) == {"2": "failed"}


@pytest.mark.parametrize(
    "options", [{"canary": {"7": 0.5}}, {"shadow": "7"}, {"hold_s": 5}], ids=" ".join
)
def test_options_without_effect_on_a_single_version_are_logged(app, store, caplog, options):
    write_version(store, "7")
    target = type("One", (Counting,), {"alive": []})
    app.model("/m", name="m", source=str(store / "7"), **options)(target)
    app.load_models()
    app.models["m"].versions.refresh()
    ((name, value),) = options.items()
    assert f"{name}={value!r} has no effect: " in caplog.text
    assert (app.models["m"].predict(0), target.alive) == ("7:0", ["7"])


def test_folder_of_a_single_version_declares_no_versions(app, store):
    write_version(store, "7")
    app.model("/m", name="m", source=str(store / "7"))(type("One", (Counting,), {"alive": []}))
    model = app.models["m"]
    assert model.predict(0) == "7:0"
    assert (model.current.name, model.version, model.versions.states()) == ("", "7", [])
    write_version(store, "8")
    model.versions.refresh()
    assert model.predict(0) == "7:0"
    assert "X-Model-Version" not in app.test_client().post("/m", json=0).headers


def test_model_that_was_closed_serves_the_newest_version_when_it_is_loaded_again(declare, store):
    write_version(store, "1")
    model = declare()
    model.load()
    model.close()
    assert model.target.alive == []
    write_version(store, "2")
    model.load()
    assert model.predict(0) == "2:0"
    assert model.target.alive == ["2"]


def test_closed_model_follows_its_source_again_from_the_next_prediction_on(
    declare, app, store, watched
):
    write_version(store, "1")
    model = declare()
    model.load()
    model.close()
    assert app.test_client().post("/m", json=0).json == "1:0"
    write_version(store, "2")
    wait_until(lambda: model.predict(0) == "2:0")
    assert model.target.alive == ["2"]


@pytest.mark.parametrize("change", ["refresh", "switch"])
def test_model_that_is_closed_while_a_version_is_loaded_leaves_none_loaded(declare, store, change):
    loading, may_load = threading.Event(), threading.Event()

    class Slow(Counting):
        alive: t.ClassVar[list[str]] = []

        def __init__(self, path) -> None:
            if path.name == "2":
                loading.set()
                assert may_load.wait(PATIENCE_S)
            super().__init__(path)

    write_version(store, "1")
    model = declare(Slow)
    model.load()
    write_version(store, "2")
    do = model.versions.refresh if change == "refresh" else lambda: model.versions.switch("2")
    with ThreadPoolExecutor(1) as threads:
        changed = threads.submit(do)
        assert loading.wait(PATIENCE_S)
        assert model.close(PATIENCE_S)
        may_load.set()
        changed.result(PATIENCE_S)
    assert (model.loaded, model.target.alive) == (False, [])
    assert model.predict(1) == "2:1"
    assert model.close(PATIENCE_S)
    assert model.target.alive == []


@pytest.mark.parametrize("exists", [False, True])
def test_source_without_any_version_says_so(declare, store, exists):
    if not exists:
        store.rmdir()
    model = declare()
    with pytest.raises(ModelLoadError, match=f"Model 'm': .*{store}"):
        model.load()


# --- versions that cannot be served --------------------------------------------------------------


@pytest.mark.parametrize(
    ("fails", "why"),
    [
        ("init", "RuntimeError: the weights are missing"),
        ("predict", "it failed on its example: RuntimeError: no answer"),
        ("check", "RuntimeError: the device is lost"),
        ("exit", "SystemExit: 3"),
    ],
)
def test_version_that_fails_is_not_served_and_the_old_one_stays(declare, store, fails, why):
    write_version(store, "1")
    model = declare(example=3)
    model.load()
    write_version(store, "2", fails=fails)
    with pytest.raises(ModelLoadError, match="Version '1' is still served") as raised:
        model.versions.refresh()
    assert why in str(raised.value)
    assert states(model) == {"1": "serving", "2": "failed"}
    assert why in reason(model, "2")
    assert model.predict(0) == "1:0"
    assert model.target.alive.count("1") == 1


def test_version_that_fails_is_tried_again_only_when_its_files_change(declare, store):
    write_version(store, "1")
    model = declare()
    model.load()
    write_version(store, "2", fails="init")
    with pytest.raises(ModelLoadError):
        model.versions.refresh()
    assert not model.versions.is_outdated()
    model.versions.refresh()  # does nothing
    shutil.rmtree(store / "2")
    write_version(store, "2")
    model.versions.refresh()
    assert model.predict(0) == "2:0"


def test_failure_of_a_version_is_logged_once_while_the_source_is_watched(
    declare, store, watched, caplog
):
    write_version(store, "1")
    model = declare()
    model.load()
    write_version(store, "2", fails="init")
    wait_until(lambda: states(model).get("2") == "failed")
    write_version(store, "3")
    wait_until(lambda: model.predict(0) == "3:0")
    assert caplog.text.count("the weights are missing") == 1


def test_half_copied_version_is_not_served_until_it_is_complete(declare, store):
    write_version(store, "1")
    model = declare()
    model.load()
    write_version(store, "2")
    (store / "2" / "version.json").rename(store / "kept")
    model.versions.refresh()
    assert model.predict(0) == "1:0"
    assert states(model)["2"] == "failed"
    assert "version.json" in reason(model, "2")
    (store / "kept").rename(store / "2" / "version.json")
    model.versions.refresh()
    assert model.predict(0) == "2:0"


def test_server_that_starts_falls_back_to_the_version_before_a_bad_one(declare, store, caplog):
    write_version(store, "1")
    write_version(store, "2", fails="init")
    model = declare()
    model.load()
    assert model.predict(0) == "1:0"
    assert states(model) == {"1": "serving", "2": "failed"}
    assert "the weights are missing" in caplog.text


def test_model_without_any_good_version_says_what_is_wrong_with_each(declare, store):
    write_version(store, "1", fails="init")
    write_version(store, "2", fails="exit")
    model = declare()
    with pytest.raises(ModelLoadError) as raised:
        model.load()
    assert "none of the 2 versions" in str(raised.value)
    assert "the weights are missing" in str(raised.value)
    assert "SystemExit" in str(raised.value)


def test_version_for_which_there_is_no_memory_is_refused_before_it_is_loaded(
    declare, store, monkeypatch
):
    write_version(store, "1")
    model = declare()
    model.load()
    write_version(store, "2", weights="0" * 2_000_000)
    monkeypatch.setattr("carboy.models.versions.memoryroom.available_bytes", lambda: 1_000_000)
    with pytest.raises(ModelLoadError, match=r"needs about \d+ MiB .* and 1 MiB are left"):
        model.versions.refresh()
    assert states(model) == {"1": "serving", "2": "failed"}
    assert model.target.alive == ["1"]
    monkeypatch.undo()
    model.versions.refresh(retry=True)
    assert model.predict(0) == "2:0"


def test_versions_on_trial_are_loaded_beside_a_newest_one_that_fails(declare, store):
    write_version(store, "1")
    model = declare(canary={"2": 0.5})
    model.load()
    write_version(store, "2")
    write_version(store, "3", fails="init")
    with pytest.raises(ModelLoadError, match="the weights are missing"):
        model.versions.refresh()
    assert states(model) == {"1": "serving", "2": "canary", "3": "failed"}


def test_switching_to_a_version_that_does_not_exist_names_those_that_do(declare, store):
    write_version(store, "1")
    model = declare()
    model.load()
    with pytest.raises(ModelLoadError, match=r"no version '5' in .*, which has 1"):
        model.versions.switch("5")


def test_model_without_source_has_no_versions_to_switch_to(app):
    app.model("/m", name="m")(lambda_model())
    with pytest.raises(ModelLoadError, match="has no source, and so no versions"):
        app.models["m"].versions.switch("5")


def lambda_model():
    def double(x: int) -> int:
        return 2 * x

    return double


# --- no request is lost, no answer mixes versions ------------------------------------------------


def test_twenty_changes_under_load_lose_no_request_and_leave_no_object(declare, app, store):
    """The requests come by HTTP, by Python and in groups; each group is of one version."""
    write_version(store, "0")
    model = declare(queue=100_000)
    model.load()
    stopped, client = threading.Event(), app.test_client
    seen: set[str] = set()

    def by_http() -> int:
        count, http = 0, client()
        while not stopped.is_set():
            answer = http.post("/m", json=count)
            assert answer.status_code == 200, answer.text
            assert answer.json == f"{answer.headers['X-Model-Version']}:{count}"
            seen.add(answer.headers["X-Model-Version"])
            count += 1
        return count

    def by_python() -> int:
        count = 0
        while not stopped.is_set():
            assert model.predict(count).endswith(f":{count}")
            futures = [model.submit(each) for each in range(5)]
            assert [each.result(PATIENCE_S).partition(":")[2] for each in futures] == list("01234")
            count += 6
        return count

    def by_map() -> int:
        count = 0
        while not stopped.is_set():
            count += len(list(model.map(range(50))))
        return count

    with ThreadPoolExecutor(6) as threads:
        running = [threads.submit(each) for each in (by_http, by_http, by_python, by_map)]
        try:
            for number in range(1, 21):
                write_version(store, str(number))
                model.versions.refresh()
                assert model.predict(0) == f"{number}:0"
        finally:
            stopped.set()
        counts = [each.result(PATIENCE_S) for each in running]
    assert all(counts)
    assert len(seen) > 2
    assert model.target.alive == ["20"]


class Gated:
    """Waits in `predict` until the test lets it go."""

    began, opened = threading.Semaphore(0), threading.Event()

    def __init__(self, path: t.Any) -> None:
        self.name = os.path.basename(path)

    def predict(self, x: int) -> str:
        if self.name == "1":
            self.began.release()
            assert self.opened.wait(PATIENCE_S)
        return f"{self.name}:{x}"


@pytest.fixture
def gated():
    return type(
        "GatedHere", (Gated,), {"began": threading.Semaphore(0), "opened": threading.Event()}
    )


def test_predictions_that_wait_are_computed_by_the_version_that_accepted_them(
    declare, store, gated
):
    write_version(store, "1")
    model = declare(gated)
    model.load()
    waiting = [model.submit(each) for each in range(3)]
    assert gated.began.acquire(timeout=PATIENCE_S)
    write_version(store, "2")
    with ThreadPoolExecutor(1) as threads:
        refreshed = threads.submit(model.versions.refresh)
        wait_until(lambda: states(model) == {"1": "draining", "2": "serving"})
        assert model.predict(7) == "2:7"
        assert not any(each.done() for each in waiting)
        gated.opened.set()
        refreshed.result(PATIENCE_S)
    assert [each.result(PATIENCE_S) for each in waiting] == ["1:0", "1:1", "1:2"]
    assert states(model) == {"2": "serving"}


def test_request_that_has_read_the_old_version_is_answered_by_the_new_one(declare, store):
    write_version(store, "1")
    model = declare()
    model.load()
    read = model.current
    write_version(store, "2")
    model.versions.refresh()
    assert read.queue.run({"x": 1}) == "2:1"
    ticket = read.queue.submit({"x": 2}, deadline_s=PATIENCE_S)
    ticket.wait()
    assert (ticket.result(), ticket.version) == ("2:2", "2")


def test_prediction_that_was_passed_on_can_be_cancelled(declare, store, gated):
    write_version(store, "0")
    model = declare(gated)
    model.load()
    read = model.current
    write_version(store, "1")
    model.versions.refresh()
    computing, waiting = (read.queue.submit({"x": x}, deliver=lambda _: None) for x in (0, 1))
    assert gated.began.acquire(timeout=PATIENCE_S)
    assert waiting.queue.cancel(waiting)
    gated.opened.set()
    wait_until(lambda: computing.settled)
    assert model.statistics().cancelled == 1


def test_unloaded_version_is_freed_even_if_its_object_is_in_a_cycle(declare, store):
    class Cyclic(Counting):
        alive: t.ClassVar[list[str]] = []

        def __init__(self, path: t.Any) -> None:
            super().__init__(path)
            self.me = self

    write_version(store, "1")
    model = declare(Cyclic)
    model.load()
    old = weakref.ref(model.current.replica._object)
    write_version(store, "2")
    gc.disable()
    try:
        model.versions.refresh()
        assert old() is None
    finally:
        gc.enable()


# --- who else learns of versions -----------------------------------------------------------------


def test_answer_names_the_version_that_has_computed_it(declare, app, store):
    write_version(store, "1")
    model = declare()
    answer = app.test_client().post("/m", json=5)
    assert (answer.json, answer.headers["X-Model-Version"]) == ("1:5", "1")
    assert model.version == "1"


def test_observers_learn_of_each_version(declare, store):
    added: list[str] = []

    class Observer:
        def added(self, model, version) -> None:
            added.append(version.name)

    write_version(store, "1")
    model = declare()
    model.versions.observers.append(Observer())
    model.load()
    write_version(store, "2")
    model.versions.refresh()
    assert added == ["1", "2"]


def test_model_is_loading_and_not_ready_until_a_version_is_loaded(declare, store):
    opened = threading.Event()

    class Slow(Counting):
        alive: t.ClassVar[list[str]] = []

        def __init__(self, path: t.Any) -> None:
            assert opened.wait(PATIENCE_S)
            super().__init__(path)

    write_version(store, "1")
    model = declare(Slow)
    assert model.not_ready() == "not loaded"
    with ThreadPoolExecutor(1) as threads:
        loaded = threads.submit(model.load)
        wait_until(lambda: model.not_ready() == "loading")
        opened.set()
        loaded.result(PATIENCE_S)
    wait_until(lambda: model.not_ready() == "")  # its check has returned


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
def test_forked_process_watches_the_source_itself(declare, store, watched):
    write_version(store, "1")
    model = declare()
    model.load()
    assert isinstance(model.versions, VersionSet)
    pid = os.fork()
    if pid == 0:
        try:
            wait_until(lambda: model.predict(0) == "2:0")
            os._exit(0)
        finally:
            os._exit(1)
    write_version(store, "2")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
