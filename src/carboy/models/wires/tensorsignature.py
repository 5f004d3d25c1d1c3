"""The inputs and outputs of a model as named tensors, for protocols that know nothing else.

    type in `predict`                  datatype      shape
    Tensor["float32", 3, "h", "w"]     FP32          3, -1, -1
    float, int, bool                   FP64, INT64, BOOL                1
    str, Enum, Literal, date, ...      BYTES         1     text in UTF-8
    list[float], list[str], ...        FP64, BYTES   -1
    DataFrame[Row]                     a tensor per column              -1
    its nullable columns in results    FP64 with NaN; BYTES             -1    each cell in JSON
    Image, bytes, File                 BYTES         1     the content of a file; base64 in JSON
    anything else                      BYTES         1     JSON

Each parameter of `predict` is an input of its name. The fields of a record are inputs of their own
if the record is the only parameter, and outputs of their own if it is the result. If two tables
have a column of one name, their inputs are "table.column". Any other result is one output,
"output". -1 is a side of any size. If `predict` takes batches, each tensor has one more side at the
beginning, and each entry along it is a prediction of its own. (Rows of a table need no such side:
they are joined to larger tables anyway.)
"""

from __future__ import annotations

import collections
import enum
import typing as t

import msgspec

from carboy.contract.answercheck import described
from carboy.contract.answers import encode, forms_of_class
from carboy.contract.hints import (
    is_pydantic,
    is_record,
    is_scalar,
    is_typed_dict,
    strip,
    without_none,
)
from carboy.contract.hooks import read_by
from carboy.contract.pydanticlimits import read_plain
from carboy.contract.records import fields_of, values_in
from carboy.contract.valuecounts import check_json, check_number
from carboy.contract.values.registry import kind_of
from carboy.contract.values.tables import is_table
from carboy.contract.values.tables.writing import column_values
from carboy.contract.values.tensor import TensorKind
from carboy.errors import AnswerError, InputError, InputTooLargeError, MalformedInputError

from .datatypes import BYTES, DATATYPES, DTYPES

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from carboy.contract.operation import Parameter
    from carboy.contract.records import RecordField
    from carboy.contract.values.tables.columns import Column
    from carboy.contract.values.tables.value import TableKind

    from ..model import Model
    from ..queue.calls import Arguments

_NUMBERS: dict[t.Any, str] = {bool: "bool", int: "int64", float: "float64"}
_OUTPUT = "output"
# Between the name of a table and that of its column, if several inputs had the name of the column.
_DOT = "."


class TensorSpec(t.NamedTuple):
    """One input or output of a model.

    Attributes:
        name: unique among the inputs, or the outputs.
        datatype: a datatype of the Open Inference Protocol.
        sides: the shape without the side of the batch; -1 is any size.
        sort: what a value is: an array, a number or a text alone or in a list, a file, or JSON
            alone or in a list.
        path: the keys under which the value is in a dict of all parameters.
        required: whether a request must have this input.
        nullable: whether NaN in this input stands for a missing value.
    """

    name: str
    datatype: str
    sides: tuple[int, ...]
    sort: t.Literal["array", "single", "list", "file", "json", "json list"]
    path: tuple[str, ...] = ()
    required: bool = True
    nullable: bool = False


def spec_of(name: str, annotation: t.Any) -> TensorSpec:
    """Return the input or output for values of a type."""
    kind = kind_of(annotation)
    bare = strip(annotation)
    if isinstance(kind, TensorKind):
        sides = tuple(side if isinstance(side, int) else -1 for side in kind.spec.sides)
        return TensorSpec(name, DATATYPES[kind.spec.dtype], sides, "array")
    if kind is not None and bare is not str:
        return TensorSpec(name, BYTES, (1,), "file")
    if (datatype := _datatype_of(bare)) is not None:
        return TensorSpec(name, datatype, (1,), "single")
    item = t.get_args(bare) if t.get_origin(bare) is list else ()
    datatype = _datatype_of(strip(item[0])) if item else None
    if datatype is not None:
        return TensorSpec(name, datatype, (-1,), "list")
    return TensorSpec(name, BYTES, (1,), "json")


