"""Type aliases for what users pass to the framework: views, hooks, handlers.

Importing this module is cheap, because it imports nothing but the standard library. Names of
Werkzeug's classes are therefore strings.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t

if t.TYPE_CHECKING:
    from datetime import date, time, timedelta
    from decimal import Decimal
    from enum import Enum
    from uuid import UUID

    from _typeshed.wsgi import WSGIApplication
    from werkzeug.datastructures import Headers
    from werkzeug.sansio.response import Response

# --- What a view returns -------------------------------------------------------------------------

# The types that a view may return as a body. `Mapping` and not `dict`, because type checkers do not
# accept a TypedDict as a `dict`.
ResponseValue = t.Union[
    "Response",
    str,
    bytes,
    list[t.Any],
    t.Mapping[str, t.Any],
    t.Iterator[str],
    t.Iterator[bytes],
    cabc.AsyncIterable[str],
    cabc.AsyncIterable[bytes],
]

HeaderValue = str | list[str] | tuple[str, ...]

HeadersValue = t.Union[
    "Headers",
    t.Mapping[str, HeaderValue],
    t.Sequence[tuple[str, HeaderValue]],
]

# The types that a view may return: a body alone or in a tuple with status, headers or both; or a
# WSGI application.
ResponseReturnValue = t.Union[
    ResponseValue,
    tuple[ResponseValue, int],
    tuple[ResponseValue, HeadersValue],
    tuple[ResponseValue, int, HeadersValue],
    "WSGIApplication",
]

# A type variable and not a class, so that type checkers accept hooks that are annotated with a
# subclass of Werkzeug's response.
ResponseClass = t.TypeVar("ResponseClass", bound="Response")

RouteCallable = (
    t.Callable[..., ResponseReturnValue] | t.Callable[..., t.Awaitable[ResponseReturnValue]]
)

# --- Typed views ---------------------------------------------------------------------------------


class _Struct(t.Protocol):
    __struct_fields__: t.ClassVar[tuple[str, ...]]


class _Dataclass(t.Protocol):
    __dataclass_fields__: t.ClassVar[dict[str, t.Any]]


class _Attrs(t.Protocol):
    __attrs_attrs__: t.ClassVar[t.Any]


class _Model(t.Protocol):
    __pydantic_fields__: t.ClassVar[dict[str, t.Any]]


class _Sized(t.Protocol):
    """Any array, table or picture: NumPy, pandas and Pillow objects all have an attribute
    `size`.
    """

    @property
    def size(self) -> t.Any:
        raise NotImplementedError


# The types that a view may return in addition to those of Flask (docs/types.md). Lists of them are
# typed as `Sequence`, because a type checker does not accept `list[Record]` as a list of a union
# that contains `Record`.
TypedValue = t.Union[
    _Struct,
    _Dataclass,
    _Attrs,
    _Model,
    _Sized,
    float,
    "Decimal",
    "date",
    "time",
    "timedelta",
    "UUID",
    "Enum",
]
TypedResponseValue = (
    TypedValue | t.Sequence[TypedValue] | t.Iterable[TypedValue] | cabc.AsyncIterable[TypedValue]
)
TypedReturnValue = (
    TypedResponseValue
    | ResponseReturnValue
    | tuple[TypedResponseValue | ResponseValue, int]
    | tuple[TypedResponseValue | ResponseValue, HeadersValue]
    | tuple[TypedResponseValue | ResponseValue, int, HeadersValue]
    | tuple[None, t.Literal[204, 205, 304]]
    | tuple[None, t.Literal[204, 205, 304], HeadersValue]
)
#: The type of functions that may be registered as views.
ViewCallable = t.Callable[..., TypedReturnValue] | t.Callable[..., t.Awaitable[TypedReturnValue]]

# The parameter is `Any`, because with `Exception` type checkers would reject a handler that is
# annotated with a subclass.
ErrorHandlerCallable = (
    t.Callable[[t.Any], ResponseReturnValue] | t.Callable[[t.Any], t.Awaitable[ResponseReturnValue]]
)

# --- Hooks around a request ----------------------------------------------------------------------

# The type of the keys under which hooks are registered: a blueprint's name, or None for the app.
AppOrBlueprintKey = str | None

BeforeFirstRequestCallable = t.Callable[[], None] | t.Callable[[], t.Awaitable[None]]
BeforeRequestCallable = (
    t.Callable[[], ResponseReturnValue | None]
    | t.Callable[[], t.Awaitable[ResponseReturnValue | None]]
)
AfterRequestCallable = (
    t.Callable[[ResponseClass], ResponseClass]
    | t.Callable[[ResponseClass], t.Awaitable[ResponseClass]]
)
TeardownCallable = (
    t.Callable[[BaseException | None], None] | t.Callable[[BaseException | None], t.Awaitable[None]]
)

# --- URLs, templates, shell ----------------------------------------------------------------------

URLDefaultCallable = t.Callable[[str, dict[str, t.Any]], None]
URLValuePreprocessorCallable = t.Callable[[str | None, dict[str, t.Any] | None], None]

TemplateContextProcessorCallable = (
    t.Callable[[], dict[str, t.Any]] | t.Callable[[], t.Awaitable[dict[str, t.Any]]]
)
TemplateFilterCallable = t.Callable[..., t.Any]
TemplateGlobalCallable = t.Callable[..., t.Any]
TemplateTestCallable = t.Callable[..., bool]

ShellContextProcessorCallable = t.Callable[[], dict[str, t.Any]]
