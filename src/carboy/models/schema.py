"""What the types of `predict` say, read once at registration.

An `Interface` is all that later layers know of a model's signature. It is built from annotations
alone: nothing here has seen a request, and no model has been built yet.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing as t

import msgspec

from carboy.contract import hints
from carboy.contract.hooks import describe
from carboy.contract.kinds import is_union, members, union_of
from carboy.contract.values.registry import Wire, part, require, wire_of, wires_in
from carboy.contract.values.tensor import Tensor
from carboy.core.annotations import annotation_text, signature_of
from carboy.errors import SignatureError

if t.TYPE_CHECKING:
    from collections import abc as cabc

_NULL: t.Final = msgspec.Raw(b"null")
REQUIRED: t.Final = inspect.Parameter.empty


class Reader(t.NamedTuple):
    """A wire, and the values of JSON that are its own rather than those of the plain type."""

    wire: Wire
    kinds: tuple[type, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of `predict`.

    Its value may come by `readers` (a picture, a tensor, a table, text, bytes), and as plain JSON
    of the type `rest`, None where there is none. `json_type` is what msgspec decodes: all of it.
    """

    name: str
    annotation: t.Any
    json_type: t.Any
    readers: tuple[Reader, ...]
    rest: t.Any
    takes_object: bool
    default: t.Any

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    @property
    def wires(self) -> tuple[Wire, ...]:
        return tuple([reader.wire for reader in self.readers])

    def revive(self, value: t.Any, path: str) -> t.Any:
        """The argument, from a value of `json_type`. Raises InputError."""
        if self.rest is types.NoneType and isinstance(value, msgspec.Raw) and value == _NULL:
            return None
        for wire, kinds in self.readers:
            if isinstance(value, kinds):
                return wire.revive(value, path=path)
        return value


@dataclasses.dataclass(frozen=True, slots=True)
class Interface:
    """The arguments of `predict` in order, and what it returns."""

    parameters: tuple[Parameter, ...]
    returns: t.Any

    @property
    def single(self) -> Parameter | None:
        return self.parameters[0] if len(self.parameters) == 1 else None

    @property
    def wired(self) -> tuple[Parameter, ...]:
        """Those that can come as a file."""
        return tuple(p for p in self.parameters if p.readers)

    def input_schema(self) -> dict[str, t.Any]:
        """JSON Schema of the body: the bare value for one argument, else an object."""
        if self.single is not None:
            return json_schema(self.single.annotation)
        return {
            "type": "object",
            "properties": {p.name: json_schema(p.annotation) for p in self.parameters},
            "required": [p.name for p in self.parameters if p.required],
            "additionalProperties": False,
        }


def compile_interface(predict: cabc.Callable[..., t.Any], *, owner: str) -> Interface:
    """Read a signature.

    Args:
        predict: a function, or the unbound method of the model's class.
        owner: what error messages call the model, such as "Model 'digits'".

    Raises:
        SignatureError: a parameter without a type, or one that cannot be read from a request.
    """
    annotations = read_hints(predict, owner=owner)
    arguments = list(signature_of(predict).parameters.values())
    if arguments and arguments[0].name == "self":
        del arguments[0]
    if not arguments:
        raise SignatureError(f"{owner}: {_where(predict)} takes no input. Give it a parameter.")
    parameters = tuple(_parameter(arg, annotations, owner, predict) for arg in arguments)
    interface = Interface(parameters, annotations.get("return", t.Any))
    _check(interface, owner, predict)
    return interface


def json_schema(annotation: t.Any, *, answered: bool = False) -> dict[str, t.Any]:
    """JSON Schema of a type; pictures and arrays, which JSON Schema has no word for, included.

    Args:
        answered: as `Wire.schema` has it; of values inside a record it makes no difference.
    """
    wires, rest = part(annotation)
    if not wires:
        return msgspec.json.schema(annotation, schema_hook=describe)
    schemas = [wire.schema(answered=answered) for wire in wires]
    if rest is not None:
        schemas.append(json_schema(rest, answered=answered))
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def read_hints(predict: cabc.Callable[..., t.Any], *, owner: str) -> dict[str, t.Any]:
    """The annotations of `predict` as types.

    Raises:
        SignatureError: one names what is nowhere.
    """
    function = hints.innermost(predict)
    found = hints.read(function)
    for name, annotation in found.items():
        if annotation is hints.UNREADABLE:
            raise SignatureError(
                f"{owner}: in {_where(predict)} {name!r} has the type"
                f" {annotation_text(function, name)!r}, which cannot be found. Import it at the top"
                " of the module (not under TYPE_CHECKING), or define it there."
            )
    return found


def _parameter(
    argument: inspect.Parameter,
    annotations: cabc.Mapping[str, t.Any],
    owner: str,
    predict: cabc.Callable[..., t.Any],
) -> Parameter:
    if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
        raise SignatureError(
            f"{owner}: {_where(predict)} takes `{argument}`, which says nothing about the input."
            " Name each parameter and its type."
        )
    if argument.name not in annotations:
        raise SignatureError(
            f"{owner}: parameter {argument.name!r} of {_where(predict)} has no type."
            f" Write one, such as `{argument.name}: Image` or `{argument.name}: list[float]`."
        )
    annotation = annotations[argument.name]
    try:
        wires, rest = part(annotation)
        readers, json_type = _share(wires, rest)
    except TypeError as exc:  # SignatureError is one
        raise SignatureError(
            f"{owner}: parameter {argument.name!r} of {_where(predict)}: {exc}"
        ) from None
    return Parameter(
        name=argument.name,
        annotation=annotation,
        json_type=json_type if wires else annotation,
        readers=readers,
        rest=rest,
        takes_object=_takes_object(json_type),
        default=argument.default,
    )


