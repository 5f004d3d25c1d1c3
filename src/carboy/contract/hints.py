"""Read the annotations of functions, and examine types.

An annotation that is stored as text (`from __future__ import annotations`) may name a class that is
local to the function which registers the view. Only the stack frame of that function contains the
name, so annotations must be read during registration.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import inspect
import sys
import types
import typing as t
import uuid
import weakref
from types import SimpleNamespace

from carboy.core.annotations import annotations_of, innermost, view_class_of

from ..errors import SignatureError

if t.TYPE_CHECKING:
    import collections.abc as cabc
    from types import FrameType

# A name in an annotation may be a local variable of a function that is being called, such as an app
# factory. This is how many of the calling frames are searched: enough for a factory and helpers
# between it and the registration. Carboy's own frames are skipped and not counted.
_FRAMES_TO_SEARCH = 8

# The largest number of undefined names that are replaced in one annotation, to find a marker such
# as `Query()` in the rest of it.
_MAX_UNDEFINED = 20


class _StandIn(type):
    """Metaclass of a class that replaces undefined names in annotations. Whatever an annotation
    does with it can be evaluated: `np.ndarray`, `Page[Item]`, `Item | None`.
    """

    def __getattr__(cls, name: str) -> t.Any:
        # Let `typing` find no attribute such as `__typing_subst__`: it would take this class for a
        # generic type.
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __getitem__(cls, item: t.Any) -> t.Any:
        return cls

    def __repr__(cls) -> str:
        return cls.__name__


class UNREADABLE(metaclass=_StandIn):
    """A placeholder for an annotation that could not be evaluated.

    In `Annotated[UNREADABLE, ...]` the metadata could be evaluated, but not the type.
    """


def is_unreadable(annotation: t.Any) -> bool:
    return strip(annotation) is UNREADABLE


_locals: weakref.WeakKeyDictionary[t.Any, dict[str, t.Any]] = weakref.WeakKeyDictionary()


def shown(annotation: t.Any) -> str:
    """Return a type as source code: `float`, `numpy.ndarray`."""
    if isinstance(annotation, types.ModuleType):
        return annotation.__name__
    text = repr(annotation)
    return inspect.formatannotation(annotation) if text.startswith("<") else text


def remember_locals(function: cabc.Callable[..., t.Any]) -> None:
    """Save the local variables that a function's annotations refer to, until the function is
    registered.

    This is for a view of a blueprint: it is added to the app after the function that defines it has
    returned.
    """
    cls = view_class_of(function)
    if cls is not None:
        for method in {each.lower() for each in cls.methods or ()} | {"dispatch_request"}:
            if hasattr(cls, method):
                remember_locals(getattr(cls, method))
        return
    inner = innermost(function)
    # Since Python 3.14, annotations are evaluated when they are read. Read them now: a view that is
    # defined in a loop may refer to the loop's variables, which change before registration.
    try:
        annotations = annotations_of(inner)
    except Exception:  # noqa: BLE001 - `read` says so, if anybody asks for types
        return
    if "<locals>" not in getattr(inner, "__qualname__", ""):
        return
    named = [each for each in annotations.values() if isinstance(each, str)]
    if not named:
        return
    kept: dict[str, t.Any] = {}
    for names in _callers_locals():
        for name, value in names.items():
            if any(name in each for each in named):
                kept.setdefault(name, value)
    _locals.setdefault(inner, kept)


def read(function: cabc.Callable[..., t.Any]) -> dict[str, t.Any]:
    """Return a function's evaluated annotations, including the metadata of `Annotated`.

    If an annotation uses an undefined name, its type is replaced by UNREADABLE; the metadata of an
    `Annotated` is kept.

    Raises:
        SignatureError: an annotation raises an error other than NameError. Since Python 3.14,
            annotations are evaluated here, and not when the function is defined.
    """
    try:
        found = annotations_of(function)
    except Exception as exc:
        raise SignatureError(
            f"{function.__module__}.{function.__qualname__}: its annotations cannot be evaluated"
            f" ({type(exc).__name__}: {exc}). Correct them, or leave them out."
        ) from exc
    return {name: without_aliases(_resolve(function, each)) for name, each in found.items()}


def _resolve(function: t.Any, annotation: t.Any) -> t.Any:
    names = getattr(function, "__globals__", {})
    holder = SimpleNamespace(__annotations__={"it": annotation})
    # The names in the annotation that are defined nowhere at run time, such as imports under `if
    # TYPE_CHECKING`.
    undefined: dict[str, t.Any] = {}
    for local in _spaces(function):
        try:
            return t.get_type_hints(holder, names, local, include_extras=True)["it"]
        except NameError as exc:
            undefined[exc.name or ""] = UNREADABLE
        except Exception:  # noqa: BLE001 - an annotation may be any expression, also no type
            return UNREADABLE
    return _unreadable(holder, names, undefined)


def _unreadable(holder: t.Any, names: t.Any, undefined: dict[str, t.Any]) -> t.Any:
    """Return UNREADABLE with the metadata of an annotation, which is evaluated with UNREADABLE in
    place of each undefined name.
    """
    while len(undefined) <= _MAX_UNDEFINED:
        try:
            found = t.get_type_hints(holder, names, undefined, include_extras=True)["it"]
        except NameError as exc:
            if exc.name is None or exc.name in undefined:
                break
            undefined[exc.name] = UNREADABLE
        except Exception:  # noqa: BLE001 - an annotation may be any expression, also no type
            break
        else:
            inner = [extra for each in members_of(found) for extra in peel(each)[1]]
            return annotated(UNREADABLE, inner if is_union(found) else peel(found)[1] or inner)
    return UNREADABLE


def _spaces(function: t.Any) -> cabc.Iterator[dict[str, t.Any]]:
    yield {}
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    if code is not None and cells:
        yield {name: _content(cell) for name, cell in zip(code.co_freevars, cells, strict=True)}
    try:
        yield _locals.get(function, {})
    except TypeError:  # no weak reference to this callable can be created, so no locals were saved
        pass
    yield from _callers_locals()


def _callers_locals() -> cabc.Iterator[dict[str, t.Any]]:
    frame: FrameType | None = sys._getframe(1)
    left = _FRAMES_TO_SEARCH
    while frame is not None and left:
        if not _is_ours(frame):
            yield dict(frame.f_locals)
            left -= 1
        frame = frame.f_back


def _is_ours(frame: FrameType) -> bool:
    return t.cast("str", frame.f_globals.get("__name__", "")).startswith("carboy.")


def _content(cell: t.Any) -> t.Any:
    try:
        return cell.cell_contents
    except ValueError:  # the closure's variable has no value yet
        return UNREADABLE


# -- examining annotations -------------------------------------------------------------------------


def strip(annotation: t.Any) -> t.Any:
    """Remove `Annotated` from an annotation, and replace a type alias by its value."""
    while True:
        if t.get_origin(annotation) is t.Annotated:
            annotation = t.get_args(annotation)[0]
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        elif type(t.get_origin(annotation)).__name__ == "TypeAliasType":
            annotation = _substituted(annotation)
        elif isinstance(annotation, t.NewType):
            annotation = annotation.__supertype__
        else:
            return annotation


def _substituted(annotation: t.Any) -> t.Any:
    """Insert the arguments of a generic `type` alias: `Few[int]` of `type Few[T] = list[T]` is
    `list[int]`.

    NumPy's `NDArray[...]` is a generic alias since NumPy 2.5.
    """
    alias = t.get_origin(annotation)
    value = alias.__value__
    wanted = getattr(value, "__parameters__", ())
    if not wanted:
        return value
    if wanted == alias.__type_params__:
        return value[t.get_args(annotation)]
    given = dict(zip(alias.__type_params__, t.get_args(annotation), strict=False))
    return value[tuple(given.get(each, each) for each in wanted)]


def without_aliases(annotation: t.Any) -> t.Any:
    """Replace `type` aliases by their values, except those that refer to themselves."""
    if is_recursive(annotation):
        return annotation
    origin, arguments = t.get_origin(annotation), t.get_args(annotation)
    if type(annotation).__name__ == "TypeAliasType":
        return without_aliases(annotation.__value__)
    if type(origin).__name__ == "TypeAliasType":
        return without_aliases(_substituted(annotation))
    if origin is t.Annotated:
        return t.Annotated[(without_aliases(arguments[0]), *arguments[1:])]
    replaced = tuple(map(without_aliases, arguments))
    if all(new is old for new, old in zip(replaced, arguments, strict=True)):
        return annotation
    return union_of(replaced) if is_union(annotation) else t.cast("t.Any", origin)[replaced]


def peel(annotation: t.Any) -> tuple[t.Any, tuple[t.Any, ...]]:
    """Return the annotation without `Annotated` and aliases, and the metadata of each
    `Annotated`.
    """
    extras: tuple[t.Any, ...] = ()
    while True:
        if t.get_origin(annotation) is t.Annotated:
            annotation, *found = t.get_args(annotation)
            extras = (*found, *extras)
        elif strip(annotation) is annotation:
            return annotation, extras
        elif type(t.get_origin(annotation)).__name__ == "TypeAliasType":
            annotation = _substituted(annotation)
        else:  # the value of an alias or a NewType may be another `Annotated`
            annotation = getattr(annotation, "__value__", None) or annotation.__supertype__


def annotated(annotation: t.Any, extras: cabc.Sequence[t.Any]) -> t.Any:
    """Return `Annotated[annotation, *metadata]`, or the annotation itself if there is no
    metadata.
    """
    return t.Annotated[(annotation, *extras)] if extras else annotation


def is_recursive(annotation: t.Any, within: tuple[t.Any, ...] = ()) -> bool:
    """Return whether a type contains a `type` alias that refers to itself."""
    for alias in (annotation, t.get_origin(annotation)):
        if type(alias).__name__ == "TypeAliasType" and (
            alias in within or is_recursive(alias.__value__, (*within, alias))
        ):
            return True
    return any(is_recursive(each, within) for each in t.get_args(annotation))


def is_union(annotation: t.Any) -> bool:
    return t.get_origin(annotation) in (t.Union, types.UnionType)


def union_of(members: cabc.Iterable[t.Any]) -> t.Any:
    """Return the union of a list of types."""
    # `reduce(or_, ...)` would fail for annotations that are strings or that are not classes.
    return t.Union[tuple(members)]  # noqa: UP007 - the members are known at run time only


def members_of(annotation: t.Any) -> tuple[t.Any, ...]:
    """Return the members of a union; for other types a tuple with the annotation itself."""
    bare = strip(annotation)
    return t.get_args(bare) if is_union(bare) else (annotation,)


def without_none(annotation: t.Any) -> t.Any:
    """Remove None from a union, or from the type of a collection's items: `Flower | None` becomes
    `Flower`, `list[int | None]` becomes `list[int]`.
    """
    bare, extras = peel(annotation)
    origin, arguments = t.get_origin(bare), t.get_args(bare)
    if is_union(bare):
        rest = [each for each in arguments if each is not types.NoneType]
        if not rest:
            return annotation
        return annotated(union_of(without_none(each) for each in rest), extras)
    if origin in COLLECTIONS and not is_recursive(bare):
        return annotated(origin[tuple(without_none(each) for each in arguments)], extras)
    return annotation


#: Collection types whose items can be sent as several values of one key in a query or a form, or as
#: several files.
COLLECTIONS: t.Final = (list, set, frozenset, tuple)


def item_of(annotation: t.Any) -> t.Any:
    """Return the item type of a collection such as `list[Image]`; None for other types."""
    bare = strip(without_none(annotation))
    items = [each for each in t.get_args(bare) if each is not Ellipsis]
    return items[0] if t.get_origin(bare) in COLLECTIONS and len(items) == 1 else None


def metadata_of(annotation: t.Any) -> tuple[t.Any, ...]:
    """Return the metadata of an `Annotated`; an empty tuple for other annotations."""
    return t.get_args(annotation)[1:] if t.get_origin(annotation) is t.Annotated else ()


# -- classes --------------------------------------------------------------------------------------

_SCALARS = (
    str,
    int,
    float,
    bool,
    decimal.Decimal,
    dt.datetime,
    dt.date,
    dt.time,
    dt.timedelta,
    uuid.UUID,
)


def is_scalar(annotation: t.Any) -> bool:
    """Return whether values of a type can be written as one text in a query or a header."""
    if t.get_origin(annotation) is t.Literal:
        return all(isinstance(value, (str, int)) for value in t.get_args(annotation))
    if not isinstance(annotation, type):
        return False
    return annotation in _SCALARS or issubclass(annotation, enum.Enum)


def is_record(annotation: t.Any) -> bool:
    """Return whether a type has named fields: Struct, dataclass, TypedDict, attrs, pydantic."""
    if not isinstance(annotation, type):
        return False
    return (
        hasattr(annotation, "__struct_fields__")
        or dataclasses.is_dataclass(annotation)
        or is_typed_dict(annotation)
        or "__attrs_attrs__" in vars(annotation)
        or is_pydantic(annotation)
    )


def is_typed_dict(annotation: t.Any) -> bool:
    """Return whether a type is a TypedDict, of `typing` or of `typing_extensions`."""
    return t.is_typeddict(annotation) or type(annotation).__name__ == "_TypedDictMeta"


def is_pydantic(annotation: t.Any) -> bool:
    """Return whether a type is a pydantic model or dataclass. Does not import pydantic."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is None or not isinstance(annotation, type):
        return False
    return issubclass(annotation, pydantic.BaseModel) or "__pydantic_core_schema__" in vars(
        annotation
    )


def pydantic_fields(model: t.Any) -> t.Any:
    """Return the fields of a pydantic model or dataclass by name; None for other classes."""
    if not is_pydantic(model):
        return None
    return getattr(model, "model_fields", None) or model.__pydantic_fields__
