"""The OpenAPI 3.1 document of an app, its pages, and its Postman collection.

    collect        app -> descriptions of its operations
      paths          rule -> path and its variables
      operations     types -> operation; `predictions` for models
      docstrings, marks, swag     what authors say: in text, by decorator, in flasgger's style
    document       descriptions -> document
      schemas        types -> components
      swagger2       Swagger 2's words -> OpenAPI 3.1's
    ui             document -> URLs and pages
    postman        document -> collection; `samples` invents the values

`import carboy` loads `host` alone; the rest comes with the first document.
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
