"""Error and log messages that explain mistakes in an app to its developer.

This module is imported only when such a mistake happens.
"""

from __future__ import annotations

import os
import typing as t
from contextlib import suppress

from werkzeug.routing import RequestRedirect

from .core.flasknames import flask_names
from .globals import _cv_request

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from jinja2 import BaseLoader

    from .ctx import RequestContext
    from .sansio.app import App
    from .sansio.scaffold import Scaffold
    from .templating import DispatchingJinjaLoader
    from .wrappers import Request

    Source: t.TypeAlias = tuple[str, str | None, Callable[[], bool] | None]
    Attempt: t.TypeAlias = tuple[BaseLoader, Scaffold, Source | None]


class UnexpectedUnicodeError(AssertionError, UnicodeError):
    """Text was passed where bytes are expected, or bytes where text is expected."""


class DebugFilesKeyError(KeyError, AssertionError):
    """A program asked for a file that `request.files` lacks, because the form was not sent as
    multipart/form-data.
    """

    def __init__(self, request: Request, key: str) -> None:
        super().__init__(key)
        text = (
            f"There is no file {key!r} in request.files. The request came as {request.mimetype!r},"
            " not as 'multipart/form-data', and so no file contents were transmitted. Add"
            ' enctype="multipart/form-data" to the <form> tag.'
        )
        if names := request.form.getlist(key):
            shown = ", ".join(map(repr, names))
            text += (
                "\n\nThe browser sent the name of the file as an ordinary field instead."
                f" This was submitted: {shown}"
            )
        self.msg = text

    def __str__(self) -> str:
        return self.msg


class FormDataRoutingRedirect(AssertionError):  # noqa: N818 - Flask's name
    """The URL of a form is redirected, so that the form's data would be lost: browsers do not send
    it again.
    """

    def __init__(self, request: Request) -> None:
        exc = request.routing_exception
        if not isinstance(exc, RequestRedirect):
            raise TypeError(f"Expected a request that routing redirects, got {exc!r}.")
        text = (
            f"A {request.method} request came to '{request.url}', but routing redirects it to the"
            f" canonical URL '{exc.new_url}'."
        )
        if exc.new_url.partition("?")[0] == f"{request.base_url}/":
            text += " The rule ends with a slash and the request did not, hence the redirect."
        text += (
            " After this kind of redirect browsers repeat the request without its form data. Send"
            " it to the canonical URL at once, or let routing redirect with 307 or 308.\n\n"
            "This error appears in debug mode only."
        )
        super().__init__(text)


def attach_enctype_error_multidict(request: Request) -> None:
    """Let `request.files[key]` raise `DebugFilesKeyError` if the file is missing because of the
    form's encoding.

    For this, the class of the request's `files` object is replaced by a subclass.
    """
    plain = type(request.files)

    def look_up(self: t.Any, key: str) -> t.Any:
        try:
            return plain.__getitem__(self, key)
        except KeyError as exc:
            if key not in request.form:
                raise
            raise DebugFilesKeyError(request, key).with_traceback(exc.__traceback__) from None

    body = {"__getitem__": look_up, "__module__": plain.__module__}
    request.files.__class__ = type(plain.__name__, (plain,), body)


def explain_template_loading_attempts(app: App, template: str, attempts: Iterable[Attempt]) -> None:
    """Log which loaders were searched for a template, in their order, and what each has found."""
    lines = [f"Locating template {template!r}:"]
    found = 0
    for number, (loader, owner, source) in enumerate(attempts, 1):
        lines.append(f"{number:5}: trying loader of {_describe_owner(app, owner)}")
        lines += (f"       {line}" for line in _describe_loader(loader))
        if source is None:
            lines.append("       -> no match")
        else:
            found += 1
            lines.append(f"       -> found ({source[1] or '<string>'!r})")

    if found == 0:
        lines.append("Error: the template could not be found.")
    elif found > 1:
        lines.append("Warning: more than one loader has this template; the first one wins.")
    if found != 1:
        lines += _blueprint_advice()
    app.logger.info("\n".join(lines))


def describe_missing_templates(loader: DispatchingJinjaLoader, names: list[str]) -> str:
    """Return an error message that names missing templates, the searched folders, and similar
    names.
    """
    shown = " or ".join(map(repr, names))
    lines = [f"Template {shown} was not found. Searched in:"]
    for owner, its_loader in loader._iter_loaders(names[0]):
        places = _list_folders(its_loader) or [f"{type(its_loader).__name__} (no folder)"]
        lines += (f"  - {place} of {_describe_owner(loader.app, owner)}" for place in places)
    if len(lines) == 1:
        lines = [
            f"Template {shown} was not found: neither the app nor a blueprint has a folder for"
        ]
        lines[0] += " templates. Pass template_folder='templates' to one of them."
    if close := _find_similar(loader, names):
        lines.append(f"Did you mean {' or '.join(map(repr, close))}?")
    return "\n".join(lines)


def _list_folders(loader: t.Any) -> list[str]:
    """Return the folders in which a Jinja loader searches.

    Loaders that contain other loaders, such as a `ChoiceLoader`, return the folders of all these.
    """
    nested = getattr(loader, "loaders", None) or getattr(loader, "mapping", None) or ()
    if isinstance(nested, dict):
        nested = nested.values()
    folders = [
        folder if os.path.isdir(folder) else f"{folder} (does not exist)"
        for folder in getattr(loader, "searchpath", ())
    ]
    for inner in nested:
        folders += _list_folders(inner)
    return folders


def _find_similar(loader: DispatchingJinjaLoader, names: list[str]) -> list[str]:
    from difflib import get_close_matches

    known: set[str] = set()
    for _, its_loader in loader._iter_loaders(names[0]):
        # Ignore the exception of a loader that cannot list its templates, because it would hide the
        # error for the missing template.
        with suppress(Exception):
            known.update(its_loader.list_templates())
    by_base = [name for name in sorted(known) if _base(name) in {_base(n) for n in names}]
    close = [match for name in names for match in get_close_matches(name, sorted(known))]
    return list(dict.fromkeys(by_base[:3] + close))[:4]


def _base(name: str) -> str:
    return name.rpartition("/")[2].lower()


def _describe_owner(app: App, owner: t.Any) -> str:
    if owner is app:
        return f"application {app.import_name!r}"
    if hasattr(owner, "name") and hasattr(owner, "import_name"):
        return f"blueprint {owner.name!r} ({owner.import_name})"
    return repr(owner)


def _describe_loader(loader: BaseLoader) -> Iterator[str]:
    """Yield lines for the log that name a loader's class and its public attributes of simple
    types.
    """
    cls = type(loader)
    yield f"class: {cls.__module__}.{cls.__name__}"
    for name, value in sorted(vars(loader).items()):
        if name.startswith("_"):
            continue
        if isinstance(value, (str, int, float)):
            yield f"{name}: {value!r}"
        elif isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
            yield f"{name}:"
            yield from (f"  - {item}" for item in value)


def _blueprint_advice() -> Iterator[str]:
    ctx: RequestContext | None = _cv_request.get(None)
    if ctx is None or (blueprint := ctx.request.blueprint) is None:
        return
    yield (
        "  The template was looked up from an endpoint that belongs to the blueprint"
        f" {blueprint!r}."
    )
    yield "  Is it in the folder that this blueprint was given as template_folder?"
    yield "  See https://flask.palletsprojects.com/blueprints/#templates"


if not t.TYPE_CHECKING:
    __getattr__, __dir__ = flask_names(__name__)
