"""A shadow computes what clients were answered, and its answers are compared and not sent."""

from __future__ import annotations

import io
import json
import os
import pathlib
import threading
import traceback
import typing as t

import pytest
from modelversions import write_version
from polling import PATIENCE_S, wait_until

from carboy import Upload
from carboy.errors import SignatureError
from carboy.models.versions import shadow as shadows


class Scaled:
    """Multiplies by the `factor` of its version; fails for the inputs in `fails_on`."""

    alive: t.ClassVar[list[str]] = []

    def __init__(self, path: pathlib.Path) -> None:
        content = json.loads((path / "version.json").read_text())
        self.factor = content.get("factor", 1)
        self.fails_on = content.get("fails_on", [])

    def predict(self, x: float) -> float:
        if x in self.fails_on:
            raise RuntimeError("cannot")
        return x * self.factor


def compared(model, number: int) -> dict[str, t.Any]:
    """Wait until so many requests were compared, and return what was found."""
    wait_until(lambda: model.versions.shadow.report()["compared"] == number)
    return model.versions.shadow.report()


def test_equal_answers_agree_and_no_client_gets_those_of_the_shadow(declare, app, store):
    write_version(store, "6", factor=2)
    write_version(store, "7", factor=2.000001)
    model = declare(Scaled, shadow="7")
    model.load()
    client = app.test_client()
    answers = [client.post("/m", json=x) for x in range(20)]
    assert [each.json for each in answers] == [2 * x for x in range(20)]
    assert {each.headers["X-Model-Version"] for each in answers} == {"6"}
    report = compared(model, 20)
    assert (report["agreed"], report["agreement"], report["worst"]) == (20, 1.0, [])
    assert (report["version"], report["against"]) == ("7", "6")
    assert report["served_ms"].keys() == report["shadow_ms"].keys() == {"p50", "p99"}


def test_the_ten_worst_differences_are_shown_with_input_and_both_answers(declare, app, store):
    write_version(store, "6", factor=1)
    write_version(store, "7", factor=2)
    model = declare(Scaled, shadow="7")
    model.load()
    for x in range(1, 31):
        assert app.test_client().post("/m", json=x).json == x
    report = compared(model, 30)
    assert (report["agreed"], report["agreement"], len(report["worst"])) == (0, 0.0, 10)
    worst = report["worst"][0]
    assert (json.loads(worst["input"])["x"], worst["difference"] != "") in [
        (x, True) for x in range(1, 31)
    ]
    assert float(worst["shadow"]) == 2 * float(worst["served"])


def test_failure_of_the_shadow_is_counted_and_seen_by_no_client(declare, app, store):
    write_version(store, "6")
    write_version(store, "7", fails_on=[3])
    model = declare(Scaled, shadow="7")
    model.load()
    assert [app.test_client().post("/m", json=x).status_code for x in range(5)] == [200] * 5
    report = compared(model, 5)
    assert (report["failed"], report["agreed"]) == (1, 4)
    assert report["worst"][0]["difference"] == "RuntimeError: cannot"


def test_answer_that_does_not_fit_the_type_fails_and_later_requests_are_compared(
    declare, app, store
):
    class Strange(Scaled):
        def predict(self, x: float) -> float:
            return "none" if self.factor == 2 and x == 1 else x  # type: ignore[return-value]

    write_version(store, "6")
    write_version(store, "7", factor=2)
    model = declare(Strange, shadow="7")
    model.load()
    for x in range(3):
        assert app.test_client().post("/m", json=x).json == x
    report = compared(model, 3)
    assert (report["failed"], report["agreed"]) == (1, 2)
    assert "none" in report["worst"][0]["difference"]


def test_failed_requests_are_not_compared(declare, app, store):
    app.config["PROPAGATE_EXCEPTIONS"] = False
    write_version(store, "6", fails_on=[3])
    write_version(store, "7")
    model = declare(Scaled, shadow="7")
    model.load()
    assert app.test_client().post("/m", json=3).status_code == 500
    assert app.test_client().post("/m", json=4).status_code == 200
    assert compared(model, 1)["agreed"] == 1


def test_batches_are_compared_entry_by_entry(declare, app, store):
    class ScaledAll(Scaled):
        def predict(self, xs: list[float]) -> list[float]:  # type: ignore[override]
            return [x * self.factor for x in xs]

    write_version(store, "6", factor=1)
    write_version(store, "7", factor=1)
    model = declare(ScaledAll, shadow="7", batch=8)
    model.load()
    assert [app.test_client().post("/m", json=x).json for x in range(20)] == list(range(20))
    assert compared(model, 20)["agreed"] == 20


def test_requests_that_fill_the_queue_together_are_compared(declare, app, store, monkeypatch):
    class ScaledAll(Scaled):
        def predict(self, xs: list[float]) -> list[float]:  # type: ignore[override]
            return [x * self.factor for x in xs]

    # The thread compares the first one, and then pauses: the next ones are submitted together.
    monkeypatch.setattr(shadows, "_PAUSE_S", 0.3)
    app.config["MODEL_PROTOCOLS"] = ["mlflow"]
    write_version(store, "6")
    write_version(store, "7")
    model = declare(ScaledAll, shadow="7", batch=2, queue=4)
    model.load()
    for _ in range(3):
        sent = app.test_client().post("/invocations", json={"inputs": [1.0, 2.0, 3.0, 4.0]})
        assert sent.json == {"predictions": [1, 2, 3, 4]}
    report = compared(model, 12)
    assert (report["agreed"], report["failed"], report["worst"]) == (12, 0, [])


