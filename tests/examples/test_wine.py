"""The model of tables, served: CSV as different clients send it, and single records."""

from __future__ import annotations

import concurrent.futures
import io
import subprocess

import pandas as pd
import pytest
import requests
import showcase
from sklearn.datasets import load_wine

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

EXAMPLE = "wine"


@pytest.fixture(scope="module")
def wines(served):
    """The wines that `train.py` held back, with their producers."""
    table = pd.read_csv(showcase.home(EXAMPLE) / "unseen.csv")
    known, growers = load_wine(return_X_y=True, as_frame=True)
    measured = list(known.columns[:4])
    known["grower"] = [f"grower {number + 1}" for number in growers]
    return table.merge(known[[*measured, "grower"]].drop_duplicates(measured), on=measured)


def csv_of(wines):
    return wines.drop(columns="grower").to_csv(index=False).encode()


def check(answer, wines):
    assert answer.status_code == 200, answer.text
    if answer.headers["Content-Type"].startswith("text/csv"):
        table = pd.read_csv(io.StringIO(answer.text))
    else:
        table = pd.DataFrame(answer.json())
    assert list(table.columns) == ["grower", "grower 1", "grower 2", "grower 3"]
    assert (table["grower"] == wines["grower"]).mean() > 0.9
    assert table.iloc[:, 1:].sum(axis=1).between(0.999, 1.001).all()


def test_csv_file_is_answered_in_the_accepted_type(served, wines):
    url = f"{served.url}/wines"
    as_csv = {"Content-Type": "text/csv"}
    check(requests.post(url, data=csv_of(wines), headers=as_csv, timeout=60), wines)
    both = {**as_csv, "Accept": "text/csv"}
    check(requests.post(url, data=csv_of(wines), headers=both, timeout=60), wines)
    check(requests.post(url, files={"wines": ("unseen.csv", csv_of(wines))}, timeout=60), wines)


def test_records_are_read_as_a_table(served, wines):
    records = wines.drop(columns="grower").to_dict("records")
    check(requests.post(f"{served.url}/wines", json=records, timeout=60), wines)


def test_concurrent_single_wines_get_the_same_results(served, wines):
    def ask(record):
        return requests.post(f"{served.url}/wine", json=record, timeout=60).json()

    records = wines.drop(columns="grower").to_dict("records")
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, records))
    whole = requests.post(f"{served.url}/wines", json=records, timeout=60).json()
    for answer, row in zip(answers, whole, strict=True):
        assert answer["grower"] == row["grower"]
        for grower, probability in answer["probabilities"].items():
            assert probability == pytest.approx(row[grower], abs=2e-4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda table: table.rename(columns={"hue": "colour"}), "'hue'"),
        (lambda table: table.assign(ash="grey"), "$[0].ash"),
        (lambda table: table.assign(alcohol=101.0), "$[0].alcohol"),
        (lambda table: table.head(0), "row"),
    ],
    ids=["a column is missing", "text for a number", "out of bounds", "no rows"],
)
def test_invalid_table_is_refused_with_the_cell(served, wines, change, says):
    table = change(wines.drop(columns="grower"))
    answer = requests.post(
        f"{served.url}/wines",
        data=table.to_csv(index=False),
        headers={"Content-Type": "text/csv"},
        timeout=60,
    )
    assert answer.status_code == 422, answer.text
    assert says in answer.json()["detail"]


def test_file_is_predicted_on_the_command_line(wines, carboy_command):
    command = [carboy_command, "--app", "app.py", "models", "predict", "wine", "unseen.csv"]
    done = subprocess.run(
        command, cwd=showcase.home(EXAMPLE), capture_output=True, text=True, check=True
    )
    answers = pd.read_csv(io.StringIO(done.stdout))
    assert (answers["grower"] == wines["grower"]).mean() > 0.9
