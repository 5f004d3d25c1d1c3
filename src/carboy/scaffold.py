"""The base class of apps and blueprints, which registers views and hooks and knows the folders of
files.

Registered functions are stored in plain dicts and lists, keyed by a blueprint's name, or None for
the app. Extensions read and write these dicts, and `carboy.core.dispatch` reads them on every
request.
"""

from __future__ import annotations

import os
import typing as t
from collections import defaultdict
from functools import update_wrapper

from werkzeug.exceptions import HTTPException, default_exceptions
from werkzeug.utils import cached_property

from . import typing as ft
from .core.otherflask import other_flask, warn_of_registered
from .helpers import get_root_path
from .templating import _default_template_ctx_processor

if t.TYPE_CHECKING:
    from jinja2 import BaseLoader

    from .cli import AppGroup

_sentinel: t.Any = object()

F = t.TypeVar("F", bound=t.Callable[..., t.Any])
T_after_request = t.TypeVar("T_after_request", bound=ft.AfterRequestCallable[t.Any])
T_before_request = t.TypeVar("T_before_request", bound=ft.BeforeRequestCallable)
T_error_handler = t.TypeVar("T_error_handler", bound=ft.ErrorHandlerCallable)
T_teardown = t.TypeVar("T_teardown", bound=ft.TeardownCallable)
T_template_context_processor = t.TypeVar(
    "T_template_context_processor", bound=ft.TemplateContextProcessorCallable
)
T_url_defaults = t.TypeVar("T_url_defaults", bound=ft.URLDefaultCallable)
T_url_value_preprocessor = t.TypeVar(
    "T_url_value_preprocessor", bound=ft.URLValuePreprocessorCallable
)
T_route = t.TypeVar("T_route", bound=ft.ViewCallable)


def setupmethod(f: F) -> F:
    """Return a version of a method that raises an error if it is called after the first request.

    It decorates methods that register views, hooks and so on.
    """
    name = f.__name__

    def checked(self: Scaffold, *args: t.Any, **kwargs: t.Any) -> t.Any:
        self._check_setup_finished(name)
        if (flask := other_flask()) is not None:
            warn_of_registered(flask, (*args, *kwargs.values()))
        return f(self, *args, **kwargs)

    return t.cast(F, update_wrapper(checked, f))


