"""What probes answer, by the state of the server and of its workers."""

from __future__ import annotations

import json

import pytest

from carboy.serving.management.probes import (
    SILENT_S,
    Reason,
    Verdict,
    WorkerHealth,
    readiness,
    startup,
)
from carboy.serving.process.serverstate import ProcessState, ReplicaState, ServerState

READY = WorkerHealth({"digits": ""})


def process(pid, phase="ready", number=1):
    return ProcessState(number, pid, phase, 0.0, restarts=0, generation=0)


def server(*processes, **more):
    return ServerState("shop:app", ("http://127.0.0.1:8000",), 1, 0.0, **more, processes=processes)


def replica(phase, version="7", *, serves=True):
    return ReplicaState(1, 30, phase, 0.0, 0, 0, "digits", version, version, "", serves=serves)


def reasons(verdict):
    return [str(reason) for reason in verdict.reasons]


# ------------------------------------------------------------------------------- readiness

LOADS_ANOTHER = server(process(10), process(20, "loading", number=2))
TABLE = {
    "all workers are ready": (server(process(10)), {10: READY}, []),
    "a worker without models is ready": (server(process(10)), {10: WorkerHealth({})}, []),
    "another worker is being restarted": (LOADS_ANOTHER, {10: READY}, []),
    "a worker drains after a reload": (
        server(process(10), process(11, "draining")),
        {10: READY},
        [],
    ),
    "no worker was started": (server(), {}, ["no worker has been started yet"]),
    "the first worker loads the app": (
        server(process(10, "loading")),
        {},
        ["worker 1 (pid 10): loading"],
    ),
    "the worker waits for its next start": (
        server(process(None, "waiting")),
        {},
        ["worker 1 (pid -): waiting"],
    ),
    "the server stops": (
        server(process(10), stopping=True),
        {10: READY},
        ["stopping: it finishes its requests and accepts no new ones"],
    ),
    "a worker that accepts connections hangs": (
        server(process(10), process(20, "hanging", number=2)),
        {10: READY},
        ["worker 2 (pid 20): hanging"],
    ),
    "a model is not ready": (
        server(process(10)),
        {10: WorkerHealth({"digits": "hangs past its deadline", "faces": ""})},
        ["worker 1 (pid 10): model 'digits': hangs past its deadline"],
    ),
    "all replicas of a model load it again": (
        server(process(10), replicas=(replica("loading"), replica("waiting"))),
        {10: READY},
        ["model 'digits': no replica of version '7' is ready: loading, waiting"],
    ),
    "one of two replicas is being restarted": (
        server(process(10), replicas=(replica("ready"), replica("loading"))),
        {10: READY},
        [],
    ),
    "all replicas of a version on trial load it again": (
        server(process(10), replicas=(replica("ready"), replica("loading", "8"))),
        {10: READY},
        [],
    ),
    "replicas and a worker are not ready": (
        server(process(10), replicas=(replica("loading"),)),
        {10: WorkerHealth({"digits": "", "faces": "hangs past its deadline"})},
        [
            "model 'digits': no replica of version '7' is ready: loading",
            "worker 1 (pid 10): model 'faces': hangs past its deadline",
        ],
    ),
    "replicas of another version are being loaded": (
        server(process(10), replicas=(replica("ready"), replica("loading", "8", serves=False))),
        {10: READY},
        [],
    ),
    "a worker has not told yet": (
        server(process(10)),
        {},
        ["worker 1 (pid 10): has not said yet whether its models are ready"],
    ),
    "a worker has not answered for a while": (
        server(process(10)),
        {10: WorkerHealth({"digits": ""}, SILENT_S / 2)},
        [],
    ),
    "a worker has not answered for long": (
        server(process(10)),
        {10: WorkerHealth({"digits": ""}, SILENT_S)},
        ["worker 1 (pid 10): has shown no sign of life for 10 s"],
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_readiness(case):
    state, health, expected = TABLE[case]
    current = {"digits": "7"}
    assert reasons(readiness(state, health, least_models=0, current=current)) == expected


def test_app_that_should_have_models_and_has_none_is_not_ready():
    verdict = readiness(server(process(10)), {10: WorkerHealth({})}, 1, {})
    (reason,) = reasons(verdict)
    assert reason.startswith("worker 1 (pid 10): the app has 0 models, and at least 1 are expected")


# --------------------------------------------------------------------------------- startup


def test_startup_needs_all_workers():
    verdict = startup(LOADS_ANOTHER, {10: READY}, least_models=0)
    assert "worker 2 (pid 20): loading" in reasons(verdict)


def test_startup_needs_the_workers_that_are_started_after_the_first():
    assert startup(server(process(10)), {10: READY}, 0).status == 503
    assert startup(server(process(10), serving=True), {10: READY}, 0).status == 200


# -------------------------------------------------------------------------------- responses


def test_success_has_no_reasons():
    assert Verdict().status == 200
    assert json.loads(Verdict().body()) == {"status": "ok"}


def test_failure_says_why_as_json():
    verdict = Verdict([Reason("loading", worker=2, pid=20, model="digits")])
    assert verdict.status == 503
    assert json.loads(verdict.body()) == {
        "status": "failing",
        "reasons": [{"worker": 2, "pid": 20, "model": "digits", "reason": "loading"}],
    }
