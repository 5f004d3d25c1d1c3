"""Functions for views: responses, redirects, URLs, flashed messages, files, streams.

`url_for`, `redirect`, `make_response` and `abort` call methods of the current app, so that a
subclass of the app may override them.
"""

from __future__ import annotations

import os
import sys
import typing as t
from contextlib import ExitStack
from contextvars import copy_context
from functools import cache, update_wrapper

import werkzeug.utils
from werkzeug.exceptions import abort as _wz_abort
from werkzeug.utils import redirect as _wz_redirect

from .config import get_env
from .core.flasknames import flask_names
from .globals import _cv_app, _cv_request, current_app, request, request_ctx, session
from .signals import message_flashed

if t.TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from datetime import datetime

    from werkzeug.wrappers import Response as BaseResponse

    from .wrappers import Response

P = t.ParamSpec("P")

_OFF = frozenset(("0", "false", "no"))


def _read_env(name: str) -> str:
    """Return the value of an environment variable `CARBOY_...`, else of `FLASK_...`."""
    return os.environ.get(f"CARBOY_{name}") or os.environ.get(f"FLASK_{name}") or ""


def _is_interactive() -> bool:
    """Return whether Python runs interactively: at its prompt, in IPython, or in a notebook."""
    return hasattr(sys, "ps1")  # Python defines `sys.ps1` (the prompt) only in interactive mode


def _is_redefined(before: t.Any, after: t.Any) -> bool:
    """Return whether `after` is a new version of the function `before`, defined interactively.

    This happens, for example, if a notebook cell with a view is run twice.
    """
    if not _is_interactive():
        return False
    names = {
        f"{getattr(each, '__module__', '')}.{getattr(each, '__qualname__', each)}"
        for each in (before, after)
    }
    return len(names) == 1 and names.pop().startswith("__main__.")


def get_debug_flag() -> bool:
    """Return whether the environment enables debug mode.

    `CARBOY_DEBUG` or `FLASK_DEBUG` decides. If neither is set, debug mode is on when the
    environment's name (see `config.get_env`) is "development".
    """
    value = _read_env("DEBUG")
    if value:
        return value.lower() not in _OFF
    return get_env() == "development"


def get_load_dotenv(default: bool = True) -> bool:
    """Return whether to read `.env` files. `CARBOY_SKIP_DOTENV` or `FLASK_SKIP_DOTENV` forbids it.

    Args:
        default: the result if neither variable is set.
    """
    value = _read_env("SKIP_DOTENV")
    return value.lower() in _OFF if value else default


@t.overload
def stream_with_context(
    generator_or_function: Iterator[t.AnyStr],
) -> Iterator[t.AnyStr]: ...


@t.overload
def stream_with_context(
    generator_or_function: Callable[P, Iterator[t.AnyStr]],
) -> Callable[P, Iterator[t.AnyStr]]: ...


def stream_with_context(
    generator_or_function: Iterator[t.AnyStr] | Callable[P, Iterator[t.AnyStr]],
) -> Iterator[t.AnyStr] | Callable[P, Iterator[t.AnyStr]]:
    """Keep `request`, `session` and `g` usable while a response is streamed.

    The server iterates over a streamed response after the view has returned, when the request's
    context is no longer active. Wrap the generator, or decorate the generator function:

    ```python
    @app.get("/rows")
    def rows():
        @stream_with_context
        def generate():
            for row in query():
                yield f"{request.args['prefix']} {row};"

        return Response(generate())
    ```

    Raises:
        RuntimeError: no request is being handled.
    """
    items: Iterator[t.AnyStr] | None
    try:
        items = iter(generator_or_function)  # type: ignore[arg-type]
    except TypeError:
        items = None
    if items is not None:
        stream = _iterate_in_context(items)
        # Run the generator to its first `yield`, so that it stores the contexts that are active
        # now.
        next(stream)
        return stream
    if not callable(generator_or_function):
        raise TypeError(
            "'stream_with_context' expects an iterator or a generator function, got"
            f" {generator_or_function!r}."
        )

    def start(*args: t.Any, **kwargs: t.Any) -> t.Any:
        return stream_with_context(generator_or_function(*args, **kwargs))

    return update_wrapper(start, generator_or_function)


