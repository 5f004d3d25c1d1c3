"""Check that the return value of a view or of a model's `predict` fits its declared type.

A value fits if its JSON form is valid for the type, as the published schema describes it: a NumPy
float fits `float`, an array fits `list`, and `3.0` fits `int`. NaN and infinity fit `float`,
although they are sent as `null`. Images, arrays, tables and pydantic models fit if they are
instances of the declared class.

The check is compiled once per view or model, from the return annotation. Most values pass a quick
check, which does not convert them. A value that the quick check refuses is converted to its JSON
form, which is then checked.
"""

from __future__ import annotations

import collections.abc as cabc
import dataclasses
import enum
import reprlib
import types
import typing as t
from functools import partial

import msgspec

from carboy.json.arrays import UNKNOWN, to_plain

from ..core.masking import MASK, mask_known
from ..errors import AnswerError, InputError
from .hints import (
    is_pydantic,
    is_record,
    is_recursive,
    is_union,
    members_of,
    shown,
    strip,
    without_none,
)
from .hooks import plain as json_form
from .hooks import read_by
from .pydanticlimits import adapter, needs_pydantic
from .records import fields_of
from .values.registry import kind_inside_json, kind_of, kind_of_class

if t.TYPE_CHECKING:
    from .values.kind import ValueKind

    #: A function that checks a value. It raises `_MisfitError`, or an error that says that the
    #: value has no JSON form.
    Test: t.TypeAlias = cabc.Callable[[t.Any], object]

Check: t.TypeAlias = "cabc.Callable[[t.Any], None]"

_to_builtins, _convert = msgspec.to_builtins, msgspec.convert
#: The classes of which each instance fits a type, so that only the class must be checked; by type.
_SURE: tuple[tuple[t.Any, tuple[type, ...]], ...] = (
    (float, (float, int)),
    *((cls, (cls,)) for cls in (bool, bytes, int, str, types.NoneType)),
)


class _MisfitError(Exception):
    """Raised if a returned value does not fit its declared type. The message says what was
    expected, and where.
    """


class _Held:
    """Stands for an image, an array, a table or a pydantic model inside a value that is checked.

    Such an object is checked by its class, without converting it to JSON.
    """

    __slots__ = ("value",)

    def __init__(self, value: t.Any) -> None:
        self.value = value


def exact_test(annotation: t.Any) -> cabc.Callable[[t.Any], bool]:
    """Return a test whether the classes of a value and of its fields are exactly those declared.

    A value that passes needs no other check. Only numbers, texts and records of them can pass,
    because for other types the classes do not decide whether a value fits.

    PERF: compiled to one expression: 0.07 us for a record of two numbers, where the conversion by
    msgspec takes 0.4 us.
    """
    names: dict[str, t.Any] = {}
    source = _exact(annotation, "value", names, ()) if _is_known(annotation) else ""
    if not source:
        return _never
    # `eval` is safe: the expression consists only of field names, which are identifiers, and of
    # names that `_exact` has made.
    check = eval(f"lambda value: {source}", names)  # noqa: S307 - names of our own making
    return t.cast("cabc.Callable[[t.Any], bool]", check)


def _exact(
    annotation: t.Any, place: str, names: dict[str, t.Any], within: tuple[t.Any, ...]
) -> str:
    """Return an expression that tests the class of a value, for `exact_test`; "" if the type of the
    value has no such test.

    Args:
        annotation: the declared type of the value.
        place: the expression for the value, such as "value.width".
        names: the classes to which expressions refer, by name; `_exact` adds those of its own.
        within: the types of the records that contain the value, to find those that contain
            themselves.
    """
    if is_union(annotation):
        tests = [_exact(each, place, names, within) for each in t.get_args(annotation)]
        return f"({' or '.join(tests)})" if all(tests) else ""
    name = f"class_{len(names)}"
    for kind, classes in _SURE:
        if kind is annotation:
            names[name] = frozenset(classes)
            return f"type({place}) in {name}"
    cls = t.get_origin(annotation) or annotation
    has_fields = hasattr(cls, "__struct_fields__") or dataclasses.is_dataclass(cls)
    if not has_fields or is_pydantic(cls) or cls in within:
        return ""
    names[name] = cls
    tests = [f"type({place}) is {name}"]
    for field in fields_of(annotation):
        tests.append(_exact(field.annotation, f"{place}.{field.name}", names, (*within, cls)))
    return f"({' and '.join(tests)})" if all(tests) else ""


