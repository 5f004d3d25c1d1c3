"""A model that answers a golden example wrongly is not served."""

from __future__ import annotations

import logging
import pathlib
import typing as t
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from carboy.errors import ModelFileError, ModelLoadError, SignatureError
from carboy.models import Golden, Tensor, load, save
from carboy.models.collection import Model
from carboy.models.options import Options
from carboy.models.saved.card import read_card


class Digit(msgspec.Struct):
    label: str
    score: float


def double(x: float) -> float:
    return 2 * x


def model_of(target: t.Any, **options: t.Any) -> Model:
    return Model("m", "/m", target, Options(**options))


# --- declared by the app -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "golden",
    [
        Golden(2, answer=4),
        Golden(2, answer=4 + 1e-6),
        Golden(2, answer=4.5, tolerance=0.2),
        Golden({"x": 2}, answer=4),
    ],
    ids=["exact", "rounded", "tolerance", "by name"],
)
def test_model_that_gives_the_expected_answer_is_loaded(golden):
    model = model_of(double, example=golden)
    model.load()
    assert model.loaded


@pytest.mark.parametrize("option", ["example", "examples"])
def test_model_that_gives_another_answer_is_not_loaded(option):
    fine, wrong = Golden(1, answer=2), Golden(2, answer=5)
    examples = {"example": wrong} if option == "example" else {"examples": {"A": fine, "B": wrong}}
    model = model_of(double, **examples)
    called = "the example" if option == "example" else "the example 'B'"
    says = rf"answer to {called} is wrong: expected 5, got 4.0 \(tolerance 1e-05\)"
    with pytest.raises(ModelLoadError, match=says):
        model.load()
    assert not model.loaded


def test_records_and_arrays_are_compared_as_clients_get_them():
    def predict(image: Tensor["float32", 2]) -> Digit:
        return Digit("cat", float(image.sum()))

    model_of(predict, example=Golden(np.ones(2, "float32"), answer=Digit("cat", 2))).load()
    model = model_of(predict, example=Golden([1, 1], answer={"label": "dog", "score": 2}))
    with pytest.raises(ModelLoadError, match="expected 'dog' at label, got 'cat'"):
        model.load()


def test_all_items_of_a_stream_are_compared():
    def count(to: int) -> Iterator[int]:
        yield from range(to)

    model_of(count, example=Golden(3, answer=[0, 1, 2])).load()
    with pytest.raises(ModelLoadError, match=r"expected a list of 2 \[0, 1\], got a list of 3"):
        model_of(count, example=Golden(3, answer=[0, 1])).load()


def test_each_answer_of_a_full_batch_is_compared():
    def predict(x: list[int]) -> list[int]:
        return [each + len(x) - 1 for each in x]

    with pytest.raises(ModelLoadError, match="expected 1, got 4"):
        model_of(predict, example=Golden(1, answer=1), batch=4).load()


def test_golden_example_is_on_the_page_like_others():
    model = model_of(double, example=Golden(2, answer=4), examples={"Zero": Golden(0, answer=0)})
    assert {title: each.json for title, each in model.examples.items()} == {
        "Example": b"2",
        "Zero": b"0",
    }


@pytest.mark.parametrize(
    ("golden", "says"),
    [
        (lambda: Golden(2), "is a Golden without an answer"),
        (lambda: Golden("two", answer=4), "the example does not fit `predict`"),
        (lambda: Golden(2, answer=object()), "the example cannot be encoded"),
        (lambda: Golden(2, answer=4, tolerance=-1), "expected a number, at least 0"),
        (lambda: Golden(2, answer=4, tolerance=float("nan")), "expected a number, at least 0"),
        (lambda: Golden(2, answer=4, tolerance="0"), "expected a number, at least 0"),
    ],
    ids=["no answer", "input", "answer", "negative", "nan", "text"],
)
def test_mistakes_are_refused_at_registration(golden, says):
    with pytest.raises(SignatureError, match=says):
        model_of(double, example=golden())


# --- noted on the card ---------------------------------------------------------------------------


class Doubles:
    """Reads a factor, and multiplies by it."""

    def __init__(self, path: pathlib.Path) -> None:
        self.factor = load(path)["factor"]

    def predict(self, x: float) -> float:
        return self.factor * x


def saved(folder: pathlib.Path, factor: float, **options: t.Any) -> str:
    pytest.importorskip("joblib")
    save({"factor": factor}, folder, **options)
    return str(folder)


def test_example_on_the_card_is_checked_if_the_types_are_the_same(tmp_path):
    def predict(x: float) -> float:
        return 3 * x

    wrong = saved(tmp_path / "7", 2, predict=predict, example=2)
    says = (
        "the answer to the example on the card of .* 7 is wrong: expected 6.0, got 4.0 .*"
        rf"\(the model Doubles in {__file__}\)"
    )
    with pytest.raises(ModelLoadError, match=says):
        model_of(Doubles, source=wrong).load()
    right = saved(tmp_path / "8", 3, predict=predict, example=2)
    model_of(Doubles, source=right).load()


def test_example_on_the_card_of_other_types_is_not_checked_and_says_so(tmp_path, caplog):
    def predict(x: str) -> float:
        return 3

    folder = saved(tmp_path / "7", 2, predict=predict, example="2")
    with caplog.at_level(logging.INFO, logger="carboy.models"):
        model_of(Doubles, source=folder).load()
    assert "the example on the card of" in caplog.text
    assert "is not checked" in caplog.text


def test_tolerance_is_noted_on_the_card(tmp_path):
    folder = saved(tmp_path / "7", 2, predict=double, example=Golden(2, tolerance=0.5))
    card = read_card(folder)
    assert (card.example, card.answer, card.tolerance) == (2, 4, 0.5)
    saved(tmp_path / "8", 2.1, predict=double, example=Golden(2, tolerance=0.5))
    model_of(Doubles, source=str(tmp_path / "8")).load()


def test_model_that_does_not_give_the_expected_answer_is_not_saved(tmp_path):
    with pytest.raises(ModelFileError, match="the answer to the example is wrong: expected 5, got"):
        saved(tmp_path / "7", 2, predict=double, example=Golden(2, answer=5))
    assert not list(tmp_path.iterdir())


# --- files that change ---------------------------------------------------------------------------


class Slow(Doubles):
    """Its file is written again while it is read."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__(path)
        file = next(path.glob("model.*"))
        file.write_bytes(file.read_bytes())


def test_files_that_change_while_they_are_read_are_refused(tmp_path):
    folder = saved(tmp_path / "7", 2)
    with pytest.raises(ModelLoadError, match="have changed while the model was loaded from them"):
        model_of(Slow, source=folder).load()
    model_of(Doubles, source=folder).load()
