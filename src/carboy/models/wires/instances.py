"""Requests with a list of inputs, `instances`, for each of which the response has a prediction.

    {"instances": [1, 2]}    ->    {"predictions": [2, 4]}

An instance is what the body of a request to the model's own URL would be, in JSON. If the only
parameter of `predict` is a table, the instances are its rows; if it is a `Tensor` whose first side
has any size and `predict` takes no batches, they are the entries along that side. Several such
tensors cannot be written as a list of instances.
"""

from __future__ import annotations

import typing as t

import msgspec

from carboy.contract import inputerrors
from carboy.contract.answers import Encoded
from carboy.contract.hints import without_none
from carboy.contract.media import JSON
from carboy.contract.valuecounts import check_json
from carboy.contract.values.tables import is_table
from carboy.contract.values.tensor import without_first
from carboy.errors import AnswerError, InputError

if t.TYPE_CHECKING:
    from ..model import Model
    from ..queue.calls import Arguments

_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def read_body(data: bytes, kind: type[t.Any]) -> t.Any:
    """Decode the body of a request, a Struct.

    Raises:
        InputError: the body is not such an object.
    """
    check_json(data)
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as exc:
        raise inputerrors.mismatch_in_json(exc, data, root="$", kind=kind) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise inputerrors.malformed(data, exc) from exc


def takes_all(model: Model) -> bool:
    """Return whether all instances are the input of one prediction."""
    annotations = [without_none(each.annotation) for each in model.interface.parameters]
    if len(annotations) == 1 and is_table(annotations[0]):
        return True
    has_rows = all(without_first(each) is not None for each in annotations)
    return model.options.batch == 1 and has_rows and bool(annotations)


def arguments_of(model: Model, data: bytes, path: str) -> Arguments | list[Arguments]:
    """Convert a list of instances into the arguments of each prediction.

    Args:
        data: the list, in JSON.
        path: where the list is in the request, for error messages.

    Raises:
        InputError: an instance does not fit the model.
    """
    if takes_all(model):
        return read_one(model, data, path)
    try:
        each_raw = _decode_list(data)
    except msgspec.ValidationError as exc:
        raise inputerrors.mismatch_in_json(exc, data, root=path, kind=list[t.Any]) from exc
    return [read_one(model, bytes(raw), f"{path}[{i}]") for i, raw in enumerate(each_raw)]


def read_one(model: Model, data: bytes, path: str) -> Arguments:
    """Convert what the body of a request to the model's own URL would be into the arguments.

    Args:
        data: the value, in JSON.
        path: where the value is in the request, for error messages.

    Raises:
        InputError: the value does not fit the model.
    """
    try:
        return model.codec.decode_json(data)
    except InputError as exc:
        raise exc.below(path) from None


def number_in(arguments: Arguments | list[Arguments]) -> int | None:
    """Return how many instances `arguments_of` has read; None if several arrays, which are not of
    the same length, are the input of one prediction.
    """
    if isinstance(arguments, list):
        return len(arguments)
    lengths = {len(each) for each in arguments.values() if hasattr(each, "__len__")}
    return lengths.pop() if len(lengths) == 1 else None


def encode_predictions(model: Model, result: t.Any, number: int | None = None) -> Encoded:
    """Encode the result, or the results, of a request as the body of its response, in which the
    JSON list `predictions` has an entry per instance.

    Args:
        number: the number of instances; None if it is not known.

    Raises:
        AnswerError: a result does not fit the return type, or there is not one per instance.
    """
    write = model.answers.encode_json
    takes_one_by_one = not takes_all(model)
    found = b"[" + b",".join(map(write, result)) + b"]" if takes_one_by_one else write(result)
    if found[:1] != b"[":
        raise AnswerError(
            f"Model {model.name!r} takes all instances of a request at once, so `predict` must"
            " return a list, an array or a table with one entry per instance."
        )
    predicted = len(_decode_list(found)) if number is not None else None
    if predicted != number:
        raise AnswerError(
            f"Model {model.name!r} got {number:,} instances at once and returned {predicted:,}"
            " predictions. Return one entry per instance, or serve the model at its own URL."
        )
    return Encoded(b'{"predictions":' + found + b"}", JSON)
