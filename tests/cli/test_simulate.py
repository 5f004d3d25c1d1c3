"""`carboy models simulate`: what it answers, and what it refuses in one line."""

from __future__ import annotations

import json
import sys
import time
from collections import abc

import pytest
from clirunner import separate_runner

from carboy.cli.simulate import simulate_command
from carboy.models import InputError


class Double:
    def predict(self, x: list[float]) -> list[float]:
        return [2 * each for each in x]


def alone(x: float) -> float:
    return x


def broken(x: list[float]) -> list[float]:
    return [InputError("never") for _ in x]


def stream(x: float) -> abc.Iterator[float]:
    yield x


@pytest.fixture
def runner(app):
    return separate_runner(app.test_cli_runner)


@pytest.fixture
def simulate(app, runner):
    app.model("/double", batch=8, example=3.0)(Double)
    app.model("/alone")(alone)

    def simulate(*words: object):
        with app.app_context():
            return runner.invoke(simulate_command, [str(each) for each in words])

    return simulate


def values(result) -> dict:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


QUICK = ("--requests", 2000)


def test_model_is_measured_with_its_example(simulate):
    found = values(simulate("double", "--rps", 100, "--json", *QUICK))
    assert set(found["cost"]["measured_ms"]) == {"1", "2", "4", "8"}
    assert found["outcome"]["answered"] == found["outcome"]["arrived"] == 2000
    assert found["memory_bytes"] > 0
    assert found["plan"]["batch"] == 8


def test_what_is_given_stands_before_what_is_declared(simulate):
    words = ("--replicas", 3, "--batch", 4, "--wait", "2ms", "--deadline", "none", "--queue", 7)
    more = ("--workers", 2, "--cost", "10ms+1ms", "--http", "50us", "--memory", "2G")
    found = values(simulate("double", "--rps", 100, "--json", *QUICK, *words, *more))
    assert found["plan"] == {
        "workers": 2, "replicas": 3, "concurrency": 1, "batch": 4, "wait_ms": 2.0,
        "deadline_s": None, "queue": 7, "http_ms": pytest.approx(0.05),
    }  # fmt: skip
    assert found["cost"]["measured_ms"] is None
    assert found["memory_bytes"] >= 3 * 2 * 1024**3


@pytest.mark.parametrize(("declared", "planned"), [(3, 3), ((2, 8), 2), (None, None)])
def test_replicas_are_those_that_one_machine_starts(app, simulate, declared, planned):
    app.model("/copied", batch=8, replicas=declared)(Double)
    found = values(simulate("copied", "--rps", 100, "--cost", "1ms", "--json", *QUICK))
    assert found["plan"]["replicas"] == planned


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the CPU time of a process")
def test_time_of_a_web_worker_is_measured(simulate):
    words = ("--cost", "1ms", "--http", "measured", *QUICK)
    found = values(simulate("double", "--rps", 100, "--json", *words))
    assert 0.001 < found["plan"]["http_ms"] < 10
    assert found["outcome"]["web_busy"] == pytest.approx(found["plan"]["http_ms"] / 10, rel=0.1)


def test_report_names_load_plan_and_outcome(simulate):
    words = ("--cost", "10ms+1ms", "--replicas", 2, *QUICK)
    shown = simulate("double", "--rps", 100, *words).stdout
    for line in (
        "2000 requests by chance at 100/s (seed 1)",
        "10 ms + 1 ms per input (given)",
        "1 web worker and 2 replicas, batch 8, wait 0, deadline 30 s, queue 1024",
    ):
        assert line in shown
    titles = [line.split()[0] for line in shown.splitlines() if line]
    assert [title for title in titles[3:] if title != "batch"] == [
        *("answered", "latency", "batches", "busy", "room", "shed", "memory"),
        *("p50", "p90", "p99", "p99.9", "max"),
    ]
    assert titles.count("batch") > 1


def test_search_finds_the_fewest_replicas(simulate):
    words = ("--rps", 2000, "--p99", "60ms", "--cost", "10ms+1ms", "--json", "--requests", 8000)
    found = values(simulate("double", *words))
    best = found["best"]
    assert best["outcome"]["latency_ms"]["p99"] <= 60
    tried = [each["plan"]["replicas"] for each in found["tried"]]
    # 8 inputs in 18 ms are 444 per second.
    assert min(tried) == 5
    assert best["plan"]["replicas"] == max(tried)
    fewer = [each for each in found["tried"] if each["plan"]["replicas"] < max(tried)]
    assert all(each["in_time"] < 0.99 for each in fewer)


def test_search_shows_what_was_tried(simulate):
    words = ("--rps", 2000, "--p99", "60ms", "--cost", "10ms+1ms", "--requests", 8000)
    shown = simulate("double", *words).stdout
    assert shown.count("<- the cheapest") == 1
    assert "more were not tried, because they compute less than arrives." in shown


def test_access_log_is_replayed(simulate, tmp_path):
    log = tmp_path / "access.log"
    line = '{{"time":"2026-11-29T12:10:{:06.3f}+00:00","ms":2.0,"model":"{}"}}\n'
    log.write_text("".join(line.format(i / 50, "double") for i in range(500)))
    words = ("--cost", "1ms", "--json")
    once = values(simulate("double", "--replay", log, *words))["outcome"]
    twice = values(simulate("double", "--replay", log, "--speed", 2, *words))["outcome"]
    assert once["arrived"] == twice["arrived"] == 500
    assert once["offered_per_s"] == pytest.approx(50, rel=0.01)
    assert twice["offered_per_s"] == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize("words", [(), ("--p99", "1s")], ids=["one", "search"])
