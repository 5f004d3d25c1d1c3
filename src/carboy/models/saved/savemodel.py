"""`carboy.models.save` writes a model and its card into a new folder."""

from __future__ import annotations

import datetime as dt
import inspect
import os
import pathlib
import platform
import typing as t
from collections import abc as cabc

import msgspec

from carboy.contract.answers import AnswerWriter, encode
from carboy.contract.bodies import BodyReader
from carboy.contract.schemas import body_schema, json_schema
from carboy.contract.signature import predict_at, read_predict
from carboy.core.advice import did_you_mean
from carboy.errors import InputError, ModelFileError, SignatureError

from ..agreement import difference
from ..golden import NO_ANSWER, Golden
from .card import CARD_NAME, Card, write_card
from .digests import record_of
from .fileformats import FORMATS, OWN, FileFormat, record_files
from .libraries import versions_of
from .newfolder import partial_folder, publish
from .versionnames import fault_in_header

if t.TYPE_CHECKING:
    from carboy.contract.operation import BodySpec

# `example=` may be None, which is a value like any other.
_NO_EXAMPLE: t.Any = NO_ANSWER
_OWNER = "carboy.models.save()"


def save(
    model: t.Any,
    folder: str | os.PathLike[str],
    *,
    example: t.Any = _NO_EXAMPLE,
    predict: cabc.Callable[..., t.Any] | None = None,
    metrics: cabc.Mapping[str, t.Any] | None = None,
    format: str | None = None,
    write: cabc.Callable[[pathlib.Path], object] | None = None,
) -> Card:
    """Write a model into a new folder, and beside it a card that says what it is.

        carboy.models.save(net, "models/digits/7", example=X[:1], metrics={"accuracy": 0.97})

    The folder appears when all of it is written. `carboy.models.load(folder)` reads the model.

    Args:
        model: an estimator or any other object that can be pickled, a graph of ONNX, a module of
            PyTorch (of which the weights are written), or a dict of arrays.
        folder: the folder to create. Its name is the version, and the name of the folder that
            contains it is the name of the model.
        example: an input of `predict`. Its answer is computed now, and both are noted. Where the
            model is served by an app with the same types, it must give this answer again. Pass a
            Golden to say which answer is right, or how far numbers may be from it.
        predict: the function that answers `example`, with or without types; by default the method
            `predict` of the model, or the module of PyTorch or the graph of ONNX itself.
        metrics: what you have measured: numbers, texts and booleans by their names.
        format: "joblib", "onnx", "safetensors" or "torch", if not the usual one of the model.
        write: your own function, which gets the path of an empty folder and writes the files.

    Raises:
        ModelFileError: the folder exists or its name cannot be that of a version, the model cannot
            be written or read by another program, or `predict` fails on the example.
    """
    target = os.path.abspath(os.fspath(folder))
    if os.path.lexists(target):
        raise _existing(target)
    if fault := fault_in_header(os.path.basename(target)):
        raise ModelFileError(fault)
    if write is not None and format is not None:
        raise ModelFileError("carboy.models.save(): pass format= or write=, not both.")
    chosen = None if write is not None else _choose(model, format)
    golden = example if isinstance(example, Golden) else Golden(example)
    about = _describe_example(_predict_of(model, predict, golden.input), golden)
    measured = _check_metrics({} if metrics is None else metrics)
    parent, version = os.path.split(target)
    with partial_folder(parent) as partial:
        modules = _write_files(model, partial, chosen, write)
        card = Card(
            name=os.path.basename(parent) or version,
            version=version,
            format=chosen.name if chosen else OWN,
            files={name: record_of(os.path.join(partial, name)) for name in record_files(partial)},
            made_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            python=platform.python_version(),
            libraries=versions_of(modules),
            metrics=measured,
            **about,
        )
        write_card(card, partial)
        try:
            publish(partial, target)
        except FileExistsError:  # another process may have saved the same version meanwhile
            raise _existing(target) from None
    return card


# --- files ---------------------------------------------------------------------------------------


