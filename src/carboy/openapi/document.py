"""The OpenAPI 3.1 document of an app: a description goes in, a dict comes out.

Nothing here knows an app, a request or a server: `carboy.openapi.collect` walks the app. The order
of paths is that of registration, of components that of their names, so that the same app gives
the same document.
Source: OpenAPI 3.1.1, https://spec.openapis.org/oas/v3.1.1
"""

from __future__ import annotations

import dataclasses
import typing as t

from . import swagger2
from .formats import plain
from .operations import PROBLEM_SCHEMA
from .paths import may_refuse
from .predictions import METADATA_COMPONENT
from .schemas import JSONSchemas, resolve
from .swag import merge

VERSION = "3.1.1"
Dict: t.TypeAlias = dict[str, t.Any]

# Path items have these; any other method, which a rule may name, has no place in OpenAPI.
METHODS = swagger2.METHODS
# What decorators may override, and the order in which members of an operation are written.
_WORDS = ("tags", "summary", "description", "operationId", "deprecated", "security")
_ORDER = (*_WORDS, "parameters", "requestBody", "responses")
_OWN_COMPONENTS = {"Problem": PROBLEM_SCHEMA, METADATA_COMPONENT[0]: METADATA_COMPONENT[1]}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One operation, before it gets its place."""

    path: str
    method: str  # lower case
    #: What operationId is made of, without what makes it unique.
    name: str
    #: OpenAPI's operation, with `Of(type)` where schemas belong.
    operation: Dict
    #: Parameters of the path, from the rule.
    path_parameters: list[Dict]
    #: What flasgger's style says, in either language.
    specification: Dict
    #: From decorators: `extra` and what overrides the docstring.
    marks: Dict


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSettings:
    """What an app says of its document as a whole."""

    title: str
    version: str = "0"
    description: str = ""
    #: Top of the document in either language: info, servers, tags, components, ...
    template: Dict = dataclasses.field(default_factory=dict)
    security_schemes: Dict = dataclasses.field(default_factory=dict)
    security: list[t.Any] = dataclasses.field(default_factory=list)
    #: Descriptions of tags, by name.
    tags: t.Mapping[str, str] = dataclasses.field(default_factory=dict)


def build_document(
    described: t.Iterable[Described], settings: DocumentSettings, json_schemas: JSONSchemas
) -> Dict:
    """Put the operations together.

    Args:
        described: in the order in which they shall stand.
        settings: the top of the document.
        json_schemas: makes JSON Schema of types.
    """
    top = swagger2.convert_template(settings.template)
    brought: Dict = {}  # schemas that flasgger's YAML defines
    paths: Dict = {}
    ids: set[str] = set()
    for one in described:
        item = paths.setdefault(one.path, {})
        if one.method not in item:  # else the same path on another host: the first stands
            item[one.method] = _operation(one, brought, ids)
    paths = {path: item for path, item in paths.items() if item}
    for path, item in top.pop("paths", {}).items():
        _merge_path(paths.setdefault(path, {}), item, path)
    resolved, typed, own = resolve(paths, json_schemas, _OWN_COMPONENTS)
    components = _components(top, {**brought, **typed}, settings)
    for name, schema in own.items():  # a template may say them in other words
        components.setdefault("schemas", {}).setdefault(name, schema)
    document: Dict = {
        "openapi": VERSION,
        "info": _info(top, settings),
        **{key: top[key] for key in ("servers", "externalDocs") if key in top},
        "paths": resolved,
    }
    if components:
        document["components"] = {kind: components[kind] for kind in sorted(components)}
        if "schemas" in components:
            document["components"]["schemas"] = dict(sorted(components["schemas"].items()))
    security = settings.security or top.get("security")
    if security:
        document["security"] = [{s: []} if isinstance(s, str) else s for s in security]
    tags = _tags(resolved, top, settings)
    if tags:
        document["tags"] = tags
    document.update({key: value for key, value in top.items() if key.startswith("x-")})
    document = plain(document)
    _define_missing(document)
    return document


def _operation(one: Described, brought: Dict, ids: set[str]) -> Dict:
    operation = dict(one.operation)
    specification = swagger2.convert_operation(one.specification, brought)
    # flasgger lets one text speak for several methods: `get: {...}` inside it.
    for method in METHODS:
        of_method = specification.pop(method, None)
        if method == one.method and isinstance(of_method, dict):
            merge(specification, swagger2.convert_operation(of_method, brought))
    given = specification.pop("parameters", [])
    parameters = _merge_parameters(
        [*one.path_parameters, *operation.pop("parameters", [])], given, one.path
    )
    if parameters:
        operation["parameters"] = parameters
    responses = specification.pop("responses", {})
    if responses:
        known = operation.get("responses", {})
        if set(known) == {"default"}:  # nothing is known but that there is an answer
            known = {}
        operation["responses"] = {**known, **responses}
    if may_refuse(one.path_parameters):
        _add_not_found(operation)
    operation.update(specification)
    extra = one.marks.get("extra", {})
    operation.update({k: v for k, v in one.marks.items() if k in _WORDS})
    merge(operation, extra)
    operation["operationId"] = _unique_id(operation.get("operationId") or one.name, ids)
    return {
        **{key: operation[key] for key in _ORDER if key in operation},
        **{key: value for key, value in operation.items() if key not in _ORDER},
    }


def _add_not_found(operation: Dict) -> None:
    """Without a view's doing: the text of a variable is not what the rule's converter takes."""
    responses = operation["responses"] = dict(operation.get("responses", {}))
    if "default" in responses:
        return
    missing = responses.get("404", {"description": "There is nothing at this URL."})
    if "$ref" not in missing:
        content = {**missing.get("content", {}), "text/html": {}}
        responses["404"] = {**missing, "content": content}


def _merge_path(there: Dict, item: Dict, path: str) -> None:
    """What a template says of a path, added to what its views say."""
    for method, operation in item.items():
        known = there.setdefault(method, {})
        if method in METHODS and known:
            given = operation.pop("parameters", [])
            parameters = _merge_parameters(known.get("parameters", []), given, path)
            merge(known, operation)
            if parameters:
                known["parameters"] = parameters
        else:
            there[method] = operation


def _unique_id(wanted: str, ids: set[str]) -> str:
    name, number = wanted, 1
    while name in ids:
        number += 1
        name = f"{wanted}_{number}"
    ids.add(name)
    return name


def _merge_parameters(known: list[Dict], given: list[Dict], path: str) -> list[Dict]:
    """By name and place; what a rule says of its variables is completed, not replaced.

    A path parameter that the path does not have would make the document invalid, and is dropped:
    a docstring often serves two rules.
    """
    merged = {(p["name"], p["in"]): dict(p) for p in known}
    references: list[Dict] = []
    for parameter in given:
        if "$ref" in parameter:
            references.append(parameter)
            continue
        key = (parameter.get("name"), parameter.get("in"))
        if key[1] == "path" and f"{{{key[0]}}}" not in path:
            continue
        there = merged.get(t.cast("tuple[str, str]", key), {})
        merged[t.cast("tuple[str, str]", key)] = {**there, **parameter}
    return [*merged.values(), *references]


def _components(top: Dict, schemas: Dict, settings: DocumentSettings) -> Dict:
    components: Dict = {kind: dict(parts) for kind, parts in top.get("components", {}).items()}
    if schemas:
        components["schemas"] = {**components.get("schemas", {}), **schemas}
    if settings.security_schemes:
        known = components.setdefault("securitySchemes", {})
        for name, scheme in settings.security_schemes.items():
            known[name] = swagger2.convert_security_scheme(scheme)
    return components


def _info(top: Dict, settings: DocumentSettings) -> Dict:
    info: Dict = {"title": settings.title, "version": settings.version}
    if settings.description:
        info["description"] = settings.description
    info.update(top.get("info", {}))
    info["version"] = str(info["version"])
    return info


def _tags(paths: Dict, top: Dict, settings: DocumentSettings) -> list[Dict]:
    """Declared tags first, in their order; then those that operations name."""
    tags: dict[str, Dict] = {}
    for tag in top.get("tags", ()):
        tags[tag["name"]] = tag
    for item in paths.values():
        for operation in item.values():
            for name in operation.get("tags", ()) if isinstance(operation, dict) else ():
                tags.setdefault(name, {"name": name})
    for name, text in settings.tags.items():
        if text and name in tags:
            tags[name] = {"description": text, **tags[name]}
    return [{"name": tag["name"], **tag} for tag in tags.values()]


def _define_missing(document: Dict) -> None:
    """Give each schema that is referred to, and that nobody defined, a place that says nothing."""
    prefix = "#/components/schemas/"
    known = document.get("components", {}).get("schemas", {})
    for target in sorted(_targets(document)):
        name = target.removeprefix(prefix)
        if name != target and name not in known:
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas[name] = {"description": "Not defined."}


def _targets(node: t.Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(_targets, node.values()))
    return set().union(*map(_targets, node)) if isinstance(node, list) else set()
