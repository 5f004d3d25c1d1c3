"""Names that exist in Flask's modules only because Flask imports them there, such as
`flask.cli.click`.

`from flask.cli import click` works with Flask, and extensions in wide use contain such imports.
carboy's modules do not import all of these names. When a program asks a module of carboy for a name
that the module lacks, the module's `__getattr__` looks the name up in this table.
tests/conformance/test_module_names.py compares the names of all modules with Flask's.
"""

from __future__ import annotations

import sys
import typing as t
from importlib import import_module

# Where to import each name from: `module:attribute`, or only a module if the name stands for one.
_HOMES = {
    "Aborter": "werkzeug.exceptions:Aborter",
    "App": "carboy.app:Carboy",
    "AppContext": "carboy.ctx:AppContext",
    "AppGroup": "carboy.cli:AppGroup",
    "BadRequest": "werkzeug.exceptions:BadRequest",
    "BadRequestKeyError": "werkzeug.exceptions:BadRequestKeyError",
    "BaseLoader": "jinja2.loaders:BaseLoader",
    "BaseResponse": "werkzeug.wrappers.response:Response",
    "Blueprint": "carboy.blueprints:Blueprint",
    "BuildError": "werkzeug.routing.exceptions:BuildError",
    "Config": "carboy.config:Config",
    "ConfigAttribute": "carboy.config:ConfigAttribute",
    "DefaultJSONProvider": "carboy.json.provider:DefaultJSONProvider",
    "DispatchingJinjaLoader": "carboy.templating:DispatchingJinjaLoader",
    "Environment": "carboy.templating:Environment",
    "F": "carboy.scaffold:F",
    "FileSystemLoader": "jinja2.loaders:FileSystemLoader",
    "HTTPException": "werkzeug.exceptions:HTTPException",
    "Headers": "werkzeug.datastructures.headers:Headers",
    "ImmutableDict": "werkzeug.datastructures.structures:ImmutableDict",
    "InternalServerError": "werkzeug.exceptions:InternalServerError",
    "JSONProvider": "carboy.json.provider:JSONProvider",
    "Map": "werkzeug.routing.map:Map",
    "MapAdapter": "werkzeug.routing.map:MapAdapter",
    "ModuleType": "types:ModuleType",
    "MutableMapping": "collections.abc:MutableMapping",
    "ParameterSource": "click.core:ParameterSource",
    "Request": "carboy.wrappers:Request",
    "RequestContext": "carboy.ctx:RequestContext",
    "RequestRedirect": "werkzeug.routing.exceptions:RequestRedirect",
    "Response": "carboy.wrappers:Response",
    "RoutingException": "werkzeug.routing.exceptions:RoutingException",
    "Rule": "werkzeug.routing.rules:Rule",
    "SansioBlueprint": "carboy.blueprints:Blueprint",
    "Scaffold": "carboy.sansio.scaffold:Scaffold",
    "ScriptInfo": "carboy.cli:ScriptInfo",
    "SessionMixin": "carboy.sessions:SessionMixin",
    "T_after_request": "carboy.scaffold:T_after_request",
    "T_before_request": "carboy.scaffold:T_before_request",
    "T_error_handler": "carboy.scaffold:T_error_handler",
    "T_route": "carboy.scaffold:T_route",
    "T_shell_context_processor": "carboy.app:T_shell_context_processor",
    "T_teardown": "carboy.app:T_teardown",
    "T_template_context_processor": "carboy.scaffold:T_template_context_processor",
    "T_template_filter": "carboy.app:T_template_filter",
    "T_template_global": "carboy.app:T_template_global",
    "T_template_test": "carboy.app:T_template_test",
    "T_url_defaults": "carboy.scaffold:T_url_defaults",
    "T_url_value_preprocessor": "carboy.scaffold:T_url_value_preprocessor",
    "TracebackType": "types:TracebackType",
    "_AppCtxGlobals": "carboy.ctx:_AppCtxGlobals",
    "_cv_app": "carboy.globals:_cv_app",
    "_cv_request": "carboy.globals:_cv_request",
    "_default_template_ctx_processor": "carboy.templating:_default_template_ctx_processor",
    "_endpoint_from_view_func": "carboy.sansio.scaffold:_endpoint_from_view_func",
    "_make_timedelta": "carboy.app:_make_timedelta",
    "_sentinel": "carboy.scaffold:_sentinel",
    "_split_blueprint_path": "carboy.helpers:_split_blueprint_path",
    "_url_quote": "urllib.parse:quote",
    "_wz_redirect": "werkzeug.utils:redirect",
    "annotations": "__future__:annotations",
    "appcontext_tearing_down": "carboy.signals:appcontext_tearing_down",
    "c": "collections.abc",
    "cabc": "collections.abc",
    "cached_property": "werkzeug.utils:cached_property",
    "chain": "itertools:chain",
    "cli": "carboy.cli",
    "create_logger": "carboy.logging:create_logger",
    "current_app": "carboy.globals:current_app",
    "datetime": "datetime:datetime",
    "default_exceptions": "werkzeug.exceptions:default_exceptions",
    "defaultdict": "collections:defaultdict",
    "find_package": "carboy.sansio.scaffold:find_package",
    "ft": "carboy.typing",
    "get_debug_flag": "carboy.helpers:get_debug_flag",
    "get_host": "werkzeug.wsgi:get_host",
    "get_load_dotenv": "carboy.helpers:get_load_dotenv",
    "get_root_path": "carboy.helpers:get_root_path",
    "got_request_exception": "carboy.signals:got_request_exception",
    "import_string": "werkzeug.utils:import_string",
    "is_running_from_reloader": "werkzeug.serving:is_running_from_reloader",
    "iscoroutinefunction": "inspect:iscoroutinefunction",
    "itemgetter": "operator:itemgetter",
    "request": "carboy.globals:request",
    "request_ctx": "carboy.globals:request_ctx",
    "request_finished": "carboy.signals:request_finished",
    "request_started": "carboy.signals:request_started",
    "request_tearing_down": "carboy.signals:request_tearing_down",
    "run_simple": "werkzeug.serving:run_simple",
    "send_from_directory": "carboy.helpers:send_from_directory",
    "setupmethod": "carboy.sansio.scaffold:setupmethod",
    "t": "typing",
    "timedelta": "datetime:timedelta",
    "timezone": "datetime:timezone",
    "update_wrapper": "functools:update_wrapper",
}