def _choose(model: t.Any, name: str | None) -> FileFormat:
    if name is None:
        return next(each for each in FORMATS.values() if each.takes(model))
    if name not in FORMATS:
        raise ModelFileError(
            f"carboy.models.save(..., format={name!r}): expected one of"
            f" {', '.join(map(repr, FORMATS))}.{did_you_mean(name, FORMATS)} For other formats,"
            " pass write=, a function that gets the folder."
        )
    return FORMATS[name]


def _existing(target: str) -> ModelFileError:
    return ModelFileError(
        f"carboy.models.save(): the folder {target!r} exists already. A version is never"
        " overwritten: save the model under the next one, or remove the folder."
    )


def _write_files(
    model: t.Any,
    folder: str,
    chosen: FileFormat | None,
    write: cabc.Callable[[pathlib.Path], object] | None,
) -> cabc.Iterable[str]:
    """Write the model, and return the modules that its files need."""
    if chosen is not None:
        path = os.path.join(folder, chosen.file)
        chosen.write(model, path)
        return chosen.modules_for(path)
    assert write is not None
    write(pathlib.Path(folder))
    names = record_files(folder)
    if not names or CARD_NAME in names:
        raise ModelFileError(
            f"carboy.models.save(..., write={write!r}): expected the function to write the files of"
            f" the model into the folder that it gets, but not {CARD_NAME!r}; got"
            f" {', '.join(names) or 'no file'}."
        )
    return {base.__module__ for base in type(model).__mro__}


# --- what the model takes and returns ------------------------------------------------------------


def _predict_of(
    model: t.Any,
    given: cabc.Callable[..., t.Any] | None,
    example: t.Any,
) -> cabc.Callable[..., t.Any] | None:
    """Return the function that answers the example, or has the types of the model; None if there is
    no example and no function.
    """
    if given is not None or (example is _NO_EXAMPLE and not hasattr(model, "predict")):
        return given
    found = _choose(model, None).predict_of(model)
    if found is None and example is not _NO_EXAMPLE:
        raise ModelFileError(
            f"carboy.models.save(..., example=...): the {type(model).__name__} has no method"
            " `predict`. Pass the function that answers the example: predict=function."
        )
    return found


def _describe_example(
    predict: cabc.Callable[..., t.Any] | None, golden: Golden
) -> dict[str, t.Any]:
    """Return the members of a card about inputs and outputs: from the types of `predict`, or else
    from the example and its answer.
    """
    if predict is None:
        return {}
    if typed := _read_types(predict):
        return _describe_typed(predict, typed, golden)
    if golden.input is _NO_EXAMPLE:
        return {}
    noted = _plain("the example", golden.input)
    answer = _answer(predict, golden.input)
    return {
        "input": schema_of(golden.input),
        "output": schema_of(answer),
        "example": noted,
        **_check_answer(golden, _plain("the answer of `predict`", answer)),
    }


class _Typed(t.NamedTuple):
    """The reader of inputs and the writer of answers, made from the types of `predict`."""

    body: BodySpec
    reader: BodyReader
    answers: AnswerWriter


def _read_types(predict: cabc.Callable[..., t.Any]) -> _Typed | None:
    """Return the types of `predict`; None if it has none that a request could have. Libraries write
    types such as `numpy.ndarray`, or Any.
    """
    if not inspect.isroutine(predict):  # a module of PyTorch, which is called itself
        return None
    try:
        operation = read_predict(predict, owner=_OWNER)
        body = t.cast("BodySpec", operation.body)
        if any(each.annotation is t.Any for each in body.parameters):
            return None
        owner = f"{_OWNER}, {predict_at(predict)}"
        return _Typed(body, BodyReader(body, _OWNER), AnswerWriter(operation.answer, owner))
    except (SignatureError, TypeError, ValueError):  # functions in C may have no signature
        return None


def _describe_typed(
    predict: cabc.Callable[..., t.Any], typed: _Typed, golden: Golden
) -> dict[str, t.Any]:
    types = {
        "input": body_schema(typed.body),
        "output": json_schema(typed.answers.item, answered=True),
    }
    if golden.input is _NO_EXAMPLE:
        return types
    noted = _plain("the example", golden.input)
    try:
        arguments = typed.reader.decode_json(encode(golden.input))
    except InputError as exc:
        raise ModelFileError(
            f"{_OWNER}: the example does not fit `predict`. {exc.detail}"
        ) from None
    answer = _answer(lambda named: _as_json(predict(**named), typed.answers), arguments)
    return {**types, "example": noted, **_check_answer(golden, answer)}


