"""The operations of a model: POST predicts, GET says what it is."""

from __future__ import annotations

import typing as t

from carboy.contract.media import JSON, MULTIPART, URLENCODED

from .operations import PROBLEM, PROBLEM_REF, record_fields
from .schemas import Of, Own
from .spelling import FILE, describe_media, spell, wires_of

if t.TYPE_CHECKING:
    from carboy.models.answers import Answers
    from carboy.models.registry import Model
    from carboy.models.schema import Interface, Parameter

    from .docstrings import Docstring

Dict: t.TypeAlias = dict[str, t.Any]

_REFUSALS = {
    "400": "The body is malformed.",
    "413": "The body, or the picture in it, is too large.",
    "415": "The body is of a kind that the model does not take.",
    "422": "The input does not fit the types of the model.",
    "500": "The model failed on this input.",
    "503": "It was not predicted: too many wait, or it waited too long. Send it again later.",
    "504": "It was not predicted in time.",
}
_DESCRIPTIONS = {False: "The prediction.", True: "One item after the other."}
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
    if doc.example is not None and JSON in content:
        content[JSON]["example"] = doc.example
    return {
        "requestBody": {"content": content, "required": True},
        "responses": {
            "200": {
                "description": doc.returns or _DESCRIPTIONS[model.answers.streams],
                "content": _answer(model.answers),
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
                "description": "The description of the model; for browsers, a page to try it.",
                # Where pages are off: JSON, whatever is asked for.
                "content": {JSON: {"schema": Own("ModelMetadata")}, "text/html": {}},
            }
        },
    }


def _answer(answers: Answers) -> Dict:
    return {
        kind: describe_media(kind, answers.item, streams=answers.streams)
        for kind in answers.media_types
    }


def _media(kind: str, interface: Interface, doc: Docstring) -> Dict | None:
    if kind == JSON:
        return {"schema": _json_schema(interface, doc)}
    if kind == MULTIPART:
        return {"schema": _form_schema(interface, doc), **_encoding(interface)}
    if kind == URLENCODED:
        # It could carry a file as base64, which nobody does by hand.
        files = any(wires_of(p.annotation) for p in interface.parameters)
        return None if files else {"schema": _form_schema(interface, doc)}
    return {"schema": {"type": "string"} if kind.startswith("text/") else dict(FILE)}


def _json_schema(interface: Interface, doc: Docstring) -> t.Any:
    if interface.single is not None:
        return _value_schema(interface.single, doc.arguments.get(interface.single.name))
    values = {p.name: _value_schema(p, doc.arguments.get(p.name)) for p in interface.parameters}
    return {**_object(interface, values), "additionalProperties": False}


def _form_schema(interface: Interface, doc: Docstring) -> Dict:
    single = interface.single
    if single is not None and single.takes_object and not wires_of(single.annotation):
        fields = _fields(single)
        if fields is not None:
            return fields
    properties: Dict = {}
    for parameter in interface.parameters:
        file = bool(wires_of(parameter.annotation))
        properties[parameter.name] = dict(FILE) if file else Of(parameter.annotation)
    return _object(interface, properties)  # fields that no parameter has are passed over


def _encoding(interface: Interface) -> Dict:
    """What kind of file each one is, where it is no picture."""
    found: Dict = {}
    for parameter in interface.parameters:
        types = [kind for wire in wires_of(parameter.annotation) for kind in wire.media_types]
        if types and not any(kind.startswith("image/") for kind in types):
            found[parameter.name] = {"contentType": ", ".join(types)}
    return {"encoding": found} if found else {}


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
    return {**schema, "required": required} if required else schema


def _value_schema(parameter: Parameter, text: str | None) -> t.Any:
    schema = spell(parameter.annotation)
    if isinstance(schema, Of):
        return Of(schema.annotation, **{"description": text} | schema.keywords)
    return {**schema, "description": text} if text else schema
