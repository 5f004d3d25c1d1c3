"""The operations of a model: POST predicts, GET says what it is."""

from __future__ import annotations

import typing as t

from .operations import FILE, PROBLEM, PROBLEM_REF, record_fields
from .schemas import Of, Own

if t.TYPE_CHECKING:
    from carboy.models.registry import Model
    from carboy.models.schema import Interface, Parameter

    from .docstrings import Docstring

Dict: t.TypeAlias = dict[str, t.Any]

_TEXT_OF_PICTURE: Dict = {
    "type": "string",
    "contentEncoding": "base64",
    "contentMediaType": "image/*",
    "description": "A picture in base64, or as a data URL.",
}
_REFUSALS = {
    "400": "The body is malformed.",
    "413": "The body, or the picture in it, is too large.",
    "415": "The body is of a kind that the model does not take.",
    "422": "The input does not fit the types of the model.",
    "500": "The model failed on this input.",
}
# Source: `Model.metadata`.
_METADATA: Dict = {
    "title": "ModelMetadata",
    "description": "What a program needs to know to call a model.",
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "doc": {"type": "string"},
        "accepts": {"type": "array", "items": {"type": "string"}},
        "parameters": {"type": "array", "items": {"type": "string"}},
        "input": {"type": "object", "description": "JSON Schema of the body."},
        "batch": {"type": "integer", "description": "How many are predicted at once, at most."},
        "output": {"type": "object", "description": "JSON Schema of the answer, or of an item."},
        "answers": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Media types of the answer, for `Accept`; the first is the default.",
        },
        "streams": {"type": "boolean", "description": "Whether items come one after the other."},
    },
    "required": [
        "name",
        "doc",
        "accepts",
        "parameters",
        "batch",
        "input",
        "output",
        "answers",
        "streams",
    ],
}
METADATA_COMPONENT = ("ModelMetadata", _METADATA)


def describe_prediction(model: Model, doc: Docstring) -> Dict:
    """POST: one prediction."""
    kinds = model.codec.media_types
    content: Dict = {}
    for kind in kinds:
        media = _media(kind, model.interface, doc)
        if media is not None:
            content[kind] = media
    if doc.example is not None and "application/json" in content:
        content["application/json"]["example"] = doc.example
    returns = model.interface.returns
    answer = {} if returns is t.Any else {"schema": Of(returns)}
    return {
        "requestBody": {"content": content, "required": True},
        "responses": {
            "200": {
                "description": doc.returns or "The prediction.",
                "content": {"application/json": answer},
            },
            **{
                status: {"description": text, "content": {PROBLEM: {"schema": PROBLEM_REF}}}
                for status, text in _REFUSALS.items()
            },
        },
    }


def describe_metadata(model: Model) -> Dict:
    """GET: what the model is."""
    return {
        "summary": f"About {model.name}",
        "description": "What the model takes and gives, for programs.",
        "responses": {
            "200": {
                "description": "The description of the model.",
                "content": {"application/json": {"schema": Own("ModelMetadata")}},
            }
        },
    }


def _media(kind: str, interface: Interface, doc: Docstring) -> Dict | None:
    if kind == "application/json":
        return {"schema": _json_schema(interface, doc)}
    if kind == "multipart/form-data":
        return {"schema": _form_schema(interface, doc)}
    if kind == "application/x-www-form-urlencoded":
        # It could carry a picture as base64, which nobody does by hand.
        return None if interface.pictures else {"schema": _form_schema(interface, doc)}
    return {"schema": dict(FILE)}


def _json_schema(interface: Interface, doc: Docstring) -> t.Any:
    if interface.single is not None:
        return _value_schema(interface.single, doc.arguments.get(interface.single.name))
    return _object(
        interface,
        {p.name: _value_schema(p, doc.arguments.get(p.name)) for p in interface.parameters},
    )


def _form_schema(interface: Interface, doc: Docstring) -> Dict:
    single = interface.single
    if single is not None and single.picture is None and single.takes_object:
        fields = _fields(single)
        if fields is not None:
            return fields
    properties: Dict = {}
    for parameter in interface.parameters:
        if parameter.picture is not None:
            properties[parameter.name] = dict(FILE)
        else:
            properties[parameter.name] = Of(parameter.annotation)
    return _object(interface, properties)


def _fields(parameter: Parameter) -> Dict | None:
    """The fields of a lone record, each a field of the form; None if it is not that."""
    try:
        fields = record_fields(parameter.annotation)
    except (AttributeError, TypeError):  # a dict, or a union
        return None
    schema: Dict = {
        "type": "object",
        "properties": {field.alias: Of(field.annotation) for field in fields},
    }
    required = [field.alias for field in fields if field.required]
    return {**schema, "required": required} if required else schema


def _object(interface: Interface, properties: Dict) -> Dict:
    schema: Dict = {"type": "object", "properties": properties}
    required = [p.name for p in interface.parameters if p.required]
    if required:
        schema["required"] = required
    return {**schema, "additionalProperties": False}


def _value_schema(parameter: Parameter, text: str | None) -> t.Any:
    if parameter.picture is None:
        return Of(parameter.annotation, description=text)
    from carboy.models.schema import split_picture

    _, rest = split_picture(parameter.annotation)
    picture = dict(_TEXT_OF_PICTURE)
    if rest is None:
        return {**picture, "description": text} if text else picture
    # Pages and collections make their example of the first; of a picture in base64 they cannot.
    either: Dict = {"anyOf": [Of(rest), picture]}
    return {**either, "description": text} if text else either
