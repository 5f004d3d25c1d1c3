"""Generate the function that reads a typed view's arguments from the request and calls the view.

The function takes the view's place in `app.view_functions`. It is generated as source code at
registration, as `dataclasses` does, so that a request runs no generic loops. For

    @app.post("/flowers")
    def add(flower: Flower, dry_run: bool = False) -> Flower: ...

the generated function is

    def bound(**values):
        ctx = active()[1]
        if values and not names.isdisjoint(values):
            return bind_slowly(ctx, values)
        try:
            environ = ctx._environ
            query = first_values(ctx)
            a0 = c0(query['dry_run']) if 'dry_run' in query else d0
            if environ.get('CONTENT_TYPE') in usual_json and ...:
                a1 = decode(data)
            else:
                a1 = read(body_of(request))['flower']
        except Exception as error:
            return bind_slowly(ctx, values, error)
        rv = view(dry_run=a0, flower=a1, **values)
        if type(rv) is kind:
            return ctx.app.response_class(encode(rv), mimetype='application/json')
        return finish(ctx, rv)

PERF: with one closure per argument instead of generated code, a whole request takes 1.2 times as
long (measured with the two requests of bench/typed.py).
"""

from __future__ import annotations

import inspect
import typing as t
from functools import update_wrapper

from werkzeug.exceptions import HTTPException

from carboy.core.problemdetails import problem_of, raise_as_problem
from carboy.globals import _cv, _find_request_ctx

from ..errors import SignatureError
from .answers import encoder_for
from .bodies import USUAL_JSON
from .inputerrors import is_input_error
from .media import JSON
from .operation import copier
from .parameters import (
    Sources,
    WerkzeugBody,
    all_values,
    environ_key,
    first_values,
    split_header,
)
from .responses import Finish, finisher, typed_classes
from .signature import Circumstances, is_marked, read_contract

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from carboy.ctx import RequestContext

    from .operation import Operation

View: t.TypeAlias = "cabc.Callable[..., t.Any]"


def bind(view: View, about: Circumstances) -> View:
    """Wrap a typed view in a function that reads its arguments from the request; return other views
    unchanged.

    Raises:
        SignatureError: the signature is ambiguous, or a type cannot be read from a request.
    """
    try:
        contract = read_contract(view, about)
    except SignatureError:
        if about.as_flask and not is_marked(view):
            # After `install_as_flask()`, which makes programs run that were written for Flask, an
            # annotation that cannot be read is no error: Flask ignores annotations.
            return view
        raise
    busy = {m: op for m, op in contract.operations.items() if op.bound or op.answer.typed}
    if not busy:
        return view
    if contract.operations.keys() == {"*"}:
        bound = compile_operation(view, contract.operations["*"])
    else:
        bound = _by_method(view, busy)
    update_wrapper(bound, view)
    bound.contract = contract  # type: ignore[attr-defined]
    return bound


def _by_method(view: View, busy: cabc.Mapping[str, Operation]) -> View:
    compiled = {method: compile_operation(view, op) for method, op in busy.items()}
    if "GET" in compiled:
        compiled.setdefault("HEAD", compiled["GET"])

    def choose(**values: t.Any) -> t.Any:
        ctx = _find_request_ctx()
        return compiled.get(ctx._environ["REQUEST_METHOD"], view)(**values)

    return choose


def compile_operation(view: View, operation: Operation) -> View:
    """Return the function that reads the arguments of a view from the request and calls the
    view.
    """
    owner = f"View {operation.function.__module__}.{operation.function.__qualname__}"
    return _Writer(view, operation, Sources(operation, owner), owner).compile()


