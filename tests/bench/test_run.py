"""The suites of `make bench`: which are run, which are not run again, and what a failure does."""

from __future__ import annotations

import json

import pytest

PROGRAM = """\
import json, pathlib, sys

if "--fail" in sys.argv:
    sys.exit(3)
target = pathlib.Path(sys.argv[sys.argv.index("--json") + 1])
target.parent.mkdir(parents=True, exist_ok=True)
made = json.loads(target.read_text())["made"] + 1 if target.exists() else 1
quick = "--quick" in sys.argv
target.write_text(json.dumps({"commit": "abc", "took_s": 90, "made": made, "quick": quick}))
"""


@pytest.fixture
def bench(program, tmp_path, monkeypatch, capfd):
    """run.py with three suites of one small program, and results in a folder of their own."""
    run = program("run")
    (tmp_path / "small.py").write_text(PROGRAM)
    suites = tuple(
        run.Suite(name, command, 30, "a sample")
        for name, command in (
            ("one", "small.py"),
            ("broken", "small.py --fail"),
            ("two", "small.py"),
        )
    )
    monkeypatch.setattr(run, "SUITES", suites)
    monkeypatch.setattr(run, "BY_NAME", {suite.name: suite for suite in suites})
    monkeypatch.setattr(run, "QUICK", tmp_path / "results" / "quick")
    monkeypatch.setattr(run._results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(run._results, "commit", lambda: "abc")
    monkeypatch.setattr(run.render, "HERE", tmp_path)
    monkeypatch.setattr(run.render, "write", lambda: print("rendered"))

    def started(*arguments):
        monkeypatch.setattr("sys.argv", ["run.py", *arguments])
        status = run.main()
        return status, capfd.readouterr().out

    started.results = tmp_path / "results"
    return started


def test_failed_suite_stops_no_other_and_fails_the_run(bench):
    status, output = bench()
    assert status == 1
    assert "FAILED: broken" in output
    assert {path.stem for path in bench.results.glob("*.json")} == {"one", "two"}
    assert "rendered" in output


def test_interrupted_run_continues_with_what_has_no_result_of_this_commit(bench):
    bench()
    _, output = bench()
    assert "=== broken" in output
    assert "=== one" not in output


@pytest.mark.parametrize("arguments", [("--only", "one"), ("--again",)])
def test_suite_that_is_asked_for_is_run_again(bench, arguments):
    bench()
    bench(*arguments)
    assert json.loads((bench.results / "one.json").read_text())["made"] == 2


def test_result_of_another_commit_is_measured_again(bench):
    bench.results.mkdir()
    (bench.results / "one.json").write_text(json.dumps({"commit": "old", "made": 1}))
    _, output = bench()
    assert "=== one" in output


def test_quick_run_shows_nothing_and_leaves_results_alone(bench):
    _, output = bench("--quick")
    assert "rendered" not in output
    assert not list(bench.results.glob("*.json"))
    assert json.loads((bench.results / "quick" / "one.json").read_text())["quick"] is True


def test_plan_says_how_long_and_runs_nothing(bench):
    status, output = bench("--plan")
    assert status == 0
    assert "90.0 min  in all" in output
    assert not bench.results.exists()


def test_plan_takes_the_time_that_the_last_run_took(bench):
    bench("--only", "one")
    _, output = bench("--plan", "--again")
    assert " 1.5 min  one" in output


def test_unknown_suite_is_refused_before_anything_runs(bench):
    with pytest.raises(SystemExit) as stopped:
        bench("--only", "absent")
    assert stopped.value.code == 2
