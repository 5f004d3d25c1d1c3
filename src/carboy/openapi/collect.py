"""Collect what `document` needs from an app: a description of the views of all URL rules."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import sys
import typing as t
from functools import partial

from carboy.contract.docstrings import Docstring, read_docstring

from ..core.annotations import declared, layers, view_class_of
from ..errors import DocumentationError
from . import swag
from .document import METHODS, Described, DocumentSettings, build_document
from .faults import DocumentationFault, FaultCollector
from .formats import from_yaml, plain
from .keysecurity import schemes_of, with_guard
from .marks import read_marks
from .operations import (
    UNKNOWN_OPERATION,
    describe_metadata,
    describe_operation,
    meta_words,
    own_doc,
    summary_of,
)
from .paths import path_parameters, path_template
from .swagger2 import convert_security

if t.TYPE_CHECKING:
    from werkzeug.routing import Map, Rule

    from carboy.access.table import AccessTable

Dict: t.TypeAlias = dict[str, t.Any]

_USUAL_NAMES = frozenset(("__main__", "app", "application", "main", "server", "wsgi"))
# Keys of `app.config["SWAGGER"]`, flasgger's config, that are members of the document's `info`.
_FLASGGER_INFO = ("title", "description", "version", "termsOfService")
_FLASGGER_TOP = (
    *("info", "tags", "servers", "security", "components", "definitions", "securityDefinitions"),
    *("parameters", "responses", "externalDocs", "host", "schemes", "paths"),
)
# Attributes of a `flasgger.SwaggerView` class that document all methods of the view.
_CLASS_FIELDS = (
    *("tags", "consumes", "produces", "security", "deprecated", "externalDocs", "parameters"),
    *("definitions", "responses", "summary", "description"),
)


class DescribedApp(t.Protocol):
    """The attributes of an app that this module reads, for type checkers."""

    @property
    def name(self) -> str: ...
    @property
    def import_name(self) -> str: ...
    @property
    def root_path(self) -> str: ...
    @property
    def config(self) -> t.Mapping[str, t.Any]: ...
    @property
    def url_map(self) -> Map: ...
    @property
    def view_functions(self) -> t.Mapping[str, t.Any]: ...
    def _find_access(self) -> AccessTable | None: ...


def document_of(app: DescribedApp) -> tuple[Dict, list[DocumentationFault]]:
    """Return the OpenAPI 3.1 document of an app, and a list of the parts that it lacks, with
    reasons.

    Works without a request or app context.
    """
    from carboy.contract.schemas import json_schemas

    faults = FaultCollector()
    described = list(describe_app(app, faults))
    settings = settings_of(app)
    schemes = schemes_of(each.operation for each in described)
    settings = dataclasses.replace(
        settings, security_schemes={**schemes, **settings.security_schemes}
    )
    document = build_document(described, settings, json_schemas, faults)
    return document, faults.found


# --- the top of the document -------------------------------------------------------------------


def settings_of(app: DescribedApp) -> DocumentSettings:
    """Return the settings of the document from the app's config."""
    config = app.config
    template = _flasgger_template(app)
    swag.merge(template, _own_template(app))
    template = plain(template)
    info = {**template.pop("info", {}), **_mapping(config, "OPENAPI_INFO")}
    return DocumentSettings(
        title=_given(info.pop("title", None), _title(app)),
        version=_given(info.pop("version", None), _version(app)),
        description=info.pop("description", ""),
        template={**template, **({"info": info} if info else {})},
        security_schemes=_mapping(config, "OPENAPI_SECURITY_SCHEMES"),
        security=convert_security(config.get("OPENAPI_SECURITY")),
        tags={"models": "Trained models: POST predicts, GET describes the model."},
    )


def _given(value: t.Any, otherwise: str) -> t.Any:
    # `not value` is not used, because it would evaluate a lazy string of flasgger, which is
    # possible only during a request.
    return otherwise if value is None or (isinstance(value, str) and not value) else value


def _flasgger_template(app: DescribedApp) -> Dict:
    """Return the template for the document that the app has set for flasgger.

    It consists of `app.config["SWAGGER"]` and the argument `template` of `Swagger(app,
    template=...)`.
    """
    template: Dict = {}
    configured = app.config.get("SWAGGER")
    if isinstance(configured, dict):
        info = {key: configured[key] for key in _FLASGGER_INFO if configured.get(key) is not None}
        template = {"info": info} if info else {}
        swag.merge(
            template, {k: configured[k] for k in _FLASGGER_TOP if configured.get(k) is not None}
        )
    running = getattr(getattr(app, "swag", None), "template", None)
    if isinstance(running, dict):
        swag.merge(
            template, {key: running[key] for key in _FLASGGER_TOP if running.get(key) is not None}
        )
    return template


