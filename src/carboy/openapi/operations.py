"""Describe a method of a view, or a prediction of a model, as an OpenAPI operation.

The description comes from types and docstrings. `carboy.openapi.document` then merges what
decorators and flasgger's YAML say, which takes precedence. A JSON body is described by the schema
of its value, a body of another media type as a file.
"""

from __future__ import annotations

import inspect
import json
import re
import typing as t
from http import HTTPStatus

from carboy.contract.media import JSON, MULTIPART, URLENCODED

from .components import Of, Own

if t.TYPE_CHECKING:
    from carboy.contract.docstrings import Docstring
    from carboy.contract.operation import Answer, BodySpec, Failure, Operation, Parameter
    from carboy.contract.values.kind import ValueKind
    from carboy.contract.values.registry import Parted

Dict: t.TypeAlias = dict[str, t.Any]

PROBLEM = "application/problem+json"
PROBLEM_REF = Own("Problem")
# The schema of error responses. Source: RFC 9457; `errors` is an extension of carboy.
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
        "request_id": {"type": "string", "description": "Finds the request in the log."},
        "errors": {
            "type": "array",
            "description": "The invalid places in the request.",
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

# The schema of the response to GET at a model's URL.
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
        "batch": {"type": "integer", "description": "Most inputs that are predicted together."},
        "output": {"type": "object", "description": "JSON Schema of the response, or of an item."},
        "answers": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Media types of the response; the first is the default.",
        },
        "streams": {"type": "boolean", "description": "Whether the response is a stream of items."},
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

# The schema of a file. `format: binary` is OpenAPI 3.0's form, which Swagger UI and client
# generators expect.
FILE: Dict = {"type": "string", "format": "binary"}
_FORMS = (MULTIPART, URLENCODED)
_ANSWERS = {"flask": "The response of the view.", "stream": "A stream of items."}
#: The OpenAPI operation for a view of which only the path is known.
UNKNOWN_OPERATION: Dict = {"responses": {"default": {"description": _ANSWERS["flask"]}}}


def describe_operation(operation: Operation, doc: Docstring, *, all_media_types: bool) -> Dict:
    """Return the OpenAPI operation for the types and the docstring of a view or a model.

    Args:
        operation: the types of the view or model.
        doc: its docstring.
        all_media_types: list all media types of a body, and not only the most suitable one. Client
            generators make one function per operation, and few of them support several media types.
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


def describe_metadata(name: str) -> Dict:
    """Return the OpenAPI operation for GET at a model's URL, whose response describes the model."""
    return {
        "summary": f"About {name}",
        "description": "The types and settings of the model, for programs.",
        "responses": {
            "200": {
                "description": "The description of the model; for browsers, a page to try it.",
                # The JSON response has a schema. The HTML page, which browsers get, has none. (If
                # the page is disabled, browsers get JSON.)
                "content": {JSON: {"schema": Own("ModelMetadata")}, "text/html": {}},
            }
        },
    }


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
    described["schema"] = Of(_without_none(parameter.annotation), **_default(parameter))
    return [described]


def _field_parameter(field: Field, parameter: Parameter) -> Dict:
    described: Dict = {"name": field.alias, "in": parameter.place}
    if field.description:
        described["description"] = field.description
    if field.required and parameter.required:
        described["required"] = True
    described["schema"] = Of(_without_none(field.annotation), **_default(field))
    return described


class Field(t.NamedTuple):
    """A field of a record type whose fields are separate parameters of the request (see
    `record_fields`).
    """

    alias: str
    annotation: t.Any
    required: bool
    default: t.Any
    description: str = ""


