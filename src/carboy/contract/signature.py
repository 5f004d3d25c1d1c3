"""Read the signatures of views and models: where each argument comes from. Unclear signatures are
refused.

The first matching line decides where the argument of a view's parameter comes from:

    a variable of any rule of the view           the URL: Flask supplies it
    a marker (`Annotated[int, Query()]`)         the place that the marker names
    no annotation                                nowhere: Flask calls the view without it
    install_as_flask() is active, and Flask      nowhere: the default is used, as Flask would
    could call the view without the argument
    its type                                     scalar: query; other types: the body

All parameters of a model's `predict` come from the body.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing as t
from functools import partial
from types import MappingProxyType

from carboy.core.annotations import (
    annotation_text,
    innermost,
    layers,
    signature_of,
    view_class_of,
)

from ..errors import SignatureError
from . import hints
from .annotationchecks import (
    as_written,
    check_annotation,
    check_default,
    has_marker,
    is_declaration,
    is_effective,
    is_marker,
)
from .answers import predicted, read_answer, refuse_plain_tuples
from .kinds import Sort, take_marker
from .media import JSON, MSGPACK
from .operation import UNSET, BodySpec, Contract, Failure, Operation, Parameter
from .operationbuilder import (
    FORMS,
    Candidate,
    OperationBuilder,
    make_parameter,
    raw_media_types,
    view_error,
    where,
)
from .values.registry import kinds_in, part, require

if t.TYPE_CHECKING:
    import collections.abc as cabc


@dataclasses.dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known about a view besides its signature: its rules, its methods, and the app.

    Attributes:
        variables: the variables of the URL rules of the view.
        methods: the HTTP methods of the view; empty if unknown.
        as_flask: whether the app runs under the name `flask`, after `install_as_flask()`.
    """

    variables: cabc.Set[str]
    methods: cabc.Set[str]
    as_flask: bool = False
    #: Whether a URL value preprocessor is registered. It may supply arguments, so a parameter that
    #: no request can contain is not refused.
    others_supply: bool = False
    #: Whether arguments are read from requests; False if only an OpenAPI document is made.
    binds: bool = True


def read_contract(view: cabc.Callable[..., t.Any], about: Circumstances) -> Contract:
    """Read the signature of a view; for a `MethodView`, of each method.

    Raises:
        SignatureError: a parameter is ambiguous, or cannot come from a request.
    """
    cls = view_class_of(view)
    if cls is None:
        return Contract(view, MappingProxyType({"*": _read(view, about)}))
    direct = not cls.decorators
    found: dict[str, Operation]
    if _is_by_method(cls):
        found = {
            method: _read(
                getattr(cls, method.lower()),
                dataclasses.replace(about, methods=frozenset((method,))),
                direct=direct,
                owner=cls,
            )
            for method in sorted(cls.methods or ())
            if hasattr(cls, method.lower())
        }
    else:
        found = {"*": _read(cls.dispatch_request, about, direct=direct, owner=cls)}
    return Contract(view, MappingProxyType(found))


def _is_by_method(cls: t.Any) -> bool:
    """Return whether a class is a `MethodView`.

    The class is recognised by its name, because models read signatures without importing
    `carboy.views`.
    """
    dispatch = cls.dispatch_request
    named = dispatch.__module__, dispatch.__qualname__
    return named == ("carboy.views", "MethodView.dispatch_request")


def describe(view: cabc.Callable[..., t.Any], variables: cabc.Set[str] = frozenset()) -> Contract:
    """Return the types of a view for its OpenAPI document, without changing the view."""
    return read_contract(view, Circumstances(variables, frozenset(), binds=False))


def _read(
    function: cabc.Callable[..., t.Any],
    about: Circumstances,
    *,
    direct: bool = True,
    owner: type | None = None,
) -> Operation:
    inner = innermost(function)
    annotations = hints.read(inner)
    if owner is not None:
        annotations.pop(_self_parameter(owner, function), None)
    returns = annotations.get("return")
    if direct and _is_called_directly(function, inner) and not about.as_flask:
        refuse_plain_tuples(returns, where(inner))
    answer = read_answer(returns, as_flask=about.as_flask)
    candidates = _candidates(function, inner, annotations, about, direct) if about.binds else []
    builder = OperationBuilder(inner, about.methods)
    for candidate in candidates:
        builder.add(candidate)
    parameters, body = builder.finish()
    path = {
        name: annotation
        for name, annotation in annotations.items()
        if name in about.variables and not hints.is_unreadable(annotation)
    }
    for name, annotation in path.items() if about.binds else ():
        _check_variable(inner, name, annotation)
    return Operation(
        function=inner,
        parameters=parameters,
        body=body,
        answer=answer,
        implied=_implied(parameters, body),
        outer=function,
        path=MappingProxyType(path),
    )