class Scaffold:
    """Base class of `Carboy` (an app) and `Blueprint`.

    Args:
        import_name: the module of the app or blueprint, usually `__name__`; its folder is
            `root_path`.
        static_folder: the folder of static files, relative to `root_path`, or None.
        static_url_path: the URL of the static files; the default is the folder's name.
        template_folder: the folder of templates, relative to `root_path`, or None.
        root_path: the folder of resources; None means the folder of `import_name`.
    """

    name: str
    _static_folder: str | None = None
    _static_url_path: str | None = None

    def __init__(
        self,
        import_name: str,
        static_folder: str | os.PathLike[str] | None = None,
        static_url_path: str | None = None,
        template_folder: str | os.PathLike[str] | None = None,
        root_path: str | None = None,
    ) -> None:
        self.import_name = import_name
        self.static_folder = static_folder
        self.static_url_path = static_url_path
        self.template_folder = template_folder
        self.root_path = get_root_path(import_name) if root_path is None else root_path

        #: The view functions by endpoint.
        self.view_functions: dict[str, ft.ViewCallable] = {}
        #: Error handlers, in dicts keyed by blueprint name (None: the app), then HTTP status (None:
        #: exceptions without one), then exception class.
        self.error_handler_spec: dict[
            ft.AppOrBlueprintKey,
            dict[int | None, dict[type[Exception], ft.ErrorHandlerCallable]],
        ] = defaultdict(lambda: defaultdict(dict))
        #: Hook functions by blueprint name (None: the app), in the order of registration.
        self.before_request_funcs: dict[ft.AppOrBlueprintKey, list[ft.BeforeRequestCallable]] = (
            defaultdict(list)
        )
        self.after_request_funcs: dict[
            ft.AppOrBlueprintKey, list[ft.AfterRequestCallable[t.Any]]
        ] = defaultdict(list)
        self.teardown_request_funcs: dict[ft.AppOrBlueprintKey, list[ft.TeardownCallable]] = (
            defaultdict(list)
        )
        self.template_context_processors: dict[
            ft.AppOrBlueprintKey, list[ft.TemplateContextProcessorCallable]
        ] = defaultdict(list, {None: [_default_template_ctx_processor]})
        self.url_value_preprocessors: dict[
            ft.AppOrBlueprintKey, list[ft.URLValuePreprocessorCallable]
        ] = defaultdict(list)
        self.url_default_functions: dict[ft.AppOrBlueprintKey, list[ft.URLDefaultCallable]] = (
            defaultdict(list)
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    def _check_setup_finished(self, f_name: str) -> None:
        raise NotImplementedError

    @cached_property
    def cli(self) -> AppGroup:
        """The commands of this app or blueprint, a click group."""
        from .cli import AppGroup

        group = AppGroup()
        group.name = self.name
        return group

    @property
    def static_folder(self) -> str | None:
        """The absolute folder of the static files, or None."""
        if self._static_folder is None:
            return None
        return os.path.join(self.root_path, self._static_folder)

    @static_folder.setter
    def static_folder(self, value: str | os.PathLike[str] | None) -> None:
        self._static_folder = None if value is None else os.fspath(value).rstrip("\\/")

    @property
    def has_static_folder(self) -> bool:
        """Whether a static folder is set, even if it does not exist."""
        return self.static_folder is not None

    @property
    def static_url_path(self) -> str | None:
        """The URL prefix of the static files."""
        if self._static_url_path is not None:
            return self._static_url_path
        if self.static_folder is None:
            return None
        return f"/{os.path.basename(self.static_folder)}".rstrip("/")

    @static_url_path.setter
    def static_url_path(self, value: str | None) -> None:
        self._static_url_path = None if value is None else value.rstrip("/")

    @cached_property
    def jinja_loader(self) -> BaseLoader | None:
        """The loader of the templates in `template_folder`, or None."""
        if self.template_folder is None:
            return None
        from jinja2 import FileSystemLoader

        return FileSystemLoader(os.path.join(self.root_path, self.template_folder))

    def _method_route(
        self, method: str, rule: str, options: dict[str, t.Any]
    ) -> t.Callable[[T_route], T_route]:
        if "methods" in options:
            raise TypeError(
                f"{method.lower()}() is for {method} alone: use the 'route' decorator to use the"
                " 'methods' argument."
            )
        _refuse_bare(method.lower(), rule, '"/path"')
        return self.route(rule, methods=[method], **options)

    @setupmethod
    def get(self, rule: str, **options: t.Any) -> t.Callable[[T_route], T_route]:
        """Register a view for GET: `route(rule, methods=["GET"])`."""
        return self._method_route("GET", rule, options)

    @setupmethod
    def post(self, rule: str, **options: t.Any) -> t.Callable[[T_route], T_route]:
        """Register a view for POST: `route(rule, methods=["POST"])`."""
        return self._method_route("POST", rule, options)

    @setupmethod
    def put(self, rule: str, **options: t.Any) -> t.Callable[[T_route], T_route]:
        """Register a view for PUT: `route(rule, methods=["PUT"])`."""
        return self._method_route("PUT", rule, options)

    @setupmethod
    def delete(self, rule: str, **options: t.Any) -> t.Callable[[T_route], T_route]:
        """Register a view for DELETE: `route(rule, methods=["DELETE"])`."""
        return self._method_route("DELETE", rule, options)

    @setupmethod
    def patch(self, rule: str, **options: t.Any) -> t.Callable[[T_route], T_route]:
        """Register a view for PATCH: `route(rule, methods=["PATCH"])`."""
        return self._method_route("PATCH", rule, options)

    @setupmethod
    def route(self, rule: str, **options: t.Any) -> t.Callable[[T_route], T_route]:
        """Register the decorated function as the view of a rule.

        Args:
            rule: a URL with variables, such as `/flowers/<int:id>`.
            **options: `methods`, `endpoint`, `defaults`, and other arguments of `Rule`; `access`
                is "key" if clients need an API key, "open" if they need none; `rate` is how often a
                client may send requests, such as "100/minute"; `cors` names the sites whose pages
                may use the rule, such as "https://shop.example". All are by default as the
                blueprint or the app declares them (docs/howto/api-keys.md, rate-limits.md,
                pages-of-other-sites.md).
        """
        _refuse_bare("route", rule, '"/path"')

        def decorator(f: T_route) -> T_route:
            endpoint = options.pop("endpoint", None)
            self.add_url_rule(rule, endpoint, f, **options)
            return f

        return decorator

    @setupmethod
    def add_url_rule(
        self,
        rule: str,
        endpoint: str | None = None,
        view_func: ft.ViewCallable | None = None,
        provide_automatic_options: bool | None = None,
        **options: t.Any,
    ) -> None:
        """Register a view without a decorator; see `route`."""
        raise NotImplementedError

    def _bind(self, endpoint: str, view_func: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        """Return the view to store for an endpoint.

        An app overrides this method to wrap typed views. For views of a blueprint, the app does so
        when the blueprint is registered.
        """
        return view_func

    @setupmethod
    def endpoint(self, endpoint: str) -> t.Callable[[F], F]:
        """Register the decorated function as the view of an endpoint whose URL rule is added
        separately.
        """

        def decorator(f: F) -> F:
            self.view_functions[endpoint] = t.cast("ft.ViewCallable", self._bind(endpoint, f))
            return f

        return decorator

    @setupmethod
    def before_request(self, f: T_before_request) -> T_before_request:
        """Register a function that is called before each view. If it returns a value, the view is
        not called.
        """
        self.before_request_funcs.setdefault(None, []).append(f)
        return f

    @setupmethod
    def after_request(self, f: T_after_request) -> T_after_request:
        """Register a function that is called as `f(response)` after each view, and returns the
        response to send.
        """
        self.after_request_funcs.setdefault(None, []).append(f)
        return f

    @setupmethod
    def teardown_request(self, f: T_teardown) -> T_teardown:
        """Register a function that is called as `f(exception or None)` at the end of each
        request.
        """
        self.teardown_request_funcs.setdefault(None, []).append(f)
        return f

    @setupmethod
    def context_processor(self, f: T_template_context_processor) -> T_template_context_processor:
        """Register a function that returns a dict of variables for each template."""
        self.template_context_processors[None].append(f)
        return f

    @setupmethod
    def url_value_preprocessor(self, f: T_url_value_preprocessor) -> T_url_value_preprocessor:
        """Register a function that is called as `f(endpoint, view_args)` for each request; it may
        change the arguments.
        """
        self.url_value_preprocessors[None].append(f)
        return f

    @setupmethod
    def url_defaults(self, f: T_url_defaults) -> T_url_defaults:
        """Register a function that is called as `f(endpoint, values)` for each `url_for`; it may
        add values.
        """
        self.url_default_functions[None].append(f)
        return f

    @setupmethod
    def errorhandler(
        self, code_or_exception: type[Exception] | int
    ) -> t.Callable[[T_error_handler], T_error_handler]:
        """Register the decorated function as the handler of a status code or an exception class."""
        if not isinstance(code_or_exception, type):
            _refuse_bare("errorhandler", code_or_exception, "404")

        def decorator(f: T_error_handler) -> T_error_handler:
            self.register_error_handler(code_or_exception, f)
            return f

        return decorator

    @setupmethod
    def register_error_handler(
        self, code_or_exception: type[Exception] | int, f: ft.ErrorHandlerCallable
    ) -> None:
        """Register an error handler without a decorator; see `errorhandler`."""
        exc_class, code = self._get_exc_class_and_code(code_or_exception)
        self.error_handler_spec[None][code][exc_class] = f

    @staticmethod
    def _get_exc_class_and_code(
        exc_class_or_code: type[Exception] | int,
    ) -> tuple[type[Exception], int | None]:
        """Return the exception class for a class or status code, and its status code if it is an
        HTTP exception.
        """
        exc_class: type[Exception]
        if isinstance(exc_class_or_code, int):
            try:
                exc_class = default_exceptions[exc_class_or_code]
            except KeyError:
                raise ValueError(
                    f"{exc_class_or_code!r} is not a recognized HTTP error code. Use a"
                    " subclass of HTTPException with that code instead."
                ) from None
        else:
            exc_class = exc_class_or_code

        if isinstance(exc_class, Exception):
            raise TypeError(
                f"{exc_class!r} is an instance, not a class. An error handler is registered for"
                " a class of exceptions or an HTTP status code."
            )
        if not issubclass(exc_class, Exception):
            raise ValueError(  # noqa: TRY004 - as Flask does
                f"{exc_class.__name__!r} is not a subclass of Exception. An error handler is"
                " registered for a class of exceptions or an HTTP status code."
            )
        return exc_class, exc_class.code if issubclass(exc_class, HTTPException) else None


def _refuse_bare(decorator: str, given: object, example: str) -> None:
    """Raise TypeError if `given`, the argument of a decorator, is a function.

    Then the decorator was written without parentheses, as in `@app.route`, and would not register
    the view.
    """
    if callable(given):
        name = getattr(given, "__name__", repr(given))
        raise TypeError(
            f"@{decorator} is used without parentheses above {name!r}: write"
            f" @{decorator}({example})."
        )


def _endpoint_from_view_func(view_func: ft.ViewCallable | None) -> str:
    if view_func is None:
        raise AssertionError("A rule without a view needs an endpoint: pass `endpoint=`.")
    return view_func.__name__


def _search_location(import_name: str) -> str:
    """Return the folder that contains the top-level package or module of `import_name`."""
    from importlib.util import find_spec

    root_name = import_name.partition(".")[0]
    try:
        spec = find_spec(root_name)
    except (ImportError, ValueError):  # `__main__` has no spec, which raises ValueError
        spec = None
    if spec is None:
        return os.getcwd()
    if not spec.submodule_search_locations:
        return os.path.dirname(spec.origin)  # type: ignore[type-var, return-value]
    if spec.origin is not None and spec.origin != "namespace":
        return os.path.dirname(os.path.dirname(spec.origin))
    # A namespace package may have several folders: use the one that contains the package
    # `import_name` inside it.
    locations = list(spec.submodule_search_locations)
    found = locations[0]
    inner = find_spec(import_name)
    if inner is not None and inner.submodule_search_locations:
        path = os.path.commonpath(inner.submodule_search_locations)
        found = next(base for base in locations if os.path.commonpath([base, path]) == base)
    return os.path.dirname(found)


def find_package(import_name: str) -> tuple[str | None, str]:
    """Return where a package is installed.

    Returns:
        The prefix under which it is installed (None if it is not installed), and the folder on
        `sys.path` that contains it.
    """
    import sys

    path = _search_location(import_name)
    prefix = os.path.abspath(sys.prefix)
    if path == prefix or path.startswith(prefix + os.sep):
        return prefix, path
    parent, folder = os.path.split(path)
    if folder.lower() != "site-packages":
        return None, path
    # The prefix is the folder above `lib`: on Unix packages are in
    # prefix/lib/pythonX.Y/site-packages, on Windows in prefix/Lib/site-packages.
    grandparent, name = os.path.split(parent)
    if name.lower() == "lib":
        return grandparent, path
    if os.path.basename(grandparent).lower() == "lib":
        return os.path.dirname(grandparent), path
    return parent, path
