"""The interface between application classes and access: `Carboy` derives from `AccessHost`.

Importing this module is cheap: an app that declares nothing about access, and has no models, never
loads the rest of this package.
"""

from __future__ import annotations

import collections
import itertools
import os
import typing as t

from carboy.core.changetracking import note_change
from carboy.errors import ConfigError

from .notices import logger

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from werkzeug.routing import Rule

    from carboy.core.routing import Map as RoutingMap

    from .accessdeclaration import AccessDeclaration
    from .browserrules import BrowserRules
    from .keystore import KeyStore
    from .routedeclarations import RouteDeclarations
    from .table import AccessTable

# The numbers of the apps of each name, in the order in which the process has made them. They are
# the same in all workers of a server, which run the same code. Rates count by them, so that tests
# that make an app each do not count together.
_numbers: dict[str, itertools.count[int]] = collections.defaultdict(lambda: itertools.count(1))
T_identify_user = t.TypeVar("T_identify_user", bound="cabc.Callable[[], object]")

#: The options by which routes, blueprints and models declare something about access.
OPTIONS: t.Final[tuple[str, ...]] = ("access", "rate", "cors")
KEYS: t.Final = "ACCESS_KEYS"
KEYS_FILE: t.Final = "ACCESS_KEYS_FILE"
DEFAULT: t.Final = "ACCESS_DEFAULT"
PROBES: t.Final = "ACCESS_PROBES"
RATE: t.Final = "ACCESS_RATE"
#: The name of the file in the instance folder that has the keys if the configuration names none.
FILE_NAME: t.Final = "access-keys.json"