# -- models ---------------------------------------------------------------------------------------


def read_predict(predict: cabc.Callable[..., t.Any], *, owner: str) -> Operation:
    """Read the signature of a model's `predict`: all parameters come from the body.

    Args:
        predict: a function, or an unbound method of the model's class. For a model that computes
            batches, a function whose annotations are those of a single prediction.
        owner: what error messages call the model, such as "Model 'digits'".

    Raises:
        SignatureError: a parameter has no type, or the return type contradicts `predict`.
    """
    annotations = read_hints(predict, owner=owner)
    arguments = list(signature_of(predict).parameters.values())
    if arguments and arguments[0].name == "self":
        del arguments[0]
    if not arguments:
        raise SignatureError(f"{owner}: {predict_at(predict)} takes no input. Give it a parameter.")
    parameters = tuple(_of_predict(each, annotations, owner, predict) for each in arguments)
    returns = annotations.get("return", t.Any)
    for kind in kinds_in(returns):
        require(kind, owner)
    yields = inspect.isgeneratorfunction(innermost(predict))
    answer = predicted(returns, yields=yields, owner=owner)
    media_types = (JSON, *FORMS, *raw_media_types(parameters), MSGPACK)
    return Operation(
        function=predict,
        parameters=(),
        body=BodySpec(media_types=media_types, parameters=parameters),
        answer=answer,
        implied=tuple(
            Failure(status=status, description=text, source="implied")
            for status, text in _OF_MODELS.items()
        ),
        outer=predict,
        path=MappingProxyType({}),
    )


_OF_MODELS = {
    400: "The body is malformed.",
    413: "The body, or the picture in it, is too large.",
    415: "The media type of the body is not supported.",
    422: "The input does not fit the types of the model.",
    500: "The model failed on this input.",
    503: "Nothing was computed: the queue is full, or the wait was too long. Try again later.",
    504: "The prediction was not ready in time.",
}


def read_hints(predict: cabc.Callable[..., t.Any], *, owner: str) -> dict[str, t.Any]:
    """Return the evaluated annotations of `predict`.

    Raises:
        SignatureError: an annotation uses an undefined name.
    """
    function = innermost(predict)
    found = hints.read(function)
    for name, annotation in found.items():
        if hints.is_unreadable(annotation):
            raise SignatureError(
                f"{owner}: in {predict_at(predict)} {name!r} has the type"
                f" {annotation_text(function, name)!r}, which cannot be found. Import it at the top"
                " of the module (not under TYPE_CHECKING), or define it there."
            )
    return found


def _of_predict(
    argument: inspect.Parameter,
    annotations: cabc.Mapping[str, t.Any],
    owner: str,
    predict: cabc.Callable[..., t.Any],
) -> Parameter:
    if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
        raise SignatureError(
            f"{owner}: {predict_at(predict)} takes `{argument}`, which says nothing about the"
            " input. Name each parameter and its type."
        )
    if argument.name not in annotations:
        raise SignatureError(
            f"{owner}: parameter {argument.name!r} of {predict_at(predict)} has no type."
            f" Write one, such as `{argument.name}: Image` or `{argument.name}: list[float]`."
        )
    annotation, marker, _ = take_marker(annotations[argument.name])
    if marker is not None and marker.place != "body":
        raise SignatureError(
            f"{owner}: parameter {argument.name!r} of {predict_at(predict)} is marked {marker!r},"
            " but the input of a model is the body of the request. Remove the marker."
        )
    default = UNSET if argument.default is argument.empty else argument.default
    where = predict_at(predict)
    if is_declaration(default):
        what = _declared(argument, annotations)
        raise SignatureError(f"{owner}: parameter {argument.name!r} of {where} {what}")
    try:
        # `part` raises SignatureError if the options of an image, a table or the like are not
        # valid.
        part(annotation)
        check_annotation(annotation, of_body=True)
        check_default(default)
    except SignatureError as exc:
        raise SignatureError(f"{owner}: parameter {argument.name!r} of {where}: {exc}") from None
    candidate = Candidate(argument.name, annotation, default, marker, default is UNSET)
    return make_parameter(candidate, "body", Sort.VALUE)


def predict_at(predict: cabc.Callable[..., t.Any]) -> str:
    """Return the name and source location of a `predict`, for error messages."""
    code = getattr(innermost(predict), "__code__", None)
    name = f"`{predict.__qualname__}`"
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code else name