def test_plot_is_written_as_svg(simulate, tmp_path, words):
    path = tmp_path / "plan.svg"
    result = simulate("double", "--rps", 100, "--cost", "10ms+1ms", "--plot", path, *QUICK, *words)
    assert result.exit_code == 0
    assert path.read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nobody", "--rps", 1), "No model 'nobody' among double, alone."),
        (("double",), "Expected a load: --rps NUMBER, or --replay FILE"),
        (("double", "--rps", 0), "--rps 0: expected a number above 0."),
        (("double", "--rps", "nan"), "--rps nan: expected a number above 0."),
        (("double", "--rps", "many"), "--rps many: expected a number above 0."),
        (("double", "--rps", -1), "--rps -1: expected a number above 0."),
        (("double", "--rps", 1, "--batch", 0), "--batch 0: expected a whole number above 0."),
        (("double", "--rps", 1, "--replicas", 1.5), "--replicas 1.5: expected a whole number"),
        (("double", "--rps", 1, "--wait", 5), "--wait 5: expected a time with its unit"),
        (("double", "--rps", 1, "--deadline", "0s"), "--deadline 0s: expected a time"),
        (("double", "--rps", 1, "--p99", "50"), "--p99 50: expected a time with its unit"),
        (("double", "--rps", 1, "--cost", "2"), "--cost 2: expected the time of a batch"),
        (("double", "--rps", 1, "--memory", "lots"), "--memory lots: expected a size"),
        (("double", "--rps", 1, "--speed", 2), "--speed has no effect without --replay"),
        (("double", "--rps", 1, "--replay", "x"), "Expected a load"),
        (("double", "--replay", "no.log"), "--replay 'no.log' cannot be read: No such file"),
        (("double", "--replay", "a", "--burst", 3), "--burst has no effect with --replay"),
        (("double", "--replay", "a", "--requests", 3), "--requests has no effect with --replay"),
        (("double", "--rps", 1, "--requests", 10**9), "--requests 1000000000: expected at most"),
        (
            ("double", "--rps", 1, "--p99", "1s", "--concurrency", 2),
            "--concurrency: each replica computes one batch at a time.",
        ),
        (
            ("double", "--rps", 3000, "--cost", "1ms", "--http", "1ms", "--p99", "50ms"),
            "expected at least --workers 3.",
        ),
        (
            ("double", "--rps", 1, "--replicas", 2, "--concurrency", 2),
            "--concurrency: each replica computes one batch at a time.",
        ),
        (("alone", "--rps", 1), "Model 'alone' has no example with which to measure it."),
        (
            ("alone", "--rps", 1, "--cost", "1ms", "--http", "measured"),
            "or say by --http how long a web worker takes, such as --http 50us.",
        ),
        (("double", "--rps", 1, "--http", "fast"), "--http fast: expected a time with its unit"),
        (("alone", "--rps", 1, "--batch", 4), "`predict` of the model 'alone' takes one input."),
        (
            ("double", "--rps", 9, "--cost", "1ms", "--plot", "no/such/folder/a.svg", *QUICK),
            "--plot 'no/such/folder/a.svg' cannot be written: No such file or directory.",
        ),
        (
            ("double", "--rps", 9, "--cost", "50ms", "--p99", "20ms"),
            "No plan answers within 20 ms: a request that waits for nothing takes 50 ms.",
        ),
        (
            ("double", "--rps", 9000, "--cost", "9ms+1ms", "--p99", "20ms", "--replicas", 1),
            "they compute less than arrives (1 web worker and 1 replica, batch 8",
        ),
        (
            ("double", "--rps", 40, "--cost", "20ms", "--p99", "21ms", "--replicas", 1, *QUICK),
            "No plan answers 99% of the requests within 21 ms. The best of",
        ),
    ],
)  # fmt: skip
def test_mistake_is_one_line_with_exit_code_2(simulate, words, says):
    result = simulate(*words)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_log_without_the_model_names_those_that_it_has(simulate, tmp_path):
    log = tmp_path / "access.log"
    line = '{"time":"2026-11-29T12:10:15.000+00:00","ms":2.0,"model":"shapes"}\n'
    log.write_text(3 * line + "what\n")
    result = simulate("double", "--replay", log)
    assert result.exit_code == 2
    assert "has 0 requests for the model 'double'; it has requests for shapes (3)." in result.stderr
    assert "1 lines are none" in result.stderr


def test_stream_is_refused(app, runner):
    app.model("/story")(stream)
    with app.app_context():
        result = runner.invoke(simulate_command, ["story", "--rps", "1"])
    assert result.exit_code == 2
    assert "yields its answer item by item" in result.stderr


def test_predict_that_fails_on_its_example_is_no_measurement(app, runner):
    app.model("/broken", batch=2, example=1.0)(broken)
    with app.app_context():
        result = runner.invoke(simulate_command, ["broken", "--rps", "1"])
    assert result.exit_code == 1
    assert "never" in result.stderr
    assert result.stderr.count("\n") == 1


def test_cost_that_is_no_line_is_a_warning(app, runner):
    def jump(x: list[float]) -> list[float]:
        time.sleep(0.001 if len(x) < 8 else 0.05)
        return x

    app.model("/jump", batch=8, example=1.0)(jump)
    with app.app_context():
        result = runner.invoke(simulate_command, ["jump", "--rps", "1", "--requests", "100"])
    assert result.exit_code == 0
    assert result.stderr.startswith("Warning: predict does not take a + b * n")