def _datatype_of(bare: t.Any) -> str | None:
    """Return the datatype of single values of a type; None if a value is not one number or text."""
    if bare in _NUMBERS:
        return DATATYPES[_NUMBERS[bare]]
    if t.get_origin(bare) is t.Literal:
        kinds = {type(value) for value in t.get_args(bare)}
        return _datatype_of(kinds.pop()) if len(kinds) == 1 else None
    if isinstance(bare, type) and issubclass(bare, enum.Enum):
        kinds = {type(member.value) for member in bare}
        return _datatype_of(kinds.pop()) if len(kinds) == 1 else None
    return BYTES if is_scalar(bare) else None


class TensorSignature:
    """The inputs and outputs of one model. Does not change after it was created.

    Attributes:
        batched: whether each tensor begins with the side of the batch.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        parameters = model.interface.parameters
        is_single = model.interface.single is not None
        self.inputs = _with_unique_names(
            [spec for each in parameters for spec in _inputs_of(each, is_single=is_single)]
        )
        self.outputs = _outputs_of(model.answers.item)
        self._table = kind_of(model.answers.item) if is_table(model.answers.item) else None
        # The model of pydantic whose fields are the outputs.
        self._pydantic = _pydantic_in(model.answers.item)
        tables = [each for each in parameters if is_table(without_none(each.annotation))]
        self.batched = model.options.batch > 1 and not tables
        # The parameters whose columns are not declared, so that each further input is a column.
        self._open = [p.alias for p in tables if not _columns_of(p.annotation)]
        # The parameters whose values pydantic validates; of tables it validates none.
        self._validated = model.codec.validated - {each.alias for each in tables}
        # The parameters whose fields are inputs. A request may have none of these.
        self._records = [p.alias for p in parameters if p.required and is_single and _fields_in(p)]
        self._by_name = {spec.name: spec for spec in self.inputs}

    @property
    def batch_side(self) -> tuple[int, ...]:
        """The side that all shapes in metadata begin with."""
        return (-1,) if self.batched else ()

    def sole_input(self) -> TensorSpec | None:
        """Return the input of a model that has only one; None if it has several."""
        return self.inputs[0] if len(self.inputs) == 1 and not self._open else None

    # --- inputs --------------------------------------------------------------------------------

    def arguments(
        self, tensors: cabc.Mapping[str, t.Any], size_bytes: int
    ) -> Arguments | list[Arguments]:
        """Convert the tensors of a request into the arguments of `predict`; a list with those of
        each prediction, if `batched`.

        Args:
            tensors: by the names of the inputs.
            size_bytes: the length of the body from which they were read.

        Raises:
            InputError: an input is missing, unknown, or does not fit its type.
        """
        given = [(self._spec(name), tensor) for name, tensor in tensors.items()]
        missing = [p.name for p in self.inputs if p.required and p.name not in tensors]
        if missing:
            raise InputError.at(
                "$.inputs", expected=f"the input {missing[0]!r}", got=_named(tensors)
            )
        size = self._size_of(tensors) if self.batched else 1
        self._check_counts(given, size, size_bytes)
        read = self._model.codec.from_plain
        if not self.batched:
            return read(self._plain(given))
        found: list[Arguments] = []
        for i in range(size):
            try:
                # The `...` makes the entry of a tensor with one side an array, too, and no text.
                found.append(read(self._plain((spec, tensor[i, ...]) for spec, tensor in given)))
            except InputError as exc:
                if size == 1:
                    raise
                raise exc.below(f"$[{i}]") from None
        return found

    def _check_counts(
        self, given: cabc.Sequence[tuple[TensorSpec, t.Any]], size: int, size_bytes: int
    ) -> None:
        """Refuse more values than the body of a request to the model's own URL may have: 413.

        Args:
            size: the number of predictions.
        """
        has_pydantic = self._model.codec.has_pydantic
        if self._validated:
            counted = (
                tensor.size
                for spec, tensor in given
                if spec.path[0] in self._validated and spec.sort != "array"
            )
            check_number(sum(counted), size_bytes)
        texts = [
            each if isinstance(each, bytes) else each.encode()
            for spec, tensor in given
            if spec.sort == "json" and tensor.dtype == object and tensor.size == size
            for each in tensor.reshape(-1)
        ]
        check_json(*texts, all_values=has_pydantic)

    def _spec(self, name: str) -> TensorSpec:
        spec = self._by_name.get(name) or self._undeclared(name)
        if spec is None:
            raise InputError.at(
                "$.inputs", expected=f"only the inputs {_named(self._by_name)}", got=repr(name)
            )
        return spec

    def _undeclared(self, name: str) -> TensorSpec | None:
        """Return the input for a column of a table that declares none; None if it is of no
        table.
        """
        if len(self._open) == 1:
            return TensorSpec(name, BYTES, (-1,), "list", (self._open[0], name))
        table, dot, column = name.partition(_DOT)
        known = dot and table in self._open
        return TensorSpec(name, BYTES, (-1,), "list", (table, column)) if known else None

    def _size_of(self, tensors: cabc.Mapping[str, t.Any]) -> int:
        """Return the size of the batch, which all tensors must have."""
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        sizes = {shape[0] if shape else 0 for shape in shapes.values()}
        size, limit = sizes.pop() if len(sizes) == 1 else 0, self._model.queue.max_waiting
        if size < 1:
            got = ", ".join(f"{name!r} of shape {list(each)}" for name, each in shapes.items())
            raise InputError.at(
                "$.inputs",
                expected="tensors with the same number of predictions, at least 1, as first side",
                got=got or "none",
            )
        if size > limit:
            raise InputTooLargeError.at(
                "$.inputs", expected=f"at most {limit:,} predictions", got=f"{size:,}"
            )
        return size

    def _plain(self, entries: cabc.Iterable[tuple[TensorSpec, t.Any]]) -> dict[str, t.Any]:
        """Return the values of one prediction, in a dict by the names of the parameters."""
        plain: dict[str, t.Any] = {alias: {} for alias in self._records}
        for spec, tensor in entries:
            *outer, last = spec.path
            place = plain
            for key in outer:
                place = place.setdefault(key, {})
            place[last] = _value_of(spec, tensor)
        return plain

    # --- outputs -------------------------------------------------------------------------------

    def tensors(self, result: t.Any) -> dict[str, t.Any]:
        """Convert the result of a prediction, or the list of results if `batched`, into tensors by
        the names of the outputs. A table lacks columns that need not be there.

        Raises:
            AnswerError: a result does not fit the return type of `predict`.
            InputError: the results of several predictions differ in shape, or a tensor cannot hold
                a result.
        """
        results = result if self.batched else [result]
        for each in results:
            self._model.answers.check(each)
        rows = [self._tensors_of(each) for each in results]
        if not self.batched:
            return rows[0]
        names = {name for row in rows for name in row}
        return {
            spec.name: _stack(spec, [row.get(spec.name) for row in rows])
            for spec in self.outputs
            if spec.name in names
        }

    def _tensors_of(self, result: t.Any) -> dict[str, t.Any]:
        outputs = self.outputs
        if not outputs[0].path:
            return {outputs[0].name: _tensor_of(outputs[0], result)}
        values = self._values_in(result)
        missing = [spec.name for spec in outputs if spec.required and spec.path[0] not in values]
        if missing:
            raise AnswerError(
                f"Model {self._model.name!r} returned {described(result)}, which has no value for"
                f" the output {missing[0]!r}."
            )
        return {
            spec.name: _tensor_of(spec, values[spec.path[0]])
            for spec in outputs
            if spec.path[0] in values
        }

    def _values_in(self, result: t.Any) -> dict[str, t.Any]:
        """Return the columns of a table, or the values in a record, by name."""
        if self._table is not None:
            if not hasattr(result, "columns"):
                result = read_by(self._table, msgspec.json.decode(encode(result)))
            return {str(name): column_values(result[name]) for name in result.columns}
        if self._pydantic is not None and not isinstance(result, self._pydantic):
            # A dict that fits has the aliases of fields as keys, and may lack those with a default.
            result = read_plain(self._pydantic.__pydantic_validator__, result)
        return {step[1:]: each for step, each in values_in(result) if each is not msgspec.UNSET}


def _inputs_of(parameter: Parameter, *, is_single: bool) -> cabc.Iterator[TensorSpec]:
    annotation, alias = without_none(parameter.annotation), parameter.alias
    if is_table(annotation):
        for column in _columns_of(annotation):
            yield _input_of(column.name, column.type)._replace(
                sides=(-1,), sort="list", path=(alias, column.name), required=column.required
            )
        return
    fields = _fields_in(parameter) if is_single else ()
    for field in fields:
        key = field.keys[0]
        spec = _input_of(key, field.annotation)
        yield spec._replace(path=(alias, key), required=field.required)
    if not fields:
        spec = _input_of(alias, parameter.annotation)
        yield spec._replace(path=(alias,), required=parameter.required)


def _fields_in(parameter: Parameter) -> cabc.Sequence[RecordField]:
    annotation = without_none(parameter.annotation)
    return fields_of(annotation) if is_record(strip(annotation)) else ()


def _with_unique_names(specs: list[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Add the name of the table to those of columns that a table or a parameter has as well."""
    counts = collections.Counter(spec.name for spec in specs)
    return tuple(
        spec._replace(name=_DOT.join(spec.path)) if counts[spec.name] > 1 else spec
        for spec in specs
    )