# -- views ----------------------------------------------------------------------------------------


def is_marked(view: cabc.Callable[..., t.Any]) -> bool:
    """Return whether a signature has a marker of carboy, such as `Query()`."""
    inner = innermost(view)
    defaults = (parameter.default for parameter in signature_of(inner).parameters.values())
    return any(map(has_marker, hints.read(inner).values())) or any(map(is_marker, defaults))


def _self_parameter(cls: type, method: t.Any) -> str:
    """Return the name of a method's `self` parameter; "" for static and class methods."""
    static = inspect.getattr_static(cls, method.__name__, None)
    names = list(signature_of(method).parameters)
    return "" if isinstance(static, (staticmethod, classmethod)) or not names else names[0]


def _is_called_directly(function: t.Any, inner: t.Any) -> bool:
    """Return whether no decorator stands between a view and the function with its annotations."""
    outer = function.func if isinstance(function, partial) else function
    return getattr(outer, "__func__", outer) is inner


def _candidates(
    function: cabc.Callable[..., t.Any],
    inner: t.Any,
    annotations: cabc.Mapping[str, t.Any],
    about: Circumstances,
    direct: bool,
) -> list[Candidate]:
    direct = direct and _is_called_directly(function, inner)
    given = _arguments_of_partials(function)
    raw = signature_of(function, follow_wrapped=False).parameters
    found = []
    for parameter in signature_of(function).parameters.values():
        name = parameter.name
        if is_declaration(parameter.default):
            raise view_error(inner, name, _declared(parameter, annotations))
        is_read = name in annotations or name in about.variables
        if parameter.kind is parameter.POSITIONAL_ONLY and is_read and name not in given:
            if not direct or about.as_flask:
                continue
            raise view_error(
                inner,
                name,
                "stands before a `/`, but views get their arguments by name. Leave the `/` out.",
            )
        if (
            name in about.variables
            or name in given
            or name not in annotations
            or parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        ):
            continue
        annotation, marker, extra = take_marker(annotations[name])
        if extra:
            raise view_error(inner, name, "has more than one marker. Keep the one that is meant.")
        default = UNSET if parameter.default is parameter.empty else parameter.default
        if about.as_flask and marker is None:
            # After `install_as_flask()`, an argument is read from requests only if the parameter
            # has no default. Flask, which ignores annotations, would call such a view without the
            # argument, and the call would fail. So no program that was written for Flask has such a
            # view.
            refused = direct and name in raw and raw[name].default is parameter.empty
            if not refused:
                continue
        needed = default is UNSET and direct and not (about.as_flask or about.others_supply)
        found.append(Candidate(name, annotation, default, marker, needed))
    return found


def _declared(parameter: inspect.Parameter, annotations: cabc.Mapping[str, t.Any]) -> str:
    """Return the error message for a marker that is used as default, as in `name: int = Query()`,
    which FastAPI allows.
    """
    name, default = parameter.name, as_written(parameter.default)
    kind = annotations.get(name, str)
    wanted = "..." if hints.is_unreadable(kind) else hints.shown(kind)
    return (
        f"has the default {default}, which describes a parameter: the function would get that"
        f" object as its argument. Write `{name}: Annotated[{wanted}, {default}]`."
    )


def _check_variable(function: t.Any, name: str, annotation: t.Any) -> None:
    """Refuse a marker (`Query()`) or a limit on a variable of a URL rule, because the URL supplies
    its value.
    """
    if has_marker(annotation):
        raise view_error(
            function, name, "is a variable of the rule, and has a marker. Remove one of them."
        )
    limits = [extra for extra in hints.peel(annotation)[1] if is_effective(extra)]
    if limits:
        raise view_error(
            function,
            name,
            f"is a variable of the rule, so {as_written(limits[0])} is not checked. Use a converter"
            " with limits, such as `<int(min=1):name>` or `<string(maxlength=9):name>`.",
        )


def _arguments_of_partials(function: t.Any) -> set[str]:
    partials = (layer for layer in layers(function) if isinstance(layer, partial))
    return {name for layer in partials for name in layer.keywords}


def _implied(parameters: tuple[Parameter, ...], body: BodySpec | None) -> tuple[Failure, ...]:
    statuses = [400, 413, 415] if body is not None else []
    statuses += [422] if parameters or body is not None else []
    return tuple(
        Failure(status=status, description=_IMPLIED[status], source="implied")
        for status in statuses
    )


_IMPLIED = {
    400: "The body is malformed.",
    413: "The body is too large.",
    415: "The media type of the body is not supported.",
    422: "A value does not fit its type.",
}
