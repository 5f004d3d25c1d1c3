"""The interface between application classes and access: `Carboy` derives from `AccessHost`.

Importing this module is cheap: an app that declares nothing about access, and has no models, never
loads the rest of this package.
"""

from __future__ import annotations

import os
import typing as t

from carboy.core.changetracking import note_change
from carboy.errors import ConfigError

if t.TYPE_CHECKING:
    from carboy.core.routing import Map as RoutingMap

    from .accessdeclaration import AccessDeclaration
    from .browserrules import BrowserApp, BrowserRules
    from .keystore import KeyStore
    from .table import AccessTable

#: The options by which routes, blueprints and models declare something about access.
OPTIONS: t.Final = ("access", "cors")
KEYS: t.Final = "ACCESS_KEYS"
KEYS_FILE: t.Final = "ACCESS_KEYS_FILE"
DEFAULT: t.Final = "ACCESS_DEFAULT"
PROBES: t.Final = "ACCESS_PROBES"
#: The name of the file in the instance folder that has the keys if the configuration names none.
FILE_NAME: t.Final = "access-keys.json"


class AccessHost:
    """The methods of an app by which it knows who may use its routes."""

    if t.TYPE_CHECKING:
        config: t.Any
        instance_path: str
        root_path: str
        url_map: RoutingMap

    # Whether a route or blueprint of the app has declared who may use it, and which sites may.
    _declares_access = _declares_cors = False
    _key_store: tuple[t.Any, KeyStore] | None = None

    def __init__(self, *args: t.Any, **options: t.Any) -> None:
        super().__init__(*args, **options)
        # What blueprints have declared, by the names of their registrations.
        self._blueprint_declarations: dict[str, AccessDeclaration] = {}

    def _take_declaration(self, options: dict[str, t.Any], owner: str) -> AccessDeclaration | None:
        """Remove what `options` declare about access, and return it; None if that is nothing.

        Raises:
            ValueError: a value is not one that the option can have.
        """
        given: dict[str, t.Any] = {name: options.pop(name, None) for name in OPTIONS}
        if all(value is None for value in given.values()):
            return None
        from .accessdeclaration import AccessDeclaration

        declaration = AccessDeclaration.read(given, owner)
        self._declares_access |= declaration.access is not None
        self._declares_cors |= declaration.cors is not None
        note_change()
        return declaration

    def _declare_blueprint(self, name: str, options: dict[str, t.Any]) -> None:
        """Record what a blueprint, or its registration, declares about access."""
        if declaration := self._take_declaration({**options}, f"The blueprint {name!r}"):
            self._blueprint_declarations[name] = declaration

    def _find_access(self) -> AccessTable | None:
        """Return the guards of the app's routes; None if all requests may pass.

        Raises:
            ConfigError: the configuration of access is not valid.
        """
        if not self._is_access_wanted():
            return None
        from .table import AccessTable

        return AccessTable(
            self.key_store(),
            self.url_map,
            self._blueprint_declarations,
            of_app=self._declared_by_key(DEFAULT),
            of_probes=self._declared_by_key(PROBES),
        )

    def _find_browser_rules(self) -> BrowserRules:
        """Return what the app lets web pages do.

        Raises:
            ConfigError: the configuration is not valid.
        """
        from .browserrules import BrowserRules

        return BrowserRules(
            t.cast("BrowserApp", self),
            self._blueprint_declarations,
            declares_cors=self._declares_cors,
        )

    def _declared_by_key(self, name: str) -> AccessDeclaration:
        from .accessdeclaration import AccessDeclaration, check_access

        try:
            return AccessDeclaration(
                check_access(self._access_setting(name), f"The config key {name}")
            )
        except ValueError as exc:
            raise ConfigError(str(exc)) from None

    def _is_access_wanted(self) -> bool:
        if self._declares_access or self.__dict__.get("models"):
            return True
        return any(self._access_setting(name) for name in (KEYS, KEYS_FILE, DEFAULT, PROBES))

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

            found = listed_keys(listed, f"The config key {KEYS}") if listed else {}
            store = KeyStore(found, self.key_file(), required=path is not None)
            self._key_store = source, store
        return self._key_store[1]

    def key_file(self) -> str:
        """Return the path of the file that has the API keys of the app; it need not exist."""
        path = self._access_setting(KEYS_FILE)
        if path is None:
            return os.path.join(self.instance_path, FILE_NAME)
        return os.path.join(self.root_path, path)
