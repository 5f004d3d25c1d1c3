"""Tables through the test client: every form in, every form out, batches, refusals."""

from __future__ import annotations

import io
import json
import threading
import typing as t

import msgspec
import pandas as pd
import pytest
from frames import to_feather, to_parquet

from carboy.errors import SignatureError
from carboy.models import DataFrame, TableOptions

PARQUET = "application/vnd.apache.parquet"
STREAM = "application/vnd.apache.arrow.stream"
CSV = "text/csv"


class Person(msgspec.Struct):
    age: t.Annotated[int, msgspec.Meta(ge=0, le=150)]
    name: str
    income: float | None = None


PEOPLE = [{"age": 30, "name": "Ada", "income": 1.5}, {"age": 50, "name": "Bo", "income": None}]
FRAME = pd.DataFrame(PEOPLE)


class Risk:
    """The age of each in decades, as a table."""

    def predict(self, people: DataFrame[Person], scale: float = 10) -> DataFrame:
        return pd.DataFrame({"name": people["name"], "decades": people["age"] / scale})


ANSWER = [{"name": "Ada", "decades": 3.0}, {"name": "Bo", "decades": 5.0}]


@pytest.fixture
def client(app):
    app.model("/risk")(Risk)
    return app.test_client()


BODIES = {
    "named": (json.dumps({"people": PEOPLE, "scale": 10}), "application/json"),
    "split": (json.dumps({"people": FRAME.astype(object).to_dict("split")}).replace("NaN", "null"),
              "application/json"),
    "csv": (FRAME.to_csv(index=False), CSV),
    "csv-charset": (FRAME.to_csv(index=False), "text/csv; charset=utf-8"),
    "csv-excel": (FRAME.to_csv(index=False, sep=";"), "application/vnd.ms-excel"),
    "tabs": (FRAME.to_csv(index=False, sep="\t"), "text/tab-separated-values"),
    "parquet": (to_parquet(FRAME), PARQUET),
    "parquet-by-content": (to_parquet(FRAME), "application/octet-stream"),
    "feather": (to_feather(FRAME), "application/vnd.apache.arrow.file"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "media_type"), BODIES.values(), ids=BODIES)
def test_table_is_read_from_each_kind_of_body(client, body, media_type):
    answer = client.post("/risk", data=body, content_type=media_type)
    assert (answer.status_code, answer.json) == (200, ANSWER)


FILES = {
    "csv": FRAME.to_csv(index=False).encode(),
    "json": json.dumps(PEOPLE).encode(),
    "parquet": to_parquet(FRAME),
    "feather": to_feather(FRAME),
}


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
@pytest.mark.parametrize("field", ["people", "file"])
def test_table_is_read_from_a_file_of_a_form(client, file, field):
    form = {field: (io.BytesIO(file), "people"), "scale": "5"}
    answer = client.post("/risk", data=form)
    assert (answer.status_code, answer.json[0]) == (200, {"name": "Ada", "decades": 6.0})


@pytest.mark.parametrize(
    "text", [FRAME.to_csv(index=False), json.dumps(PEOPLE)], ids=["csv", "json"]
)
@pytest.mark.parametrize("kind", ["multipart/form-data", "application/x-www-form-urlencoded"])
def test_table_is_read_from_a_field_of_a_form(client, text, kind):
    answer = client.post("/risk", data={"people": text}, content_type=kind)
    assert (answer.status_code, answer.json) == (200, ANSWER)


def test_accept_header_chooses_the_media_type_of_the_result(client):
    def ask(accept):
        answer = client.post("/risk", json={"people": PEOPLE}, headers={"Accept": accept})
        assert answer.headers["Vary"] == "Accept"
        return answer

    assert ask("*/*").json == ANSWER
    csv = ask(CSV)
    assert (csv.mimetype, csv.text) == (CSV, "name,decades\nAda,3.0\nBo,5.0\n")
    assert pd.read_parquet(io.BytesIO(ask(PARQUET).data)).to_dict("records") == ANSWER
    assert ask(STREAM).mimetype == STREAM


REFUSED = {
    "bounds": ('[{"age": 200, "name": "x"}]', "application/json", 422, "$[0].age"),
    "text": ('{"people": [{"age": "x", "name": "x"}]}', "application/json", 422, "$.people[0].age"),
    "missing": ("age\n1\n", CSV, 422, "$"),
    "cell": ("age,name\n1,a\nx,b\n", CSV, 422, "$[1].age"),
    "short": ("age,name\n1\n", CSV, 422, "$[0]"),
    "empty": ("", CSV, 400, None),
    "encoding": (b"age,name\n1,\xe9\n", CSV, 400, None),
    "charset": ("age,name\n1,a\n", "text/csv; charset=rot13", 415, "$"),
    "damaged": (b"PAR1" + b"\0" * 50, PARQUET, 400, None),
    "not-parquet": ("age,name\n1,a\n", PARQUET, 400, None),
    "excel": (b"PK\x03\x04...", "application/vnd.ms-excel", 415, "$"),
    "unknown": (b"\x80\x05\x95", "application/x-pickle", 415, "$"),
}