def make_check(annotation: t.Any, owner: str) -> Check | None:
    """Return a function that checks returned values; None if values of the type cannot be checked.

    Args:
        annotation: the return type, or the type of one item of a stream.
        owner: how the error names the view or the model, such as "View shop.show".

    The returned function raises:
        AnswerError: the value does not fit, or has no JSON form.
    """
    test = _make_test(annotation)
    if test is None:
        return None
    is_exact = exact_test(annotation)
    passes = _quick_test(annotation) if _is_known(annotation) else _never

    def check(value: t.Any) -> None:
        if is_exact(value) or passes(value):
            return
        try:
            test(value)
        except _MisfitError as misfit:
            raise AnswerError(
                f"{owner} returned {described(value)}, which does not fit its declared type"
                f" `{shown(annotation)}`. {misfit} {_advice(value)}"
            ) from None
        except (NotImplementedError, TypeError, ValueError) as exc:
            raise without_json_form(value, exc, owner) from exc

    return check


def without_json_form(value: t.Any, exc: Exception, owner: str) -> AnswerError:
    """Return the error for a value that cannot be encoded as JSON; it names the part that is the
    cause.
    """
    path, inner = _find_unwritable(value, "$")
    if inner is None:
        return AnswerError(f"{owner} returned {described(value)}, which cannot be written: {exc}")
    if kind_of_class(type(inner)) is not None:
        return AnswerError(
            f"{owner} returned {described(inner)} at `{path}`, which cannot be written: {exc}"
        )
    return AnswerError(
        f"{owner} returned {described(inner)} at `{path}`, which has no JSON form. Return numbers,"
        " text, lists, dicts, records, a picture, a DataFrame or an array."
    )


# -- checks per type ------------------------------------------------------------------------------


def _make_test(annotation: t.Any) -> Test | None:
    """Compile the check of one type; None if every value fits, or if values cannot be checked."""
    bare = strip(annotation)
    if annotation is None:
        bare = annotation = types.NoneType
    if bare is t.Any or bare is object or isinstance(bare, t.TypeVar):
        return None
    if _is_known(annotation):
        return partial(_test_json_form, annotation)
    if is_union(bare):
        return _test_of_union(bare)
    if _is_kind(annotation):
        return _test_of_kind(annotation)
    if needs_pydantic(annotation):
        return _test_by_pydantic(annotation)
    return _test_of_enum(bare) if _is_enum(bare) else None


def _is_known(annotation: t.Any) -> bool:
    """Return whether msgspec can check values of a type, if a hook (`dec_hook`) checks the classes
    that msgspec does not know.
    """
    if any(needs_pydantic(each) or _is_kind(each) for each in members_of(annotation)):
        return False
    try:
        msgspec.json.Decoder(annotation)
    except Exception:  # noqa: BLE001 - msgspec refuses types in many ways
        return False
    return True


def _is_kind(annotation: t.Any) -> bool:
    """Return whether a type is an image, a table or the like. Text and bytes are not: msgspec
    checks them.
    """
    return strip(annotation) not in (str, bytes) and kind_of(annotation) is not None


def _is_enum(annotation: t.Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, enum.Enum)


def _test_of_enum(cls: type[enum.Enum]) -> Test:
    """Return the check of an enumeration that has both numbers and texts, which msgspec does not
    support.
    """
    values = [member.value for member in cls]

    def test(value: t.Any) -> None:
        if not isinstance(value, cls) and value not in values:
            raise _MisfitError(f"Expected `{shown(cls)}`, got `{_class(value)}` - at `$`.")

    return test