def _iterate_in_context(items: Iterator[t.AnyStr]) -> Iterator[t.AnyStr]:
    request_context = _cv_request.get(None)
    if request_context is None:
        raise RuntimeError(
            "'stream_with_context' can only be used when a request context is active, such as in a"
            " view function. In a test or a shell create one: with app.test_request_context(): ..."
        )
    contexts: list[t.Any] = [request_context]
    if (app_context := _cv_app.get()) is not request_context:
        # The app's context must be entered before the request's context, which would otherwise
        # create a new one with another `g`.
        contexts.insert(0, app_context)
    else:
        request_context._keeps_g = True
    # The first item, None, is read by `stream_with_context` itself. The server reads the other
    # items, perhaps in another `contextvars.Context`, as for an async view.
    try:
        yield t.cast("t.Any", None)
    except GeneratorExit:  # the server closes the stream without reading it, as for HEAD
        if (close := getattr(items, "close", None)) is not None:
            close()
        raise
    # All items are produced in a separate `contextvars.Context`, in which the app and request
    # contexts are active. So a server can read each item and close the stream in any thread, or
    # never close it, and the request is not active in the server's own code between two items.
    run = copy_context().run
    stream = _enter_and_iterate(contexts, items)
    try:
        while (item := run(next, stream, _END)) is not _END:
            yield item
    finally:
        run(stream.close)


_END: t.Any = object()


def _enter_and_iterate(
    contexts: list[t.Any], items: Iterator[t.AnyStr]
) -> Generator[t.AnyStr, None, None]:
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        if (close := getattr(items, "close", None)) is not None:
            stack.callback(close)
        yield from items


def make_response(*args: t.Any) -> Response:
    """Convert what a view would return to a response, so that headers or cookies can be set.

    ```python
    response = make_response(render_template("missing.html"), 404)
    response.headers["X-Reason"] = "gone"
    ```

    Args:
        *args: none for an empty response, one value, or the items of a tuple.
    """
    if not args:
        return current_app.response_class()
    return current_app.make_response(args[0] if len(args) == 1 else args)


def url_for(
    endpoint: str,
    *,
    _anchor: str | None = None,
    _method: str | None = None,
    _scheme: str | None = None,
    _external: bool | None = None,
    **values: t.Any,
) -> str:
    """Build the URL of an endpoint; needs an active request or app context.

    Args:
        endpoint: the endpoint's name; a leading "." means the current blueprint.
        _anchor: appended as `#anchor`.
        _method: choose the rule for this HTTP method.
        _scheme: the scheme of an external URL.
        _external: include scheme and host; the default is False in a request, True without one.
        **values: values of the rule's variables; others go into the query string.
    """
    return current_app.url_for(
        endpoint,
        _anchor=_anchor,
        _method=_method,
        _scheme=_scheme,
        _external=_external,
        **values,
    )


def redirect(
    location: str,
    code: int = 302,
    Response: type[BaseResponse] | None = None,  # noqa: N803
) -> BaseResponse:
    """Return a response that redirects the client to another URL.

    Args:
        location: the target URL.
        code: the status: 301, 302, 303, 305, 307 or 308.
        Response: the response class if no app is active; an active app uses its own.
    """
    if _cv_app.get(None) is not None:
        return current_app.redirect(location, code=code)
    return _wz_redirect(location, code=code, Response=Response)


def abort(code: int | BaseResponse, *args: t.Any, **kwargs: t.Any) -> t.NoReturn:
    """Abort the request with an HTTP error.

    Args:
        code: a status code that `app.aborter` knows, or a response to send unchanged.
        *args: passed to the exception.
        **kwargs: passed to the exception.

    Raises:
        werkzeug.exceptions.HTTPException: always, unless `code` is unknown.
        LookupError: no exception is registered for `code`.
    """
    if _cv_app.get(None) is not None:
        current_app.aborter(code, *args, **kwargs)
    _wz_abort(code, *args, **kwargs)


def get_template_attribute(template_name: str, attribute: str) -> t.Any:
    """Return a macro or a variable that a template defines, for use in Python.

    With `{% macro hello(name) %}Hello {{ name }}!{% endmacro %}` in `_hello.html`:

    ```python
    hello = get_template_attribute("_hello.html", "hello")
    return hello("World")
    ```
    """
    module = current_app.jinja_env.get_template(template_name).module
    try:
        return getattr(module, attribute)
    except AttributeError:
        exported = ", ".join(sorted(name for name in vars(module) if name[0] != "_")) or "nothing"
        raise AttributeError(
            f"Template {template_name!r} exports no {attribute!r}; it exports {exported}.",
            name=attribute,
            obj=module,
        ) from None


def flash(message: str, category: str = "message") -> None:
    """Store a message in the session, to be shown by the next page that calls
    `get_flashed_messages()`.

    Args:
        message: the text for the user.
        category: any word to group messages by; common are "message", "info", "warning", "error".
    """
    # Assign the list to the session after appending to it, because a session notices only
    # assignments, and not changes inside a value.
    flashes = session.get("_flashes", [])
    flashes.append((category, message))
    session["_flashes"] = flashes
    if message_flashed.receivers:
        app = current_app._get_current_object()  # type: ignore[attr-defined]
        message_flashed.send(
            app, _async_wrapper=app.ensure_sync, message=message, category=category
        )


