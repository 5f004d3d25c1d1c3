"""Predictions by the protocol of MLflow's scoring server.

    POST /invocations               {"predictions": [...]}
    GET  /ping, /health             200 if the model is ready, else 503
    GET  /version                   the version of MLflow whose protocol this is

A body is JSON with one of these members, or CSV (`text/csv`) for a model that takes a table:

    dataframe_split                 {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}
    dataframe_records               [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    instances                       a list of inputs
    inputs                          the same, or lists by name: {"a": [1, 3], "b": [2, 4]}

A model whose only parameter is a table gets all rows as one table. For any other model each row is
a prediction of its own: an object with the columns as keys, or a list of the cells if the only
parameter of the model is a list or an array. A model that takes arrays with any number of rows gets
all `inputs` at once. `NaN`, which MLflow's client writes for missing cells although it is no JSON,
is read as `null`. Errors are `{"error_code": ..., "message": ...}`.

Source: https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally
"""

from __future__ import annotations

import typing as t
from functools import partial

import msgspec

from carboy.contract.answers import Encoded, encode
from carboy.contract.hints import members_of, without_none
from carboy.contract.kinds import plain_classes
from carboy.contract.media import JSON
from carboy.contract.valuecounts import check_json
from carboy.contract.values.registry import kind_of
from carboy.contract.values.tables import is_table
from carboy.contract.values.tables.json import refuse_duplicate_names
from carboy.contract.values.tables.value import TableKind
from carboy.contract.values.tensor import TensorKind
from carboy.errors import InputError, UnsupportedInputError

from ..view import add_protocol
from .instances import arguments_of, encode_predictions, read_body, read_one, takes_all
from .shared import PROBE, ProtocolWithoutStreams, WireProblem, add_page
from .solemodel import ServesOneModel, health_of, sole_model

if t.TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from ..host import ModelApp
    from ..model import Model
    from ..protocol import PredictionRequest
    from ..queue.calls import Arguments

NAME = "mlflow"
#: The version of MLflow whose scoring server this protocol is that of.
_VERSION = "3.0.0"
# Stand for the escapes of which one has a quote that ends no string. JSON must not contain them.
# The order matters: the quote after two backslashes ends a string.
_MARKS = {rb"\\": b"\0", rb"\"": b"\1"}
# The pieces between quotes are made for parts of a body, so that little memory is needed.
_PART_BYTES = 2**20
_MEMBERS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class SplitTable(msgspec.Struct):
    """Rows as lists. An `index`, which pandas writes, is ignored. Columns without names have
    numbers.
    """

    columns: list[str | int | float | bool]
    data: list[list[msgspec.Raw]]


class InvocationRequest(msgspec.Struct, forbid_unknown_fields=True):
    dataframe_split: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    dataframe_records: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    instances: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    inputs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    params: dict[str, t.Any] | None = None

    def __post_init__(self) -> None:
        given = [name for name in _MEMBERS if getattr(self, name) is not msgspec.UNSET]
        if len(given) != 1:
            raise ValueError(
                f"Expected one of {', '.join(f'`{each}`' for each in _MEMBERS)},"
                f" got {' and '.join(given) or 'none of them'}"
            )
        if self.params:
            raise ValueError("Expected no `params`: the model has only its inputs")


class InvocationProblem(WireProblem):
    """An error in the form of MLflow."""

    def to_wire(self, text: str) -> dict[str, t.Any]:
        return {"error_code": "BAD_REQUEST" if self.is_input else "INTERNAL_ERROR", "message": text}


class MLflowProtocol(ServesOneModel, ProtocolWithoutStreams):
    """Serves one model as MLflow's scoring server does."""

    name = NAME
    problem = InvocationProblem

    def decode(self, model: Model, request: PredictionRequest) -> Arguments | list[Arguments]:
        takes_table = _takes_table(model)
        if request.media_type == "text/csv":
            if not takes_table:
                raise UnsupportedInputError(
                    "The model takes no table, so it cannot read CSV. Send JSON: dataframe_split."
                )
            return self._read_csv(model, request)
        asked = read_body(_without_nan(self.body(model, request)), InvocationRequest)
        member = next(name for name in _MEMBERS if getattr(asked, name) is not msgspec.UNSET)
        data, path = bytes(getattr(asked, member)), f"$.{member}"
        if takes_table or (member == "inputs" and takes_all(model)):
            # The reader of tables knows all layouts, and that of tensors lists by name.
            return read_one(model, data, path)
        if member == "dataframe_split":
            data = _rows_of_split(model, data, path)
        elif member == "inputs" and data[:1] == b"{":
            data = _rows_of_columns(data, path)
        return arguments_of(model, data, path)

    def _read_csv(self, model: Model, request: PredictionRequest) -> Arguments:
        (table,) = model.codec.parameters
        kind = next(each for each in table.kinds if isinstance(each, TableKind))
        data = self.body(model, request)
        return {table.name: kind.read(data, media_type=request.content_type)}

    def encode(self, model: Model, request: PredictionRequest, result: t.Any) -> Encoded:
        if takes_all(model):
            return Encoded(b'{"predictions":' + model.answers.encode_json(result) + b"}", JSON)
        return encode_predictions(model, result)