def _test_of_union(bare: t.Any) -> Test | None:
    tests = [_make_test(each) for each in t.get_args(bare)]
    if None in tests:
        return None

    def test(value: t.Any) -> None:
        misfits = []
        for each in t.cast("list[Test]", tests):
            try:
                each(value)
            except (_MisfitError, NotImplementedError, TypeError, ValueError) as exc:
                misfits.append(str(exc))
            else:
                return
        raise _MisfitError(" ".join(dict.fromkeys(misfits)))

    return test


def _test_of_kind(annotation: t.Any) -> Test:
    """Return the check of an image, a table or the like: by its class, or else by its JSON form."""
    kind = t.cast("ValueKind", kind_of(annotation))
    name = shown(annotation)

    def test(value: t.Any) -> None:
        found = kind_inside_json(type(value))
        if found is not None and isinstance(kind, found):
            misfit = kind.misfit(value)
            if misfit:
                raise _MisfitError(f"Expected {misfit} - at `$`.")
            return
        try:
            read_by(kind, _in_json(value, holds=False))
        except InputError as exc:
            raise _MisfitError(exc.detail) from None
        except Exception:  # noqa: BLE001 - of whatever `read` tried
            raise _MisfitError(f"Expected `{name}`, got `{_class(value)}` - at `$`.") from None

    return test


def _quick_test(annotation: t.Any) -> cabc.Callable[[t.Any], bool]:
    """Return a fast check that most valid values pass. Values that it refuses need the full check.

    PERF: 0.4 us for a record with a list of ten numbers, and 3 us for a list of 1000 numbers, while
    encoding that list takes 24 us. Hooks are not passed to msgspec, because with them the check of
    a record would take twice as long.
    """
    fits_as_array = _array_test(annotation)
    if annotation is float:
        return lambda value: isinstance(value, float) or fits_as_array(value)
    if annotation in (int, bool):
        return fits_as_array
    # Wrap the type in a Struct: msgspec analyses a Struct once and caches the result. It analyses
    # other types in each call of `convert`, which takes 0.5 us more.
    holder = msgspec.defstruct("Answer", [("value", annotation)], array_like=True)
    # Refuse bytes where text is declared. msgspec would accept them, because it could write them as
    # base64 text.
    refused = (bytes, bytearray) if strip(annotation) is str else ()
    if not _has_instances(annotation):

        def passes(value: t.Any) -> bool:
            try:
                _convert((value,), holder)
            except Exception:  # noqa: BLE001 - a class unknown to msgspec, or a misfit
                return fits_as_array(value)
            return not isinstance(value, refused)

        return passes

    def passes_as_builtins(value: t.Any) -> bool:
        # Convert the value to builtins first: msgspec would accept an instance of the class without
        # checking its fields.
        try:
            _convert((_to_builtins(value),), holder)
        except Exception:  # noqa: BLE001 - as above
            return False
        return True

    return passes_as_builtins


def _array_test(annotation: t.Any) -> cabc.Callable[[t.Any], bool]:
    """Return a check for NumPy arrays and scalars that looks at their number of dimensions and
    dtype only.
    """
    sides, entry = 0, without_none(annotation)
    while t.get_origin(entry) in (list, cabc.Sequence):
        [entry] = t.get_args(entry)
        sides += 1
    sorts = next((found for kind, found in _ARRAY_SORTS if kind is entry), "")

    def fits(value: t.Any) -> bool:
        dtype = getattr(value, "dtype", None)
        # Arrays with a dtype of pandas instead of NumPy, such as `Int64`, fail this test and are
        # checked value by value, because they may contain missing values.
        return (
            dtype is not None
            and type(dtype).__module__.partition(".")[0] == "numpy"
            and dtype.kind in sorts
            and getattr(value, "ndim", -1) == sides
        )

    return fits


# The values of `numpy.dtype.kind` that fit, by the declared type of an array's elements.
_ARRAY_SORTS: tuple[tuple[t.Any, str], ...] = (
    (float, "fiu"),
    (int, "iu"),
    (bool, "b"),
    (str, "U"),
)