def test_forms_whose_files_are_closed_at_the_end_of_the_request_are_skipped(declare, app, store):
    class Sized:
        def __init__(self, path: pathlib.Path) -> None:
            pass

        def predict(self, file: Upload) -> int:
            return len(file.stream.read())

    write_version(store, "6")
    write_version(store, "7")
    model = declare(Sized, shadow="7")
    model.load()
    answer = app.test_client().post("/m", data={"file": (io.BytesIO(b"abc"), "a.bin")})
    assert (answer.json, model.versions.shadow.report()["skipped"]) == (3, 1)


def test_shadow_computes_only_while_no_client_waits(declare, app, store):
    class Blocking(Scaled):
        blocks = threading.Event()
        began, opened = threading.Event(), threading.Event()
        calls: t.ClassVar[list[float]] = []

        def predict(self, x: float) -> float:
            if self.factor == 2:
                self.calls.append(x)
            elif x == 100:
                self.began.set()
                assert self.opened.wait(PATIENCE_S)
            return x

    write_version(store, "6")
    write_version(store, "7", factor=2)
    model = declare(Blocking, shadow="7")
    model.load()
    future = model.submit(100)
    assert Blocking.began.wait(PATIENCE_S)
    waiting = threading.Thread(target=lambda: app.test_client().post("/m", json=1))
    waiting.start()
    wait_until(lambda: model.statistics().waiting == 1)
    assert Blocking.calls == []
    Blocking.opened.set()
    future.result(PATIENCE_S)
    waiting.join(PATIENCE_S)
    assert compared(model, 1)["agreed"] == 1
    assert Blocking.calls == [1]


def test_requests_that_do_not_fit_are_skipped_and_counted(declare, app, store, monkeypatch):
    monkeypatch.setattr(shadows, "MOST_KEPT_BYTES", 10)
    write_version(store, "6")
    write_version(store, "7")
    model = declare(Scaled, shadow="7")
    model.load()
    assert app.test_client().post("/m", json=0.1234567890123).status_code == 200
    assert app.test_client().post("/m", json=1).status_code == 200
    assert compared(model, 1)["skipped"] == 1


def test_comparison_begins_anew_when_the_current_version_changes(declare, app, store):
    write_version(store, "6")
    write_version(store, "7")
    model = declare(Scaled, shadow="7")
    model.load()
    app.test_client().post("/m", json=1)
    compared(model, 1)
    write_version(store, "8")
    model.versions.refresh()
    assert model.version == "8"
    app.test_client().post("/m", json=1)
    wait_until(lambda: model.versions.shadow.report()["against"] == "8")
    assert compared(model, 1)["agreed"] == 1


def test_answers_of_the_version_before_are_not_compared_with_those_of_the_new_one(
    declare, app, store
):
    began, opened = threading.Event(), threading.Event()

    class Blocking(Scaled):
        def __init__(self, path: pathlib.Path) -> None:
            super().__init__(path)
            self.is_shadow = path.name == "7"

        def predict(self, x: float) -> float:
            if self.is_shadow:
                began.set()
                assert opened.wait(PATIENCE_S)
            return x * self.factor

    for name, factor in (("6", 2), ("7", 3)):
        write_version(store, name, factor=factor)
    model = declare(Blocking, shadow="7")
    model.load()
    client = app.test_client()
    assert [client.post("/m", json=x).json for x in range(1, 9)] == [2 * x for x in range(1, 9)]
    assert began.wait(PATIENCE_S)  # one is compared, the others are kept
    write_version(store, "8", factor=3)
    model.versions.refresh()
    assert client.post("/m", json=1).json == 3
    opened.set()
    report = compared(model, 1)
    assert (report["against"], report["agreed"], report["worst"]) == ("8", 1, [])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
def test_forked_process_compares_with_the_shadow_itself(declare, app, store):
    write_version(store, "6")
    write_version(store, "7")
    model = declare(Scaled, shadow="7")
    model.load()
    app.test_client().post("/m", json=1)
    compared(model, 1)
    pid = os.fork()
    if pid == 0:
        try:
            assert [app.test_client().post("/m", json=x).json for x in range(3)] == [0, 1, 2]
            assert compared(model, 3)["agreed"] == 3
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_shadow_that_is_stopped_before_it_sleeps_ends(declare, store, monkeypatch):
    ended = threading.Event()

    class StoppedFirst(threading.Event):
        """Lets `stop` be called after the thread has found that it was not."""

        def clear(self) -> None:
            comparison.stop()
            super().clear()

    write_version(store, "6")
    write_version(store, "7")
    model = declare(Scaled, shadow="7")
    with monkeypatch.context() as without_thread:
        without_thread.setattr(threading.Thread, "start", lambda _: None)
        comparison = shadows.ShadowComparison(model, model.current)
    comparison._wake = StoppedFirst()
    threading.Thread(target=lambda: (comparison._run(), ended.set()), daemon=True).start()
    assert ended.wait(PATIENCE_S)


def test_shadow_that_is_switched_to_serves_and_is_compared_no_more(declare, app, store):
    write_version(store, "6", factor=1)
    write_version(store, "7", factor=2)
    model = declare(Scaled, shadow="7")
    model.load()
    model.versions.source.choose("7")
    model.versions.refresh()
    assert (app.test_client().post("/m", json=2).json, model.versions.shadow) == (4, None)


def test_model_that_yields_has_no_shadow(app, store):
    class Streams:
        def __init__(self, path: pathlib.Path) -> None:
            pass

        def predict(self, x: int) -> t.Iterator[int]:
            yield x

    with pytest.raises(SignatureError, match="compares whole answers"):
        app.model("/m", name="m", source=str(store), shadow="7")(Streams)
