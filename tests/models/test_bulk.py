from __future__ import annotations

import inspect
import io
import itertools
import json
import sys
import threading
import typing as t

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from carboy.models import Tensor
from carboy.models.collection import Model
from carboy.models.options import Options


class NotebookStream(io.StringIO):
    """What Jupyter puts in the place of stderr, as far as it is looked at."""

    __module__ = "ipykernel.iostream"


class Flower(msgspec.Struct):
    width: float
    name: str = "rose"


class Size(msgspec.Struct):
    area: float
    tags: list[str]


def measure(flowers: list[Flower]) -> list[Size]:
    return [
        ValueError("withered") if flower.width < 0 else Size(flower.width * 2, [flower.name])  # type: ignore[misc]
        for flower in flowers
    ]


def total(xs: list[list[float]]) -> list[float]:
    return [sum(x) for x in xs]


@pytest.fixture
def models(app):
    app.model("/measure", batch=4)(measure)
    app.model("/total", batch=4, wait_ms="auto")(total)
    return app.models


# --- map ---------------------------------------------------------------------------------------


def test_map_reads_only_a_few_batches_ahead():
    read = []

    def numbers():
        for i in itertools.count():
            read.append(i)
            yield i

    def same(xs: list[int]) -> list[int]:
        return xs

    model = Model("same", "/same", same, Options(batch=4))
    answers = model.map(numbers())
    assert list(itertools.islice(answers, 10)) == list(range(10))
    answers.close()
    assert len(read) <= 10 + 12
    assert model.statistics().waiting == 0


def test_map_raises_at_the_item_that_failed_or_yields_the_exception(models):
    flowers = [Flower(1), Flower(-1), Flower(3)]
    with pytest.raises(ValueError, match="withered"):
        list(models["measure"].map(flowers))
    first, failed, third = models["measure"].map(flowers, errors="return")
    assert (first.area, str(failed), third.area) == (2, "withered", 6)


def test_map_continues_while_others_fill_the_queue():
    entered, go = threading.Event(), threading.Event()

    def slow(x: int) -> int:
        entered.set()
        assert go.wait(20)
        return x

    model = Model("slow", "/slow", slow, Options(queue=2))
    others = [model.submit(100)]
    assert entered.wait(20)
    others += [model.submit(101), model.submit(102)]
    found: list[int] = []
    mapping = threading.Thread(target=lambda: found.extend(model.map(range(6))))
    mapping.start()
    go.set()
    mapping.join()
    assert found == list(range(6))
    assert [future.result(20) for future in others] == [100, 101, 102]


def test_map_shows_its_progress_on_stderr(models, capsys):
    list(models["total"].map([[1.0]] * 3, progress=True))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "total" in shown.err


def test_map_shows_its_progress_in_a_notebook(models, monkeypatch):
    """Its stderr is no terminal, and click would show nothing but a name."""
    monkeypatch.setattr("sys.stderr", NotebookStream())
    list(models["total"].map([[1.0]] * 3, progress=True))
    assert sys.stderr.getvalue().endswith("\rtotal: 3 of 3\n")
    list(models["total"].map(([1.0] for _ in range(2)), progress=True))
    assert sys.stderr.getvalue().endswith("\rtotal: 2\n")


# --- the command -------------------------------------------------------------------------------


@pytest.fixture
def models_command(app, models, tmp_path):
    from carboy.cli import ScriptInfo
    from carboy.cli.models import models_group

    def run(*args: str, **files: str | bytes):
        for name, content in files.items():
            stem, _, kind = name.rpartition("_")
            mode = "wb" if isinstance(content, bytes) else "w"
            with open(tmp_path / f"{stem}.{kind}", mode) as file:
                file.write(content)
        found = [str(tmp_path / arg) if "." in arg else arg for arg in args]
        # click 8.1 tells the two outputs apart only when asked to, later ones always.
        mixes = "mix_stderr" in inspect.signature(CliRunner).parameters
        runner = app.test_cli_runner(**({"mix_stderr": False} if mixes else {}))
        return runner.invoke(models_group, found, obj=ScriptInfo(create_app=lambda: app))

    return run


def test_models_are_listed(models_command):
    lines = models_command().output.splitlines()
    assert lines[0].split() == ["Model", "Rule", "Batch", "Wait", "Input", "Output"]
    assert lines[2].split() == ["measure", "/measure", "4", "0", "ms", "flowers:", "Flower", "Size"]
    assert lines[3].split()[:4] == ["total", "/total", "4", "auto"]


