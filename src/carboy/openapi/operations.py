"""One operation of the document: from what types say, then docstring, marks, flasgger's YAML.

Who comes later in that order may say more, and overrides. The types of a view reach this module as
a `carboy.contract.operation.Operation`.
"""

from __future__ import annotations

import inspect
import re
import typing as t
from http import HTTPStatus

from carboy.contract.media import MULTIPART, URLENCODED

from .schemas import Of, Own
from .spelling import FILE, describe_media

if t.TYPE_CHECKING:
    from carboy.contract.operation import Answer, Failure, Operation, Parameter, RequestBody

    from .docstrings import Docstring

Dict: t.TypeAlias = dict[str, t.Any]

PROBLEM = "application/problem+json"
PROBLEM_REF = Own("Problem")
# Source: RFC 9457; `errors` is carboy's.
PROBLEM_SCHEMA: Dict = {
    "title": "Problem",
    "description": "Why a request was refused (RFC 9457).",
    "type": "object",
    "properties": {
        "title": {"type": "string", "description": "The status in words."},
        "status": {"type": "integer", "description": "The status."},
        "detail": {"type": ["string", "null"], "description": "What happened here."},
        "code": {"type": "string", "description": "The kind of problem, for programs."},
        "type": {"type": "string", "description": "A URL for the kind of problem."},
        "errors": {
            "type": "array",
            "description": "The places that do not fit.",
            "items": {
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "Where, as in `$.flower.name`."},
                    "in": {"type": "string", "description": "Body, query, header or cookie."},
                    "expected": {"type": "string"},
                    "got": {"type": ["string", "null"]},
                },
                "required": ["path", "expected"],
            },
        },
    },
    "required": ["title", "status"],
    "examples": [
        {
            "title": "Unprocessable Content",
            "status": 422,
            "detail": "Expected `int`, got `str` - at `$.number`.",
            "code": "input-invalid",
            "errors": [{"path": "$.number", "in": "body", "expected": "int", "got": "str"}],
        }
    ],
}

# Swagger UI and generators of clients know a file by `format: binary`, the word of OpenAPI 3.0.
_FORMS = (MULTIPART, URLENCODED)
# Of what types are told to be in YAML and JSON, the name that a person reads.
_ANSWERS = {"flask": "The answer of the view.", "stream": "One item after the other."}


def describe_operation(operation: Operation, doc: Docstring, *, all_media_types: bool) -> Dict:
    """What the types of a view say, with the docstring's words on it.

    Args:
        operation: the types.
        doc: the words.
        all_media_types: name each way to write a body, not only the most fitting one. Generators
            of clients make one function per operation, and few of them cope with a choice.
    """
    described: Dict = {}
    parameters = [p for one in operation.parameters for p in _parameters(one, doc)]
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        kinds = operation.body.media_types
        chosen = kinds if all_media_types else kinds[:1]
        described["requestBody"] = _describe_body(operation.body, chosen, doc)
    described["responses"] = {
        **_answers(operation.answer, doc),
        **_failures(operation.failures, doc),
    }
    return described


# --- parameters --------------------------------------------------------------------------------


def _parameters(parameter: Parameter, doc: Docstring) -> list[Dict]:
    if parameter.spread:
        return [_field_parameter(field, parameter) for field in record_fields(parameter.annotation)]
    described: Dict = {"name": parameter.alias, "in": parameter.place}
    text = parameter.description or doc.arguments.get(parameter.name, "")
    if text:
        described["description"] = text
    if parameter.required:
        described["required"] = True
    described["schema"] = Of(_on_the_wire(parameter.annotation), **_default(parameter))
    return [described]


def _field_parameter(field: Field, parameter: Parameter) -> Dict:
    described: Dict = {"name": field.alias, "in": parameter.place}
    if field.description:
        described["description"] = field.description
    if field.required and parameter.required:
        described["required"] = True
    keywords = {} if field.required else _default(field)
    described["schema"] = Of(_on_the_wire(field.annotation), **keywords)
    return described


class Field(t.NamedTuple):
    """A field of a record whose fields are parameters of their own."""

    alias: str
    annotation: t.Any
    required: bool
    default: t.Any
    description: str = ""


def record_fields(annotation: t.Any) -> list[Field]:
    """The fields of a Struct, dataclass, TypedDict, attrs or pydantic class."""
    kind = annotation
    while t.get_origin(kind) is t.Annotated:
        kind = t.get_args(kind)[0]
    model_fields = getattr(kind, "model_fields", None)
    if isinstance(model_fields, dict):  # pydantic
        return [
            Field(
                getattr(info, "alias", None) or name,
                t.Annotated[(info.annotation, *info.metadata)]
                if info.metadata
                else info.annotation,
                info.is_required(),
                None if info.is_required() else info.default,
                info.description or "",
            )
            for name, info in model_fields.items()
        ]
    from msgspec import NODEFAULT
    from msgspec import inspect as types

    hints = t.get_type_hints(kind, include_extras=True)
    return [
        Field(
            field.encode_name,
            hints[field.name],
            field.required,
            None if field.default is NODEFAULT else field.default,
        )
        for field in t.cast("t.Any", types.type_info(kind)).fields
    ]


def _on_the_wire(annotation: t.Any) -> t.Any:
    """A type without its `None`: what is not sent has no value, and null has no text."""
    from carboy.contract.kinds import without_none

    return without_none(annotation)


