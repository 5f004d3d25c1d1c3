"""Probes are answered at once, whatever the models do."""

from __future__ import annotations

import math
import threading
import typing as t

import pytest
from overdue import let_pass
from polling import PATIENCE_S, wait_until

from carboy.errors import LoadingError
from carboy.models.collection import Model, Models
from carboy.models.options import Options
from carboy.models.replicas import checkup


def add(models: Models, target: t.Any, **options: t.Any) -> Model:
    model = Model(target.__name__.lower(), f"/{target.__name__}", target, Options(**options))
    models.add(model)
    return model


class _Checked:
    failure: t.ClassVar[Exception | None] = None
    release: t.ClassVar[threading.Event | None] = None
    asked = 0

    def predict(self, x: int) -> int:
        return x

    def check(self) -> None:
        type(self).asked += 1
        if self.release is not None:
            self.release.wait(PATIENCE_S)
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def Checked():
    """A class of its own for each test: a check of the last one's may still run."""

    class Checked(_Checked):
        pass

    yield Checked
    if Checked.release is not None:
        Checked.release.set()


@pytest.fixture
def checked(Checked):
    models = Models()
    models.add(Model("checked", "/checked", Checked))
    return models


def test_model_that_is_being_loaded_is_loading_and_does_not_hang():
    entered, opened = threading.Event(), threading.Event()

    class Slow:
        def __init__(self) -> None:
            entered.set()
            opened.wait(PATIENCE_S)

        def predict(self, x: int) -> int:
            return x

    models = Models()
    model = add(models, Slow)
    assert models.health().reasons == {"slow": "not loaded"}
    ticket = model.queue.submit({"x": 1}, deadline_s=PATIENCE_S)
    assert entered.wait(PATIENCE_S)
    let_pass(model.queue, ticket)
    ticket.wait()
    assert isinstance(ticket.value, LoadingError)
    assert models.health() == (False, {"slow": "loading"})
    assert not model.stuck
    opened.set()
    wait_until(lambda: models.health().ready)
    assert model.predict(2) == 2


def test_app_without_models_is_ready():
    assert Models().health() == (True, {})


def test_model_is_ready_when_it_is_loaded():
    class Bare:
        def predict(self, x: int) -> int:
            return x

    models = Models()
    add(models, Bare)
    assert models.health() == (False, {"bare": "not loaded"})
    models.load()
    assert models.health().ready
    models.close()
    assert not models.health().ready


def test_model_that_hangs_is_not_ready_until_it_returns():
    entered, go = threading.Event(), threading.Event()

    def hangs(x: int) -> int:
        entered.set()
        go.wait(PATIENCE_S)
        return x

    models = Models()
    model = add(models, hangs)
    ticket = model.queue.submit({"x": 1}, deadline_s=PATIENCE_S, deliver=lambda tickets: None)
    assert entered.wait(PATIENCE_S)
    let_pass(model.queue, ticket)
    wait_until(lambda: model.stuck)
    assert models.health() == (False, {"hangs": "hangs past its deadline"})
    go.set()
    wait_until(lambda: models.health().ready)


def test_check_of_the_model_decides(checked, Checked, monkeypatch, caplog):
    monkeypatch.setattr(checkup, "CHECK_EVERY_S", 0.0)
    checked.load()
    assert checked.health() == (False, {"checked": "its check has not returned yet"})
    wait_until(lambda: checked.health().ready)
    Checked.failure = OSError("the device is gone")
    wait_until(lambda: not checked.health().ready)
    wait_until(lambda: "the device is gone" in checked.health().reasons["checked"])
    assert checked.health().reasons == {"checked": "its check failed: OSError: the device is gone"}
    asked = Checked.asked
    wait_until(lambda: checked.health() and Checked.asked > asked + 3)
    assert caplog.text.count("the check failed") == 1
    Checked.failure = None
    wait_until(lambda: checked.health().ready)


def test_check_does_not_run_at_each_probe(checked, Checked, monkeypatch):
    monkeypatch.setattr(checkup, "CHECK_EVERY_S", math.inf)
    checked.load()
    wait_until(lambda: checked.health().ready)
    assert all(checked.health().ready for _ in range(100))
    assert Checked.asked == 1


def test_check_that_hangs_is_not_ready_and_holds_no_probe(checked, Checked, monkeypatch):
    monkeypatch.setattr(checkup, "CHECK_LIMIT_S", 0.01)
    Checked.release = threading.Event()
    checked.load()
    assert checked.health().reasons["checked"] == "its check has not returned yet"
    wait_until(lambda: "for 0.01 s" in checked.health().reasons["checked"])
    assert Checked.asked == 1
    Checked.release.set()
    wait_until(lambda: checked.health().ready)


def test_unloaded_model_is_checked_anew(checked):
    checked.load()
    wait_until(lambda: checked.health().ready)
    checked.close()
    checked.load()
    assert checked.health().reasons == {"checked": "its check has not returned yet"}
    wait_until(lambda: checked.health().ready)
