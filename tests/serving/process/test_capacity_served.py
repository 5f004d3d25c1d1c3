"""The number of workers of a real server, and the environment in which they compute."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
import requests
from controlgroups import limited_group
from polling import wait_until

from carboy.serving.process.computethreads import set_by_user

pytestmark = pytest.mark.integration

APP = """
import json, os, sys
from carboy import Carboy, request

app = Carboy(__name__)
held = b"x" * (60 << 20)

@app.get("/worker")
def worker():
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
    return {
        "pid": os.getpid(),
        "several": request.environ["wsgi.multiprocess"],
        **{name: os.environ.get(name) for name in names},
    }
"""
MODEL = """
@app.model("/digits")
class Digits:
    def __init__(self):
        self.weights = b"x" * (40 << 20)

    def predict(self, x: int) -> int:
        return x
"""
CPUS = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()


@pytest.fixture(autouse=True)
def user_has_set_no_threads(monkeypatch):
    for name in set_by_user():
        monkeypatch.delenv(name)


@pytest.fixture
def serve(spawn, carboy_command, tmp_path):
    def serve(program, *options, **env):
        (tmp_path / "shop.py").write_text(program)
        server = spawn(carboy_command, "serve", "shop:app", "--port", "{port}", *options, env=env)
        server.wait_until_it_prints("serving shop:app")
        return server

    return serve


def run(carboy_command, tmp_path, *options, **arguments):
    """Serve an app that is refused; return the exit code and the output."""
    (tmp_path / "shop.py").write_text(APP)
    done = subprocess.run(
        [carboy_command, "serve", "shop:app", "--port", "0", *options],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **arguments,
    )
    return done.returncode, done.stdout


def ask(server):
    return requests.get(f"{server.url}/worker", timeout=30).json()


def test_app_with_models_has_one_worker_that_computes_on_all_cpus(serve):
    server = serve(APP + MODEL)
    worker = ask(server)
    assert worker["several"] is False
    assert worker["OMP_NUM_THREADS"] == worker["LOKY_MAX_CPU_COUNT"] == str(CPUS)
    assert re.search(r": 1 worker with 1\d\d MiB and 16 threads each,", server.output)
    assert re.search(r"1\d\d MiB in each worker \(of it model digits 4\d MiB\)", server.output)
    assert re.search(r"loads replicas of its own and takes 1\d\d MiB more\n", server.output)


def test_workers_share_the_cpus_unless_the_user_has_set_the_threads(serve):
    server = serve(APP + MODEL, "--workers", str(CPUS + 1), OPENBLAS_NUM_THREADS="7")
    worker = ask(server)
    assert worker["several"] is True
    assert worker["OMP_NUM_THREADS"] == worker["LOKY_MAX_CPU_COUNT"] == "1"
    assert worker["OPENBLAS_NUM_THREADS"] == "7"
    assert "except for what is set: OPENBLAS_NUM_THREADS=7\n" in server.output


def test_workers_that_do_not_fit_are_refused_with_the_sum_before_anything_listens(
    carboy_command, tmp_path
):
    options = ("--workers", "9", "--memory-limit", "300M")
    code, output = run(carboy_command, tmp_path, *options)
    assert code == 2
    assert re.search(
        r"'workers': 9 workers do not fit into the memory: \d+ MiB \(supervisor\) \+ \d+ MiB"
        r" \(files that workers share\) \+ 9 x \d\d MiB \(a worker\) = \d+ MiB, more than the 300"
        r" MiB of --memory-limit\. Set --workers to [123] ",
        output,
    )
    assert "ready" not in output
    assert "serving" not in output


def test_limit_of_a_real_container_refuses_workers_that_do_not_fit(carboy_command, tmp_path):
    with limited_group(memory_bytes=300 * 2**20, quota_us=400_000) as group:
        code, output = run(carboy_command, tmp_path, "--workers", "9", preexec_fn=group.enter)
    assert code == 2
    assert f"more than the 300 MiB of cgroup {group.name}. Set --workers to " in output


@pytest.mark.skipif(CPUS < 2, reason="one CPU has one worker by default")
def test_fewer_workers_than_cpus_are_started_if_no_more_fit(serve):
    server = serve(APP, "--memory-limit", "250M")
    assert re.search(
        r"\d workers? instead of \d, because no more fit into the memory", server.output
    )
    assert ": 1 worker with" in server.output
    assert "not fit" not in server.output.replace("no more fit", "")


@pytest.mark.skipif(CPUS < 2, reason="one CPU has one worker by default")
def test_first_worker_is_replaced_if_its_libraries_have_too_many_threads(serve):
    server = serve(f"import numpy\n{APP}")
    server.wait_until_it_prints("replacing worker 1 (pid ")
    (first,) = re.findall(r"replacing worker 1 \(pid (\d+)\): its libraries \(numpy", server.output)
    wait_until(lambda: f"worker 1 (pid {first}) has ended" in server.output)
    assert ask(server)["OMP_NUM_THREADS"] == "1"


def test_status_of_a_server_has_the_figures_of_its_start(serve, carboy_command, tmp_path):
    server = serve(APP + MODEL, "--control", "control.sock")

    def status(*options):
        command = [carboy_command, "ctl", "status", "--socket", "control.sock", *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout

    found = json.loads(status("--json"))["capacity"]
    assert (found["workers"], found["asked"], found["threads"]) == (1, None, CPUS)
    assert found["cpus"]["number"] == CPUS
    assert found["models"]["digits"] == pytest.approx(40 << 20, rel=0.2)
    assert found["worker_memory"]["own_bytes"] > 100 << 20
    assert found["fits"] > 0
    assert found["memory_limit"]["bytes"] > 0
    shown = status()
    for line in found["text"]:
        assert line in shown
        assert line in server.output
