"""Convert Swagger 2 and OpenAPI 3.0 to OpenAPI 3.1.

Each function converts one part of a document: an operation, a parameter, a schema, or the members
at the top of the document. A part may be in any version or a mixture of versions, as flasgger's
users write them; what is valid in OpenAPI 3.1 stays as it is. Arguments are not modified. Source:
OpenAPI 3.1.1, Swagger 2.0, and flasgger for `schema: {id: Name, ...}`, which defines the component
`Name`.
"""

from __future__ import annotations

import copy
import typing as t
from functools import partial

from carboy.contract.media import MULTIPART, URLENCODED

from ..errors import DocumentationError
from .subschemas import with_subschemas

Dict: t.TypeAlias = dict[str, t.Any]

# Members of a Swagger 2 parameter or header that are JSON Schema keywords.
_SCHEMA_KEYS = (
    *("type", "format", "items", "default", "enum", "pattern", "uniqueItems", "multipleOf"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("minLength", "maxLength", "minItems", "maxItems"),
)
_COMPONENTS = {
    "definitions": "schemas",
    "parameters": "parameters",
    "responses": "responses",
    "securityDefinitions": "securitySchemes",
}
_STYLES: dict[str, Dict] = {
    "csv": {"style": "form", "explode": False},
    "ssv": {"style": "spaceDelimited", "explode": False},
    "pipes": {"style": "pipeDelimited", "explode": False},
    "multi": {"style": "form", "explode": True},
}
_FLOWS = {"accessCode": "authorizationCode", "application": "clientCredentials"}
# Members that an OpenAPI 3.1 operation may have, besides those that begin with `x-`.
_MEMBERS = frozenset((
    *("tags", "summary", "description", "externalDocs", "operationId", "parameters"),
    *("requestBody", "responses", "callbacks", "deprecated", "security", "servers"),
))  # fmt: skip

# The HTTP methods that are documented. Users of flasgger may also write one specification per
# method under these keys.
METHODS = ("get", "put", "post", "delete", "patch", "trace")


def convert_operation(spec: Dict, top: Dict) -> Dict:
    """Convert an operation to OpenAPI 3.1.

    Args:
        spec: the operation, in any version.
        top: the result of `convert_template`, to whose components those defined in the operation
            are added.
    """
    spec = copy.deepcopy(spec)
    components = top.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    _add_components({"schemas": spec.get("definitions")}, top)
    _add_components(spec.pop("components", None) or {}, top)
    consumes = _texts(spec.get("consumes", top.get("consumes")))
    produces = _texts(spec.get("produces", top.get("produces")))
    operation = {
        key: value
        for key, value in spec.items()
        if key in _MEMBERS or key in METHODS or str(key).startswith("x-")
    }
    list_single_members(operation)
    parameters = [_as_given(p, top) for p in spec.get("parameters") or ()]
    body = convert_body([p for p in parameters if _is_body(p)], consumes, schemas)
    operation["parameters"] = [convert_parameter(p, schemas) for p in parameters if not _is_body(p)]
    if not operation["parameters"]:
        del operation["parameters"]
    if body is not None:
        operation["requestBody"] = body
    elif "requestBody" in operation:
        operation["requestBody"] = _convert_content(operation["requestBody"], schemas)
    if "responses" in operation:
        operation["responses"] = {
            str(status): convert_response(response, produces, schemas)
            for status, response in (operation["responses"] or {}).items()
        }
    if "callbacks" in operation:
        operation["callbacks"] = {
            name: _convert_callback(callback, top)
            for name, callback in operation["callbacks"].items()
        }
    return operation


def _convert_callback(callback: Dict, top: Dict) -> Dict:
    if "$ref" in callback:
        return callback
    return {url: _convert_path(item, top) for url, item in callback.items()}


def _convert_path(item: Dict, top: Dict) -> Dict:
    """Convert the operations of a path, and the parameters that they share.

    A body that they share becomes the body of each of them, because OpenAPI 3 shares none.
    """
    given = [_as_given(p, top) for p in item.get("parameters") or ()]
    new = {key: value for key, value in item.items() if key != "parameters"}
    shared = [convert_parameter(p, top["components"]["schemas"]) for p in given if not _is_body(p)]
    if shared:
        new["parameters"] = shared
    bodies = [p for p in given if _is_body(p)]
    for method in (*METHODS, "head", "options"):
        if method in item:
            own = item[method].get("parameters") or []
            parameters = {"parameters": [*bodies, *own]} if bodies else {}
            new[method] = convert_operation({**item[method], **parameters}, top)
    return new


def list_single_members(operation: Dict) -> None:
    """Change those members of an operation to lists that authors write as a single text, too:
    `tags: shop`.
    """
    if "tags" in operation:
        operation["tags"] = _texts(operation["tags"])
    if "security" in operation:
        operation["security"] = convert_security(operation["security"])
    if "servers" in operation:
        operation["servers"] = _servers(operation)


def convert_parameter(parameter: Dict, schemas: Dict) -> Dict:
    """Convert a parameter of the query, a header, the path or a cookie."""
    if "$ref" in parameter:
        return {"$ref": _reference(parameter["$ref"])}
    new = {key: value for key, value in parameter.items() if key not in _SCHEMA_KEYS}
    new.pop("allowEmptyValue", None)
    style = new.pop("collectionFormat", None)
    if "schema" not in new and "content" not in new:
        new["schema"] = {k: parameter[k] for k in _SCHEMA_KEYS if k in parameter} or {
            "type": "string"
        }
        if new["schema"].get("type") == "array":
            new.update(_STYLES.get(style or "csv", {}))
            if new.get("in") in {"path", "header"}:
                new = {key: value for key, value in new.items() if key not in {"style", "explode"}}
    if "schema" in new:
        new["schema"] = convert_schema(new["schema"], schemas)
    if new.get("in") == "path":
        new["required"] = True
    return _convert_content(new, schemas)


def convert_body(parameters: list[Dict], consumes: list[str], schemas: Dict) -> Dict | None:
    """Convert the parameters `in: body` and `in: formData` to a request body; None if there are
    none.
    """
    whole = next((p for p in reversed(parameters) if p["in"] == "body"), None)
    if whole is not None:
        media = {"schema": convert_schema(whole.get("schema", {}), schemas)}
        if "example" in whole:
            media["example"] = whole["example"]
        body: Dict = {"content": dict.fromkeys(consumes or ["application/json"], media)}
        if whole.get("description"):
            body["description"] = whole["description"]
        if whole.get("required"):
            body["required"] = True
        return body
    if not parameters:
        return None
    schema: Dict = {"type": "object", "properties": {}}
    for parameter in parameters:
        field = {k: parameter[k] for k in _SCHEMA_KEYS if k in parameter}
        if parameter.get("description"):
            field["description"] = parameter["description"]
        schema["properties"][parameter["name"]] = convert_schema(field, schemas)
    required = list(dict.fromkeys(p["name"] for p in parameters if p.get("required")))
    if required:
        schema["required"] = required
    has_file = any(p.get("type") == "file" for p in parameters)
    forms = [kind for kind in consumes if kind in {URLENCODED, MULTIPART}]
    kinds = [MULTIPART] if has_file else (forms or [URLENCODED])
    body = {"content": {kind: {"schema": schema} for kind in kinds}}
    return {**body, "required": True} if required else body


def convert_response(response: t.Any, produces: list[str], schemas: Dict) -> Dict:
    """Convert a response. An empty description is added if it has none, because OpenAPI requires
    one.
    """
    if not isinstance(response, dict):
        return {"description": str(response or "")}
    if "$ref" in response:
        return {"$ref": _reference(response["$ref"])}
    new = {k: v for k, v in response.items() if k not in {"schema", "examples", *_SCHEMA_KEYS}}
    new["description"] = str(response.get("description") or "")
    schema, examples = response.get("schema"), response.get("examples") or {}
    if schema is not None or examples:
        kinds = produces or [k for k in examples if "/" in k] or ["application/json"]
        content: Dict = {}
        for kind in kinds:
            media: Dict = {}
            if schema is not None:
                media["schema"] = (
                    {"type": "string", "format": "binary"}
                    if isinstance(schema, dict) and schema.get("type") == "file"
                    else convert_schema(schema, schemas)
                )
            if kind in examples:
                media["example"] = examples[kind]
            content[kind] = media
        new["content"] = content
    if "headers" in new:
        new["headers"] = {
            name: convert_parameter(header, schemas) for name, header in new["headers"].items()
        }
    return _convert_content(new, schemas)


def _convert_content(holder: Dict, schemas: Dict) -> Dict:
    if "$ref" in holder:
        return {"$ref": _reference(holder["$ref"])}
    if "content" not in holder:
        return holder
    content = {
        kind: {**media, "schema": convert_schema(media["schema"], schemas)}
        if "schema" in (media or {})
        else (media or {})
        for kind, media in holder["content"].items()
    }
    return {**holder, "content": content}


# --- schemas -----------------------------------------------------------------------------------


def convert_schema(schema: t.Any, schemas: Dict) -> t.Any:
    """Convert a schema of Swagger 2 or OpenAPI 3.0 to JSON Schema 2020-12.

    A schema with an `id` becomes a component of that name, as in flasgger, and a `$ref` to it is
    returned.
    """
    if isinstance(schema, list):
        return [convert_schema(item, schemas) for item in schema]
    if not isinstance(schema, dict):
        return schema
    # flasgger accepts `items: {schema: {id: Color}}` with the meaning of `items: {id: Color}`.
    if isinstance(schema.get("schema"), dict):
        schema = {**{k: v for k, v in schema.items() if k != "schema"}, **schema["schema"]}
    new = with_subschemas(schema, lambda inner: convert_schema(inner, schemas))
    if isinstance(new.get("$ref"), str):
        new["$ref"] = _reference(new["$ref"])
    _modernise(new)
    name = new.pop("id", None)
    if isinstance(name, str):
        schemas[name] = {**schemas.get(name, {}), **new}
        return {"$ref": f"#/components/schemas/{name}"}
    return new


def _modernise(schema: Dict) -> None:
    if schema.get("type") == "file":
        schema.update(type="string", format="binary")
    for bound, exclusive in (
        ("minimum", "exclusiveMinimum"),
        ("maximum", "exclusiveMaximum"),
    ):
        if isinstance(schema.get(exclusive), bool):
            strict = schema.pop(exclusive)
            if strict and bound in schema:
                schema[exclusive] = schema.pop(bound)
    # Remove `required: true` of a property. Early Swagger allowed it, but in JSON Schema `required`
    # is a list.
    if isinstance(schema.get("required"), bool):
        del schema["required"]
    for key in ("required", "enum"):
        if isinstance(schema.get(key), str):
            schema[key] = [schema[key]]
    if "example" in schema:
        schema.setdefault("examples", [schema.pop("example")])
    if isinstance(schema.get("discriminator"), str):
        schema["discriminator"] = {"propertyName": schema["discriminator"]}
    flags = [schema.pop(key, False) for key in ("nullable", "x-nullable")]
    if any(flags):
        _allow_null(schema)


def _allow_null(schema: Dict) -> None:
    if isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    if "enum" in schema and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
    # Keywords that refuse null whatever `type` says.
    keys = [key for key in ("$ref", "allOf", "oneOf", "anyOf") if key in schema]
    if keys:
        schema["anyOf"] = [{key: schema.pop(key) for key in keys}, {"type": "null"}]


def _reference(target: str) -> str:
    for old, new in _COMPONENTS.items():
        if target.startswith(f"#/{old}/"):
            return f"#/components/{new}/{target.removeprefix(f'#/{old}/')}"
    # In flasgger's examples, a reference to a component schema may be its name alone.
    return target if "/" in target or "#" in target else f"#/components/schemas/{target}"


# --- the top of a document ---------------------------------------------------------------------


def convert_template(template: Dict) -> Dict:
    """Convert the members of a whole document (info, paths, components, ...) to OpenAPI 3.1.

    The user has written them in flasgger's `template` or in the config key `OPENAPI_TEMPLATE`.

    Members of Swagger 2 that operations refer to, and for which OpenAPI 3.1 has no place, are
    returned as they are: `consumes`, `produces`, and those `parameters` that are a body or a part
    of one.
    """
    template = copy.deepcopy(template)
    given = {kind: template.pop(old, None) for old, kind in _COMPONENTS.items()}
    parameters = given["parameters"] or {}
    bodies = {name: each for name, each in parameters.items() if _is_body(each)}
    given["parameters"] = {name: each for name, each in parameters.items() if name not in bodies}
    servers = _servers(template)
    new: Dict = {
        key: value
        for key, value in template.items()
        if key not in {"swagger", "host", "basePath", "schemes", "components", "swaggerUiPrefix"}
    }
    if bodies:
        new["parameters"] = bodies
    new["components"] = {"schemas": {}}
    _add_components(template.get("components") or {}, new)
    _add_components(given, new)
    if "security" in new:
        new["security"] = convert_security(new["security"])
    if "tags" in new:
        new["tags"] = [_named(tag) for tag in _listed(new["tags"])]
    if "paths" in new:
        paths = (new["paths"] or {}).items()
        new["paths"] = {path: _convert_path(item, new) for path, item in paths}
    if servers:
        new["servers"] = servers
    return new


def _add_components(given: Dict, top: Dict) -> None:
    """Convert components, and add them to the others of the document.

    Args:
        given: by kind (`schemas`, `parameters`, ...) and name.
        top: the top of the document.
    """
    components = top["components"]
    schemas = components["schemas"]
    produces = _texts(top.get("produces"))
    converters: dict[str, t.Callable[[t.Any], t.Any]] = {
        "schemas": partial(convert_schema, schemas=schemas),
        "parameters": partial(convert_parameter, schemas=schemas),
        "headers": partial(convert_parameter, schemas=schemas),
        "responses": partial(convert_response, produces=produces, schemas=schemas),
        "requestBodies": partial(_convert_content, schemas=schemas),
        "securitySchemes": convert_security_scheme,
        "callbacks": partial(_convert_callback, top=top),
        "pathItems": partial(_convert_path, top=top),
    }
    for kind, parts in given.items():
        convert = converters.get(kind, copy.copy)
        for name, part in (parts or {}).items():
            converted = convert(part)
            # The `id` of a schema may be its name as a component, too.
            if converted != {"$ref": f"#/components/{kind}/{name}"}:
                components.setdefault(kind, {})[name] = converted


def _servers(template: Dict) -> list[Dict]:
    # The `basePath` is not added to the host, because the paths of URL rules already include it.
    host = template.get("host")
    if host:
        schemes = _texts(template.get("schemes")) or ["https"]
        return [{"url": f"{scheme}://{host}"} for scheme in schemes]
    servers = _listed(template.get("servers"))
    return [server if isinstance(server, dict) else {"url": str(server)} for server in servers]


def _named(tag: t.Any) -> Dict:
    return tag if isinstance(tag, dict) else {"name": str(tag)}


def convert_security(required: t.Any) -> list[Dict]:
    """Convert security requirements to a list of dicts. They may be names of schemes, or one
    requirement alone, as flasgger accepts them.
    """
    return [
        {name: scopes if isinstance(scopes, list) else [] for name, scopes in one.items()}
        if isinstance(one, dict)
        else {str(one): []}
        for one in _listed(required)
    ]


def convert_security_scheme(scheme: Dict) -> Dict:
    """Convert a security scheme. Swagger 2 writes the types `basic` and `oauth2` in another way."""
    kind = scheme.get("type")
    rest = {key: value for key, value in scheme.items() if key == "description"}
    if kind == "basic":
        return {"type": "http", "scheme": "basic", **rest}
    if kind == "oauth2" and "flow" in scheme:
        flow = {
            key: scheme[key] for key in ("authorizationUrl", "tokenUrl", "scopes") if key in scheme
        }
        flow.setdefault("scopes", {})
        return {
            "type": "oauth2",
            "flows": {_FLOWS.get(scheme["flow"], scheme["flow"]): flow},
            **rest,
        }
    return dict(scheme)


def _texts(value: t.Any) -> list[str]:
    return [str(item) for item in _listed(value)]


def _listed(value: t.Any) -> list[t.Any]:
    """Return the items of a list; for a single text or dict, a list of it; for None, []."""
    if value is None:
        return []
    return [value] if isinstance(value, str | dict) else list(value)


def _is_body(parameter: Dict) -> bool:
    return parameter.get("in") in {"body", "formData"}


def _as_given(parameter: t.Any, top: Dict) -> Dict:
    """Return a parameter in its own version; for a reference to a parameter that is a body or a
    part of one, that parameter.
    """
    if not isinstance(parameter, dict):
        raise DocumentationError(
            f"A specification's `parameters`: expected a mapping for each, got {parameter!r}."
        )
    name = str(parameter.get("$ref", "")).removeprefix("#/parameters/")
    return t.cast("Dict", top.get("parameters", {}).get(name, parameter))
