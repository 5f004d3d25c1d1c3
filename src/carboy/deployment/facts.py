"""What an app says about itself, for the files of its deployment."""

from __future__ import annotations

import contextlib
import glob
import inspect
import math
import os
import re
import sys
import typing as t
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from ipaddress import ip_address, ip_network

from werkzeug.exceptions import HTTPException

from ..cli.discovery import (
    APP_NAMES,
    FACTORY_NAMES,
    WSGI_FILE,
    has_project,
    prepare_import,
    split_import_path,
)
from ..compat import ENV_VAR
from ..core.bytesizes import NO_LIMIT_BYTES
from ..core.statics import StaticFiles
from ..core.trustedhosts import ipv6_address, trusted_names
from ..errors import DeploymentError
from ..project.layers import full_name
from ..serving.wsgi.proxyfix import find_proxy_fix
from .configvalues import config_value
from .projectfiles import files_below
from .specialroutes import MARGIN_S, USUAL_WAIT_S, SpecialRoute, special_routes

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..app import Carboy
    from ..models.model import Model
    from ..serving.http.address import Address
    from ..serving.settings import Settings

# The files that may say which packages a project needs, the most exact ones first.
_REQUIREMENTS = ("requirements.lock", "requirements.txt", "pyproject.toml")


# How many seconds the server may need to end its processes after `--drain` and `--grace`.
_STOP_MARGIN_S = 5


class StaticFolder(t.NamedTuple):
    """A folder whose files the app serves: a static folder of the app or of a blueprint."""

    url: str  # the path that the URLs of the files begin with, such as /static/
    folder: str  # an absolute path


class ImportedApp(t.NamedTuple):
    """The module and the expression by which another program imports the app."""

    folder: str  # the folder that must be on `sys.path`, an absolute path
    module: str
    expression: str  # "app", or "create_app()"; evaluated in the module
    is_installed: bool = False  # whether the module is an installed one, and no file of the project

    @property
    def target(self) -> str:
        """The app in the notation of gunicorn and others: "module:expression"."""
        return f"{self.module}:{self.expression}"

    @property
    def name_in_python(self) -> str:
        """The module, as a statement in Python imports it.

        Raises:
            DeploymentError: no statement can, because the name is no identifier.
        """
        if not all(part.isidentifier() for part in self.module.split(".")):
            raise DeploymentError(
                f"A Python file cannot import a module of the name {self.module!r}. Rename it, so"
                " that the name has letters, digits and underscores only."
            )
        return self.module


class TrustedHeaders(t.NamedTuple):
    """The headers of proxies that the app believes, by `--proxy` or by ProxyFix."""

    names: frozenset[str]  # some of for, proto, host, port, prefix, forwarded
    is_only_proxy: bool  # whether the web server next to the app is the only proxy