def _default(parameter: Parameter | Field) -> Dict:
    """The default, where it is a value that JSON has."""
    value = parameter.default
    value = getattr(value, "value", value)  # an Enum's member
    if parameter.required or value is None:
        return {}
    return {"default": value} if isinstance(value, bool | int | float | str) else {}


# --- body --------------------------------------------------------------------------------------


def _describe_body(body: RequestBody, kinds: tuple[str, ...], doc: Docstring) -> Dict:
    described: Dict = {}
    text = body.description or doc.arguments.get(body.name or "", "")
    if text:
        described["description"] = text
    described["content"] = {kind: _media(kind, body, doc) for kind in kinds}
    if body.required:
        described["required"] = True
    return described


def _media(kind: str, body: RequestBody, doc: Docstring) -> Dict:
    if kind in _FORMS and body.parts:
        return _form(kind, body, doc)
    media: Dict
    if body.embedded:
        from carboy.contract.operation import UNSET

        required = [name for name, _, default in body.embedded if default is UNSET]
        media = {
            "schema": {
                "type": "object",
                "properties": {
                    name: Of(annotation, description=doc.arguments.get(name))
                    for name, annotation, _ in body.embedded
                },
                **({"required": required} if required else {}),
            }
        }
    elif body.name is None or _is_binary(kind):
        media = {"schema": dict(FILE)}
    else:
        media = {"schema": Of(body.annotation)}
    if doc.example is not None and "json" in kind:
        media["example"] = doc.example
    return media


def _form(kind: str, body: RequestBody, doc: Docstring) -> Dict:
    properties: Dict = {}
    required: list[str] = []
    if body.name is not None:  # a record beside files: its fields stand next to them
        for field in record_fields(body.annotation):
            properties[field.alias] = Of(field.annotation, description=field.description)
            required += [field.alias] if field.required and body.required else []
    for part in body.parts:
        properties[part.alias] = _part(part, doc)
        required += [part.alias] if part.required else []
    schema: Dict = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    return {"schema": schema}


def _part(part: Parameter, doc: Docstring) -> t.Any:
    text = part.description or doc.arguments.get(part.name, "")
    if part.place != "file":
        return Of(_on_the_wire(part.annotation), description=text, **_default(part))
    schema: Dict = {"type": "array", "items": dict(FILE)} if part.many else dict(FILE)
    return {**schema, "description": text} if text else schema


def _is_binary(kind: str) -> bool:
    return kind.startswith("image/") or kind == "application/octet-stream"


# --- answers -----------------------------------------------------------------------------------


def _answers(answer: Answer, doc: Docstring) -> Dict:
    described = _answer(answer, doc)
    for status in answer.empty:
        described.setdefault(str(status), {"description": HTTPStatus(status).phrase})
    return described


def _answer(answer: Answer, doc: Docstring) -> Dict:
    text = doc.returns or _ANSWERS.get(answer.kind) or HTTPStatus(answer.status).phrase
    if answer.kind == "flask":
        # A view without types may answer with any status, as far as anybody knows.
        status = "default" if answer.status == 200 else str(answer.status)
        if status != "default":
            text = doc.returns or HTTPStatus(answer.status).phrase
        return {status: {"description": text, **_flask_content(answer.annotation)}}
    described: Dict = {"description": text}
    if answer.media_types and answer.status != 204:
        described["content"] = {
            kind: describe_media(kind, answer.annotation, streams=answer.kind == "stream")
            for kind in answer.media_types
        }
    return {str(answer.status): described}


def _flask_content(annotation: t.Any) -> Dict:
    # `-> str` is what authors write when they render a page.
    return {"content": {"text/html": {}}} if annotation is str else {}


def _failures(failures: t.Iterable[Failure], doc: Docstring) -> Dict:
    described: Dict = {}
    for failure in sorted(failures, key=lambda one: one.status):
        status = str(failure.status)
        answer: Dict = {
            "description": doc_of_status(doc, failure.status)
            or failure.description
            or HTTPStatus(failure.status).phrase
        }
        if failure.problem:
            answer["content"] = {PROBLEM: {"schema": PROBLEM_REF}}
        if status in described and failure.description:
            texts = [described[status]["description"], failure.description]
            answer["description"] = " ".join(dict.fromkeys(texts))
        described[status] = answer
    for name, text in doc.raises.items():
        if name.isdigit() and len(name) == 3:
            described.setdefault(name, {"description": text})
    return described


def doc_of_status(doc: Docstring, status: int) -> str:
    """What `Raises:` says of a status, by its number or by Werkzeug's name for it."""
    words = re.sub(r"\W", "", HTTPStatus(status).phrase)
    return doc.raises.get(str(status)) or doc.raises.get(words) or ""


def meta_words(annotation: t.Any) -> Dict:
    """Description and examples that a `msgspec.Meta` gives.

    Not its bounds: a variable of a rule is converted by its converter, and by nothing else.
    """
    said: Dict = {}
    for extra in t.get_args(annotation)[1:] if t.get_origin(annotation) is t.Annotated else ():
        for name in ("description", "examples"):
            value = getattr(extra, name, None)
            if value:
                said[name] = value
    return said


def summary_of(name: str) -> str:
    """A summary where nobody wrote one: `add_flower` as "Add flower"."""
    words = name.rpartition(".")[2].replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def own_doc(function: t.Any) -> str | None:
    """The docstring that the author wrote, not one of a base class or of `functools.partial`."""
    doc = getattr(function, "__doc__", None)
    inherited = inspect.isclass(function) and doc is getattr(function.__base__, "__doc__", None)
    return doc if isinstance(doc, str) and not inherited else None