def record_fields(annotation: t.Any) -> list[Field]:
    """Return the fields of a record type: a Struct, dataclass, TypedDict, attrs or pydantic
    class.
    """
    kind = annotation
    while t.get_origin(kind) is t.Annotated:
        kind = t.get_args(kind)[0]
    from carboy.contract.hints import pydantic_fields
    from carboy.contract.records import fields_of

    model_fields = pydantic_fields(kind)
    if model_fields is not None:
        keys = {field.name: field.keys[0] for field in fields_of(kind)}
        return [
            Field(
                keys[name],
                t.Annotated[(info.annotation, *info.metadata)]
                if info.metadata
                else info.annotation,
                info.is_required(),
                _made(info.default_factory) if info.default_factory else info.default,
                info.description or "",
            )
            for name, info in model_fields.items()
        ]
    from msgspec import NODEFAULT

    from carboy.contract.declared import field_annotations, translate

    annotations = field_annotations(kind)
    [info], _ = translate([kind])
    return [
        Field(
            field.encode_name,
            annotations[field.name],
            field.required,
            _made(field.default_factory) if field.default is NODEFAULT else field.default,
        )
        for field in t.cast("t.Any", info).fields
    ]


def _made(factory: t.Any) -> t.Any:
    """Return the default that a factory makes; None for a factory that may run an author's code."""
    return factory() if factory in (list, dict, set) else None


def _without_none(annotation: t.Any) -> t.Any:
    """Return a type without `None`: a client cannot send None as text, but leaves the parameter
    out.
    """
    from carboy.contract.hints import without_none

    return without_none(annotation)


def _default(parameter: Parameter | Field) -> Dict:
    """Return the schema keyword `default`, if JSON can express the default value; else an empty
    dict.
    """
    import msgspec

    value = parameter.default
    if parameter.required or value is None or isinstance(value, bytes | bytearray):
        return {}
    try:
        value = msgspec.to_builtins(value, str_keys=True, order="deterministic")
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return {}
    return {"default": value}


# --- values ------------------------------------------------------------------------------------


def value_schema(annotation: t.Any, *, answered: bool = False) -> t.Any:
    """Return the schema of a value as JSON has it. Images and other files are base64 text in
    JSON.
    """
    from carboy.contract.schemas import Answered

    kinds, rest = _parted(annotation)
    if not kinds:
        return Of(Answered(annotation) if answered else annotation)
    # The schema of plain JSON comes first, because pages and Postman collections generate their
    # example from the first schema, and cannot generate a base64 image.
    either: list[t.Any] = []
    if rest is not None:
        either.append(Of(Answered(rest) if answered else rest))
    either += [kind.brief_schema(answered=answered) for kind in kinds]
    return either[0] if len(either) == 1 else {"anyOf": either}


def _parted(annotation: t.Any) -> Parted:
    from carboy.contract.values.registry import Parted, part

    found = part(annotation)
    return found if any(kind.is_file for kind in found.kinds) else Parted((), annotation)


def _worded(schema: t.Any, text: str, parameter: Parameter) -> t.Any:
    words = {**({"description": text} if text else {}), **_default(parameter)}
    if isinstance(schema, Of):
        return Of(schema.annotation, **words | schema.keywords)
    return {**schema, **words}


# --- body --------------------------------------------------------------------------------------


def _describe_body(body: BodySpec, kinds: tuple[str, ...], doc: Docstring) -> Dict:
    described: Dict = {}
    text = "" if body.single is None else _text_of(body.single, doc)
    if text:
        described["description"] = text
    content = {kind: _media(kind, body, doc) for kind in kinds}
    described["content"] = {kind: media for kind, media in content.items() if media is not None}
    if body.required:
        described["required"] = True
    return described


def _media(kind: str, body: BodySpec, doc: Docstring) -> Dict | None:
    media: Dict
    if kind in _FORMS:
        parts = _parts(body, doc)
        if kind == URLENCODED and any(_file_kinds(part.annotation) for part in parts):
            # The form has a file, which a urlencoded form can only send as base64 text. carboy
            # accepts that, but it is not documented, because clients send files as multipart.
            return None
        media = {"schema": _form(parts), **(_encoding(parts) if kind == MULTIPART else {})}
    elif "json" in kind or "msgpack" in kind:
        single = body.single
        media = {
            "schema": _object(body, doc) if single is None else value_schema(single.annotation)
        }
        if doc.example is not None and "json" in kind:
            media["example"] = doc.example
    else:
        media = {"schema": _raw_schema(kind, body)}
    return media


