from __future__ import annotations

import io
import json
import typing as t

import msgspec
import pandas as pd
import pyarrow as pa
import pytest
from clirunner import separate_runner
from frames import to_feather, to_parquet, to_stream

from carboy.models import DataFrame, TableOptions, bulktables


class Person(msgspec.Struct):
    age: t.Annotated[int, msgspec.Meta(ge=0)]
    name: str


def _frame(people: DataFrame[Person]) -> DataFrame:
    if (people["age"] == 13).any():
        raise ValueError("unlucky")
    return pd.DataFrame({"who": people["name"], "in_ten": people["age"] + 10})


@pytest.fixture
def command(app, tmp_path, monkeypatch):
    from carboy.cli import ScriptInfo
    from carboy.cli.models import models_group

    app.model("/frame")(_frame)

    @app.model("/batched", batch=4)
    def batched(people: DataFrame[Person]) -> list[int]:
        return people["age"].tolist()

    @app.model("/series")
    def series(table: pd.DataFrame) -> t.Any:
        return table["age"] / 2

    @app.model("/gaps")
    def gaps(rows: t.Annotated[DataFrame, TableOptions(columns={"v": float}, others="drop")]):
        return rows["v"].where(rows["v"] > 0)

    @app.model("/one")
    def one(table: DataFrame[Person]) -> int:
        return len(table)

    @app.model("/two")
    def two(table: DataFrame[Person], top: int) -> int:
        return len(table)

    monkeypatch.setattr(bulktables, "_CHUNK_ROWS", 4)

    def run(name: str, file: str, content: str | bytes, *more: str):
        path = tmp_path / file
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        runner = separate_runner(app.test_cli_runner)
        args = ["predict", name, str(path), *more]
        return runner.invoke(models_group, args, obj=ScriptInfo(create_app=lambda: app))

    yield run
    app.models.close()


PEOPLE = pd.DataFrame({"age": range(20, 30), "name": [f"n{i}" for i in range(10)]})
ANSWER = "who,in_ten\n" + "".join(f"n{i},{i + 30}\n" for i in range(10))


FILES = {
    "csv": PEOPLE.to_csv(index=False),
    "tsv": PEOPLE.to_csv(index=False, sep="\t"),
    "json": PEOPLE.to_json(orient="records"),
    "jsonl": PEOPLE.to_json(orient="records", lines=True),
    "parquet": to_parquet(PEOPLE),
    "feather": to_feather(PEOPLE),
    "arrow": to_feather(PEOPLE),
}


@pytest.mark.parametrize("kind", FILES)
def test_rows_of_a_file_are_predicted_in_order(command, kind):
    done = command("frame", f"people.{kind}", FILES[kind], "--to", "csv")
    assert (done.exit_code, done.stdout) == (0, ANSWER), done.stderr
    lines = command("frame", f"people.{kind}", FILES[kind], "--to", "jsonl").stdout.splitlines()
    assert json.loads(lines[9]) == {"who": "n9", "in_ten": 39}


@pytest.mark.parametrize(
    ("kind", "first"),
    [("csv", "who,in_ten"), ("parquet", "who,in_ten"), ("jsonl", '{"who":"n0","in_ten":30}')],
)
def test_output_is_csv_from_a_table_and_json_lines_otherwise(command, kind, first):
    assert command("frame", f"people.{kind}", FILES[kind]).stdout.splitlines()[0] == first


def test_batched_model_and_series_give_one_result_per_row(command):
    assert command("batched", "x.csv", FILES["csv"]).stdout.splitlines() == [
        "batched",
        *map(str, range(20, 30)),
    ]
    assert command("series", "x.csv", FILES["csv"]).stdout.splitlines()[:2] == ["series", "10.0"]


def test_dtypes_of_undeclared_columns_come_from_the_whole_file(command):
    done = command("series", "x.csv", "age\n1\n2\n3\n4\n5\n1.5\n")
    assert done.stdout.splitlines()[1] == "0.5"


def test_row_that_does_not_fit_or_fails_is_an_empty_line(command):
    text = "age,name\n1,a\n-1,b\n3,c\n4,d\n13,e\n6,f\n7\nx,h\n"
    done = command("frame", "people.csv", text)
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "who,in_ten", "a,11", ",", "c,13", "d,14", ",", "f,16", ",", ",",
    ]  # fmt: skip
    said = done.stderr.splitlines()
    assert [line.partition(":")[0] for line in said[:4]] == ["Row 2", "Row 5", "Row 7", "Row 8"]
    assert "ValueError: unlucky" in said[1]
    assert said[4] == "4 input(s) failed."