def _never(value: t.Any) -> bool:
    return False


def _has_instances(annotation: t.Any) -> bool:
    """Return whether values of a type may contain records, images or the like. To check such
    values, their classes are not enough: their fields or contents must be checked too.
    """
    if is_recursive(annotation):
        return False
    bare = strip(annotation)
    cls = t.get_origin(bare) or bare
    return is_record(cls) or _is_kind(bare) or any(map(_has_instances, t.get_args(bare)))


def _test_json_form(annotation: t.Any, value: t.Any) -> None:
    if strip(annotation) is str and isinstance(value, (bytes, bytearray)):
        raise _MisfitError("Expected `str`, got `bytes` - at `$`. Write `.decode()`.")
    misfits = []
    for holds in (True, False):
        found = _in_json(value, holds=holds)
        for number in (_same, _whole):
            try:
                _convert(number(found), annotation, dec_hook=_from_json, str_keys=True)
            except msgspec.ValidationError as exc:
                misfits.append(str(exc))
            else:
                return
    text = next(each for each in misfits if _Held.__name__ not in each)
    raise _MisfitError(f"{text}." if " - at `" in text else f"{text} - at `$`.")


def _test_by_pydantic(annotation: t.Any) -> Test:
    bare = strip(annotation)
    model = bare if is_pydantic(bare) else None
    kind = adapter(annotation)

    def test(value: t.Any) -> None:
        if model is not None and isinstance(value, model):
            return
        try:
            kind.validate_python(value, strict=True)
        except Exception:  # noqa: BLE001, S110 - a validator may raise anything
            pass
        else:
            return
        text, path = _fault_of_model(kind, msgspec.json.encode(value, enc_hook=json_form))
        if text:
            raise _MisfitError(f"{text} - at `{path}`.")

    return test


def _fault_of_model(kind: t.Any, data: bytes) -> tuple[str, str]:
    """Validate JSON by pydantic. Return the message and the path of the first error; two empty
    strings if the JSON is valid.
    """
    import pydantic

    try:
        kind.validate_json(data, strict=True)
    except pydantic.ValidationError as exc:
        first = exc.errors()[0]
        return first["msg"], _path(first["loc"])
    return "", ""


def _path(places: cabc.Iterable[int | str]) -> str:
    return "$" + "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in places)


# -- JSON forms of values --------------------------------------------------------------------------


def _in_json(value: t.Any, *, holds: bool) -> t.Any:
    """Convert a value to the plain objects (dict, list, str, ...) to which its JSON would be
    decoded.

    Args:
        holds: whether to replace each image, array, table and pydantic model by a `_Held` instead
            of converting it.
    """

    def hook(inner: t.Any) -> t.Any:
        is_held = is_pydantic(type(inner)) or kind_of_class(type(inner)) is not None
        if holds and is_held:
            return _Held(inner)
        if not is_held:
            plain = to_plain(inner)
            if plain is not UNKNOWN:
                return plain
        form = json_form(inner)
        return msgspec.json.decode(form) if isinstance(form, msgspec.Raw) else form

    return _to_builtins(value, enc_hook=hook, str_keys=True, builtin_types=(_Held,))


def _from_json(cls: type, form: t.Any) -> t.Any:
    """Check the JSON form of a value that is declared as a class unknown to msgspec.

    Used as msgspec's `dec_hook`, which must return an instance of the class.
    """
    value = form.value if isinstance(form, _Held) else form
    if isinstance(value, t.get_origin(cls) or cls):
        value_kind = None if is_pydantic(cls) else kind_of(cls)
        misfit = "" if value_kind is None else value_kind.misfit(value)
        if misfit:
            raise ValueError(f"Expected {misfit}")
        return value
    if isinstance(form, _Held):
        raise _other_class(cls, value)
    if is_pydantic(cls):
        kind, data = adapter(cls), msgspec.json.encode(form)
        text, path = _fault_of_model(kind, data)
        if text:
            raise ValueError(f"{text} - at `{path}` of `{shown(cls)}`")
        return kind.validate_json(data, strict=True)
    if (value_kind := kind_of(cls)) is not None:
        return read_by(value_kind, form)
    try:
        return _made(cls, form)
    except Exception:  # noqa: BLE001 - of whatever the class thinks of it
        raise _other_class(cls, form) from None