def _own_template(app: DescribedApp) -> Dict:
    """Return the value of `OPENAPI_TEMPLATE`, or what the file contains whose name is its value."""
    path = app.config.get("OPENAPI_TEMPLATE")
    if not isinstance(path, str | os.PathLike) or not path:
        return _mapping(app.config, "OPENAPI_TEMPLATE")
    where = f"OPENAPI_TEMPLATE {os.fspath(path)!r}"
    try:
        with open(os.path.join(app.root_path, path), encoding="utf-8") as file:
            loaded = from_yaml(file.read(), where=where)
    except OSError as exc:
        raise DocumentationError(
            f"{where}: {exc.filename!r} cannot be read: {exc.strerror}. A relative name is"
            " relative to the app's root_path."
        ) from exc
    if not isinstance(loaded, dict):
        raise DocumentationError(
            f"{where}: expected a mapping, such as `info:` and `tags:`, got"
            f" {type(loaded).__name__}."
        )
    return loaded


def _mapping(config: t.Mapping[str, t.Any], key: str) -> Dict:
    """Return the dict that is the value of a config key; {} if there is none.

    Raises:
        DocumentationError: the value is not a dict.
    """
    value = config.get(key) or {}
    if not isinstance(value, t.Mapping):
        raise DocumentationError(f"{key}: expected a dict, got {type(value).__name__} {value!r}.")
    return dict(value)


def _title(app: DescribedApp) -> str:
    """Return the title of the document: the app's name.

    If that name says nothing, such as `app` or `main`, the title is the name of the app's folder.
    """
    if app.name not in _USUAL_NAMES:
        return app.name
    return os.path.basename(os.path.abspath(app.root_path)) or app.name


def _version(app: DescribedApp) -> str:
    return str(getattr(sys.modules.get(app.import_name), "__version__", "0"))


# --- operations --------------------------------------------------------------------------------


def describe_app(app: DescribedApp, faults: FaultCollector) -> t.Iterator[Described]:
    """Yield a description of each operation of an app. An operation is a URL rule with one of its
    HTTP methods. The order is that of registration.
    """
    every = bool(app.config.get("OPENAPI_ALL_MEDIA_TYPES"))
    # Not by `find_overrides`, which would add URLs, and so end the registration of others.
    access = app._find_access()
    for rule in app.url_map.iter_rules():
        view = app.view_functions.get(rule.endpoint)
        if view is None or rule.build_only or rule.websocket or rule.alias or rule.redirect_to:
            continue
        if rule.endpoint.rpartition(".")[2] == "static":
            continue
        methods = [m for m in METHODS if m.upper() in (rule.methods or set())]
        for method in methods:
            described = _describe(
                rule, view, method, alone=len(methods) == 1, every=every, faults=faults
            )
            if described is not None:
                guard = None if access is None else access.guard_of(rule)
                operation = with_guard(described.operation, guard, described.method)
                yield dataclasses.replace(described, operation=operation)


def _describe(
    rule: Rule, view: t.Any, method: str, *, alone: bool, every: bool, faults: FaultCollector
) -> Described | None:
    holders = _holders(view, method)
    marks = read_marks(holders)
    if marks.get("hidden"):
        return None
    attempt = partial(faults.attempt, _place_of(rule, view, holders))
    if not attempt("the types", partial(_answers, view, rule, method), True):
        return None
    name = re.sub(r"\W+", "_", rule.endpoint)
    named = partial(swag.file_summary, holders, endpoint=rule.endpoint, method=method)
    doc = _docstring(holders, attempt("the YAML", named, ("", "")))
    variables = path_parameters(rule)
    return Described(
        path=path_template(rule),
        method=method,
        name=name if alone else f"{name}_{method}",
        operation=attempt(
            "the types",
            partial(_operation, rule, view, method, doc, alone=alone, every=every),
            {**_words(rule, view, method, doc, alone=alone), **UNKNOWN_OPERATION},
        ),
        path_parameters=attempt(
            "the descriptions of variables",
            lambda: [_with_text(one, doc, view, rule, method) for one in variables],
            variables,
        ),
        specification=attempt("the YAML", partial(_specification, rule, view, method, holders), {}),
        marks=marks,
        view=_place_of(rule, view, holders),
    )