def test_broken_line_of_jsonl_fails_alone(command):
    done = command(
        "frame", "x.jsonl", '{"age": 1, "name": "a"}\n{"age":\n{"age": 2, "name": "b"}\n'
    )
    assert [bool(line) for line in done.stdout.splitlines()] == [True, False, True]


@pytest.mark.parametrize(
    ("name", "file", "content", "said"),
    [
        ("frame", "x.csv", "age\n1\n", "with the column 'name'"),
        ("frame", "x.csv", "", "empty"),
        ("series", "x.csv", "", "empty"),
        ("frame", "x.json", "{}", "expected an array of rows, got dict"),
        ("frame", "x.json", "[", "cannot be predicted"),
        ("frame", "x.parquet", b"nothing", "cannot be predicted"),
        ("frame", "x.xlsx", b"PK", "expected csv, tsv, jsonl, json, parquet, arrow or feather"),
        ("one", "x.csv", FILES["csv"], "returned one result"),
        ("two", "x.parquet", FILES["parquet"], "expected csv, jsonl, json or npy"),
    ],
    ids=str,
)  # fmt: skip
def test_file_that_is_no_table_is_one_message(command, name, file, content, said):
    done = command(name, file, content)
    assert done.exit_code == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_csv_may_have_cells_of_any_length(command):
    name = "x" * 200_000
    done = command("frame", "x.csv", f"age,name\n1,{name}\n2,b\n")
    assert done.stdout == f"who,in_ten\n{name},11\nb,12\n", done.stderr[:300]


def test_quoted_line_breaks_stay_in_their_row(command):
    done = command("frame", "x.csv", 'age,name\n1,"a\nb"\n')
    assert done.stdout == 'who,in_ten\n"a\nb",11\n'


def test_arrow_file_of_many_batches_is_read_in_chunks(command):
    table = pa.Table.from_pandas(PEOPLE, preserve_index=False)
    file = io.BytesIO()
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    done = command("frame", "x.arrow", file.getvalue())
    assert done.stdout == ANSWER


def test_arrow_stream_is_read(command):
    done = command("frame", "x.arrow", to_stream(pa.Table.from_pandas(PEOPLE)))
    assert done.stdout == ANSWER


def test_utf16_is_read(command):
    done = command("frame", "x.csv", FILES["tsv"].encode("utf-16"))
    assert (done.exit_code, done.stdout) == (0, ANSWER)


def test_row_of_another_length_than_the_header_fails_alone(command):
    done = command("frame", "x.csv", "age,name\n1,a\n2,b,c\n3\n4,d\n")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == ["who,in_ten", "a,11", ",", ",", "d,14"]
    assert "Row 2: Expected 2 cells, as in the header, got 3" in done.stderr


def test_two_rows_in_one_line_of_jsonl_fail_alone(command):
    done = command(
        "frame", "x.jsonl",
        '{"age": 1, "name": "a"},{"age": 2, "name": "b"}\n{"age": 3, "name": "c"}\n',
    )  # fmt: skip
    assert [bool(line) for line in done.stdout.splitlines()] == [False, True]
    assert "Row 1: Expected one row in each line, got 2 rows" in done.stderr


@pytest.mark.parametrize("to", ["csv", "jsonl"])
def test_missing_values_of_a_series_are_null(command, to):
    done = command("gaps", "x.csv", "v\n-1\n2\n", "--to", to)
    assert done.stdout == {"csv": 'gaps\n""\n2.0\n', "jsonl": "null\n2.0\n"}[to]


def test_one_decimal_comma_decides_for_all_chunks_of_a_file(command):
    rows = [f"1.{i:03};0\n" for i in range(8)]
    done = command("gaps", "x.csv", "v;w\n" + "".join(rows))
    assert done.stdout.splitlines()[1:] == [str(1 + i / 1000) for i in range(8)]
    done = command("gaps", "x.csv", "v;w\n" + "".join(rows) + "999,5;0\n")
    assert done.stdout.splitlines() == ["gaps", *['""'] * 8, "999.5"]
    assert "Row 1: Expected a number with a decimal comma" in done.stderr


@pytest.mark.parametrize("batch", [1, 4])
def test_table_that_predict_changes_in_place_is_predicted_again_as_it_was(app, command, batch):
    @app.model("/doubled", batch=batch)
    def doubled(people: DataFrame[Person]) -> list[int]:
        people["age"] *= 2
        if (people["age"] == 26).any():
            raise ValueError("unlucky")
        return t.cast("list[int]", people["age"].tolist())

    done = command("doubled", "people.csv", "age,name\n1,a\n2,b\n13,c\n4,d\n5,e\n")
    assert done.exit_code == 1
    assert [line.strip('"') for line in done.stdout.split()[1:]] == ["2", "4", "", "8", "10"]
