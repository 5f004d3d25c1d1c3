"""What the types of `predict` say, read once at registration.

An `Interface` is all that later layers know of a model's signature. It is built from annotations
alone: nothing here has seen a request, and no model has been built yet.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing as t

import msgspec

from carboy.contract import hints
from carboy.contract.faults import SignatureError
from carboy.contract.hooks import describe
from carboy.contract.images import DEFAULTS, Image, ImageOptions, is_picture
from carboy.contract.kinds import is_union, members, union_of

if t.TYPE_CHECKING:
    from collections import abc as cabc

REQUIRED: t.Final = inspect.Parameter.empty


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of `predict`.

    `picture` is set when a picture is one way to write the value; `json_type` is what JSON may
    hold for it. When both hold (`Image | Pixels`) and the other way is not text, `json_type`
    includes `str`: a picture in base64.
    """

    name: str
    annotation: t.Any
    json_type: t.Any
    picture: ImageOptions | None
    text_is_picture: bool
    takes_object: bool
    default: t.Any

    @property
    def required(self) -> bool:
        return self.default is REQUIRED


@dataclasses.dataclass(frozen=True, slots=True)
class Interface:
    """The arguments of `predict` in order, and what it returns."""

    parameters: tuple[Parameter, ...]
    returns: t.Any
    by_name: bool  # False: `predict(self, x, /)`, called by position

    @property
    def single(self) -> Parameter | None:
        return self.parameters[0] if len(self.parameters) == 1 else None

    @property
    def pictures(self) -> tuple[Parameter, ...]:
        return tuple(p for p in self.parameters if p.picture is not None)

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

    def output_schema(self) -> dict[str, t.Any]:
        return {} if self.returns is t.Any else json_schema(self.returns)


def compile_interface(predict: cabc.Callable[..., t.Any], *, owner: str) -> Interface:
    """Read a signature.

    Args:
        predict: a function, or the unbound method of the model's class.
        owner: what error messages call the model, such as "Model 'digits'".

    Raises:
        SignatureError: a parameter without a type, or one that cannot be read from a request.
    """
    annotations = _hints(predict, owner)
    arguments = list(inspect.signature(predict).parameters.values())
    if arguments and arguments[0].name == "self":
        del arguments[0]
    if not arguments:
        raise SignatureError(f"{owner}: {_where(predict)} takes no input. Give it a parameter.")
    parameters = tuple(_parameter(arg, annotations, owner, predict) for arg in arguments)
    returns = annotations.get("return", t.Any)
    interface = Interface(
        parameters, returns, arguments[0].kind is not arguments[0].POSITIONAL_ONLY
    )
    _check(interface, owner, predict)
    return interface


def json_schema(annotation: t.Any) -> dict[str, t.Any]:
    """JSON Schema of a type; pictures and arrays, which JSON Schema has no word for, included."""
    picture, rest = split_picture(annotation)
    if picture is not None and rest is None:
        return describe(Image)
    if picture is not None:
        return {"anyOf": [describe(Image), json_schema(rest)]}
    return msgspec.json.schema(annotation, schema_hook=describe)


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
    picture, rest = split_picture(annotation)
    json_type: t.Any = annotation
    text_is_picture = False
    if picture is not None:
        text_is_picture = rest is None or not _takes_text(rest)
        json_type = str if rest is None else (union_of((rest, str)) if text_is_picture else rest)
    return Parameter(
        name=argument.name,
        annotation=annotation,
        json_type=json_type,
        picture=picture,
        text_is_picture=text_is_picture,
        takes_object=_takes_object(json_type),
        default=argument.default,
    )


def _check(interface: Interface, owner: str, predict: cabc.Callable[..., t.Any]) -> None:
    """Let msgspec refuse now what it would refuse at the first request."""
    for parameter in interface.parameters:
        try:
            msgspec.json.Decoder(parameter.json_type)
            msgspec.json.schema(parameter.json_type, schema_hook=_only_pictures)
        except (TypeError, NotImplementedError) as exc:
            raise SignatureError(
                f"{owner}: parameter {parameter.name!r} of {_where(predict)} has the type"
                f" {parameter.annotation!r}, which cannot be read from a request: {exc}. Use"
                " scalars, lists, dicts, a Struct, dataclass or TypedDict, or Image."
            ) from exc
    if interface.pictures or "Image" in repr(interface.returns):
        from importlib.util import find_spec

        if find_spec("PIL") is None:
            raise SignatureError(
                f"{owner} takes a picture, and Pillow is not installed: pip install Pillow"
            )


# --- annotations -------------------------------------------------------------------------------


def _hints(predict: cabc.Callable[..., t.Any], owner: str) -> dict[str, t.Any]:
    function = hints.innermost(predict)
    found = hints.read(function)
    for name, annotation in found.items():
        if annotation is hints.UNREADABLE:
            raise SignatureError(
                f"{owner}: in {_where(predict)} {name!r} has the type"
                f" {function.__annotations__[name]!r}, which cannot be found. Import it at the top"
                " of the module (not under TYPE_CHECKING), or define it there."
            )
    return found


def split_picture(annotation: t.Any) -> tuple[ImageOptions | None, t.Any]:
    """Part a picture from the other ways to write a value: `Image | Pixels` -> options, Pixels."""
    options = _picture_options(annotation)
    if options is not None:
        return options, None
    if not is_union(annotation):
        return None, annotation
    rest: list[t.Any] = []
    for member in t.get_args(annotation):
        found = _picture_options(member)
        if found is None:
            rest.append(member)
        options = found or options
    if options is None:
        return None, annotation
    return options, union_of(rest) if rest else None


def _picture_options(annotation: t.Any) -> ImageOptions | None:
    if t.get_origin(annotation) is t.Annotated:
        inner, *extras = t.get_args(annotation)
        if not is_picture(inner):
            return None
        return next((extra for extra in extras if isinstance(extra, ImageOptions)), DEFAULTS)
    return DEFAULTS if is_picture(annotation) else None


def _takes_text(annotation: t.Any) -> bool:
    texts = (
        msgspec.inspect.StrType,
        msgspec.inspect.BytesType,
        msgspec.inspect.ByteArrayType,
        msgspec.inspect.EnumType,
        msgspec.inspect.LiteralType,
        msgspec.inspect.DateTimeType,
        msgspec.inspect.DateType,
        msgspec.inspect.TimeType,
        msgspec.inspect.TimeDeltaType,
        msgspec.inspect.UUIDType,
        msgspec.inspect.DecimalType,
        msgspec.inspect.AnyType,
    )
    return any(isinstance(kind, texts) for kind in members(annotation))


def _takes_object(annotation: t.Any) -> bool:
    objects = (
        msgspec.inspect.StructType,
        msgspec.inspect.DataclassType,
        msgspec.inspect.TypedDictType,
        msgspec.inspect.DictType,
        msgspec.inspect.AnyType,
        msgspec.inspect.CustomType,
    )
    return any(isinstance(kind, objects) for kind in members(annotation))


def _only_pictures(kind: type) -> dict[str, t.Any]:
    """The same for input, where an array would have to be declared with its shape."""
    if not is_picture(kind):
        raise TypeError(f"nothing is known of {kind.__module__}.{kind.__qualname__}")
    return describe(kind)


def _where(predict: cabc.Callable[..., t.Any]) -> str:
    code = getattr(inspect.unwrap(predict), "__code__", None)
    name = f"`{predict.__qualname__}`"
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code else name
