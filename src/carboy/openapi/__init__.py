"""Build the OpenAPI 3.1 document of an app, the pages that show it, and a Postman collection of it.

    collect        app -> descriptions of its operations
      paths          URL rule -> path and its variables
      operations     types of a view or a model -> OpenAPI operation
      docstrings, marks, swag     the author's texts: docstrings, decorators, flasgger's YAML
    document       descriptions -> document
      components     types -> components of the document
      swagger2       Swagger 2 -> OpenAPI 3.1
    ui             the URLs and pages of the document
    postman        document -> collection; `samples` generates the values, by `patterns` too
      subschemas     the schemas directly inside a schema
    keysecurity    which operations need an API key
    formats        documents as JSON and YAML
    faults         what cannot be documented

`import carboy` imports only `host`, which has the methods of the app class. The other modules are
imported when the first document is built.
"""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from .marks import deprecated as deprecated
    from .marks import operation as operation
    from .swag import swag_from as swag_from

_HOMES = {"deprecated": "marks", "operation": "marks", "swag_from": "swag"}

__all__ = ["deprecated", "operation", "swag_from"]


def __getattr__(name: str) -> t.Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
