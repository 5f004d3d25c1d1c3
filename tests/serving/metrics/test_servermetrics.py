"""The sums over worker processes, and the tables that these share with the supervisor."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t

import pytest
from prometheus import Metrics

from carboy.serving.metrics import families, sharedtable
from carboy.serving.metrics.families import FAMILIES
from carboy.serving.metrics.servermetrics import ServerMetrics
from carboy.serving.metrics.sharedtable import SharedTable, new_memory
from carboy.serving.process.serverstate import ProcessState, ServerState

COUNTED = ("GET", "200", "/")


def state(*processes: ProcessState) -> ServerState:
    return ServerState(
        target=None, addresses=(), pid=os.getpid(), started_at_s=0.0, processes=processes
    )


class Process:
    """A worker process, as far as its table goes."""

    def __init__(self, metrics: ServerMetrics) -> None:
        self.metrics = metrics
        self.fd = metrics.open_table()
        self.table = SharedTable(self.fd)

    def count(self, number: int, labels: tuple[str, ...] | None = COUNTED) -> None:
        cells = self.table.add(families.REQUEST_DURATION, labels)
        assert cells is not None
        cells[0] += number

    def end(self) -> None:
        self.metrics.close_table(self.fd)


def shown(metrics: ServerMetrics, *processes: ProcessState) -> Metrics:
    return Metrics(metrics.render(state(*processes)))


def test_counts_of_all_processes_are_added_up_also_of_those_that_have_ended():
    metrics = ServerMetrics()
    first, second = Process(metrics), Process(metrics)
    first.count(3)
    second.count(4)
    second.count(1, ("GET", "404", ""))
    assert shown(metrics).requests("/") == 7
    first.end()
    assert shown(metrics).requests("/") == 7
    third = Process(metrics)
    third.count(10)
    second.end()
    assert shown(metrics).requests("/") == 17
    assert shown(metrics).requests("") == 1
    third.end()
    assert shown(metrics).requests() == 18


def test_gauges_of_processes_that_have_ended_are_left_out():
    metrics = ServerMetrics()
    first, second = Process(metrics), Process(metrics)
    for process, number in ((first, 3), (second, 4)):
        process.table.add(families.ACTIVE_REQUESTS, ())[0] = number
    assert shown(metrics).sum("http_server_active_requests") == 7
    first.end()
    assert shown(metrics).sum("http_server_active_requests") == 4
    second.end()


def test_render_does_not_change_the_totals():
    metrics = ServerMetrics()
    process = Process(metrics)
    process.count(2)
    process.end()
    assert metrics.render(state()) == metrics.render(state())


def test_series_of_an_unknown_metric_is_left_out(monkeypatch):
    metrics = ServerMetrics()
    process = Process(metrics)
    newer = families.REQUEST_DURATION._replace(name="http_of_a_newer_release")
    process.table.add(newer, COUNTED)
    process.count(2)
    assert shown(metrics).requests() == 2
    process.end()


def test_counts_of_a_process_that_is_killed_are_kept():
    metrics = ServerMetrics()
    fd = metrics.open_table()
    code = (
        "import sys, time; from carboy.serving.metrics.sharedtable import SharedTable;"
        "from carboy.serving.metrics.families import REQUEST_DURATION;"
        f"SharedTable({fd}).add(REQUEST_DURATION, {COUNTED!r})[0] += 5;"
        "print('counted', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        pass_fds=[fd],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "counted\n"
        assert shown(metrics).requests("/") == 5
        process.kill()
    metrics.close_table(fd)
    assert shown(metrics).requests("/") == 5


def test_memory_has_no_name_and_is_given_back(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    metrics = ServerMetrics()
    process = Process(metrics)
    process.count(1)
    assert list(tmp_path.iterdir()) == []
    assert shown(metrics).requests() == 1
    process.end()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(process.fd)


def test_full_table_takes_no_further_series(monkeypatch):
    monkeypatch.setattr(sharedtable, "NAMES_BYTES", 200)
    table = SharedTable()
    added = [table.add(families.ACTIVE_VIEWS, ()) for _ in range(10)]
    assert added[0] is not None and added[-1] is None
    assert len(table.series()) == sum(cells is not None for cells in added)


def test_workers_restarts_and_memory_come_from_the_state_of_the_server():
    processes = (
        ProcessState(1, os.getpid(), "ready", 0.0, 2, 0),
        ProcessState(1, os.getpid(), "draining", 0.0, 2, 0),
        ProcessState(2, None, "waiting", None, 3, 0),
    )
    found = shown(ServerMetrics(), *processes)
    states = {dict(key)["state"]: value for key, value in found.samples("carboy_workers").items()}
    assert states == {"loading": 0, "ready": 1, "draining": 1, "hanging": 0, "waiting": 1}
    assert found.sum("carboy_worker_restarts_total") == 5
    pid = str(os.getpid())
    assert found.sum("carboy_worker_resident_memory_bytes", worker="1", pid=pid) > 1_000_000


def test_metrics_follow_the_naming_rules_of_prometheus():
    for family in FAMILIES:
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert family.name.startswith(("http_server_", "carboy_"))
        assert not family.name.endswith(("_sum", "_count", "_bucket"))
        assert family.help.endswith(".")


def test_new_memory_is_filled_with_zeros():
    fd = new_memory()
    table: t.Any = SharedTable(fd)
    assert table.series() == []
    os.close(fd)


def test_forked_child_does_not_count_in_the_memory_of_its_parent():
    code = """
import os
from carboy import Carboy
from carboy.serving.metrics.workermetrics import WorkerMetrics

app = Carboy("shop")

@app.model("/double")
def double(x: int) -> int:
    return 2 * x

metrics = WorkerMetrics()
metrics.follow_models(app.models)
app.models["double"].predict(1)
if os.fork() == 0:
    app.models["double"].predict(2)
    os._exit(app.models["double"].statistics().answered)
_, status = os.wait()
series = [s for s in metrics.table.series() if s.labels == ("double", "", "ok")]
print(series[0].cells[0], os.waitstatus_to_exitcode(status))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1.0", "2"]