@dataclass(frozen=True)
class Facts:
    """An app and its project. Properties that need the value of a config key raise ConfigError if
    it is of a wrong type.

    Attributes:
        app: the loaded app.
        target: the app as the user has named it, such as "shop.py" or "shop:app", relative to
            `root`; None if the user has named none.
        root: the project's folder, an absolute path: the current folder of the command.
        settings: the settings of `carboy serve`, by the environment and by defaults.
        found_file: where the app was found if the user has named none: "app.py" or "wsgi.py", which
            may stand for a package of this name.
    """

    app: Carboy
    target: str | None
    root: str
    settings: Settings
    found_file: str | None = None

    @cached_property
    def name(self) -> str:
        """A name for services, images and hosts, made from the name of the project's folder: a DNS
        label (RFC 1123), 1 to 63 lower-case letters, digits and hyphens.
        """
        words = re.sub(r"[^a-z0-9]+", "-", os.path.basename(self.root).lower()).strip("-")
        return words[:63].strip("-") or "app"

    @cached_property
    def imported(self) -> ImportedApp:
        path, expression = split_import_path(self._named_or_found)
        if path.endswith(WSGI_FILE):
            raise DeploymentError(
                f"{path} is not a module, but other programs import the app from one. Name the"
                " module from which this file imports the app: MODULE:APP."
            )
        module = prepare_import(path)
        expression = expression or self._expression(module)
        if inspect.isfunction(getattr(sys.modules.get(module), expression, None)):
            expression += "()"  # a factory may be named without a call
        folder = _folder_of_package(module)
        # What is installed is found without a folder on `sys.path`.
        is_installed = "site-packages" in folder.split(os.sep)
        return ImportedApp(self.root if is_installed else folder, module, expression, is_installed)

    @property
    def _named_or_found(self) -> str:
        named = self.target or self.found_file
        if not named:
            raise DeploymentError(
                "This command creates its own app, which other programs cannot import. Run 'carboy'"
                " with the name of the app: MODULE:APP."
            )
        return named

    def _expression(self, module_name: str) -> str:
        """Return the expression that stands for the app in its module, which `find_best_app` has
        found there.
        """
        module = sys.modules[module_name]
        # A name may exist by `__getattr__` of the module alone.
        names = [name for name in (*APP_NAMES, *vars(module)) if _has(module, name, self.app)]
        if names:
            return names[0]
        return next(f"{name}()" for name in FACTORY_NAMES if hasattr(module, name))

    @cached_property
    def serve_command(self) -> list[str]:
        """The command that serves the app in production, in the project's folder."""
        return self._command("serve")

    @property
    def models_command(self) -> list[str]:
        """The command by which models with replicas are served beside other web servers' processes,
        in the project's folder.
        """
        return self._command("models", "serve")

    def _command(self, *words: str) -> list[str]:
        as_flask = ["--as-flask"] if self.is_as_flask else []
        return ["carboy", *as_flask, *words, self._relative_target]

    @property
    def is_as_flask(self) -> bool:
        """Whether carboy takes the place of Flask in the app, by `--as-flask`."""
        return bool(os.environ.get(ENV_VAR))

    @property
    def _relative_target(self) -> str:
        """The app as the argument of a command in the project's folder."""
        path, expression = split_import_path(self.target or self.imported.target)
        if not os.path.exists(path):  # the name of a module
            path = self._relative_module(path)
        elif os.path.isabs(path):
            path = os.path.relpath(path, self.root)
        return f"{path}:{expression}" if expression else path

    def _relative_module(self, name: str) -> str:
        """Return the name of a module; or its path, if it is in another folder of the project that
        an editable install has put on `sys.path`, such as src: elsewhere nobody does so.
        """
        folder = os.path.relpath(self.imported.folder, self.root)
        is_elsewhere = folder.split(os.sep)[0] in {os.curdir, os.pardir}
        return name if is_elsewhere else os.path.join(folder, *name.split("."))

    @property
    def python_version(self) -> str:
        """The version of this Python, such as "3.11"."""
        return "{}.{}".format(*sys.version_info)

    @cached_property
    def requirements(self) -> str | None:
        """The file of the project that says which packages it needs, relative to `root`."""
        files = (name for name in _REQUIREMENTS if os.path.isfile(os.path.join(self.root, name)))
        return next(files, None)

    @cached_property
    def files(self) -> list[str]:
        """The files of the project, relative to `root`, without those of tools, such as a virtual
        environment.
        """
        return files_below(self.root)

    @cached_property
    def imported_files(self) -> list[str]:
        """The project's files whose modules are imported, relative to `root`, with "/"."""
        modules = list(sys.modules.values())
        files = {getattr(module, "__file__", None) for module in modules}
        found = [each for each in self.files if os.path.join(self.root, each) in files]
        return [each.replace(os.sep, "/") for each in found]

    @cached_property
    def static_folders(self) -> list[StaticFolder]:
        """The existing static folders, except those of blueprints with a host or subdomain, those
        whose files need an API key or have a rate of their own, and those whose files, or some of
        them, the app sends by code of its own (such as only to certain users).
        """
        access = self.app.find_overrides().access
        owners = {"static": self.app, **{f"{n}.static": b for n, b in self.app.blueprints.items()}}
        found = [
            StaticFolder(rule.rule.removesuffix("<path:filename>"), owner.static_folder)
            for rule in self.app.url_map.iter_rules()
            if (owner := owners.get(rule.endpoint)) is not None
            if not rule.host and not rule.subdomain
            if access is None or access.guard_of(rule) is None
            if owner.static_folder and os.path.isdir(owner.static_folder)
            if type(owner).send_static_file is StaticFiles.send_static_file
            if _is_view_of_static_files(self.app.view_functions[rule.endpoint])
        ]
        return [each for each in found if not self._answers_in_place_of(each, owners)]

    def _answers_in_place_of(self, folder: StaticFolder, owners: cabc.Container[str]) -> bool:
        """Return whether a view of the app answers the URL of a file in a static folder: one that
        asks for a login, say, which a web server would not do.
        """
        rules = (rule for rule in self.app.url_map.iter_rules() if rule.endpoint not in owners)
        if not any(rule.rule.partition("<")[0].startswith(folder.url) for rule in rules):
            return False
        routes = self.app.url_map.bind("localhost")
        for file in _files_in(folder.folder):
            with contextlib.suppress(HTTPException):
                if routes.match(folder.url + file)[0] not in owners:
                    return True
        return False

    @property
    def written_folders(self) -> list[str]:
        """The folders, as absolute paths, in which the app is known to write: those of `LOG_FILE`
        and `UPLOAD_FOLDER`, and the instance folder, if it exists.
        """
        found = [
            self.log_folder,
            *self._upload_folders,
            self.app.instance_path if os.path.isdir(self.app.instance_path) else "",
        ]
        return sorted(set(filter(None, found)))

    @property
    def _upload_folders(self) -> list[str]:
        """The folder of `UPLOAD_FOLDER`. For `carboy.uploads`, a relative one is below the app's
        `root_path`; for an app that opens the files itself, below the current folder. Both are
        returned, unless only the first exists, or it holds code.
        """
        uploads = config_value(self.app, "UPLOAD_FOLDER")
        if not uploads:
            return []
        of_carboy = os.path.join(self.app.root_path, uploads)
        of_app = os.path.join(self.root, uploads)
        is_app = os.path.abspath(of_carboy) in self.code_folders  # which the files refuse
        if _holds_code(of_carboy) and not is_app:
            return [of_app]
        is_only = os.path.isdir(of_carboy) and not os.path.isdir(of_app)
        return [of_carboy] if is_only else [of_carboy, of_app]

    @property
    def code_folders(self) -> tuple[str, ...]:
        """The folders of the project and of the app's package, in which the app must not write."""
        return self.root, self.app.root_path

    @property
    def log_folder(self) -> str | None:
        """The folder of `LOG_FILE`, an absolute path; None if the log goes to no file."""
        from ..observability.logoptions import read_options

        log = read_options(self.app)
        return os.path.dirname(log.file) if log is not None and log.file else None

    @property
    def calls_from_project(self) -> bool:
        """Whether the app calls `from_project()`, which reads `.env` and environment variables."""
        return has_project(self.app)

    @property
    def environment(self) -> str | None:
        """The environment whose configuration the app has, such as "production"; None if it does
        not call `from_project()`.
        """
        project = self.app.config.project
        return full_name(project.environment) if project else None

    @property
    def log_can_go_to_stdout(self) -> bool:
        """Whether the log goes to a file, and CARBOY_LOG_FILE can let it go to stdout instead."""
        return self.log_folder is not None and self.calls_from_project

    @property
    def models(self) -> list[Model]:
        # Reading `app.models` imports the package `models`, which an app without models does not
        # need.
        return list(self.app.models.values()) if vars(self.app).get("models") else []

    @property
    def has_models(self) -> bool:
        return bool(self.models)

    @property
    def has_replicas(self) -> bool:
        """Whether a model computes in processes of its own."""
        return any(model.options.replicas for model in self.models)

    @property
    def model_endpoints(self) -> dict[str, Model]:
        """The names of the endpoints that answer predictions, each with its model."""
        return {each.name: model for model in self.models for each in model.endpoints.values()}

    @property
    def accelerators(self) -> list[str]:
        """The devices, other than the CPU, that models have declared, such as "cuda:0"."""
        declared_by_models = {each for model in self.models for each in model.options.devices}
        return sorted(each for each in declared_by_models if not each.startswith("cpu"))

    @property
    def static_max_age_s(self) -> int | None:
        """For how many seconds browsers may cache static files; None if they must ask each time."""
        value = config_value(self.app, "SEND_FILE_MAX_AGE_DEFAULT")
        seconds = value.total_seconds() if isinstance(value, timedelta) else value
        return None if seconds is None else int(seconds)

    @property
    def body_limit(self) -> int | None:
        """The largest body, in bytes, that the app takes in any request; None if there is no limit:
        the limit of the server, or of the app's MAX_CONTENT_LENGTH and its models, whichever is
        smaller.
        """
        of_views = config_value(self.app, "MAX_CONTENT_LENGTH")
        of_models = (
            endpoint.max_body_bytes()
            for model in self.models
            for endpoint in model.endpoints.values()
        )
        of_app = max(limit or NO_LIMIT_BYTES for limit in (of_views, *of_models))
        limit = min(of_app, self.settings.max_body_bytes or NO_LIMIT_BYTES)
        return None if limit == NO_LIMIT_BYTES else limit

    @property
    def wait_s(self) -> float:
        """How many seconds a web server waits for the response of an ordinary view."""
        limit_s = self.settings.view_timeout_s
        return max(USUAL_WAIT_S, limit_s + MARGIN_S) if limit_s else USUAL_WAIT_S

    def special_routes(self, wait_s: float) -> list[SpecialRoute]:
        """Return the routes for which it does not suffice that a web server waits for `wait_s`
        seconds, and sends responses that it has buffered.
        """
        return special_routes(self, wait_s)

    def longest_wait_s(self, wait_s: float) -> float:
        """Return how many seconds a server waits for the app if it has one time limit for all
        routes, of which the ordinary ones need `wait_s` seconds.
        """
        return max([wait_s, *(route.wait_s for route in self.special_routes(wait_s))])

    @property
    def stop_s(self) -> int:
        """How many seconds after SIGTERM the server may still run, before systemd or Docker sends
        SIGKILL. The server itself kills its workers before that, and logs which ones.
        """
        return math.ceil(self.settings.drain_s + self.settings.grace_s) + _STOP_MARGIN_S

    @property
    def hosts(self) -> list[str]:
        """The names in TRUSTED_HOSTS, without ports; IPv6 addresses in brackets. One that begins
        with a dot stands for the name after the dot, and for all names below it.
        """
        trusted = trusted_names(config_value(self.app, "TRUSTED_HOSTS"))
        return list(dict.fromkeys(map(_without_port, trusted)))

    @property
    def address(self) -> Address:
        """The address at which a web server on the same machine reaches the app: a Unix socket, if
        the server has one.
        """
        addresses = self.settings.addresses
        chosen = next((each for each in addresses if each.path), addresses[0])
        return chosen._replace(host=_LOCAL.get(chosen.host, chosen.host))

    @cached_property
    def trusted_headers(self) -> TrustedHeaders:
        """The headers of proxies that the app believes behind the web server. An app that believes
        none now counts as one served with `--proxy 1`, because its command is going to have that
        option.
        """
        fix = find_proxy_fix(self.app)
        if fix is not None:
            counts = {name: getattr(fix, f"x_{name}", 0) for name in _PROXY_FIX}
            names = frozenset(name for name, count in counts.items() if count)
            return TrustedHeaders(names, max(counts.values()) <= 1)
        names = frozenset(self.settings.proxy_headers.split(","))
        return TrustedHeaders(names, self.settings.proxy in {"0", "1"})

    def trusts_connections_from(self, host: str) -> bool:
        """Return whether the server is going to believe a proxy that connects to it by this
        address. True for an address of another machine, because nobody knows here from which
        address a proxy connects to it.
        """
        if self.settings.proxy.isdecimal() or host not in _LOCAL.values():
            return True
        networks = map(ip_network, self.settings.proxy.split(","))
        return any(ip_address(host) in network for network in networks)

    @property
    def trusts_proxies(self) -> bool:
        """Whether the app, or the server by its settings, reads the headers of proxies."""
        return self.settings.proxy != "0" or self.has_proxy_fix

    @property
    def has_proxy_fix(self) -> bool:
        """Whether the app reads the headers of proxies itself, by werkzeug's ProxyFix."""
        return find_proxy_fix(self.app) is not None


