"""The application class: configuration, registration of views and templates, start of a server.

The base classes in `carboy.core` handle requests, and `carboy.scaffold` has the methods that apps
and blueprints share. This module is the highest layer of the package: it may import all others, and
those below it import it for type checkers only. It imports `serving` and `cli` on first use.
"""

from __future__ import annotations

import os
import typing as t
import weakref
from datetime import timedelta
from functools import cached_property

from werkzeug.exceptions import Aborter
from werkzeug.routing import Rule

from . import typing as ft
from .access.host import AccessHost
from .config import DEFAULT_CONFIG, OWN_DEFAULTS, Config, ConfigAttribute, get_env
from .contract.needs import may_need_contract, unbound
from .core.dispatch import Dispatcher
from .core.flasknames import flask_names, is_flask_installed_as_us
from .core.routing import Map
from .core.statics import StaticFiles
from .ctx import _AppCtxGlobals
from .errors import EndpointConflictError, SetupFinishedError
from .globals import g, request, session
from .helpers import (
    _is_interactive,
    _is_redefined,
    get_debug_flag,
    get_flashed_messages,
    get_load_dotenv,
)
from .json.provider import DefaultJSONProvider, JSONProvider
from .models.host import ModelHost
from .openapi.host import DocumentationHost
from .scaffold import Scaffold, _endpoint_from_view_func, find_package, setupmethod
from .sessions import SecureCookieSessionInterface, SessionInterface
from .templating import DispatchingJinjaLoader, Environment, _update_template_context

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import logging
    from types import TracebackType

    from .blueprints import Blueprint
    from .ctx import RequestContext
    from .observability.timer import Timer
    from .testing import FlaskClient, FlaskCliRunner

T_shell_context_processor = t.TypeVar(
    "T_shell_context_processor", bound=ft.ShellContextProcessorCallable
)
T_teardown = t.TypeVar("T_teardown", bound=ft.TeardownCallable)
T_template_filter = t.TypeVar("T_template_filter", bound=ft.TemplateFilterCallable)
T_template_global = t.TypeVar("T_template_global", bound=ft.TemplateGlobalCallable)
T_template_test = t.TypeVar("T_template_test", bound=ft.TemplateTestCallable)


# The HTTP methods assumed for a rule that accepts all methods: GET stands for those without a
# request body, POST for those with one.
_ANY_METHOD = frozenset(("GET", "POST"))


def _make_timedelta(value: timedelta | int | None) -> timedelta | None:
    if value is None or isinstance(value, timedelta):
        return value
    return timedelta(seconds=value)


class _DebugAttribute(ConfigAttribute[bool]):
    def __set__(self, obj: Carboy, value: bool) -> None:
        super().__set__(obj, value)
        if obj.config["TEMPLATES_AUTO_RELOAD"] is None and "jinja_env" in vars(obj):
            obj.jinja_env.auto_reload = value
        # An app may have a config of another class.
        if value and getattr(obj.config, "project", None) is not None:
            from .project.secretkey import make_key_when_read

            make_key_when_read(obj.config)


