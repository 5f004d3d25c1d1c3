"""Build the OpenAPI 3.1 document, a dict, from descriptions of operations.

This module uses no app, request or server: `carboy.openapi.collect` creates the descriptions. Paths
are in the order of registration and components are sorted by name, so the same app always gives
the same document.
Source: OpenAPI 3.1.1, https://spec.openapis.org/oas/v3.1.1
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..errors import DocumentationError
from . import swagger2
from .components import JSONSchemas, resolve, without_unknown
from .faults import FaultCollector
from .formats import plain
from .operations import METADATA_COMPONENT, PROBLEM_SCHEMA, UNKNOWN_OPERATION
from .paths import may_refuse, renamed, without_names
from .samples import add_examples
from .swag import merge

VERSION = "3.1.1"
Dict: t.TypeAlias = dict[str, t.Any]

# The HTTP methods that are documented. OpenAPI has no place for other methods, except HEAD and
# OPTIONS, which need no documentation.
METHODS = swagger2.METHODS
# The members of an OpenAPI operation that decorators may override. `_ORDER` is the order in which
# the members of each operation are written.
_WORDS = ("tags", "summary", "description", "operationId", "deprecated", "security")
_ORDER = (*_WORDS, "parameters", "requestBody", "responses")
# The kinds of components, besides schemas, to which a part of an operation may refer.
_REFERRED = frozenset((
    *("parameters", "responses", "requestBodies", "headers", "examples", "links", "callbacks"),
))  # fmt: skip
_OWN_COMPONENTS = {"Problem": PROBLEM_SCHEMA, METADATA_COMPONENT[0]: METADATA_COMPONENT[1]}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """The documentation of a view for one HTTP method, from which its entry in the document is
    made.
    """

    path: str
    method: str  # the HTTP method in lower case
    #: A name from which the unique `operationId` is derived.
    name: str
    #: The OpenAPI operation, with placeholders `Of(type)` instead of schemas.
    operation: Dict
    #: The OpenAPI parameters for the variables of the URL rule.
    path_parameters: list[Dict]
    #: The view's specification in flasgger's style (Swagger 2 or OpenAPI 3).
    specification: Dict
    #: What decorators such as `@operation` have set: members of the OpenAPI operation that override
    #: the docstring, and under `extra` further members.
    marks: Dict
    #: The name of the view in messages: its endpoint, file and line.
    view: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSettings:
    """The settings of an app that concern the document as a whole."""

    title: str
    version: str = "0"
    description: str = ""
    #: Members of the document that the user has written, in Swagger 2 or OpenAPI 3: info, servers,
    #: tags, components, ...
    template: Dict = dataclasses.field(default_factory=dict)
    security_schemes: Dict = dataclasses.field(default_factory=dict)
    security: list[Dict] = dataclasses.field(default_factory=list)
    #: The descriptions of tags, by tag name.
    tags: t.Mapping[str, str] = dataclasses.field(default_factory=dict)


def build_document(
    described: t.Iterable[Described],
    settings: DocumentSettings,
    json_schemas: JSONSchemas,
    faults: FaultCollector | None = None,
) -> Dict:
    """Build the document from the descriptions of its operations.

    Args:
        described: the operations, in the order of the document.
        settings: settings of the document as a whole.
        json_schemas: converts types to JSON Schema.
        faults: collects messages about parts of operations that cannot be documented.

    Raises:
        Exception: the settings are wrong, so that no document can be built.
    """
    collector = FaultCollector() if faults is None else faults
    every = _distinct(described, collector)
    try:
        document = _build(every, settings, json_schemas)
    except Exception:  # noqa: BLE001 - what an author's YAML and types raise; see `_sound`
        # Try to build the document without any operation. If this fails, too, the settings are
        # wrong.
        _build([], settings, json_schemas)
        every = [_sound(one, json_schemas, collector) for one in every]
        document = _build(every, settings, json_schemas)
    operations = list(_operations(document, every))
    _check_security(document, operations, collector)
    _check_references(document, operations, collector)
    return document


def _distinct(described: t.Iterable[Described], faults: FaultCollector) -> list[Described]:
    """Return the operations that a document can contain: one for each path and method.

    A fault is added for each other one, unless it is the same view, at another host or for other
    values of a variable.
    """
    found: dict[tuple[str, str], Described] = {}
    for one in described:
        first = found.setdefault((without_names(one.path), one.method), one)
        if first.view != one.view:
            error = DocumentationError(
                f"it has {one.method.upper()} {first.path} of {first.view}, and can describe only"
                " one operation for a path and a method. Give one of them another path, or leave it"
                " out of the document: @operation(hidden=True)."
            )
            faults.add(one.view, f"{one.method.upper()} {one.path}", error)
    return list(found.values())


def _operations(document: Dict, every: list[Described]) -> t.Iterator[tuple[str, Dict]]:
    """Yield the name of each operation in messages, and the operation."""
    views = {(without_names(one.path), one.method): one.view for one in every}
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                view = views.get((without_names(path), method))
                yield view or f"{method.upper()} {path}", item[method]


def _check_references(
    document: Dict, operations: list[tuple[str, Dict]], faults: FaultCollector
) -> None:
    """Add a fault for each component that an operation refers to and that nothing defines.

    Schemas are not checked, because `_define_missing` has added those.
    """
    components = document.get("components", {})
    error = DocumentationError("no YAML and no OPENAPI_TEMPLATE defines it.")
    for view, operation in operations:
        for target in sorted(_targets(operation)):
            kind, _, name = target.removeprefix("#/components/").partition("/")
            if kind in _REFERRED and name not in components.get(kind, {}):
                faults.add(view, repr(target), error)


def _check_security(
    document: Dict, operations: list[tuple[str, Dict]], faults: FaultCollector
) -> None:
    """Add a fault for each security scheme that is required but not declared."""
    declared = document.get("components", {}).get("securitySchemes", {})
    known = ", ".join(map(repr, sorted(declared))) or "nothing"
    error = DocumentationError(f"OPENAPI_SECURITY_SCHEMES does not declare it. Declared: {known}.")
    for place, holder in [("the app (OPENAPI_SECURITY)", document), *operations]:
        for name in (name for one in holder.get("security", ()) for name in one):
            if name not in declared:
                faults.add(place, f"the security scheme {name!r}", error)


def _sound(one: Described, json_schemas: JSONSchemas, faults: FaultCollector) -> Described:
    """Return the description of an operation without those of its parts that the document cannot
    contain.
    """

    def error_of(candidate: Described) -> Exception | None:
        try:
            _build([candidate], DocumentSettings(title=""), json_schemas)
        except Exception as exc:  # noqa: BLE001 - see `build_document`
            return exc
        return None

    def report(annotation: t.Any, error: Exception) -> None:
        faults.add(one.view, f"the schema of {annotation!r}", error)

    operation = without_unknown(one.operation, json_schemas, report)
    one = dataclasses.replace(one, operation=t.cast("Dict", operation))
    error = error_of(one)
    if error is None:
        return one
    for part, candidate in (
        ("the YAML", dataclasses.replace(one, specification={})),
        ("what decorators say", dataclasses.replace(one, marks={})),
    ):
        if error_of(candidate) is None:
            faults.add(one.view, part, error)
            return candidate
    faults.add(one.view, "everything but the path", error)
    return dataclasses.replace(
        one,
        operation=UNKNOWN_OPERATION,
        path_parameters=[
            {"name": p["name"], "in": "path", "required": True, "schema": {"type": "string"}}
            for p in one.path_parameters
        ],
        specification={},
        marks={},
    )


def _build(
    described: list[Described], settings: DocumentSettings, json_schemas: JSONSchemas
) -> Dict:
    top = swagger2.convert_template(settings.template)
    paths: Dict = {}
    ids: set[str] = set()
    # The paths of the document, by the paths without the names of variables.
    same: dict[str, str] = {}
    for one in described:
        path = same.setdefault(without_names(one.path), one.path)
        paths.setdefault(path, {})[one.method] = _operation(one, path, top, ids)
    for given, item in top.pop("paths", {}).items():
        path = same.setdefault(without_names(given), given)
        _merge_path(paths.setdefault(path, {}), _moved(item, given, path), path)
    resolved, typed, own = resolve(paths, json_schemas, _OWN_COMPONENTS)
    components = _components(top, typed, settings)
    # Add carboy's own schemas, except those whose names the user's template defines.
    for name, schema in own.items():
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
        document["security"] = security
    tags = _tags(resolved, top, settings)
    if tags:
        document["tags"] = tags
    document.update({key: value for key, value in top.items() if key.startswith("x-")})
    document = plain(document)
    _define_missing(document)
    add_examples(document)
    return document


def _operation(one: Described, path: str, top: Dict, ids: set[str]) -> Dict:
    """Return an operation for the document.

    Args:
        one: the description of the operation.
        path: its path in the document, which differs from its own at most in the names of
            variables.
        top: the top of the document, to which the components in the operation's YAML are added.
        ids: the operation ids so far.
    """
    operation = dict(one.operation)
    specification = swagger2.convert_operation(one.specification, top)
    # flasgger lets authors write one specification per HTTP method inside the specification of a
    # view: `get: {...}`. Merge the one for this method.
    for method in METHODS:
        of_method = specification.pop(method, None)
        if method == one.method and isinstance(of_method, dict):
            merge(specification, swagger2.convert_operation(of_method, top))
    given = specification.pop("parameters", [])
    parameters = _merge_parameters(
        [*one.path_parameters, *operation.pop("parameters", [])], given, one.path
    )
    if parameters:
        operation["parameters"] = parameters
    responses = specification.pop("responses", {})
    if responses:
        known = operation.get("responses", {})
        # The types allow only the key "default" for responses, as for a view without a return
        # annotation. The responses in the author's YAML replace that key.
        if set(known) == {"default"}:
            known = {}
        operation["responses"] = {**known, **responses}
    if may_refuse(one.path_parameters):
        _add_not_found(operation)
    operation.update(specification)
    extra = one.marks.get("extra", {})
    operation.update({k: v for k, v in one.marks.items() if k in _WORDS})
    merge(operation, extra)
    swagger2.list_single_members(operation)
    if "parameters" in operation:
        operation["parameters"] = renamed(operation["parameters"], one.path, path)
    operation["operationId"] = _unique_id(operation.get("operationId") or one.name, ids)
    return {
        **{key: operation[key] for key in _ORDER if key in operation},
        **{key: value for key, value in operation.items() if key not in _ORDER},
    }


def _add_not_found(operation: Dict) -> None:
    """Add a 404 response to an operation, because the variables of its path do not accept every
    text.
    """
    responses = operation["responses"] = dict(operation.get("responses", {}))
    if "default" in responses:
        return
    missing = responses.get("404", {"description": "There is nothing at this URL."})
    if "$ref" not in missing:
        content = {**missing.get("content", {}), "text/html": {}}
        responses["404"] = {**missing, "content": content}


def _moved(item: Dict, path: str, new_path: str) -> Dict:
    """Return what the user's template says of a path for a path that differs from it at most in the
    names of variables.
    """
    moved: Dict = {
        key: {**each, "parameters": renamed(each["parameters"], path, new_path)}
        if isinstance(each, dict) and "parameters" in each
        else each
        for key, each in item.items()
    }
    if "parameters" in moved:
        moved["parameters"] = renamed(moved["parameters"], path, new_path)
    return moved


def _merge_path(there: Dict, item: Dict, path: str) -> None:
    """Merge what the user's template says of a path into `there`, which was derived from the views
    at this path.
    """
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
    """Return the parameters of an operation: those of its types (`known`), extended by those of its
    YAML.

    Members of a parameter in the YAML override those of the parameter with the same name and
    location.

    A path parameter for which the path has no variable is dropped, because it would make the
    document invalid. It occurs if the docstring of a view documents several URL rules.
    """
    merged = {(p["name"], p["in"]): dict(p) for p in known if "$ref" not in p}
    references = [p for p in known if "$ref" in p]
    for parameter in given:
        if "$ref" in parameter:
            if parameter not in references:
                references.append(parameter)
            continue
        key = (parameter.get("name"), parameter.get("in"))
        if key[1] == "path" and f"{{{key[0]}}}" not in path:
            continue
        there = merged.get(t.cast("tuple[str, str]", key), {})
        merged[t.cast("tuple[str, str]", key)] = {**there, **parameter}
    return [*merged.values(), *references]


def _components(top: Dict, schemas: Dict, settings: DocumentSettings) -> Dict:
    components: Dict = {kind: dict(parts) for kind, parts in top["components"].items() if parts}
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
    """Return the document's list of tags: those that the author has declared, then others that
    operations use.
    """
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
    """Add an empty schema for each reference to an undefined schema, which would make the document
    invalid.
    """
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