def get_flashed_messages(
    with_categories: bool = False, category_filter: Iterable[str] = ()
) -> list[str] | list[tuple[str, str]]:
    """Remove the flashed messages from the session and return them.

    Further calls in the same request return the same messages.

    Args:
        with_categories: return pairs of category and message.
        category_filter: only messages of these categories.
    """
    ctx = request_ctx
    flashes = ctx.flashes
    if flashes is None:
        flashes = session.pop("_flashes") if "_flashes" in session else []
        ctx.flashes = flashes
    if category_filter:
        flashes = [pair for pair in flashes if pair[0] in category_filter]
    return flashes if with_categories else [message for _, message in flashes]


def _prepare_send_file_kwargs(**kwargs: t.Any) -> dict[str, t.Any]:
    """Return the arguments for `werkzeug.utils.send_file`: `kwargs`, and those that come from the
    app and the request.
    """
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    if kwargs.get("max_age") is None:
        kwargs["max_age"] = app.get_send_file_max_age
    kwargs["environ"] = request.environ
    kwargs["use_x_sendfile"] = app.config["USE_X_SENDFILE"]
    kwargs["response_class"] = app.response_class
    kwargs["_root_path"] = app.root_path
    return kwargs


def send_file(
    path_or_file: os.PathLike[t.AnyStr] | str | t.IO[bytes],
    mimetype: str | None = None,
    as_attachment: bool = False,
    download_name: str | None = None,
    conditional: bool = True,
    etag: bool | str = True,
    last_modified: datetime | float | None = None,
    max_age: int | Callable[[str | None], int | None] | None = None,
) -> Response:
    """Return a response with the contents of a file.

    The path is trusted: never build it from input of clients. For that, use `send_from_directory`,
    which sends no file outside of its directory.

    Args:
        path_or_file: a path, relative to the app's `root_path`, or a binary file at its start.
        mimetype: guessed from the name if not given.
        as_attachment: let the browser save the file instead of showing it.
        download_name: the name under which the browser saves the file; required for a file object.
        conditional: support conditional and range requests.
        etag: whether to compute an ETag from the path, or the ETag itself.
        last_modified: seconds since the epoch; taken from the file if not given.
        max_age: seconds for which clients may cache the file, or a function from the name to them;
            the default is `app.get_send_file_max_age`.
    """
    return werkzeug.utils.send_file(  # type: ignore[return-value]
        **_prepare_send_file_kwargs(
            path_or_file=path_or_file,
            mimetype=mimetype,
            as_attachment=as_attachment,
            download_name=download_name,
            conditional=conditional,
            etag=etag,
            last_modified=last_modified,
            max_age=max_age,
        )
    )


def send_from_directory(
    directory: os.PathLike[str] | str,
    path: os.PathLike[str] | str,
    **kwargs: t.Any,
) -> Response:
    """Return a response with a file below a directory, and never with one outside of it.

    Args:
        directory: relative to the app's `root_path`; must not come from the client.
        path: relative to `directory`; may come from the client.
        **kwargs: as for `send_file`.

    Raises:
        werkzeug.exceptions.NotFound: the directory has no regular file of this name.
    """
    return werkzeug.utils.send_from_directory(  # type: ignore[return-value]
        directory, path, **_prepare_send_file_kwargs(**kwargs)
    )


def get_root_path(import_name: str) -> str:
    """Return the folder of a module or package; the current folder if the module cannot be found.

    The module is imported only if its folder cannot be found otherwise, because an app may have the
    name of a module whose import fails.

    Raises:
        RuntimeError: the module has no file, like a namespace package.
    """
    module = sys.modules.get(import_name)
    file: str | None = getattr(module, "__file__", None)
    if file is None:
        loader = _find_loader(import_name)
        # There is no loader in interactive mode, nor for a `__main__` that was not started from a
        # file.
        if loader is None:
            return os.getcwd()
        if hasattr(loader, "get_filename"):
            file = loader.get_filename(import_name)
        else:
            __import__(import_name)
            file = getattr(sys.modules[import_name], "__file__", None)
    if file is None:
        raise RuntimeError(
            f"No root path can be found for the provided module {import_name!r}: it has no file"
            " of its own, as with a namespace package or a module from an import hook. Pass the"
            " directory yourself: root_path='...'."
        )
    return os.path.dirname(os.path.abspath(file))


def _find_loader(import_name: str) -> t.Any:
    import importlib.util

    try:
        spec = importlib.util.find_spec(import_name)
    # ImportError: a parent package does not exist. ValueError: the module is `__main__`, which has
    # no spec.
    except (ImportError, ValueError):
        return None
    return None if spec is None else spec.loader


@cache
def _split_blueprint_path(name: str) -> list[str]:
    """Return the dotted names of a blueprint and of its parents, innermost first: `["a.b", "a"]`
    for "a.b".
    """
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]


if not t.TYPE_CHECKING:
    __getattr__, __dir__ = flask_names(__name__)