@pytest.mark.parametrize(("body", "media_type", "status", "path"), REFUSED.values(), ids=REFUSED)
def test_table_that_does_not_fit_is_refused_and_the_next_is_served(
    app, body, media_type, status, path
):
    @app.model("/ages")
    def ages(people: DataFrame[Person]) -> list[int]:
        return people["age"].tolist()

    client = app.test_client()
    refused = client.post("/ages", data=body, content_type=media_type)
    assert refused.status_code == status, refused.text
    if path is not None:
        assert refused.json["errors"][0]["path"] == path
    assert client.post("/ages", json=PEOPLE).json == [30, 50]


def test_too_many_rows_are_413(app):
    @app.model("/few")
    def few(people: t.Annotated[DataFrame[Person], TableOptions(max_rows=1)]) -> int:
        return len(people)

    client = app.test_client()
    assert client.post("/few", json=PEOPLE[:1]).json == 1
    for body, kind in (BODIES["split"], BODIES["csv"], BODIES["parquet"]):
        refused = client.post("/few", data=body, content_type=kind)
        assert (refused.status_code, refused.json["code"]) == (413, "input-too-large")


def test_table_may_be_annotated_with_the_class_of_pandas(app):
    @app.model("/any")
    def any_table(table: pd.DataFrame) -> list[str]:
        return list(table.columns)

    client = app.test_client()
    assert client.post("/any", data="a;b\n1;2\n", content_type=CSV).json == ["a", "b"]
    assert client.post("/any", json={"a": [1], "b": [2]}).json == ["a", "b"]
    assert client.post("/any", json={"table": [{"a": 1}]}).json == ["a"]
    accepted = client.get("/any").json["accepts"]
    assert {CSV, PARQUET, STREAM} <= set(accepted)


def test_registration_without_pandas_says_what_to_install(app, monkeypatch):
    from carboy.contract.values import registry

    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    with pytest.raises(SignatureError, match="pip install pandas"):
        app.model("/risk")(Risk)


# --- batches --------------------------------------------------------------------------------------


class Counted:
    """One call for the rows of all requests."""

    calls: t.ClassVar[list[int]] = []
    release = threading.Event()

    def predict(self, people: DataFrame[Person]) -> list[int]:
        self.release.wait(10)
        self.calls.append(len(people))
        if (people["age"] == 13).any():
            raise ValueError("unlucky")
        return (people["age"] + 1).tolist()


@pytest.fixture
def counted(app):
    app.model("/counted", batch=16, wait_ms=50)(Counted)
    Counted.calls.clear()
    Counted.release.clear()
    model = app.models["counted"]
    yield model
    Counted.release.set()
    model.close()


def people(*ages):
    return pd.DataFrame({"age": list(ages), "name": "x", "income": 1.0})


def test_rows_of_all_requests_are_one_table(counted):
    asked = [[i] * (i % 3 + 1) for i in range(20, 36)]
    futures = [counted.submit(people(*ages)) for ages in asked]
    Counted.release.set()
    assert [future.result(10) for future in futures] == [[a + 1 for a in ages] for ages in asked]
    assert sum(Counted.calls) == sum(map(len, asked))
    assert len(Counted.calls) < len(asked)


def test_poisoned_request_fails_alone(counted):
    futures = [counted.submit(people(i + 20, 13 if i == 7 else 20)) for i in range(16)]
    Counted.release.set()
    errors = [future.exception(10) for future in futures]
    assert [i for i, error in enumerate(errors) if error] == [7]
    assert futures[0].result() == [21, 21]


def test_each_request_of_a_batch_gets_the_results_of_its_rows(app):
    @app.model("/twice", batch=8)
    def twice(people: DataFrame[Person]) -> DataFrame:
        return people[["age"]] * 2

    client = app.test_client()
    assert client.post("/twice", json=PEOPLE).json == [{"age": 60}, {"age": 100}]
    answer = client.post("/twice", json=PEOPLE[1:], headers={"Accept": CSV})
    assert answer.text == "age\n100\n"


def test_list_of_tables_has_one_table_per_request(app):
    @app.model("/each", batch=8)
    def each(tables: list[DataFrame[Person]]) -> list[int]:
        return [len(table) for table in tables]

    client = app.test_client()
    assert client.post("/each", json=PEOPLE).json == 2
    assert client.post("/each", data=BODIES["csv"][0], content_type=CSV).json == 2


def test_too_few_results_for_a_table_are_500(app):
    @app.model("/short", batch=8)
    def short(people: DataFrame[Person]) -> list[int]:
        return [1]

    client = app.test_client()
    assert client.post("/short", json=PEOPLE[:1]).json == [1]
    app.testing = False
    assert client.post("/short", json=PEOPLE).status_code == 500


def test_document_describes_the_rows(app):
    app.model("/risk")(Risk)
    schema = app.models["risk"].metadata()["input"]["properties"]["people"]
    assert schema["x-table"] is True
    assert schema["items"]["properties"]["age"] == {"type": "integer", "minimum": 0, "maximum": 150}
