from __future__ import annotations

import argparse
import json

import pytest


@pytest.fixture
def results(program):
    return program("_results")


@pytest.fixture
def record(results, tmp_path, capsys):
    options = argparse.Namespace(quick=False, json=str(tmp_path / "result.json"))
    made = results.Record("sample", options, "click", how="in process")
    made.path = tmp_path / "result.json"
    return made


def fill(row):
    for ours, theirs in ((1.0, 2.0), (3.0, 12.0), (2.0, 6.0)):
        row.add("carboy", us=ours)
        row.add("other", us=theirs)


def test_ratio_is_the_median_of_the_ratios_within_rounds(results):
    ratio = results.Ratio.of([1.0, 3.0, 2.0], [2.0, 12.0, 6.0])
    assert ratio.median == pytest.approx(1 / 3)  # and not 2 / 6 of the medians
    assert ratio.low <= ratio.median <= ratio.high


def test_ratio_takes_a_negative_difference_for_noise(results):
    assert results.Ratio.of([-0.5], [1.0]).median == pytest.approx(0.001)


def test_result_that_is_written_can_be_read(results, record):
    fill(record.row("text", "a text"))
    record.close()
    found = results.Result.read(record.path)
    assert found.ratio("text", "us", "carboy", "other").median == pytest.approx(1 / 3, rel=1e-4)
    assert found.ratio("text", "us", "other", "carboy").median == pytest.approx(3, rel=1e-3)
    assert found.median("text", "us", "other") == 6
    assert found.peers("text", "us") == ["carboy", "other"]
    assert found.data["rounds"] == 3
    assert found.data["versions"]["click"]
    assert set(found.data["machine"]) == {"cpu", "cores", "system", "python"}


def test_result_names_no_path_of_the_machine(record, tmp_path):
    fill(record.row("text", "a text"))
    record.close()
    assert str(tmp_path) not in record.path.read_text()


def test_pairs_of_other_peers_are_written(results, record):
    row = record.row("text", "a text", pairs=[("third", "other")])
    fill(row)
    for value in (4.0, 4.0, 4.0):
        row.add("third", us=value)
    record.close()
    ratio = results.Result.read(record.path).ratio("text", "us", "third", "other")
    assert ratio.median == pytest.approx(2 / 3, rel=1e-4)


def test_unknown_quantity_is_refused(record):
    with pytest.raises(KeyError, match="no quantity 'furlongs'"):
        record.row("text", "a text").add("carboy", furlongs=1.0)


def test_peer_that_broke_within_the_run_has_no_ratio(record):
    row = record.row("text", "a text")
    fill(row)
    row.add("carboy", us=1.0)
    assert row.ratios() == {"us": {}}


@pytest.mark.parametrize(
    ("bound", "limit", "met"),
    [("most", 0.5, True), ("most", 0.2, False), ("least", 0.2, True), ("least", 0.5, False)],
)
def test_target_is_judged_by_the_ratio(results, record, bound, limit, met):
    row = record.row("text", "a text")
    fill(row)
    row.targets.append(results.Target("us", "carboy", "other", bound, limit))
    assert row.data()["targets"][0]["met"] is met
    assert ("pass" if met else "MISS") in row.text()


def test_target_of_a_peer_that_was_left_out_is_not_judged(results, record):
    row = record.row("text", "a text")
    fill(row)
    row.targets.append(results.Target("us", "carboy", "absent", "most", 1.0))
    assert row.data()["targets"] == []


def sample(**changes):
    row = {
        "key": "text",
        "title": "a text",
        "ours": "carboy",
        "ratios": {"us": {"carboy / other": {"low": 0.5, "median": 0.5, "high": 0.5}}},
        "targets": [],
        "values": {"us": {"carboy": [1.0], "other": [2.0]}},
    }
    return {
        "format": 1, "name": "sample", "command": "bench/sample.py", "how": "",
        "made": "2026-11-30", "commit": "0123456789", "quick": False, "rounds": 1,
        "machine": {}, "versions": {}, "missing": {}, "rows": [{**row, **changes}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"values": {"us": {"carboy": [1.0]}}}, "1 and 0 rounds"),
        ({"values": {"us": {"carboy": [1.0], "other": [4.0]}}}, "another ratio than its rounds"),
        ({"values": {"furlongs": {"carboy": [1.0]}}, "ratios": {}}, "no quantity 'furlongs'"),
    ],
)
def test_result_with_ratios_that_its_rounds_do_not_give_is_refused(
    results, tmp_path, changes, problem
):
    path = tmp_path / "sample.json"
    path.write_text(json.dumps(sample(**changes)))
    with pytest.raises(ValueError, match=problem):
        results.Result.read(path)


def test_result_of_another_format_is_refused(results, tmp_path):
    path = tmp_path / "sample.json"
    path.write_text(json.dumps({**sample(), "format": 2}))
    with pytest.raises(ValueError, match="format is 2"):
        results.Result.read(path)