class _Writer:
    """Writes the source code of one binding function, and collects the objects that the code
    uses.
    """

    def __init__(self, view: View, operation: Operation, sources: Sources, owner: str) -> None:
        self._operation = operation
        self._sources = sources
        self._owner = owner
        self._lines: list[str] = []
        self._arguments: list[str] = []
        self._finish: Finish | None = finisher(operation.answer, owner)
        self._is_async = inspect.iscoroutinefunction(view)
        self._names: dict[str, t.Any] = {
            "active": _cv.get,
            "all_values": all_values,
            "finish": self._finish,
            "first_values": first_values,
            "HTTPException": HTTPException,
            "names": frozenset(operation.bound),
            "raise_as_problem": raise_as_problem,
            "split_header": split_header,
            "usual_json": USUAL_JSON,
            "view": view,
        }

    def compile(self) -> View:
        self._add(0, "def bound(**values):")
        self._add(1, "ctx = active()[1]")
        if self._operation.bound:
            self._names["bind_slowly"] = self._slow_binding()
            self._add(1, "if values and not names.isdisjoint(values):")
            self._add(2, "return bind_slowly(ctx, values)")
            self._add(1, "try:")
            self._write_parameters()
            self._write_body()
            self._add(1, "except Exception as error:")
            self._add(2, "return bind_slowly(ctx, values, error)")
        self._write_call()
        self._write_answer()
        source = "\n".join(self._lines) + "\n"
        where = f"<carboy binding of {self._operation.function.__qualname__}>"
        _remember_source(where, source)
        exec(compile(source, where, "exec"), self._names)  # noqa: S102 - of our own making
        return t.cast("View", self._names["bound"])

    def _add(self, depth: int, line: str) -> None:
        self._lines.append("    " * depth + line)

    # -- arguments ---------------------------------------------------------------------------

    def _write_parameters(self) -> None:
        parameters = self._sources.parameters
        places = {each.parameter.place for each in parameters}
        self._add(2, "environ = ctx._environ")
        read_all = any(each.parameter.many for each in parameters if not each.parameter.spread)
        if any(each.parameter.place == "query" and not each.record for each in parameters):
            self._add(2, f"query = {'all' if read_all else 'first'}_values(ctx)")
        if "cookie" in places:
            self._add(2, "cookies = ctx.request.cookies")
        for source in parameters:
            parameter = source.parameter
            i = len(self._arguments)
            self._arguments.append(f"{parameter.name}=a{i}")
            if source.record is not None:
                self._names[f"c{i}"] = source.fetch
                self._add(2, f"a{i} = c{i}(ctx)")
                continue
            mapping, key = {
                "query": ("query", parameter.alias),
                "cookie": ("cookies", parameter.alias),
                "header": ("environ", environ_key(parameter.alias)),
            }[parameter.place]
            value = f"{mapping}[{key!r}]"
            if parameter.place == "query" and read_all and not parameter.many:
                value += "[0]"
            if parameter.place == "header" and parameter.many:
                value = f"split_header({value})"
            if source.quick is not None:
                self._names[f"c{i}"] = source.quick
                value = f"c{i}({value})"
            if not parameter.required:
                copy = copier(parameter.default)
                self._names[f"d{i}"] = parameter.default if copy is None else copy
                made = f"d{i}" if copy is None else f"d{i}()"
                value = f"{value} if {key!r} in {mapping} else {made}"
            self._add(2, f"a{i} = {value}")

    def _write_body(self) -> None:
        reader = self._sources.body
        if reader is None:
            return
        self._names["read"] = reader.decode
        self._names["body_of"] = WerkzeugBody
        self._add(2, "request = ctx._request or ctx.request")
        single, decode = reader.single, reader.json
        if single is not None and decode is not None:
            i = len(self._arguments)
            self._names["decode"], self._names["most"] = decode, reader.unchecked_bytes
            self._add(2, "if (")
            self._add(3, "environ.get('CONTENT_TYPE') in usual_json")
            self._add(3, "and 'HTTP_CONTENT_ENCODING' not in environ")
            self._add(3, "and 0 < len(data := request.get_data()) <= most")
            self._add(2, "):")
            self._add(3, f"a{i} = decode(data)")
            self._add(2, "else:")
            self._add(3, f"a{i} = read(body_of(request))[{single.name!r}]")
            self._arguments.append(f"{single.name}=a{i}")
        else:
            self._add(2, "body = read(body_of(request))")
            self._arguments.append("**body")

    def _slow_binding(self) -> cabc.Callable[..., t.Any]:
        """Return the slow version of the generated function. It collects all errors of a request.

        The generated code calls it when reading an argument has failed, and when a URL value
        preprocessor has already set some of the arguments.
        """
        sources, view, finish = self._sources, self._names["view"], self._finish

        def bind_slowly(
            ctx: RequestContext, values: dict[str, t.Any], error: Exception | None = None
        ) -> t.Any:
            try:
                if _is_http(error):
                    raise error
                found, refusals = sources.fetch(ctx, given=values)
            except HTTPException as raised:
                raise_as_problem(ctx, raised, always=True)
            if refusals:
                raise problem_of(refusals) from error
            if error is not None and not is_input_error(error) and not _is_lookup(error):
                # The arguments could be read this time. So the exception `error` of the first
                # attempt was no fault of the request: it comes from the user's code, or is a bug in
                # carboy.
                raise error
            try:
                rv = ctx.app.ensure_sync(view)(**values, **found)
            except HTTPException as raised:
                if finish is None:
                    raise
                raise_as_problem(ctx, raised)
            return rv if finish is None else finish(ctx, rv)

        return bind_slowly

    # -- calling the view and converting its return value ----------------------------------------

    def _write_call(self) -> None:
        view = "ctx.app.ensure_sync(view)" if self._is_async else "view"
        call = f"{view}({', '.join([*self._arguments, '**values'])})"
        if self._finish is None:
            self._add(1, f"return {call}")
            return
        self._add(1, "try:")
        self._add(2, f"rv = {call}")
        self._add(1, "except HTTPException as error:")
        self._add(2, "raise_as_problem(ctx, error)")

    def _write_answer(self) -> None:
        if self._finish is None:
            return
        answer = self._operation.answer
        kinds = typed_classes(answer)
        if answer.kind == "json" and len(kinds) == 1:
            self._names["kind"] = kinds[0]
            self._names["encode"] = encoder_for(answer, self._owner)
            self._add(1, "if type(rv) is kind:")
            self._add(2, f"return ctx.app.response_class(encode(rv), mimetype={JSON!r})")
        self._add(1, "return finish(ctx, rv)")


def _is_http(error: Exception | None) -> t.TypeGuard[HTTPException]:
    # An HTTPException is meant as a response, unless it is a `BadRequestKeyError`. A MultiDict
    # raises that one for a missing key; it is a KeyError, too.
    return isinstance(error, HTTPException) and not isinstance(error, KeyError)


def _is_lookup(error: Exception) -> bool:
    return isinstance(error, HTTPException)


def _remember_source(where: str, source: str) -> None:
    """Register generated source code with `linecache`, so that tracebacks show its lines."""
    import linecache

    linecache.cache[where] = (len(source), None, source.splitlines(keepends=True), where)