def _input_of(name: str, annotation: t.Any) -> TensorSpec:
    present = without_none(annotation)
    return spec_of(name, present)._replace(nullable=present != annotation)


def _outputs_of(annotation: t.Any) -> tuple[TensorSpec, ...]:
    if is_table(annotation):
        columns = tuple(map(_output_of_column, _columns_of(annotation)))
        return columns or (TensorSpec(_OUTPUT, BYTES, (1,), "json"),)
    bare = strip(annotation)
    fields = fields_of(annotation) if is_record(t.get_origin(bare) or bare) else ()
    if not fields or (is_typed_dict(bare) and not all(field.required for field in fields)):
        return (spec_of(_OUTPUT, annotation),)
    # `values_in` names the values of pydantic's fields by attribute, those of others by key.
    by_name = _pydantic_in(annotation) is not None
    return tuple(
        _output_of(each.keys[0], each.annotation)._replace(
            path=(each.name if by_name else each.keys[0],), required=each.required
        )
        for each in fields
    )


def _pydantic_in(annotation: t.Any) -> t.Any:
    """Return the class of a type if it is a model of pydantic, else None."""
    bare = strip(annotation)
    cls = t.get_origin(bare) or bare
    return cls if is_pydantic(cls) else None


def _output_of(name: str, annotation: t.Any) -> TensorSpec:
    spec = spec_of(name, annotation)
    # A table can be sent as a file, but in JSON unless a client asks for another form.
    return spec._replace(sort="json") if is_table(annotation) else spec