def _without_nan(data: bytes) -> bytes:
    """Return JSON with `null` instead of `NaN`, which Python's `json` writes.

    Raises:
        InputError: the JSON has too many lists and objects for its length.
    """
    if b"NaN" not in data:
        return data
    check_json(data)
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _with_null(data)
    return data  # each NaN is in a string


def _with_null(data: bytes) -> bytes:
    if any(mark in data for mark in _MARKS.values()):
        return data  # is no JSON
    for escape, mark in _MARKS.items():
        data = data.replace(escape, mark)
    parts, end, is_inside = [], 0, False
    while end < len(data):
        # A part ends at a quote, so that it does not split a NaN.
        start, end = end, data.find(b'"', end + _PART_BYTES) + 1 or len(data)
        pieces = data[start:end].split(b'"')
        outside = b'"'.join(pieces[is_inside::2]).replace(b"NaN", b"null")
        if pieces[is_inside::2]:
            pieces[is_inside::2] = outside.split(b'"')
        parts.append(b'"'.join(pieces))
        is_inside ^= not len(pieces) % 2
    found = b"".join(parts)
    for escape, mark in _MARKS.items():
        found = found.replace(mark, escape)
    return found


def _takes_table(model: Model) -> bool:
    single = model.interface.single
    return single is not None and is_table(without_none(single.annotation))


def _rows_of_split(model: Model, data: bytes, path: str) -> bytes:
    """Return the rows of a table as a JSON list with one input of the model each."""
    table = _read_part(data, SplitTable, path)
    names = list(map(str, table.columns))
    for i, row in enumerate(table.data):
        if len(row) != len(names):
            raise InputError.at(
                f"{path}.data[{i}]", expected=f"{len(names)} cells", got=str(len(row))
            )
    single = model.codec.single
    if single is not None and not single.takes_object and _takes_list(single.annotation):
        return encode(table.data)
    refuse_duplicate_names(names, f"{path}.columns")
    return encode([dict(zip(names, row, strict=True)) for row in table.data])


def _takes_list(annotation: t.Any) -> bool:
    return any(
        isinstance(kind_of(each), TensorKind) or list in plain_classes(each)
        for each in members_of(annotation)
    )


def _rows_of_columns(data: bytes, path: str) -> bytes:
    """Return lists by name, one per parameter, as a JSON list with an object per prediction."""
    columns = _read_part(data, dict[str, list[msgspec.Raw]], path)
    if not columns:
        raise InputError.at(path, expected="a list of values for each input", got="none")
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        got = ", ".join(f"{len(column)} in {name!r}" for name, column in columns.items())
        raise InputError.at(path, expected="lists of the same length", got=got)
    rows = zip(*columns.values(), strict=True)
    return encode([dict(zip(columns, row, strict=True)) for row in rows])


def _read_part(data: bytes, kind: t.Any, path: str) -> t.Any:
    try:
        return read_body(data, kind)
    except InputError as exc:
        raise exc.below(path) from None


def install(app: ModelApp) -> None:
    """Serve a model of an app by the protocol."""
    model = sole_model(app, NAME, may_stream=False)
    add_protocol(app, MLflowProtocol(model, "/invocations"))
    for rule in ("/ping", "/health"):
        view = partial(health_of, app, model.name)
        add_page(app, rule, ["GET"], view, endpoint=f"{NAME}:{rule}", purpose=PROBE)

    def version() -> Response:
        return t.cast("Response", app.response_class(_VERSION, mimetype="text/plain"))

    add_page(app, "/version", ["GET"], version, endpoint=f"{NAME}:version", purpose=PROBE)