class Carboy(Dispatcher, StaticFiles, ModelHost, AccessHost, DocumentationHost, Scaffold):
    """A WSGI application: `app = Carboy(__name__)`. `Flask` is another name for this class.

    Args:
        import_name: the module of the app, usually `__name__`.
        static_host: the host of the static files; requires `host_matching`.
        host_matching: whether rules match the request's host as well.
        subdomain_matching: whether rules match the subdomain below `SERVER_NAME`.
        instance_path: an absolute folder for files that are not part of the code.
        instance_relative_config: whether relative names of config files are below `instance_path`.

    The other arguments are those of `Scaffold`, which blueprints have as well. Register views and
    hooks before the first request, from one thread. Handling requests is thread-safe.
    """

    aborter_class = Aborter
    jinja_environment = Environment
    app_ctx_globals_class = _AppCtxGlobals
    config_class = Config
    json_provider_class: type[JSONProvider] = DefaultJSONProvider
    url_rule_class = Rule
    url_map_class = Map
    test_client_class: type[FlaskClient] | None = None
    test_cli_runner_class: type[FlaskCliRunner] | None = None
    session_interface: SessionInterface = SecureCookieSessionInterface()
    default_config: cabc.Mapping[str, t.Any] = DEFAULT_CONFIG
    jinja_options: dict[str, t.Any] = {}  # noqa: RUF012 - Flask's; subclasses replace it

    debug = _DebugAttribute("DEBUG")
    """Whether error pages show internals and templates reload. Never use it in production."""

    testing = ConfigAttribute[bool]("TESTING")
    secret_key = ConfigAttribute["str | bytes | None"]("SECRET_KEY")
    permanent_session_lifetime = ConfigAttribute[timedelta](
        "PERMANENT_SESSION_LIFETIME",
        get_converter=_make_timedelta,  # type: ignore[arg-type]
    )

    def __init__(
        self,
        import_name: str,
        static_url_path: str | None = None,
        static_folder: str | os.PathLike[str] | None = "static",
        static_host: str | None = None,
        host_matching: bool = False,
        subdomain_matching: bool = False,
        template_folder: str | os.PathLike[str] | None = "templates",
        instance_path: str | None = None,
        instance_relative_config: bool = False,
        root_path: str | None = None,
    ) -> None:
        super().__init__(
            import_name=import_name,
            static_folder=static_folder,
            static_url_path=static_url_path,
            template_folder=template_folder,
            root_path=root_path,
        )
        if instance_path is None:
            instance_path = self.auto_find_instance_path()
        elif not os.path.isabs(instance_path):
            raise ValueError(
                f"If an instance path is provided it must be absolute: {instance_path!r}."
            )
        #: The folder for files that are not part of the code, such as databases. carboy does not
        #: create it.
        self.instance_path = instance_path
        self.config = self.make_config(instance_relative_config)
        if isinstance(self.config, Config):  # `make_config` of a subclass may return any dict
            self.config._place = import_name, self.root_path, instance_path
        self.aborter = self.make_aborter()
        #: The provider that reads and writes JSON for requests, responses and `carboy.json`.
        self.json: JSONProvider = self.json_provider_class(self)
        #: Functions that are called in turn when `url_for` cannot build a URL.
        self.url_build_error_handlers: list[
            t.Callable[[Exception, str, dict[str, t.Any]], str]
        ] = []
        self.teardown_appcontext_funcs: list[ft.TeardownCallable] = []
        self.shell_context_processors: list[ft.ShellContextProcessorCallable] = []
        #: The registered blueprints by name, in the order of registration.
        self.blueprints: dict[str, Blueprint] = {}
        #: What extensions store for this app, by the extension's name.
        self.extensions: dict[str, t.Any] = {}
        self.url_map = self.url_map_class(host_matching=host_matching)
        self.subdomain_matching = subdomain_matching
        self._got_first_request = False
        if self.has_static_folder:
            self._add_static_route(static_host, host_matching)

    def _add_own_urls(self) -> None:
        """Add the URLs that carboy itself adds, after all rules of the app. Protocols come before
        the document, because both may be added once only.
        """
        self._add_model_protocols()
        self._add_documentation()

    def _add_static_route(self, static_host: str | None, host_matching: bool) -> None:
        if bool(static_host) != host_matching:
            raise AssertionError(
                "Invalid static_host/host_matching combination: with host_matching the static"
                " files need a host, without it they cannot have one."
                f" Got static_host={static_host!r}, host_matching={host_matching!r}."
            )
        # A weak reference, so that app and view form no reference cycle, and the app's memory is
        # freed without the garbage collector.
        app_ref = weakref.ref(self)
        self.add_url_rule(
            f"{self.static_url_path}/<path:filename>",
            endpoint="static",
            host=static_host,
            view_func=lambda **args: app_ref().send_static_file(**args),  # type: ignore[union-attr]
        )

    def _check_setup_finished(self, f_name: str) -> None:
        if self._got_first_request and not _is_interactive():
            raise SetupFinishedError(
                f"The setup method '{f_name}' can no longer be called on the application"
                f" {self.name!r}: it has handled its first request, and the change would affect"
                " this process only. Call it where the app is created, before it is served."
            )

    # -- parts of the app, which subclasses may override -------------------------------------

    @cached_property
    def name(self) -> str:  # type: ignore[override]
        """The app's name: its import name, or the name of the file if it is run as a script."""
        if self.import_name != "__main__":
            return self.import_name
        import sys

        file: str | None = getattr(sys.modules["__main__"], "__file__", None)
        return "__main__" if file is None else os.path.splitext(os.path.basename(file))[0]

    @cached_property
    def logger(self) -> logging.Logger:
        """The logger that has the app's name. By default it writes to the server's error stream."""
        from .logging import create_logger

        return create_logger(self)

    def timer(self, name: str) -> Timer:
        """Measure and log how long a block takes: `with app.timer("model"):`.

        The access log of `carboy serve` shows the time, too, if the block runs in a request. The
        object after `as` has it as `seconds` and `ms`.
        """
        from .observability.timer import Timer

        return Timer(name, self.logger)

    def log_exception(
        self,
        exc_info: tuple[type, BaseException, TracebackType] | tuple[None, None, None],
    ) -> None:
        """Log an unhandled exception with its traceback, at level ERROR."""
        # This method is in `app.py` and not in `core.errorhandling`, because log lines name the
        # module that calls the logger, and those of Flask say "in app".
        where = request.path, request.method
        self.logger.error("Exception on %s [%s]", *where, exc_info=exc_info)

    @cached_property
    def jinja_env(self) -> Environment:
        """The Jinja environment, which loads and compiles templates; created on first use."""
        return self.create_jinja_environment()

    def make_config(self, instance_relative: bool = False) -> Config:
        """Create the config, filled with its defaults. Subclasses may override this method."""
        # The defaults of carboy's own keys are added, because a subclass may override
        # `default_config` by a dict with only Flask's keys and its own.
        defaults = {**OWN_DEFAULTS, **self.default_config}
        defaults["DEBUG"] = get_debug_flag()
        defaults["ENV"] = get_env()
        root_path = self.instance_path if instance_relative else self.root_path
        return self.config_class(root_path, defaults)

    def make_aborter(self) -> Aborter:
        """Create the object that `abort` calls. Subclasses may override this method."""
        return self.aborter_class()

    def auto_find_instance_path(self) -> str:
        """Return the default for `instance_path`.

        Returns:
            The folder `instance` beside the app's code; for an installed app, the folder
            `var/NAME-instance` below the prefix of the installation.
        """
        prefix, package_path = find_package(self.import_name)
        if prefix is None:
            return os.path.join(package_path, "instance")
        return os.path.join(prefix, "var", f"{self.name}-instance")

    def open_instance_resource(
        self, resource: str, mode: str = "rb", encoding: str | None = "utf-8"
    ) -> t.IO[t.Any]:
        """Open a file below `instance_path`, for reading or writing."""
        path = os.path.join(self.instance_path, resource)
        return open(path, mode, encoding=None if "b" in mode else encoding)

    def open_resource(
        self, resource: str, mode: str = "rb", encoding: str | None = None
    ) -> t.IO[t.Any]:
        """Open a file below `root_path` for reading."""
        return super().open_resource(resource, mode, encoding)

    # -- templates ---------------------------------------------------------------------------

    def create_jinja_environment(self) -> Environment:
        """Create the Jinja environment from `jinja_options`, with the app's globals."""
        options = dict(self.jinja_options)
        options.setdefault("autoescape", self.select_jinja_autoescape)
        if "auto_reload" not in options:
            auto_reload = self.config["TEMPLATES_AUTO_RELOAD"]
            options["auto_reload"] = self.debug if auto_reload is None else auto_reload
        from .access.browserrules import csp_nonce

        env = self.jinja_environment(self, **options)
        env.globals.update(
            csp_nonce=csp_nonce,
            url_for=self.url_for,
            get_flashed_messages=get_flashed_messages,
            config=self.config,
            # The context of each template has `request`, `session` and `g`, too, but a macro that
            # is imported without context sees only the globals.
            request=request,
            session=session,
            g=g,
        )
        env.policies["json.dumps_function"] = self.json.dumps
        return env

    def create_global_jinja_loader(self) -> DispatchingJinjaLoader:
        """Create the loader that searches the app's folder, then those of its blueprints."""
        return DispatchingJinjaLoader(self)

    def select_jinja_autoescape(self, filename: str | None) -> bool:
        """Return whether the template of this name is autoescaped: HTML, XML, SVG and string
        templates are.
        """
        if filename is None:
            return True
        return filename.endswith((".html", ".htm", ".xml", ".xhtml", ".svg"))

    # The attribute is the function of module `templating` itself and not a method that calls it,
    # because `templating` compares by identity whether the function was overridden. If it was not,
    # `request` and `g` are created only for templates that use them.
    update_template_context = _update_template_context

    def make_shell_context(self) -> dict[str, t.Any]:
        """Return the variables that `carboy shell` defines."""
        context: dict[str, t.Any] = {"app": self, "g": g}
        for processor in self.shell_context_processors:
            context.update(processor())
        return context

    # -- registration ------------------------------------------------------------------------

    @setupmethod
    def register_blueprint(self, blueprint: Blueprint, **options: t.Any) -> None:
        """Add a blueprint's views, hooks, templates and static files to the app.

        Args:
            **options: `name`, `url_prefix`, `subdomain`, `url_defaults`, `cli_group`, `access`,
                `rate` and `cors` override the blueprint's values; other options are passed to
                functions registered by `record`.
        """
        blueprint.register(self, options)

    def iter_blueprints(self) -> t.ValuesView[Blueprint]:
        """Return the blueprints in the order of registration."""
        return self.blueprints.values()

    @setupmethod
    def add_url_rule(
        self,
        rule: str,
        endpoint: str | None = None,
        view_func: ft.ViewCallable | None = None,
        provide_automatic_options: bool | None = None,
        **options: t.Any,
    ) -> None:
        """Add a URL rule, and if `view_func` is given the view for its endpoint; see
        `Scaffold.route`.

        Raises:
            AssertionError: the endpoint already has another view.
        """
        if endpoint is None:
            endpoint = _endpoint_from_view_func(view_func)
        options["endpoint"] = endpoint
        declaration = self._take_declaration(options, f"The rule {rule!r}", of_view=True)
        methods = options.pop("methods", None)
        if methods is None:
            methods = _methods_of(view_func, "methods") or ("GET",)
        if isinstance(methods, str):
            raise TypeError(
                "Allowed methods must be a list of strings, for example:"
                f' @app.route(..., methods=["{methods}"])'
            )
        methods = {method.upper() for method in methods}
        required = set(_methods_of(view_func, "required_methods"))
        if provide_automatic_options is None:
            of_view = getattr(view_func, "provide_automatic_options", None)
            provide_automatic_options = of_view if isinstance(of_view, bool) else None
        if provide_automatic_options is None:
            provide_automatic_options = (
                "OPTIONS" not in methods and self.config["PROVIDE_AUTOMATIC_OPTIONS"]
            )
            if provide_automatic_options:
                required.add("OPTIONS")
        rule_obj = self.url_rule_class(rule, methods=methods | required, **options)
        rule_obj.provide_automatic_options = provide_automatic_options  # type: ignore[attr-defined]
        if declaration is not None:
            rule_obj.declaration = declaration  # type: ignore[attr-defined]
        self.url_map.add(rule_obj)
        if view_func is not None:
            self._set_view(endpoint, view_func, rule)
        elif (known := self.view_functions.get(endpoint)) is not None and unbound(known) != known:
            # The endpoint has a typed view already. Wrap its function again: the URL rules decide
            # which of its parameters come from the URL, and the new rule may have other variables.
            self._set_view(endpoint, known, rule)

    def _set_view(self, endpoint: str, view_func: ft.ViewCallable, rule: str) -> None:
        view_func = unbound(view_func)
        known = self.view_functions.get(endpoint)
        if (
            known is not None
            and unbound(known) != view_func
            and not _is_redefined(unbound(known), view_func)
        ):
            raise EndpointConflictError(
                "View function mapping is overwriting an existing endpoint function:"
                f" {endpoint}. Rule {rule!r} names {_where(view_func)}, but the endpoint belongs"
                f" to {_where(known)}. {_how_to_rename(known, view_func)}"
            )
        self.view_functions[endpoint] = self._bind(endpoint, view_func)

    def _bind(self, endpoint: str, view_func: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        """Wrap a typed view, so that its annotated parameters get their values from the request.

        Any other view is returned unchanged.
        """
        if not (may_need_contract(view_func) and self.config["TYPED_VIEWS"]):
            return view_func
        from .contract.binding import bind
        from .contract.signature import Circumstances

        rules = self.url_map._rules_by_endpoint.get(endpoint, ())
        about = Circumstances(
            variables=frozenset().union(*(rule.arguments for rule in rules)),
            methods=frozenset().union(*(rule.methods or _ANY_METHOD for rule in rules)),
            as_flask=is_flask_installed_as_us(),
            others_supply=bool(self.url_value_preprocessors),
        )
        return bind(view_func, about)

    @setupmethod
    def template_filter(
        self, name: str | None = None
    ) -> t.Callable[[T_template_filter], T_template_filter]:
        """Register the decorated function as a template filter: `{{ value|name }}`.

        The default for `name` is the function's name.
        """

        def decorator(f: T_template_filter) -> T_template_filter:
            self.add_template_filter(f, name=name)
            return f

        return decorator

    @setupmethod
    def add_template_filter(self, f: ft.TemplateFilterCallable, name: str | None = None) -> None:
        """Register a template filter by a call and not as a decorator; see `template_filter`."""
        self.jinja_env.filters[name or f.__name__] = f

    @setupmethod
    def template_test(
        self, name: str | None = None
    ) -> t.Callable[[T_template_test], T_template_test]:
        """Register the decorated function as a template test: `{% if value is name %}`."""

        def decorator(f: T_template_test) -> T_template_test:
            self.add_template_test(f, name=name)
            return f

        return decorator

    @setupmethod
    def add_template_test(self, f: ft.TemplateTestCallable, name: str | None = None) -> None:
        """Register a template test by a call and not as a decorator; see `template_test`."""
        self.jinja_env.tests[name or f.__name__] = f

    @setupmethod
    def template_global(
        self, name: str | None = None
    ) -> t.Callable[[T_template_global], T_template_global]:
        """Register the decorated function for calls from templates: `{{ name() }}`."""

        def decorator(f: T_template_global) -> T_template_global:
            self.add_template_global(f, name=name)
            return f

        return decorator

    @setupmethod
    def add_template_global(self, f: ft.TemplateGlobalCallable, name: str | None = None) -> None:
        """Register a template global by a call and not as a decorator; see `template_global`."""
        self.jinja_env.globals[name or f.__name__] = f

    @setupmethod
    def teardown_appcontext(self, f: T_teardown) -> T_teardown:
        """Register a function that is called as `f(exception or None)` when an app context ends."""
        self.teardown_appcontext_funcs.append(f)
        return f

    @setupmethod
    def shell_context_processor(self, f: T_shell_context_processor) -> T_shell_context_processor:
        """Register a function that returns a dict of variables for `carboy shell`."""
        self.shell_context_processors.append(f)
        return f

    # -- servers -----------------------------------------------------------------------------

    def run(
        self,
        host: str | None = None,
        port: int | None = None,
        debug: bool | None = None,
        load_dotenv: bool = True,
        **options: t.Any,
    ) -> None:
        """Serve on the development server until it is stopped. For production see `serve`.

        Debug mode adds the reloader, and the debugger on loopback addresses. Under `carboy run`,
        which starts its own server, the call does nothing.

        Args:
            host: the default is the host of `SERVER_NAME`, else 127.0.0.1.
            port: the default is the port of `SERVER_NAME`, else 5000.
            debug: switches debug mode on or off. If it is None, `FLASK_DEBUG` decides, or
                `FLASK_ENV=development` switches it on, or it is as the app has configured it.
            load_dotenv: whether to read `.env` and `.flaskenv` first.
            **options: passed to `werkzeug.serving.run_simple`.
        Raises:
            DebuggerExposedError: `use_debugger=True` is passed, and other machines can reach the
                host.
        """
        from . import cli
        from .cli.development import starts_debugger
        from .cli.discovery import has_project

        if os.environ.get("FLASK_RUN_FROM_CLI") == "true":
            cli.say_run_is_ignored("run")
            return
        if get_load_dotenv(load_dotenv):
            cli.load_dotenv()
            if not has_project(self):  # `from_project()` has read `.env` and decided
                self._read_env_again()
        if debug is not None:
            self.debug = bool(debug)

        named_host, _, named_port = (self.config.get("SERVER_NAME") or "").partition(":")
        host = host or named_host or "127.0.0.1"
        port = int(named_port or 5000) if port is None else int(port)
        options.setdefault("use_reloader", self.debug)
        options.setdefault("threaded", True)
        cli.show_server_banner(self.debug, self.name)
        if "use_debugger" not in options:
            options["use_debugger"] = starts_debugger(self.debug, host)
        try:
            cli.run_development(self, host, port, **options)
        finally:
            # Allow the registration of views again: after the server was stopped, an interactive
            # user may change the app and start it once more.
            self._got_first_request = False

    def _read_env_again(self) -> None:
        """Take environment and debug mode from the variables that `.env` may have set after the app
        was created. As in Flask 2, they override what the app has configured.
        """
        if os.environ.get("CARBOY_ENV") or os.environ.get("FLASK_ENV"):
            self.config["ENV"] = get_env()
        if get_debug_flag() or "FLASK_DEBUG" in os.environ or "CARBOY_DEBUG" in os.environ:
            self.debug = get_debug_flag()

    def serve(self, **options: t.Any) -> None:
        """Serve with carboy's production server until it is stopped, as `carboy serve` does.

        Args:
            **options: settings such as `port` or `max_body`; docs/serving.md lists them.
        Raises:
            ServingError: a setting is not valid, or the address cannot be listened on.
            TypeError: an option is not the name of a setting.
        """
        from .serving import serve

        serve(self, **options)

    # -- test clients, and contexts for tests ------------------------------------------------

    def test_client(self, use_cookies: bool = True, **kwargs: t.Any) -> FlaskClient:
        """Return a test client, which calls the app directly instead of through a server.

        In a block `with app.test_client() as client:`, the context of the latest request stays
        active. Set `app.testing` so that exceptions in views propagate to the test.
        """
        cls = self.test_client_class
        if cls is None:
            from .testing import FlaskClient

            cls = FlaskClient
        return cls(self, self.response_class, use_cookies=use_cookies, **kwargs)

    def test_cli_runner(self, **kwargs: t.Any) -> FlaskCliRunner:
        """Return a runner for tests, which calls the commands of the app directly instead of in a
        shell.
        """
        cls = self.test_cli_runner_class
        if cls is None:
            from .testing import FlaskCliRunner

            cls = FlaskCliRunner
        return cls(self, **kwargs)

    def test_request_context(self, *args: t.Any, **kwargs: t.Any) -> RequestContext:
        """Return the context of a request that the arguments describe: `("/path", method="POST")`.

        Args:
            *args, **kwargs: passed to `carboy.testing.EnvironBuilder`.
        """
        from .testing import EnvironBuilder

        builder = EnvironBuilder(self, *args, **kwargs)
        try:
            return self.request_context(builder.get_environ())
        finally:
            builder.close()


def _methods_of(view: t.Any, attribute: str) -> cabc.Iterable[str]:
    """Return the HTTP methods in an attribute of a view, such as `methods`.

    The result is empty if the attribute is missing or not iterable, as on a mock, which has any
    attribute.
    """
    methods: t.Any = getattr(view, attribute, None)
    if isinstance(methods, str):
        return methods  # leave it unchanged: `add_url_rule` refuses a `str` with a helpful message
    return tuple(methods) if hasattr(type(methods), "__iter__") else ()


def _how_to_rename(*views: t.Callable[..., t.Any]) -> str:
    if any(hasattr(view, "model") for view in views):
        return "Rename one: a model by app.model(..., name=...), a view by endpoint=."
    return "Rename one, pass endpoint=, or use functools.wraps in the decorator that renamed it."


def _where(view: t.Callable[..., t.Any]) -> str:
    """Return the name of a view with its file and line, by which error messages name the view."""
    model = getattr(view, "model", None)
    if model is not None:
        return f"the model {model.name!r} at {model.rule!r}"
    code = getattr(view, "__code__", None)
    name = f"{getattr(view, '__module__', '?')}.{getattr(view, '__qualname__', view)}"
    return name if code is None else f"{name} ({code.co_filename}:{code.co_firstlineno})"


Flask = Carboy

if not t.TYPE_CHECKING:
    __getattr__, __dir__ = flask_names(__name__)