def _made(cls: t.Any, form: t.Any) -> t.Any:
    """Create an instance of a NumPy or pandas class from its JSON form."""
    if cls.__name__ != "ndarray":
        return cls(form)
    if not isinstance(form, list):
        raise TypeError(form)
    import numpy as np

    return np.asarray(form)


def _other_class(cls: type, value: t.Any) -> ValueError:
    # The class of the error is ValueError, because msgspec then adds the path of the value to the
    # message.
    return ValueError(f"Expected `{shown(cls)}`, got `{_class(value)}`")


def _same(form: t.Any) -> t.Any:
    return form


def _whole(form: t.Any) -> t.Any:
    """Replace floats without a fraction by integers, because `3.0` and `3` are the same number in
    JSON.
    """
    if type(form) is float and form.is_integer():
        return int(form)
    if isinstance(form, dict):
        return {key: _whole(inner) for key, inner in form.items()}
    return [_whole(inner) for inner in form] if isinstance(form, list) else form


# -- messages -------------------------------------------------------------------------------------

_PLAIN = (type(None), bool, int, float, str, list, tuple, dict, set, frozenset)


class _Shortened(reprlib.Repr):
    """Shortens values, but no known secret: a part of it would not be recognised and masked."""

    def repr1(self, x: t.Any, level: int) -> str:
        if isinstance(x, (str, bytes)) and mask_known(repr(x)) != repr(x):
            x = MASK
        return super().repr1(x, level)


_shortened = _Shortened()


def described(value: t.Any) -> str:
    """Return a value for an error message: its source code if it is short, else a description of
    its class.
    """
    if isinstance(value, _PLAIN) and type(value).__module__ == "builtins":
        return f"`{_shortened.repr(value)}`"
    shape = getattr(value, "shape", None)
    of_shape = f" of shape {shape}" if isinstance(shape, tuple) and shape else ""
    return f"an object of the class `{_class(value)}`{of_shape}"


def _class(value: t.Any) -> str:
    return shown(type(value))


def _advice(value: t.Any) -> str:
    if value is None:
        return "Is a `return` missing? If None is meant, add `| None` to the type."
    if isinstance(value, tuple) and len(value) in (2, 3) and isinstance(value[1], int):
        return "Return the value alone, without a status; for an error raise `abort(status)`."
    if getattr(value, "size", 0) == 1 and hasattr(value, "item"):
        return "Return its only entry, `result[0]` or `result.item()`."
    return "Return a value of that type, or correct the annotation."


def _find_unwritable(value: t.Any, path: str) -> tuple[str, t.Any]:
    """Find the innermost part of a value that JSON cannot express. Returns this part and its
    path.
    """
    for place, inner in _parts(value):
        try:
            msgspec.json.encode(inner, enc_hook=json_form)
        except (NotImplementedError, TypeError, ValueError, RecursionError):
            if inner is not value:
                return _find_unwritable(inner, path + place)
    is_whole = isinstance(value, _PLAIN) or dataclasses.is_dataclass(value)
    return path, None if is_whole or hasattr(value, "__struct_fields__") else value


def _parts(value: t.Any) -> cabc.Iterator[tuple[str, t.Any]]:
    if isinstance(value, dict):
        yield from ((f".{key}", inner) for key, inner in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{i}]", inner) for i, inner in enumerate(value))
    elif hasattr(value, "__struct_fields__"):
        yield from ((f".{name}", getattr(value, name)) for name in value.__struct_fields__)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((f".{f.name}", getattr(value, f.name)) for f in dataclasses.fields(value))
