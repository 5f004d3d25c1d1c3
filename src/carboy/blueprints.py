"""Blueprints: parts of an app that are registered under a name and a URL prefix.

A blueprint stores the functions that register its views; `register` calls them for an app. Nested
blueprints are registered after their parent. Their names and URL prefixes are joined to the
parent's.
"""

from __future__ import annotations

import typing as t
from collections import defaultdict
from functools import update_wrapper

from . import typing as ft
from .contract.needs import may_need_contract
from .core.flasknames import flask_names
from .core.statics import StaticFiles
from .errors import SetupFinishedError
from .models.host import ModelDeclaring
from .scaffold import Scaffold, _endpoint_from_view_func, _sentinel, setupmethod

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import os

    from .access.accessdeclaration import AccessRule
    from .access.cors import Declared
    from .app import Carboy
    from .models.options import Options

DeferredSetupFunction = t.Callable[["BlueprintSetupState"], None]
T_after_request = t.TypeVar("T_after_request", bound=ft.AfterRequestCallable[t.Any])
T_before_request = t.TypeVar("T_before_request", bound=ft.BeforeRequestCallable)
T_error_handler = t.TypeVar("T_error_handler", bound=ft.ErrorHandlerCallable)
T_teardown = t.TypeVar("T_teardown", bound=ft.TeardownCallable)
T_template_context_processor = t.TypeVar(
    "T_template_context_processor", bound=ft.TemplateContextProcessorCallable
)
T_template_filter = t.TypeVar("T_template_filter", bound=ft.TemplateFilterCallable)
T_template_global = t.TypeVar("T_template_global", bound=ft.TemplateGlobalCallable)
T_template_test = t.TypeVar("T_template_test", bound=ft.TemplateTestCallable)
T_url_defaults = t.TypeVar("T_url_defaults", bound=ft.URLDefaultCallable)
T_url_value_preprocessor = t.TypeVar(
    "T_url_value_preprocessor", bound=ft.URLValuePreprocessorCallable
)


