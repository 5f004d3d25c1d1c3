from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
import threading
import typing as t

import msgspec
import numpy as np
import pytest
from clirunner import separate_runner

from carboy.models import Tensor, TensorOptions
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


def shout(text: str | None = None) -> str:
    return str(text).upper()


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


def test_map_refuses_other_ways_to_treat_errors(models):
    with pytest.raises(ValueError, match=r"errors='retrun'\): expected 'raise' or 'return'"):
        models["measure"].map([], errors="retrun")


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
        runner = separate_runner(app.test_cli_runner)
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


@pytest.mark.parametrize("content", ["id,text\n1,hi\n2,ho\n", "text\nhi\nho\n", "mail\nhi\nho\n"])
def test_csv_of_texts_is_predicted(app, models_command, content):
    app.model("/spam", name="spam")(shout)
    done = models_command("predict", "spam", "x.csv", x_csv=content)
    assert (done.exit_code, done.stdout) == (0, "spam\nHI\nHO\n")


def test_csv_may_have_cells_of_any_length(app, models_command):
    @app.model("/size")
    def size(text: str) -> int:
        return len(text)

    content = f"text\nab\n{'x' * 200_000}\ncd\n"
    done = models_command("predict", "size", "x.csv", x_csv=content)
    assert (done.exit_code, done.stdout) == (0, "size\n2\n200000\n2\n"), done.stderr


def test_csv_without_the_column_of_the_only_parameter_is_reported(app, models_command):
    app.model("/spam", name="spam")(shout)
    done = models_command("predict", "spam", "x.csv", x_csv="id,mail\n1,hi\n")
    assert (done.exit_code, done.stdout) == (1, "")
    said = "expected a column 'text', the parameter of `predict`, got 'id', 'mail'. Rename"
    assert said in done.stderr


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
        (("predict", "measure", "x.csv"), {"x_csv": "name,name\na,b\n"}, "'name' twice"),
        (("predict", "total", "x.csv"), {"x_csv": 'a,b\n"1,2\n'}, "unexpected end of data"),
        (("predict", "total", "x.csv"), {"x_csv": b"a\n\xfc\n"}, "neither UTF-8 nor UTF-16"),
        (("predict", "total", "x.npy"), {"x_npy": b"\x80\x04K\x01."}, "is not a .npy file"),
    ],
)
def test_unreadable_file_is_reported(models_command, args, files, says):
    done = models_command(*args, **files)
    assert done.exit_code == 1
    assert says in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("measure", "1,tulip,red", "Expected 2 cells, as in the header, got 3 in line 2"),
        ("measure", "1", "Expected 2 cells, as in the header, got 1 in line 2"),
        ("total", "1,2,3", "Expected 2 cells"),
        ("total", "1", "Expected 2 cells"),
    ],
)
def test_row_of_another_length_than_the_header_fails_alone(models_command, name, line, says):
    done = models_command("predict", name, "x.csv", x_csv=f"width,name\n{line}\n2,3\n")
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == 3
    assert f"Input 1: {says}" in done.stderr
    assert done.stderr.endswith("1 input(s) failed.\n")


def test_empty_cell_is_the_default_or_an_empty_text_or_null(app, models_command):
    @app.model("/shown")
    def shown(text: str, number: int | None, note: str = "none") -> str:
        return f"{text}|{number}|{note}"

    done = models_command(
        "predict", "shown", "x.csv", x_csv='text,number,note\n"",1,a\nb,,\n,,""\n'
    )
    assert done.stdout == "shown\n|1|a\nb|None|none\n|None|none\n"


def test_empty_cell_of_a_record_is_its_default_or_an_empty_text_or_null(app, models_command):
    class Mail(msgspec.Struct):
        text: str
        number: int | None
        size: float
        note: str = "none"

    @app.model("/record")
    def record(mail: Mail) -> str:
        return f"{mail.text}|{mail.number}|{mail.note}"

    done = models_command("predict", "record", "x.csv", x_csv="text,number,size,note\n,,1,\n,,,\n")
    assert done.stdout == 'record\n|None|none\n""\n'
    assert "Input 2: Expected `float`" in done.stderr


def test_results_of_other_fields_than_the_first_are_reported(app, models_command):
    @app.model("/odd")
    def odd(x: int) -> t.Any:
        return [{"a": 1}, {"a": 2, "b": 3}, {"b": 4}, 5, {"a": 6}][x]

    lines = "\n".join(map(str, range(5)))
    done = models_command("predict", "odd", "x.jsonl", "--to", "csv", x_jsonl=lines)
    assert done.stdout == 'a\n1\n""\n""\n""\n6\n'
    assert "Input 2: ValueError: the result has 'b', for which the CSV has no" in done.stderr
    done = models_command("predict", "odd", "x.jsonl", x_jsonl=lines)
    assert done.stdout == '{"a":1}\n{"a":2,"b":3}\n{"b":4}\n5\n{"a":6}\n'


def test_columns_are_also_those_fields_that_the_first_result_omits(app, models_command):
    class Found(msgspec.Struct, omit_defaults=True):
        a: int
        b: int = 0

    @app.model("/found")
    def found(x: int) -> Found:
        return Found(1, x)

    done = models_command("predict", "found", "x.jsonl", "--to", "csv", x_jsonl="0\n7\n")
    assert done.stdout == "a,b\n1,\n1,7\n"