def _output_of_column(column: Column) -> TensorSpec:
    name = column.name
    if column.optional and column.sort != "float":
        # No other datatype has a value that stands for a missing one.
        return TensorSpec(name, BYTES, (-1,), "json list", (name,), column.required)
    spec = spec_of(name, without_none(column.type))
    return spec._replace(sides=(-1,), sort="list", path=(name,), required=column.required)


def _columns_of(annotation: t.Any) -> cabc.Sequence[Column]:
    """Return the declared columns of a table."""
    columns = t.cast("TableKind", kind_of(without_none(annotation))).columns
    return () if columns is None else columns.columns


# --- values --------------------------------------------------------------------------------------


def _value_of(spec: TensorSpec, tensor: t.Any) -> t.Any:
    """Convert the tensor of one prediction into a value that `BodyReader.from_plain` reads."""
    if spec.sort == "array":
        return tensor
    is_text = tensor.dtype == object
    if spec.sort == "list":
        # A column of a table may have a second side of size 1.
        flat = tensor.reshape(-1) if tensor.ndim == 2 and tensor.shape[1] == 1 else tensor
        if flat.ndim != 1:
            raise _misfit(spec, tensor)
        values = flat.tolist()
        if is_text:
            return [_text(spec, each) for each in values]
        return [_number(spec, each) for each in values] if spec.nullable else values
    if tensor.size != 1:
        raise _misfit(spec, tensor)
    value = tensor.reshape(-1)[0]
    if not is_text:
        return _number(spec, value.item())
    if spec.sort == "file":
        return value
    text = _text(spec, value)
    if spec.sort != "json":
        return text
    try:
        return msgspec.json.decode(text)
    except RecursionError:
        raise MalformedInputError(
            f"The JSON of the input {spec.name!r} is nested too deeply."
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise MalformedInputError(f"The input {spec.name!r} is not valid JSON: {exc}.") from exc


def _number(spec: TensorSpec, value: t.Any) -> t.Any:
    # NaN is the only value that is not equal to itself.
    return None if spec.nullable and value != value else value  # noqa: PLR0124


def _misfit(spec: TensorSpec, tensor: t.Any) -> InputError:
    return InputError.at(
        f"$.{spec.name}",
        expected=f"a tensor of shape {list(spec.sides)} (-1 is any size)",
        got=f"shape {list(tensor.shape)}",
    )


def _text(spec: TensorSpec, value: str | bytes) -> str:
    if isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InputError.at(f"$.{spec.name}", expected="text in UTF-8", got="other bytes") from None


def _tensor_of(spec: TensorSpec, value: t.Any) -> t.Any:
    """Convert a value that fits the type of the spec into a tensor."""
    import numpy as np

    values = value if spec.sort in ("array", "list", "json list") else [value]
    if spec.datatype != BYTES:
        try:
            return np.asarray(_without_members(values), DTYPES[spec.datatype])
        except OverflowError:
            raise InputError(
                f"The result {spec.name!r} has a number that {spec.datatype} cannot hold. The"
                " model's own URL, whose answers are JSON, can send it."
            ) from None
    found = np.empty(len(values), object)
    found[:] = [_bytes_of(spec, each) for each in values]
    return found


def _without_members(values: t.Any) -> t.Any:
    """Replace members of enumerations by their values, as JSON does. NumPy refuses them, or takes
    each for true.
    """
    if hasattr(values, "dtype"):
        if values.dtype.kind != "O":
            return values
        values = values.tolist()
    # PERF: looks at the classes only: 35 ns for a value, as long as its conversion by NumPy.
    if not any(issubclass(kind, enum.Enum) for kind in set(map(type, values))):
        return values
    return [each.value if isinstance(each, enum.Enum) else each for each in values]


def _bytes_of(spec: TensorSpec, value: t.Any) -> bytes:
    if spec.sort in ("json", "json list"):
        return encode(value)
    if spec.sort == "file":
        forms = forms_of_class(type(value))
        return forms.write(value, forms.media_types[0])
    # The text of a member of an enumeration is its name, although it may be a `str`.
    is_text = isinstance(value, str) and not isinstance(value, enum.Enum)
    plain = value if is_text else msgspec.json.decode(encode(value))
    return str(plain).encode()


def _stack(spec: TensorSpec, tensors: list[t.Any]) -> t.Any:
    import numpy as np

    shapes = {() if tensor is None else tensor.shape for tensor in tensors}
    if len(shapes) > 1:
        raise InputError(
            f"The results {spec.name!r} of the {len(tensors)} predictions differ in shape"
            f" ({', '.join(str(list(each)) for each in sorted(shapes)[:3])}), so one tensor cannot"
            " hold them. Ask for each in a request of its own."
        )
    return np.stack(tensors)


def _named(names: cabc.Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