# The names that each module of Flask has and carboy's replacement lacks. A name that is not in
# `_HOMES` is the name of a module of the standard library or of another package, such as `click`.
_NAMES = {
    "carboy.app": (
        "App AppContext BadRequestKeyError BaseResponse BuildError HTTPException Headers "
        "ImmutableDict InternalServerError MapAdapter Request RequestContext RequestRedirect "
        "Response RoutingException TracebackType _cv_app _cv_request _sentinel _url_quote "
        "appcontext_tearing_down cabc chain cli click current_app get_host got_request_exception "
        "is_running_from_reloader iscoroutinefunction request_ctx request_finished "
        "request_started request_tearing_down send_from_directory sys"
    ),
    "carboy.blueprints": ("AppGroup SansioBlueprint current_app os send_from_directory timedelta"),
    "carboy.cli": (
        "F ModuleType ParameterSource ast cabc click current_app get_debug_flag get_load_dotenv "
        "import_string importlib inspect is_running_from_reloader itemgetter os platform re "
        "run_simple sys traceback update_wrapper"
    ),
    "carboy.ctx": ("TracebackType _cv_app _cv_request contextvars ft"),
    "carboy.debughelpers": ("App BaseLoader Blueprint request_ctx"),
    "carboy.helpers": ("BaseResponse datetime importlib"),
    "carboy.json": ("current_app"),
    "carboy.json.provider": ("dataclasses decimal uuid"),
    "carboy.logging": ("request"),
    "carboy.sansio.app": (
        "Aborter BadRequest BadRequestKeyError BuildError Config ConfigAttribute "
        "DefaultJSONProvider DispatchingJinjaLoader Environment JSONProvider Map Response Rule "
        "Scaffold T_shell_context_processor T_teardown T_template_filter T_template_global "
        "T_template_test _AppCtxGlobals _endpoint_from_view_func _make_timedelta "
        "_split_blueprint_path _wz_redirect annotations cached_property chain create_logger "
        "find_package ft get_debug_flag logging os setupmethod sys t timedelta"
    ),
    "carboy.sansio.blueprints": (
        "Scaffold T_after_request T_before_request T_error_handler T_teardown "
        "T_template_context_processor T_template_filter T_template_global T_template_test "
        "T_url_defaults T_url_value_preprocessor _endpoint_from_view_func _sentinel annotations "
        "defaultdict ft os setupmethod t update_wrapper"
    ),
    "carboy.sansio.scaffold": (
        "BaseLoader F FileSystemLoader HTTPException T_after_request T_before_request "
        "T_error_handler T_route T_teardown T_template_context_processor T_url_defaults "
        "T_url_value_preprocessor _default_template_ctx_processor annotations cached_property "
        "default_exceptions defaultdict ft get_root_path importlib os pathlib sys t "
        "update_wrapper"
    ),
    "carboy.sessions": ("MutableMapping c timezone"),
    "carboy.templating": ("_cv_app _cv_request current_app request"),
    "carboy.testing": ("ScriptInfo SessionMixin TracebackType importlib"),
    "carboy.views": ("ft"),
}


def flask_names(module: str) -> tuple[t.Callable[[str], t.Any], t.Callable[[], list[str]]]:
    """Return the functions `__getattr__` and `__dir__` of a module that replaces a module of
    Flask.
    """
    names = frozenset(_NAMES[module].split())

    def __getattr__(name: str) -> t.Any:  # noqa: N807
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}", name=name)
        home, _, attribute = _HOMES.get(name, name).partition(":")
        found = import_module(home)
        return getattr(found, attribute) if attribute else found

    def __dir__() -> list[str]:  # noqa: N807
        return sorted(names.union(vars(import_module(module))))

    return __getattr__, __dir__


def is_flask_installed_as_us() -> bool:
    """Return whether `import flask` gives carboy's modules in this process."""
    return sys.modules.get("flask") is sys.modules.get("carboy") is not None