def _raw_schema(media_type: str, body: BodySpec) -> t.Any:
    """Return the schema of a body that consists of one text or file, with the limits on its
    length.
    """
    from carboy.contract.hints import strip
    from carboy.contract.values.registry import part

    kinds = (kind for each in body.parameters for kind in part(each.annotation).kinds)
    json_type = next((kind.json_type for kind in kinds if media_type in kind.media_types), None)
    if not media_type.startswith("text/"):
        return {**FILE, **_lengths(json_type)}
    return Of(json_type) if strip(json_type) is str else {"type": "string"}


def _lengths(annotation: t.Any) -> Dict:
    """Return the schema keywords for the length of bytes, taken from `Meta` in the annotation.

    They are not taken from the JSON Schema of the type, which limits the longer base64 text.
    """
    from carboy.contract.hints import metadata_of

    return {
        keyword: value
        for extra in metadata_of(annotation)
        for name, keyword in (("min_length", "minLength"), ("max_length", "maxLength"))
        if (value := getattr(extra, name, None)) is not None
    }


def _object(body: BodySpec, doc: Docstring) -> Dict:
    values = {
        each.alias: _worded(value_schema(each.annotation), _text_of(each, doc), each)
        for each in body.parameters
    }
    required = [each.alias for each in body.parameters if each.required]
    return {**_with_required(values, required), "additionalProperties": False}


class Part(t.NamedTuple):
    """A part of a form: a text field or a file."""

    name: str
    annotation: t.Any
    required: bool
    keywords: Dict


def _parts(body: BodySpec, doc: Docstring) -> list[Part]:
    """Return the parts of a form. If exactly one parameter is a record, each of its fields is a
    part.
    """
    parts: list[Part] = []
    records = [each for each in body.parameters if _fields_of(each) is not None]
    for parameter in body.parameters:
        fields = _fields_of(parameter) if records == [parameter] else None
        for field in fields or ():
            required = field.required and parameter.required
            words = {"description": field.description, **_default(field)}
            parts.append(Part(field.alias, field.annotation, required, words))
        if fields is None:
            words = {"description": _text_of(parameter, doc), **_default(parameter)}
            annotation = parameter.annotation
            parts.append(Part(parameter.alias, annotation, parameter.required, words))
    return parts


def _form(parts: list[Part]) -> Dict:
    properties: Dict = {}
    for part in parts:
        file, text = _file_schema(part.annotation), part.keywords["description"]
        properties[part.name] = (
            Of(_without_none(part.annotation), **part.keywords)
            if file is None
            else {**file, "description": text}
            if text
            else file
        )
    return _with_required(properties, [part.name for part in parts if part.required])


def _encoding(parts: list[Part]) -> Dict:
    """Return the OpenAPI member `encoding` for a form: the media types of each file, except for
    images.
    """
    found: Dict = {}
    for part in parts:
        kinds = (kind for kind in _file_kinds(part.annotation) if not kind.takes_anything)
        types = [each for kind in kinds for each in kind.media_types]
        if types and not any(each.startswith("image/") for each in types):
            found[part.name] = {"contentType": ", ".join(types)}
    return {"encoding": found} if found else {}


def _file_kinds(annotation: t.Any) -> tuple[ValueKind, ...]:
    """Return the readers (for images, tables, ...) that can read a part of a form.

    The result is empty if the part is neither a file nor a list of files.
    """
    from carboy.contract.hints import item_of
    from carboy.contract.kinds import Sort, sort_of

    sort = sort_of(annotation)
    if sort is Sort.FILES:
        return _parted(item_of(annotation)).kinds
    return _parted(annotation).kinds if sort is Sort.FILE else ()


def _file_schema(annotation: t.Any) -> Dict | None:
    """Return the schema for a part of a form that is a file or a list of files; None for other
    parts.
    """
    from carboy.contract.kinds import Sort, sort_of

    kinds = _file_kinds(annotation)
    if not kinds:
        return None
    said = kinds[0].schema()
    file = {**FILE, **{key: value for key, value in said.items() if key.startswith("x-")}}
    return {"type": "array", "items": file} if sort_of(annotation) is Sort.FILES else file