class BlueprintSetupState:
    """One registration of a blueprint on an app: the app, and the name and URL prefix to use.

    It is passed to the functions that were registered by `Blueprint.record`.

    Options passed to `register_blueprint` override those of the blueprint itself.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        app: Carboy,
        options: t.Any,
        first_registration: bool,
    ) -> None:
        self.app = app
        self.blueprint = blueprint
        self.options = options
        #: Whether this is the first registration of the blueprint on this app.
        self.first_registration = first_registration
        self.subdomain = self._option("subdomain", blueprint.subdomain)
        self.url_prefix = self._option("url_prefix", blueprint.url_prefix)
        self.name = options.get("name", blueprint.name)
        self.name_prefix = options.get("name_prefix", "")
        self.url_defaults = {
            **blueprint.url_values_defaults,
            **dict(options.get("url_defaults", ())),
        }

    def _option(self, name: str, own: str | None) -> str | None:
        given = self.options.get(name)
        return own if given is None else given

    def add_url_rule(
        self,
        rule: str,
        endpoint: str | None = None,
        view_func: ft.ViewCallable | None = None,
        **options: t.Any,
    ) -> None:
        """Add a URL rule to the app, with the prefix, name and defaults of this registration."""
        options.setdefault("subdomain", self.subdomain)
        if endpoint is None:
            endpoint = _endpoint_from_view_func(view_func)
        defaults = {**self.url_defaults, **(options.pop("defaults", None) or {})}
        self.app.add_url_rule(
            self._rule(rule), self._endpoint(endpoint), view_func, defaults=defaults, **options
        )

    def _add_model(self, rule: str, target: t.Any, *, name: str, **options: t.Any) -> None:
        # `url_defaults` are not passed, because they are values for variables of a rule, and a
        # model's rule has no variables.
        self.app._register_model(
            self._rule(rule),
            target,
            name=self._endpoint(name),
            subdomain=self.subdomain,
            **options,
        )

    def _rule(self, rule: str) -> str:
        return rule if self.url_prefix is None else _join_url(self.url_prefix, rule)

    def _endpoint(self, own_name: str) -> str:
        return _join_name(self.name_prefix, f"{self.name}.{own_name}")


def _join_url(prefix: str, rule: str) -> str:
    """Return a rule with a URL prefix before it; the prefix itself if the rule is empty."""
    return f"{prefix.rstrip('/')}/{rule.lstrip('/')}" if rule else prefix


def _join_name(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


class Blueprint(StaticFiles, ModelDeclaring, Scaffold):
    """A part of an app: views, hooks, templates and files that are registered together.

    Args:
        name: the prefix of its endpoints, without dots.
        import_name: the module of the blueprint, usually `__name__`.
        url_prefix: put before each rule of the blueprint.
        subdomain: the subdomain of rules that name none.
        url_defaults: values for variables, which apply to all rules of the blueprint.
        cli_group: the name of the command group; the default is the blueprint's name; None adds the
            commands to the app's own group.
        access: "key" if clients need an API key for the routes of the blueprint, "open" if they
            need none; by default as the app declares it. A route of the blueprint may declare
            another one.
        rate: how often a client may send requests to all routes of the blueprint together, such as
            "100/minute"; by default as the app declares it. A route of the blueprint may declare
            another one.
        cors: the sites whose pages may use the routes of the blueprint, such as
            "https://shop.example"; False for none; by default as the config key CORS_POLICY says.
        For the other arguments see `Scaffold`. Without a `url_prefix`, its static files share the
        app's URL, and the app's files take precedence.
    """

    _got_registered_once = False

    def __init__(
        self,
        name: str,
        import_name: str,
        static_folder: str | os.PathLike[str] | None = None,
        static_url_path: str | None = None,
        template_folder: str | os.PathLike[str] | None = None,
        url_prefix: str | None = None,
        subdomain: str | None = None,
        url_defaults: dict[str, t.Any] | None = None,
        root_path: str | None = None,
        cli_group: str | None = _sentinel,
        *,
        access: AccessRule | None = None,
        rate: str | cabc.Sequence[str] | None = None,
        cors: Declared = None,
    ) -> None:
        super().__init__(
            import_name=import_name,
            static_folder=static_folder,
            static_url_path=static_url_path,
            template_folder=template_folder,
            root_path=root_path,
        )
        if not name:
            raise ValueError("The 'name' of a blueprint may not be empty.")
        if "." in name:
            raise ValueError(
                f"The 'name' of a blueprint may not contain a dot '.' character, which separates"
                f" nested blueprints: {name!r}."
            )
        self.name = name
        self.url_prefix = url_prefix
        self.subdomain = subdomain
        self.deferred_functions: list[DeferredSetupFunction] = []
        self.url_values_defaults = {} if url_defaults is None else url_defaults
        self.cli_group = cli_group
        self._declared = {"access": access, "rate": rate, "cors": cors}
        self._blueprints: list[tuple[Blueprint, dict[str, t.Any]]] = []

    def _check_setup_finished(self, f_name: str) -> None:
        if self._got_registered_once:
            raise SetupFinishedError(
                f"The setup method '{f_name}' can no longer be called on the blueprint"
                f" '{self.name}': it has been registered on an app, which would not get the"
                " change. Call it where the blueprint is defined, before `register_blueprint`."
            )

    # -- functions that are called at registration -------------------------------------------

    @setupmethod
    def record(self, func: DeferredSetupFunction) -> None:
        """Register a function that is called with a `BlueprintSetupState` whenever the blueprint is
        registered on an app.
        """
        self.deferred_functions.append(func)

    @setupmethod
    def record_once(self, func: DeferredSetupFunction) -> None:
        """Register a function for `record` that is called only at the first registration on each
        app.
        """

        def once(state: BlueprintSetupState) -> None:
            if state.first_registration:
                func(state)

        self.record(update_wrapper(once, func))

    def make_setup_state(
        self, app: Carboy, options: dict[str, t.Any], first_registration: bool = False
    ) -> BlueprintSetupState:
        """Create the object that is passed to functions registered by `record`. Subclasses may
        override this method.
        """
        return BlueprintSetupState(self, app, options, first_registration)

    # -- registration ------------------------------------------------------------------------

    @setupmethod
    def register_blueprint(self, blueprint: Blueprint, **options: t.Any) -> None:
        """Nest another blueprint in this one. It is then registered on an app together with this
        one.
        """
        if blueprint is self:
            raise ValueError(f"Cannot register a blueprint on itself: {self.name!r}.")
        self._blueprints.append((blueprint, options))

    def register(self, app: Carboy, options: dict[str, t.Any]) -> None:
        """Add the blueprint's views, hooks, files and commands to an app.

        `Carboy.register_blueprint` calls this method.

        Raises:
            ValueError: a blueprint with this name is registered already; pass another name by
                `name=`.
        """
        name = _join_name(options.get("name_prefix", ""), options.get("name", self.name))
        if name in app.blueprints:
            self._refuse_name(app, name, options.get("name", self.name))
        app._declare_blueprint(name, self._declared, options)
        first_registration = all(known is not self for known in app.blueprints.values())
        app.blueprints[name] = self
        self._got_registered_once = True
        state = self.make_setup_state(app, options, first_registration)

        if self.has_static_folder:
            state.add_url_rule(
                f"{self.static_url_path}/<path:filename>",
                view_func=self.send_static_file,
                endpoint="static",
            )
        self._merge_blueprint_funcs(app, name)
        for deferred in self.deferred_functions:
            deferred(state)
        self._add_commands(app, name, options.get("cli_group", self.cli_group))
        for blueprint, own in self._blueprints:
            blueprint.register(app, self._nested_options(state, blueprint, own, name))

    def _refuse_name(self, app: Carboy, name: str, own_name: str) -> t.NoReturn:
        which = "this" if app.blueprints[name] is self else "a different"
        where = f" '{name}'" if own_name != name else ""
        raise ValueError(
            f"The name '{own_name}' is already registered for {which} blueprint{where}. Use"
            " 'name=' to provide a unique name."
        )

    def _add_commands(self, app: Carboy, name: str, group: str | None) -> None:
        # `__dict__` is examined first, because most blueprints have no commands, and reading the
        # attribute `cli` would create an empty group.
        if "cli" not in self.__dict__ or not self.cli.commands:
            return
        if group is None:
            app.cli.commands.update(self.cli.commands)
            return
        self.cli.name = name if group is _sentinel else group
        app.cli.add_command(self.cli)

    @staticmethod
    def _nested_options(
        state: BlueprintSetupState, blueprint: Blueprint, own: dict[str, t.Any], name: str
    ) -> dict[str, t.Any]:
        """Return the options for registering a nested blueprint, with prefix and subdomain joined
        to the parent's.
        """
        options = own.copy()
        subdomain = _first_not_none(own.get("subdomain"), blueprint.subdomain)
        if subdomain is not None and state.subdomain is not None:
            subdomain = f"{subdomain}.{state.subdomain}"
        if (subdomain := _first_not_none(subdomain, state.subdomain)) is not None:
            options["subdomain"] = subdomain
        prefix = _first_not_none(own.get("url_prefix"), blueprint.url_prefix)
        if prefix is not None and state.url_prefix is not None:
            prefix = f"{state.url_prefix.rstrip('/')}/{prefix.lstrip('/')}"
        if (prefix := _first_not_none(prefix, state.url_prefix)) is not None:
            options["url_prefix"] = prefix
        options["name_prefix"] = name
        return options

    def _merge_blueprint_funcs(self, app: Carboy, name: str) -> None:
        """Copy the blueprint's hooks and error handlers to the app, under the name of this
        registration.
        """
        for key, by_code in self.error_handler_spec.items():
            app.error_handler_spec[_scope(name, key)] = defaultdict(
                dict, {code: dict(by_class) for code, by_class in by_code.items()}
            )
        app.view_functions.update(
            {endpoint: app._bind(endpoint, view) for endpoint, view in self.view_functions.items()}
        )
        registries: tuple[tuple[dict[t.Any, list[t.Any]], dict[t.Any, list[t.Any]]], ...] = (
            (self.before_request_funcs, app.before_request_funcs),
            (self.after_request_funcs, app.after_request_funcs),
            (self.teardown_request_funcs, app.teardown_request_funcs),
            (self.url_default_functions, app.url_default_functions),
            (self.url_value_preprocessors, app.url_value_preprocessors),
            (self.template_context_processors, app.template_context_processors),
        )
        for ours, theirs in registries:
            for key, functions in ours.items():
                theirs[_scope(name, key)].extend(functions)

    @setupmethod
    def add_url_rule(
        self,
        rule: str,
        endpoint: str | None = None,
        view_func: ft.ViewCallable | None = None,
        provide_automatic_options: bool | None = None,
        **options: t.Any,
    ) -> None:
        """Add a URL rule whenever the blueprint is registered; see `Scaffold.route`."""
        if endpoint and "." in endpoint:
            raise ValueError(f"'endpoint' may not contain a dot '.' character: {endpoint!r}.")
        view_name = getattr(view_func, "__name__", "")
        if isinstance(view_name, str) and "." in view_name:
            raise ValueError(
                f"'view_func' name may not contain a dot '.' character: {view_name!r}."
            )
        if view_func is not None and may_need_contract(view_func):
            from .contract.hints import remember_locals

            remember_locals(view_func)
        self.record(
            lambda state: state.add_url_rule(
                rule,
                endpoint,
                view_func,
                provide_automatic_options=provide_automatic_options,
                **options,
            )
        )

    def _register_model(self, rule: str, target: t.Any, *, name: str, options: Options) -> None:
        """Declare a model of the blueprint.

        Each registration of the blueprint on an app creates a separate model, with its own name and
        queue.

        `name` is only the last part of the model's full name: a model `digits` of the blueprint
        `shop` is registered as `shop.digits`.
        """
        self._check_setup_finished("model")
        from .contract.hints import remember_locals

        remember_locals(getattr(target, "predict", target))
        self.record(lambda state: state._add_model(rule, target, name=name, options=options))

    # -- hooks and filters for the whole app -------------------------------------------------

    @setupmethod
    def app_template_filter(
        self, name: str | None = None
    ) -> t.Callable[[T_template_filter], T_template_filter]:
        """Register a template filter for the whole app; see `Carboy.template_filter`."""

        def decorator(f: T_template_filter) -> T_template_filter:
            self.add_app_template_filter(f, name=name)
            return f

        return decorator

    @setupmethod
    def add_app_template_filter(
        self, f: ft.TemplateFilterCallable, name: str | None = None
    ) -> None:
        """Register a template filter for the whole app by a call and not as a decorator."""
        self.record_once(lambda state: state.app.add_template_filter(f, name))

    @setupmethod
    def app_template_test(
        self, name: str | None = None
    ) -> t.Callable[[T_template_test], T_template_test]:
        """Register a template test for the whole app; see `Carboy.template_test`."""

        def decorator(f: T_template_test) -> T_template_test:
            self.add_app_template_test(f, name=name)
            return f

        return decorator

    @setupmethod
    def add_app_template_test(self, f: ft.TemplateTestCallable, name: str | None = None) -> None:
        """Register a template test for the whole app by a call and not as a decorator."""
        self.record_once(lambda state: state.app.add_template_test(f, name))

    @setupmethod
    def app_template_global(
        self, name: str | None = None
    ) -> t.Callable[[T_template_global], T_template_global]:
        """Register a template global for the whole app; see `Carboy.template_global`."""

        def decorator(f: T_template_global) -> T_template_global:
            self.add_app_template_global(f, name=name)
            return f

        return decorator

    @setupmethod
    def add_app_template_global(
        self, f: ft.TemplateGlobalCallable, name: str | None = None
    ) -> None:
        """Register a template global for the whole app by a call and not as a decorator."""
        self.record_once(lambda state: state.app.add_template_global(f, name))

    @setupmethod
    def before_app_request(self, f: T_before_request) -> T_before_request:
        """Register a `before_request` function for the whole app."""
        self.record_once(lambda s: s.app.before_request_funcs.setdefault(None, []).append(f))
        return f

    @setupmethod
    def after_app_request(self, f: T_after_request) -> T_after_request:
        """Register an `after_request` function for the whole app."""
        self.record_once(lambda s: s.app.after_request_funcs.setdefault(None, []).append(f))
        return f

    @setupmethod
    def teardown_app_request(self, f: T_teardown) -> T_teardown:
        """Register a `teardown_request` function for the whole app."""
        self.record_once(lambda s: s.app.teardown_request_funcs.setdefault(None, []).append(f))
        return f

    @setupmethod
    def app_context_processor(
        self, f: T_template_context_processor
    ) -> T_template_context_processor:
        """Register a `context_processor` for the whole app."""
        self.record_once(lambda s: s.app.template_context_processors.setdefault(None, []).append(f))
        return f

    @setupmethod
    def app_errorhandler(
        self, code: type[Exception] | int
    ) -> t.Callable[[T_error_handler], T_error_handler]:
        """Register an `errorhandler` for the whole app."""

        def decorator(f: T_error_handler) -> T_error_handler:
            self.record_once(lambda state: state.app.register_error_handler(code, f))
            return f

        return decorator

    @setupmethod
    def app_url_value_preprocessor(self, f: T_url_value_preprocessor) -> T_url_value_preprocessor:
        """Register a `url_value_preprocessor` for the whole app."""
        self.record_once(lambda s: s.app.url_value_preprocessors.setdefault(None, []).append(f))
        return f

    @setupmethod
    def app_url_defaults(self, f: T_url_defaults) -> T_url_defaults:
        """Register a `url_defaults` function for the whole app."""
        self.record_once(lambda s: s.app.url_default_functions.setdefault(None, []).append(f))
        return f


def _first_not_none(*values: str | None) -> str | None:
    """Return the first value that is not None."""
    return next((value for value in values if value is not None), None)


def _scope(name: str, key: str | None) -> str:
    return name if key is None else f"{name}.{key}"


if not t.TYPE_CHECKING:
    __getattr__, __dir__ = flask_names(__name__)