def _specification(rule: Rule, view: t.Any, method: str, holders: list[t.Any]) -> Dict:
    specification = _class_specification(view)
    swag.merge(
        specification, swag.read_specification(holders, endpoint=rule.endpoint, method=method)
    )
    return specification


def _place_of(rule: Rule, view: t.Any, holders: list[t.Any]) -> str:
    """Return how log messages name a view: by its endpoint, and the file and line of its
    function.
    """
    from carboy.core.annotations import innermost

    model = model_of(view)
    function = innermost(holders[0]) if model is None else model.operation.function
    code = getattr(function, "__code__", None)
    if code is None:
        return f"{rule.endpoint!r}"
    return f"{rule.endpoint!r} ({code.co_filename}, line {code.co_firstlineno})"


def _with_text(parameter: Dict, doc: Docstring, view: t.Any, rule: Rule, method: str) -> Dict:
    """Return the parameter for a variable of a URL rule, with its description and examples added.

    These come from `msgspec.Meta` in the annotation, or from the docstring.
    """
    if model_of(view) is not None:
        return parameter
    annotations = _contract(view, rule).operation(method.upper()).path
    said = meta_words(annotations.get(parameter["name"]))
    text = said.pop("description", None) or doc.arguments.get(parameter["name"])
    schema = {**parameter.pop("schema"), **said}
    return {**parameter, **({"description": text} if text else {}), "schema": schema}


def _operation(
    rule: Rule, view: t.Any, method: str, doc: Docstring, *, alone: bool, every: bool
) -> Dict:
    model = model_of(view)
    if model is not None and method == "get":
        return {"tags": ["models"], **describe_metadata(model.name)}
    operation = _contract(view, rule).operation(method.upper())
    described = describe_operation(operation, doc, all_media_types=every or model is not None)
    return {**_words(rule, view, method, doc, alone=alone), **described}


def _words(rule: Rule, view: t.Any, method: str, doc: Docstring, *, alone: bool) -> Dict:
    model = model_of(view)
    words: Dict = {"tags": ["models"] if model is not None else _tags(rule)}
    fallback = rule.endpoint if alone else f"{method} {rule.endpoint.rpartition('.')[2]}"
    words["summary"] = doc.summary or summary_of(fallback)
    if doc.description:
        words["description"] = doc.description
    if not words["tags"]:
        del words["tags"]
    return words


def model_of(view: t.Any) -> t.Any:
    return declared(view, "model")


def _answers(view: t.Any, rule: Rule, method: str) -> bool:
    """Return whether a view handles an HTTP method.

    A class-based view may lack a method although the URL rule allows it.
    """
    if model_of(view) is not None:
        return True
    try:
        _contract(view, rule).operation(method.upper())
    except KeyError:
        return False
    return True


def _contract(view: t.Any, rule: Rule) -> t.Any:
    contract = declared(view, "contract")
    if contract is not None:
        return contract
    from carboy.contract.signature import describe

    return describe(view, set(rule.arguments))


def _tags(rule: Rule) -> list[str]:
    blueprint = rule.endpoint.rpartition(".")[0]
    return [blueprint] if blueprint else []


def _docstring(holders: list[t.Any], of_file: tuple[str, str]) -> Docstring:
    """Return the parsed docstring of a view.

    If the view's YAML file has a summary or a description (`of_file`), both are taken from that
    file and not from the docstring.
    """
    own = next((text for holder in holders if (text := own_doc(holder))), "")
    doc = read_docstring("" if own.startswith("file:") else own)
    summary, description = of_file
    if not (summary or description):
        return doc
    return dataclasses.replace(doc, summary=summary, description=description)


def _holders(view: t.Any, method: str) -> list[t.Any]:
    """Return the objects whose docstrings and attributes may document a method of a view.

    They are the function (for a class, its method), the functions that it wraps, and the class with
    its bases.
    """
    contract = declared(view, "contract")
    outer = view if contract is None else contract.view
    cls = view_class_of(outer)
    if cls is None:
        return [*layers(outer)]
    function = getattr(cls, method, None) or getattr(cls, "dispatch_request", None)
    bases = [base for base in cls.__mro__ if base.__module__ not in _FRAMEWORK]
    return [*layers(function), *(base for base in bases if base is not object)]


_FRAMEWORK = frozenset(("carboy.views", "flask.views", "flasgger.base", "builtins", "typing"))


def _class_specification(view: t.Any) -> Dict:
    cls = view_class_of(view)
    if cls is None or not any(base.__name__ == "SwaggerView" for base in inspect.getmro(cls)):
        return {}
    return {name: value for name in _CLASS_FIELDS if (value := getattr(cls, name, None))}