class AccessHost:
    """The methods of an app by which it knows who may use its routes."""

    if t.TYPE_CHECKING:
        config: t.Any
        import_name: str
        name: str
        instance_path: str
        root_path: str
        url_map: RoutingMap
        url_rule_class: type[Rule]
        view_functions: dict[str, t.Any]

        def ensure_sync(self, func: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]: ...

        def _check_setup_finished(self, f_name: str) -> None: ...

    # Whether a route or blueprint of the app has declared who may use it and how often, and which
    # sites may.
    _declares_access = _declares_cors = False
    _key_store: tuple[t.Any, KeyStore] | None = None
    # The function that names the user of the current request.
    _identify_user: cabc.Callable[[], object] | None = None

    def __init__(self, *args: t.Any, **options: t.Any) -> None:
        super().__init__(*args, **options)
        self._number = next(_numbers[self.import_name])
        # What blueprints have declared, by the names of their registrations.
        self._blueprint_declarations: dict[str, AccessDeclaration] = {}

    def _take_declaration(
        self, options: dict[str, t.Any], owner: str, *, of_view: bool = False
    ) -> AccessDeclaration | None:
        """Remove what `options` declare about access, and return it; None if that is nothing.

        Args:
            owner: what has the options, for error messages.
            of_view: whether the options are those of a route to a view.

        Raises:
            ValueError: a value is not one that the option can have.
        """
        names = [name for name in OPTIONS if name in options]
        if not names:
            return None
        from .accessdeclaration import AccessDeclaration

        if not isinstance(options.get("access"), AccessDeclaration):
            theirs = _parameters_of(self.url_rule_class) if of_view else ()
            names = [name for name in names if name not in theirs]
        given = {name: options.pop(name) for name in names}
        if all(value is None for value in given.values()):
            return None
        if of_view and options.get("redirect_to") is not None:
            raise ValueError(
                f"{owner} redirects by redirect_to=, before anything is checked, so that"
                f" {_named(given)} would have no effect. Declare it where the redirect leads, or"
                " write a view that redirects."
            )
        declaration = AccessDeclaration.read(given, owner, of_view=of_view)
        self._declares_access |= declaration.access is not None or declaration.rates is not None
        self._declares_cors |= declaration.cors is not None
        note_change()
        return declaration

    def _declare_blueprint(
        self, name: str, declared: dict[str, t.Any], options: dict[str, t.Any]
    ) -> None:
        """Record what a blueprint, or its registration, declares about access.

        Args:
            declared: the options of the blueprint.
            options: those of its registration, which take precedence.
        """
        given = {option: options.get(option) for option in OPTIONS}
        given.update((option, declared[option]) for option in OPTIONS if given[option] is None)
        if declaration := self._take_declaration(given, f"The blueprint {name!r}"):
            self._blueprint_declarations[name] = declaration

    def _find_access(self) -> AccessTable | None:
        """Return the guards of the app's routes; None if all requests may pass.

        Raises:
            ConfigError: the configuration of access is not valid.
        """
        if not self._is_access_wanted():
            return None
        from .table import AccessTable

        table = AccessTable(
            self.key_store(),
            self.url_map,
            self._route_declarations(
                of_app=self._declared_by_keys(DEFAULT, RATE),
                of_probes=self._declared_by_keys(PROBES),
            ),
            scope=f"{self.name} {self._number}",
            identify_user=self._user_finder(),
        )
        if not self.__dict__.get("models") and (place := table.place_that_counts_by("model")):
            # No error: models may be declared later, and services may share their configuration.
            logger.warning(
                "%s has a rate by model, which has no effect, because the app has no models. To"
                " count all requests to a route, whoever sends them, write 'by route'",
                place,
            )
        if self._identify_user is None and (place := table.place_that_counts_by("user")):
            raise ConfigError(
                f"{place} has a rate by user, but the app does not say who the user is: register a"
                " function by @app.identify_user, or count by key or address."
            )
        return table

    def _find_browser_rules(self) -> BrowserRules:
        """Return what the app lets web pages do.

        Raises:
            ConfigError: the configuration is not valid.
        """
        from .browserrules import BrowserRules

        return BrowserRules(
            self.config, self._route_declarations(), declares_cors=self._declares_cors
        )

    def _route_declarations(self, **by_keys: AccessDeclaration) -> RouteDeclarations:
        """Return what routes and blueprints declare, and the configuration."""
        from .routedeclarations import RouteDeclarations

        return RouteDeclarations(
            self.url_map, self.view_functions, self._blueprint_declarations, **by_keys
        )

    def _declared_by_keys(self, access: str, rate: str = "") -> AccessDeclaration:
        """Return what config keys declare for all routes.

        Args:
            access, rate: the names of the keys.
        """
        from .accessdeclaration import AccessDeclaration, check_access, check_rate

        try:
            return AccessDeclaration(
                check_access(self._access_setting(access), f"The config key {access}"),
                check_rate(self._access_setting(rate), f"The config key {rate}") if rate else None,
            )
        except ValueError as exc:
            raise ConfigError(str(exc)) from None

    def identify_user(self, f: T_identify_user) -> T_identify_user:
        """Register the function that names the user of the current request, or returns None or ""
        if it is not one of a user: rates count by it, and `request.identity.user` has the name.

            @app.identify_user
            def user():
                return session.get("user_id")

        It is called in the context of the request, before `before_request` functions, and only if
        somebody asks. It must not believe what clients can make up.
        """
        self._check_setup_finished("identify_user")
        if self._identify_user is not None:
            raise ValueError(
                f"@app.identify_user is above {f.__qualname__!r} and"
                f" {self._identify_user.__qualname__!r}: an app has one such function."
            )
        self._identify_user = f
        note_change()
        return f

    def _user_finder(self) -> cabc.Callable[[], str] | None:
        """Return the function that returns the name of the user of the current request, or ""; None
        if the app does not know its users.
        """
        if self._identify_user is None:
            return None
        identify = self.ensure_sync(self._identify_user)

        def find() -> str:
            user = identify()
            return "" if user is None else str(user)

        return find

    def _is_access_wanted(self) -> bool:
        if self._declares_access or self.__dict__.get("models"):
            return True
        names = (KEYS, KEYS_FILE, DEFAULT, PROBES, RATE)
        return any(self._access_setting(name) is not None for name in names)

    def _access_setting(self, name: str) -> t.Any:
        """Return the value of a config key, or that of its environment variable, which counts also
        if the app does not call `from_project`: what an operator forbids must not stay allowed.
        """
        value = self.config.get(name)
        return os.environ.get(f"CARBOY_{name}") if value is None else value

    @property
    def _has_keys(self) -> bool:
        """Whether models that declare nothing need an API key."""
        return self._key_store is not None and self._key_store[1].closed

    def key_store(self) -> KeyStore:
        """Return the API keys of the app. They are read at the first call.

        Raises:
            ConfigError: the configuration, or the file of keys, is not valid.
        """
        listed, path = self._access_setting(KEYS), self._access_setting(KEYS_FILE)
        source = repr(listed), path
        if self._key_store is None or self._key_store[0] != source:
            from .keystore import KeyStore, listed_keys

            found = {} if listed is None else listed_keys(listed, f"The config key {KEYS}")
            store = KeyStore(found, self.key_file(), required=path is not None)
            self._key_store = source, store
        return self._key_store[1]

    def key_file(self) -> str:
        """Return the path of the file that has the API keys of the app; it need not exist."""
        path = self._access_setting(KEYS_FILE)
        if path is None:
            return os.path.join(self.instance_path, FILE_NAME)
        return os.path.join(self.root_path, path)


def _named(given: cabc.Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)


def _parameters_of(rule_class: type[Rule]) -> set[str]:
    """Return the parameters of a program's own class of rules: they mean what the program says."""
    found: set[str] = set()
    for cls in rule_class.__mro__:
        code = getattr(vars(cls).get("__init__"), "__code__", None)
        if code is not None:
            found.update(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    return found