def _fields_of(parameter: Parameter) -> list[Field] | None:
    """Return the fields of a parameter's type; None if it is no record type but, for example, a
    dict, a union or a file.
    """
    from carboy.contract.hints import is_record, strip

    bare = strip(_without_none(parameter.annotation))
    return record_fields(bare) if is_record(t.get_origin(bare) or bare) else None


def _with_required(properties: Dict, required: list[str]) -> Dict:
    schema: Dict = {"type": "object", "properties": properties}
    return {**schema, "required": required} if required else schema


def _text_of(parameter: Parameter, doc: Docstring) -> str:
    return parameter.description or doc.arguments.get(parameter.name, "")


# --- answers -----------------------------------------------------------------------------------


def _answers(answer: Answer, doc: Docstring) -> Dict:
    described = _answer(answer, doc)
    for status in answer.empty:
        described.setdefault(str(status), {"description": HTTPStatus(status).phrase})
    return described


def _answer(answer: Answer, doc: Docstring) -> Dict:
    text = doc.returns or _ANSWERS.get(answer.kind) or HTTPStatus(answer.status).phrase
    if answer.kind == "flask":
        # The status of a response that Flask makes is unknown, unless the return annotation names
        # one other than 200. OpenAPI's key for an unknown status is "default".
        status = "default" if answer.status == 200 else str(answer.status)
        if status != "default":
            text = doc.returns or HTTPStatus(answer.status).phrase
        return {status: {"description": text, **_flask_content(answer.annotation)}}
    described: Dict = {"description": text}
    if answer.media_types and answer.status != 204:
        described["content"] = {kind: _answer_media(kind, answer) for kind in answer.media_types}
        _add_answers_of_flask(described["content"], answer)
    return {str(answer.status): described}


def _add_answers_of_flask(content: Dict, answer: Answer) -> None:
    """Add the content of responses that Flask makes: for `list[float]` in `Image | list[float]`,
    and for `str` in `int | str`.
    """
    from carboy.contract.hints import strip

    for each in answer.flasks:
        bare = strip(each)
        if bare is str:
            content.setdefault("text/html", {})
        elif (t.get_origin(bare) or bare) in (list, dict):
            known = content.get(JSON, {}).get("schema")
            schemas = [value_schema(each, answered=True), *([known] if known else [])]
            content[JSON] = {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}


def _answer_media(kind: str, answer: Answer) -> Dict:
    annotation = answer.annotation
    if answer.streams:
        # A stream is described as text, in which `contentSchema` of JSON Schema describes each
        # item.
        item = {"contentMediaType": JSON, "contentSchema": value_schema(annotation, answered=True)}
        return {"schema": {"type": "string", **item}}
    if kind == JSON:
        return {} if annotation is t.Any else {"schema": value_schema(annotation, answered=True)}
    return {"schema": {"type": "string"} if kind.startswith("text/") else dict(FILE)}


def _flask_content(annotation: t.Any) -> Dict:
    # A view `-> str` usually returns a rendered page, so its responses are described as HTML.
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
    """Return what the docstring says of a status in `Raises:`, where it is named "404" or
    "NotFound".
    """
    words = re.sub(r"\W", "", HTTPStatus(status).phrase)
    return doc.raises.get(str(status)) or doc.raises.get(words) or ""


def meta_words(annotation: t.Any) -> Dict:
    """Return the description and examples that `msgspec.Meta` has in the annotation of a URL
    variable.

    Limits in the `Meta` are ignored, because only the URL converter checks the variable.
    """
    said: Dict = {}
    for extra in t.get_args(annotation)[1:] if t.get_origin(annotation) is t.Annotated else ():
        for name in ("description", "examples"):
            value = getattr(extra, name, None)
            if value:
                said[name] = value
    return said


def summary_of(name: str) -> str:
    """Derive a summary from a name: `add_flower` becomes "Add flower"."""
    words = name.rpartition(".")[2].replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def own_doc(function: t.Any) -> str | None:
    """Return the docstring that the author wrote, not one inherited from a base class or
    `functools.partial`.
    """
    doc = getattr(function, "__doc__", None)
    inherited = inspect.isclass(function) and doc is getattr(function.__base__, "__doc__", None)
    return doc if isinstance(doc, str) and not inherited else None