def _has(module: object, name: str, app: Carboy) -> bool:
    return getattr(module, name, None) is app


def _without_port(host: str) -> str:
    address = ipv6_address(host)
    return re.sub(r":\d+$", "", host) if address is None else f"[{address}]"


def _folder_of_package(module_name: str) -> str:
    """Return the folder from which a module, or the outermost package around it, was imported."""
    outermost = sys.modules.get(module_name.partition(".")[0])
    # A package without a file __init__.py has a folder only.
    folders = getattr(outermost, "__path__", None) or [getattr(outermost, "__file__", None)]
    file = next(iter(folders))
    return os.path.dirname(os.path.realpath(file)) if file else sys.path[0]


# Address that stands for all addresses -> address by which the same machine connects to them.
_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not listened on
_PROXY_FIX = ("for", "proto", "host", "port", "prefix")


def _holds_code(folder: str) -> bool:
    """Return whether a folder is one of Python files, such as a package."""
    return bool(glob.glob("*.py", root_dir=folder))  # [] if the folder cannot be read


def _is_view_of_static_files(view: object) -> bool:
    """Return whether a view is the one that carboy adds for a static folder."""
    return getattr(view, "__module__", "").startswith("carboy.")


def _files_in(folder: str) -> cabc.Iterator[str]:
    """Yield the paths of all files below a folder, relative to it, with "/"."""
    for path, _, names in os.walk(folder):
        for name in names:
            yield os.path.relpath(os.path.join(path, name), folder).replace(os.sep, "/")
