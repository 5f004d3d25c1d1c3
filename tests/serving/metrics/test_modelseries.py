"""The series of models whose versions change while they are served."""

from __future__ import annotations

import os
import typing as t

import pytest
from modelversions import Counting, write_version
from polling import PATIENCE_S
from prometheus import Metrics

from carboy import Carboy
from carboy.serving.metrics.servermetrics import add_up, render
from carboy.serving.metrics.workermetrics import WorkerMetrics


class Counted:
    """An app with one model, whose predictions are counted."""

    def __init__(self, store: t.Any, **options: t.Any) -> None:
        app = Carboy("counted")
        target = type("Model", (Counting,), {"alive": []})
        app.model("/m", name="m", source=str(store), **options)(target)
        self.model = app.models["m"]
        if options:
            self.model.load()
        self.metrics = WorkerMetrics()
        self.metrics.follow_models(app.models)

    def shown(self) -> Metrics:
        self.metrics.sample(0, 0)
        numbers: dict[t.Any, t.Any] = {}
        add_up(self.metrics.table.series(), numbers, gauges=True)
        return Metrics(render(numbers))

    def by_version(self, name: str, **labels: str) -> dict[str, float]:
        return {
            version: self.shown().sum(name, model="m", version=version, **labels)
            for version in ("7", "8")
        }


@pytest.fixture
def counted(tmp_path, monkeypatch):
    monkeypatch.setattr("carboy.models.sources.localsource.FolderSource.poll_s", 3600.0)
    write_version(tmp_path, "7")
    counted = Counted(tmp_path)
    yield counted
    counted.model.close(PATIENCE_S)


def test_each_version_has_series_of_its_own(counted, tmp_path):
    counted.model.predict(1)
    write_version(tmp_path, "8")
    counted.model.versions.refresh()
    counted.model.predict(1)
    counted.model.predict(2)
    assert counted.by_version("carboy_model_requests_total", outcome="ok") == {"7": 1, "8": 2}
    assert counted.by_version("carboy_model_queue_seconds_count") == {"7": 1, "8": 2}
    assert counted.by_version("carboy_model_replicas") == {"7": 0, "8": 1}


def test_version_that_is_served_again_goes_on_counting(counted, tmp_path):
    counted.model.load()
    write_version(tmp_path, "8")
    series = []
    for name in ("8", "7", "8", "7"):
        counted.model.predict(1)
        counted.model.versions.switch(name)
        series.append(len(counted.metrics.table.series()))
    assert series[0] == series[-1], "the table has room for a limited number"
    assert counted.by_version("carboy_model_requests_total", outcome="ok") == {"7": 2, "8": 2}
    assert counted.by_version("carboy_model_replicas") == {"7": 1, "8": 0}


def test_version_whose_name_is_not_utf_8_leaves_the_metrics_whole(counted, tmp_path):
    os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")
    counted.model.load()
    shown = counted.shown()
    assert shown.sum("carboy_model_failed_versions", version=r"caf\xe9") == 1
    assert counted.by_version("carboy_model_replicas")["7"] == 1


def test_canary_is_counted_although_it_was_loaded_before(tmp_path, counted):
    write_version(tmp_path, "8")
    counted = Counted(tmp_path, canary={"8": 1e-6})
    assert counted.by_version("carboy_model_replicas") == {"7": 1, "8": 1}
    counted.model.close(PATIENCE_S)


def test_version_that_cannot_be_loaded_is_shown_until_it_can_be(counted, tmp_path):
    counted.model.load()
    write_version(tmp_path, "8", fails="init")
    with pytest.raises(Exception, match="the weights are missing"):
        counted.model.versions.refresh()
    assert counted.by_version("carboy_model_failed_versions") == {"7": 0, "8": 1}
    assert counted.by_version("carboy_model_replicas") == {"7": 1, "8": 0}


def test_unloaded_model_has_no_replica_and_counts_refused_predictions(counted):
    counted.model.predict(1)
    counted.model.unload()
    with pytest.raises(Exception, match="has been unloaded"):
        counted.model.predict(1)
    assert counted.by_version("carboy_model_replicas")["7"] == 0
    assert counted.by_version("carboy_model_memory_bytes")["7"] == 0
    assert counted.by_version("carboy_model_requests_total", outcome="refused")["7"] == 1