def _check_answer(golden: Golden, answer: t.Any) -> dict[str, t.Any]:
    """Return the members of a card about the answer: the expected one, if the author knows it.

    Raises:
        ModelFileError: `predict` has given another answer.
    """
    if golden.answer is NO_ANSWER:
        return {"answer": answer, "tolerance": golden.tolerance}
    expected = _plain("the expected answer", golden.answer)
    if found := difference(expected, answer, golden.tolerance):
        raise ModelFileError(
            f"{_OWNER}: the answer to the example is wrong: {found} (tolerance"
            f" {golden.tolerance:g}). Nothing was saved."
        )
    return {"answer": expected, "tolerance": golden.tolerance}


def _as_json(answer: t.Any, writer: AnswerWriter) -> t.Any:
    """Return an answer as clients get it: as JSON, and a list of all items of a stream."""
    if writer.streams:
        return [msgspec.json.decode(writer.encode_json(item)) for item in answer]
    return msgspec.json.decode(writer.encode_json(answer))


def _answer(predict: cabc.Callable[..., t.Any], example: t.Any) -> t.Any:
    try:
        return predict(example)
    except Exception as exc:
        raise ModelFileError(
            f"carboy.models.save(): `predict` failed on the example: {type(exc).__name__}: {exc}."
            " Nothing was saved."
        ) from exc


def _plain(what: str, value: t.Any) -> t.Any:
    """Return a value as JSON has it: lists instead of arrays, records as dicts."""
    try:
        return msgspec.json.decode(encode(_as_array(value)))
    except (NotImplementedError, TypeError, ValueError) as exc:
        raise ModelFileError(
            f"carboy.models.save(): {what} has no form in JSON, in which the card is written:"
            f" {exc}. Pass one of numbers, texts, lists, dicts, arrays or tables."
        ) from None


def _as_array(value: t.Any) -> t.Any:
    """Return a tensor of PyTorch as an array."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        return value.detach().cpu().numpy()
    return value


def schema_of(value: t.Any) -> dict[str, t.Any]:
    """Return a JSON Schema that describes one value. Arrays and tensors also have the members
    `dtype` and `shape`.
    """
    if isinstance(value, cabc.Mapping):
        members = {str(name): schema_of(each) for name, each in value.items()}
        return {"type": "object", "properties": members, "required": list(members)}
    schema = _schema_of_plain(_plain("the value", value))
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        schema |= {"dtype": str(value.dtype), "shape": list(value.shape)}
    return schema


def _schema_of_plain(value: t.Any) -> dict[str, t.Any]:
    if isinstance(value, dict):
        members = {name: _schema_of_plain(each) for name, each in value.items()}
        return {"type": "object", "properties": members, "required": list(members)}
    if isinstance(value, list):
        items = [_schema_of_plain(each) for each in value]
        distinct = [each for i, each in enumerate(items) if each not in items[:i]]
        if not distinct:
            return {"type": "array"}
        return {
            "type": "array",
            "items": distinct[0] if len(distinct) == 1 else {"anyOf": distinct},
        }
    names = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return {"type": names.get(type(value), "null")}


def _check_metrics(metrics: cabc.Mapping[str, t.Any]) -> dict[str, t.Any]:
    given: t.Any = metrics
    if not isinstance(given, cabc.Mapping):
        raise ModelFileError(f"carboy.models.save(..., metrics={given!r}): expected a dict.")
    checked = {}
    for name, value in given.items():
        plain = value.item() if hasattr(value, "item") and not getattr(value, "ndim", 0) else value
        fits = isinstance(plain, (bool, int, float, str)) and plain == plain  # noqa: PLR0124 - NaN
        if not isinstance(name, str) or not fits:
            raise ModelFileError(
                f"carboy.models.save(..., metrics=...): expected numbers, texts and booleans by"
                f" their names, got {name!r}: {value!r}."
            )
        checked[name] = plain
    return checked
