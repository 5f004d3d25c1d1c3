"""How many workers the CPUs and the memory carry, and what the server says of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from carboy.core.cgroups import ResourceLimit
from carboy.core.processmemory import MIB, ProcessMemory
from carboy.serving.machine import Cpus
from carboy.serving.process.capacity import (
    Measurement,
    describe,
    explain_refusal,
    limit_of,
    make_plan,
    warning,
)
from carboy.serving.process.computethreads import set_by_user
from carboy.serving.settings import Settings

# The supervisor takes 20 MiB, the files that workers share 30, and each worker 100. So the first
# worker needs 150 MiB, and each further one 100.
MEASURED = Measurement(
    ProcessMemory(100 * MIB, 30 * MIB), ProcessMemory(20 * MIB, 14 * MIB), models={}
)
WITH_MODELS = replace(MEASURED, models={"digits": 60 * MIB, "sum": 4096})
REPLICATED = replace(MEASURED, replicated=["digits"])
UNKNOWN = Measurement()
CPUS = Cpus(4, "CPU affinity")


@pytest.fixture(autouse=True)
def user_has_set_no_threads(monkeypatch):
    for name in set_by_user():
        monkeypatch.delenv(name)


def limit(mib):
    return ResourceLimit(mib * MIB, "cgroup /shop")


def plan(asked=None, *, cpus=CPUS, memory=None, measured=MEASURED):
    return make_plan(asked, cpus, memory and limit(memory), measured)


@pytest.mark.parametrize(
    ("asked", "memory", "measured", "workers"),
    [
        pytest.param(None, None, MEASURED, 4, id="one per CPU"),
        pytest.param(None, None, WITH_MODELS, 1, id="one with models"),
        pytest.param(None, 10_000, WITH_MODELS, 1, id="one with models, whatever the memory"),
        pytest.param(None, None, REPLICATED, 1, id="one with replicas"),
        pytest.param(None, 550, MEASURED, 4, id="four and a successor fit"),
        pytest.param(None, 549, MEASURED, 3, id="a successor would not fit"),
        pytest.param(None, 250, MEASURED, 1, id="one and a successor fit"),
        pytest.param(None, 249, MEASURED, 1, id="one fits"),
        pytest.param(None, 10, MEASURED, 1, id="none fits"),
        pytest.param(None, 100, UNKNOWN, 4, id="memory not known"),
        pytest.param(3, None, MEASURED, 3, id="asked for"),
        pytest.param(3, None, WITH_MODELS, 3, id="asked for with models"),
        pytest.param(3, 450, MEASURED, 3, id="all that were asked for fit exactly"),
        pytest.param(9, 100, UNKNOWN, 9, id="asked for, memory not known"),
        pytest.param(1, 10, MEASURED, 1, id="one worker runs, so that it fits"),
    ],
)
def test_number_of_workers_follows_cpus_memory_and_models(asked, memory, measured, workers):
    made = plan(asked, memory=memory, measured=measured)
    assert (made.workers, made.refused) == (workers, False)


def test_default_number_of_workers_has_an_upper_bound():
    assert plan(cpus=Cpus(64, "CPU affinity")).workers == 8


@pytest.mark.parametrize(("asked", "memory"), [(4, 449), (2, 249), (9, 10), (10**6, 10_000)])
def test_number_that_was_asked_for_and_does_not_fit_is_refused(asked, memory):
    assert plan(asked, memory=memory).refused


def test_refusal_has_the_sum_and_the_remedies():
    assert explain_refusal(plan(4, memory=360)) == (
        "Setting 'workers': 4 workers do not fit into the memory: 20 MiB (supervisor) + 30 MiB"
        " (files that workers share) + 4 x 100 MiB (a worker) = 450 MiB, more than the 360 MiB of"
        " cgroup /shop. Set --workers to 3 or less, or leave it out, or raise the limit. If the"
        " limit is not true, state it by --memory-limit; 0 means no limit."
    )
    assert "Set --workers to 1, or leave" in explain_refusal(plan(4, memory=1))


def test_fewer_workers_than_cpus_come_with_the_sum():
    *_, reason = describe(plan(memory=400))
    assert reason == (
        "2 workers instead of 4, because no more fit into the memory with room for a successor: 20"
        " MiB (supervisor) + 30 MiB (files that workers share) + 5 x 100 MiB (a worker) = 550 MiB"
    )


def test_start_says_what_there_is_and_what_a_worker_takes():
    cpus, memory = describe(plan(2, memory=1000))
    assert cpus == (
        "CPUs: 4 (CPU affinity); numerical libraries compute on 2 threads in each worker"
        " (OMP_NUM_THREADS and the like)"
    )
    assert memory == (
        "memory: 100 MiB in each worker, and 30 MiB of files that workers share; the 1000 MiB of"
        " cgroup /shop have room for 9 workers"
    )


def test_start_says_what_another_worker_with_models_would_cost(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    cpus, memory, choice = describe(plan(measured=WITH_MODELS))
    assert cpus.endswith("on 4 threads in each worker, except for what is set: OMP_NUM_THREADS=3")
    assert memory == (
        "memory: 100 MiB in each worker (of it model digits 60 MiB), and 30 MiB of files that"
        " workers share; no limit"
    )
    assert choice == (
        "1 worker holds a replica of each model. Each further one (--workers) loads replicas of its"
        " own and takes 100 MiB more"
    )


def test_start_does_not_say_what_is_not_known():
    (cpus,) = describe(plan(measured=UNKNOWN, memory=1000))
    assert cpus.startswith("CPUs: 4 (CPU affinity); numerical libraries compute on 1 thread in")


@pytest.mark.parametrize(
    ("asked", "memory", "words"),
    [
        pytest.param(2, 350, "", id="room"),
        pytest.param(2, None, "", id="no limit"),
        pytest.param(2, 349, "no memory for a successor: .* 3 x 100 MiB .*", id="no successor"),
        pytest.param(
            1, 149, ".* limit is too low: .* 1 x 100 MiB .* = 150 MiB, more .*", id="too low"
        ),
    ],
)
def test_what_runs_although_it_does_not_fit_is_warned_of(asked, memory, words):
    assert re.fullmatch(words, warning(plan(asked, memory=memory)))


@pytest.mark.parametrize("measured", [WITH_MODELS, UNKNOWN])
@pytest.mark.parametrize("memory", [None, 1000])
def test_plan_can_be_sent_as_json(measured, memory):
    made = plan(measured=measured, memory=memory).as_dict()
    assert json.loads(json.dumps(made)) == made
    assert made["cpus"] == {"number": 4, "source": "CPU affinity"}


def test_limit_that_the_user_states_takes_the_place_of_the_system_s():
    assert limit_of(replace(Settings(), memory_limit_bytes=0)) is None
    assert limit_of(replace(Settings(), memory_limit_bytes=5)) == (5, "--memory-limit")
    assert limit_of(Settings()).amount > 0