def test_dtype_and_sides_of_a_tensor_are_listed(app, models_command):
    @app.model("/mean")
    def mean(x: t.Annotated[np.ndarray, Tensor["float32", 3, "n"]]) -> float:
        return float(x.mean())

    assert "x: Tensor['float32', 3, 'n']" in models_command().output.splitlines()[-1]


def test_app_without_models_is_reported(app):
    from carboy.cli import ScriptInfo
    from carboy.cli.models import models_group

    done = app.test_cli_runner().invoke(models_group, obj=ScriptInfo(create_app=lambda: app))
    assert done.output == "No models were registered.\n"


def test_csv_of_records_is_predicted_to_csv(models_command):
    done = models_command("predict", "measure", "x.csv", x_csv="width,name\n1,tulip\n2.5,\n")
    assert (done.exit_code, done.stdout) == (0, 'area,tags\n2.0,"[""tulip""]"\n5.0,"[""rose""]"\n')


def test_csv_of_numbers_is_predicted(models_command):
    done = models_command("predict", "total", "x.csv", x_csv="a,b,c\n1,2,3\n4,5,6\n")
    assert (done.exit_code, done.stdout) == (0, "total\n6.0\n15.0\n")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("x.jsonl", "[1, 2]\n\n[3, 4]\n"),
        ("x.json", "[[1, 2], [3, 4]]"),
    ],
)
def test_json_is_predicted_to_json_lines(models_command, file, content):
    done = models_command("predict", "total", file, **{file.replace(".", "_"): content})
    assert (done.exit_code, done.stdout) == (0, "3.0\n7.0\n")


def test_arrays_are_predicted(models_command, tmp_path):
    numpy = pytest.importorskip("numpy")
    numpy.save(tmp_path / "x.npy", numpy.array([[1.0, 2.0], [3.0, 4.0]]))
    done = models_command("predict", "total", "x.npy", "--to", "csv")
    assert (done.exit_code, done.stdout) == (0, "total\n3.0\n7.0\n")


def test_failed_input_is_an_empty_line_and_the_rest_is_predicted(models_command):
    done = models_command("predict", "measure", "x.csv", x_csv="width\n-1\nabc\n3\n-2\n")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == ["area,tags", ",", ",", '6.0,"[""rose""]"', ","]
    assert "Input 1: ValueError: withered" in done.stderr
    assert "Input 2: Expected `float`" in done.stderr
    assert done.stderr.endswith("3 input(s) failed.\n")


@pytest.mark.parametrize(
    ("args", "files", "says"),
    [
        (("predict", "rose", "x.csv"), {}, "No model 'rose' among measure, total."),
        (("predict", "total", "x.parquet"), {}, "expected csv, jsonl, json or npy"),
        (("predict", "total", "x.csv"), {}, "cannot be read: No such file"),
        (
            ("predict", "total", "x.json"),
            {},
            "x.json' cannot be read: No such file or directory.\n",
        ),
        (("predict", "total", "x.csv"), {"x_csv": ""}, "is empty; expected a header"),
        (("predict", "total", "x.json"), {"x_json": "{}"}, "expected an array of inputs, got dict"),
        (("predict", "total", "x.json"), {"x_json": "["}, "is not valid JSON"),
        (("predict", "total", "x.npy"), {"x_npy": b"\x80\x04K\x01."}, "is not a .npy file"),
    ],
)
def test_unreadable_file_is_reported(models_command, args, files, says):
    done = models_command(*args, **files)
    assert done.exit_code == 1
    assert says in done.stderr
    assert "Traceback" not in done.output


def test_progress_goes_to_stderr(models_command):
    done = models_command("predict", "total", "x.jsonl", "--progress", x_jsonl="[1]\n")
    assert json.loads(done.stdout) == 1
    assert "total" in done.stderr


def test_model_that_cannot_be_loaded_is_reported_once(app, models_command):
    @app.model("/broken")
    class Broken:
        def __init__(self) -> None:
            raise FileNotFoundError("broken.joblib")

        def predict(self, number: int) -> int:
            return number

    done = models_command("predict", "broken", "x.jsonl", x_jsonl="1\n2\n3\n")
    assert done.exit_code == 1
    assert done.stderr.count("'broken' could not be loaded") == 1