def _share(wires: tuple[Wire, ...], rest: t.Any) -> tuple[tuple[Reader, ...], t.Any]:
    """Whose is what in JSON, and the type of all of it.

    A wire that reads JSON itself (a table) takes all of it but null. Else plain JSON comes first,
    then text and bytes: of `Image | str` any text is the `str`. Of two that take base64, the first
    does.
    """
    whole = [wire for wire in wires if wire.json_type is msgspec.Raw]
    if whole:
        if len(whole) > 1 or rest not in (None, types.NoneType):
            raise TypeError(f"{' and '.join(w.name for w in whole)} and other JSON in one union")
        return tuple(Reader(w, _ANYTHING if w is whole[0] else ()) for w in wires), msgspec.Raw
    parts: list[t.Any] = [] if rest is None else [rest]
    taken = set() if rest is None else _kinds(rest)
    found: dict[int, tuple[type, ...]] = {}
    for i, wire in sorted(enumerate(wires), key=lambda each: bool(each[1].packages)):
        own: set[type] = set()
        for member in t.get_args(wire.json_type) if is_union(wire.json_type) else (wire.json_type,):
            kinds = _kinds(member)
            if not kinds & taken:
                own |= kinds
                parts.append(member)
        taken |= own
        found[i] = tuple(own)
    readers = tuple(Reader(wire, found[i]) for i, wire in enumerate(wires))
    return readers, union_of(parts)


def _check(interface: Interface, owner: str, predict: cabc.Callable[..., t.Any]) -> None:
    """Let msgspec refuse now what it would refuse at the first request."""
    for parameter in interface.parameters:
        try:
            msgspec.json.Decoder(parameter.json_type)
            msgspec.json.schema(parameter.json_type, schema_hook=_of_wire)
        except (TypeError, NotImplementedError) as exc:
            raise SignatureError(
                f"{owner}: parameter {parameter.name!r} of {_where(predict)} has the type"
                f" {hints.shown(parameter.annotation)}, which cannot be read from a request: {exc}."
                " Use scalars, lists, dicts, a Struct, dataclass or TypedDict, Image, or"
                ' Tensor["float32", 3, "h", "w"].'
            ) from None
    for annotation in (*(p.annotation for p in interface.parameters), interface.returns):
        for wire in wires_in(annotation):
            require(wire, owner)


# --- what msgspec knows of a type ----------------------------------------------------------------

_KINDS: dict[str, tuple[type, ...]] = {
    "NoneType": (type(None),),
    "BoolType": (bool,),
    "IntType": (int,),
    "FloatType": (float, int),
    **dict.fromkeys(("BytesType", "ByteArrayType", "MemoryViewType"), (bytes, str)),
    **dict.fromkeys(("DictType", "StructType", "DataclassType", "TypedDictType"), (dict,)),
    **dict.fromkeys(("ListType", "TupleType", "VarTupleType"), (list,)),
    **dict.fromkeys(("SetType", "FrozenSetType"), (list,)),
    **dict.fromkeys(("StrType", "EnumType", "LiteralType", "UUIDType", "DecimalType"), (str,)),
    **dict.fromkeys(("DateTimeType", "DateType", "TimeType", "TimeDeltaType"), (str,)),
    "AnyType": (bytes, str, list, dict, int, float, bool),
}


# What `json_type` of a wire that reads JSON itself gives, and a field of a form.
_ANYTHING = (msgspec.Raw, bytes, str, list, dict)


def _kinds(annotation: t.Any) -> set[type]:
    """What JSON of a type is in Python."""
    return {kind for each in members(annotation) for kind in _KINDS.get(type(each).__name__, ())}


def _takes_object(annotation: t.Any) -> bool:
    objects = (
        msgspec.inspect.StructType,
        msgspec.inspect.DataclassType,
        msgspec.inspect.TypedDictType,
        msgspec.inspect.DictType,
        msgspec.inspect.AnyType,
        msgspec.inspect.RawType,
        msgspec.inspect.CustomType,
    )
    return any(isinstance(kind, objects) for kind in members(annotation))


def _of_wire(kind: type) -> dict[str, t.Any]:
    """Classes inside a record: those that a wire reads."""
    wire = wire_of(kind)
    if kind is Tensor or (kind.__module__, kind.__qualname__) == ("numpy", "ndarray"):
        raise TypeError('it names no dtype and no sides; any sides are `Tensor["float32", ...]`')
    if wire is None or not wire.packages:  # an Upload is no value of JSON
        raise TypeError(f"nothing is known of {kind.__module__}.{kind.__qualname__}")
    return describe(kind)


def _where(predict: cabc.Callable[..., t.Any]) -> str:
    code = getattr(inspect.unwrap(predict), "__code__", None)
    name = f"`{predict.__qualname__}`"
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code else name