def test_result_without_a_json_form_fails_alone(app, models_command):
    @app.model("/none")
    def none(x: int) -> t.Any:
        return [None, object()][x]

    done = models_command("predict", "none", "x.jsonl", x_jsonl="0\n1\n0\n")
    assert done.stdout == "null\n\nnull\n"
    assert done.stderr.startswith("Input 2: ")


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("x.csv", "a,b\n1,2\n".encode("utf-16"), "total\n3.0\n"),
        ("x.csv", b"\xef\xbb\xbfa,b\n1,2\n", "total\n3.0\n"),
        ("x.json", b"\xef\xbb\xbf[[1, 2]]", "3.0\n"),
        ("x.jsonl", b"\xef\xbb\xbf[1, 2]\n", "3.0\n"),
        ("x.json", b"[[NaN], [1]]", "\n1.0\n"),
        ("x.json", b"[[9007199254740993]]", "9007199254740992.0\n"),
    ],
)
def test_files_may_begin_with_a_byte_order_mark(models_command, file, content, expected):
    done = models_command("predict", "total", file, **{file.replace(".", "_"): content})
    assert (done.stdout, "Traceback" in done.stderr) == (expected, False)


def _npy(array: t.Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.zeros((2, 2)))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not a .npy file"),
        (b"\x93NUMPY", "is not a .npy file"),
        (_npz(), ".npz archive"),
        (_npy(np.float64(1)), "float64 of shape ()"),
        (_npy(np.array(["2024-01-01"], dtype="datetime64[D]")), "datetime64[D]"),
        (_npy(np.array([1j])), "complex128"),
    ],
    ids=["empty", "cut", "npz", "number", "times", "complex"],
)
def test_other_arrays_are_reported(models_command, content, says):
    done = models_command("predict", "total", "x.npy", x_npy=content)
    assert (done.exit_code, says in done.stderr, done.stdout) == (1, True, "")


def test_missing_numbers_of_an_array_are_null(app, models_command):
    @app.model("/missing")
    def missing(x: t.Annotated[np.ndarray, Tensor["float64", 2], TensorOptions(finite=False)]):
        return int(np.isnan(x).sum())

    array = np.array([[1, float("nan")], [1, float("inf")]])
    done = models_command("predict", "missing", "x.npy", x_npy=_npy(array))
    assert done.stdout == "1\n\n"


def test_line_breaks_of_unicode_do_not_break_lines(app, models_command):
    @app.model("/same")
    def same(x: str) -> str:
        return x

    done = models_command("predict", "same", "x.jsonl", x_jsonl='"a\u2028b"\n"c"\n')
    assert [json.loads(line) for line in done.stdout.splitlines()] == ["a\u2028b", "c"]


PRINTING = """
import atexit, os
print("at import")
os.write(1, b"of a C library\\n")
atexit.register(print, "at exit")
from carboy import Carboy
app = Carboy(__name__)
@app.model("/double")
class Double:
    def __init__(self): print("loading"); os.system("echo of a child")
    def predict(self, x: float) -> float: print("computing", x); return 2 * x
"""


@pytest.mark.integration
@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("models", "predict", "double", "in.csv"), ["double", "2.0", "4.0"]),
        (("models",), ["Model", "------", "double"]),
        (("openapi",), ["{"]),
        (("postman",), ["{"]),
    ],
)
def test_prints_of_app_and_model_are_not_among_the_results(
    tmp_path, carboy_command, args, expected
):
    (tmp_path / "app.py").write_text(PRINTING)
    (tmp_path / "in.csv").write_text("x\n1\n2\n")
    done = subprocess.run(
        [carboy_command, *args], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    found = [line.split()[0] for line in done.stdout.splitlines()]
    assert found[: len(expected)] == expected
    assert found[-1] == (expected[-1] if expected != ["{"] else "}")
    assert "at import" in done.stderr
    assert "of a C library" in done.stderr
    assert "at exit" in done.stderr


@pytest.mark.integration
def test_results_that_cannot_be_written_are_one_message(tmp_path, carboy_command):
    (tmp_path / "app.py").write_text(PRINTING)
    (tmp_path / "in.csv").write_text("x\n1\n")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [carboy_command, "models", "predict", "double", "in.csv"],
            cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "Error: The results cannot be written: No space left on device." in done.stderr
    assert "Traceback" not in done.stderr


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


@pytest.mark.parametrize("file", ["items.jsonl", "items.json"])
def test_record_that_predict_changes_in_place_is_predicted_again_as_it_was(
    app, tmp_path, models_command, file
):
    class Item(msgspec.Struct):
        x: int

    @app.model("/doubled", batch=4, wait_ms=10_000)
    def doubled(item: list[Item]) -> list[int]:
        for each in item:
            each.x *= 2
        if 26 in [each.x for each in item]:
            raise ValueError("thirteen")
        return [each.x for each in item]

    lines = [f'{{"x": {x}}}' for x in (1, 2, 13, 4)]
    text = f"[{','.join(lines)}]" if file.endswith(".json") else "\n".join(lines)
    (tmp_path / file).write_text(text)
    done = models_command("predict", "doubled", str(tmp_path / file))
    assert done.stdout.split("\n") == ["2", "4", "", "8", ""]
