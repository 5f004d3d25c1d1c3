"""The import hook that makes `import flask` import carboy. The public interface is `carboy.compat`.

`carboy_as_flask.pth` beside this file runs at the start of every interpreter of the environment and
imports this module only if `CARBOY_AS_FLASK` is set. Hence two rules: this module imports nothing
but the standard library, and carboy is imported only when a program imports `flask`. (The program
may have to do things first: gevent patches sockets, pip replaces files.)

`flask.x` is never loaded as a separate module. The finder handles every name at or below `flask`,
imports `carboy.x` and puts that module object into `sys.modules`. The other finders, which could
load the file a second time, are not called.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import threading
import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import types
    from importlib.metadata import Distribution, DistributionFinder

ENV_VAR = "CARBOY_AS_FLASK"
# The Flask release whose API carboy provides; extensions compare it with what they require.
FLASK_VERSION = "3.1.3"
_METADATA = f"""\
Metadata-Version: 2.1
Name: Flask
Version: {FLASK_VERSION}
Summary: carboy in place of Flask in this process (install_as_flask)
Requires-Python: >=3.11
Requires-Dist: blinker>=1.9.0
Requires-Dist: click>=8.1.3
Requires-Dist: itsdangerous>=2.2.0
Requires-Dist: jinja2>=3.1.2
Requires-Dist: markupsafe>=2.1.1
Requires-Dist: werkzeug>=3.1.0
Requires-Dist: asgiref>=3.2; extra == "async"
Requires-Dist: python-dotenv; extra == "dotenv"
Provides-Extra: async
Provides-Extra: dotenv
"""
_lock = threading.RLock()


def is_flask(name: str) -> bool:
    return name == "flask" or name.startswith("flask.")


def real_name(name: str) -> str:
    """Return carboy's name for a module of Flask: `carboy.json.tag` for `flask.json.tag`."""
    return "carboy" + name[len("flask") :]


class _Alias(importlib.abc.InspectLoader):
    """A loader that returns carboy's module of the corresponding name, and loads nothing itself."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Let the import system create an empty module, which `exec_module` replaces.

        If carboy's module were returned here, the import system would write the alias's name into
        that module's `__spec__`.
        """

    def exec_module(self, module: types.ModuleType) -> None:
        name = module.__name__
        # Afterwards the import system reads the module from sys.modules; it drops `module`.
        sys.modules[name] = importlib.import_module(real_name(name))
        if name == "flask":
            alias_loaded_modules()

    def is_package(self, fullname: str) -> bool:
        spec = importlib.util.find_spec(real_name(fullname))
        return spec is not None and spec.submodule_search_locations is not None

    def get_source(self, fullname: str) -> str | None:
        return t.cast("str | None", _real_loader(fullname).get_source(real_name(fullname)))

    def get_code(self, fullname: str) -> types.CodeType | None:
        """Return the code object, for `python -m flask`."""
        return t.cast("types.CodeType | None", _real_loader(fullname).get_code(real_name(fullname)))


def _real_loader(fullname: str) -> t.Any:
    spec = importlib.util.find_spec(real_name(fullname))
    if spec is None or spec.loader is None:
        raise ImportError(f"carboy has no module {real_name(fullname)!r}", name=fullname)
    return spec.loader


class FlaskFinder(importlib.abc.MetaPathFinder):
    """A finder for `flask`, for all modules below it, and for the distribution of that name."""

    def find_spec(
        self,
        fullname: str,
        path: cabc.Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if not is_flask(fullname):
            return None
        real = importlib.util.find_spec(real_name(fullname))
        if real is None:
            # The other finders search carboy's folder for this name, and do not find it either.
            return None
        spec = importlib.machinery.ModuleSpec(fullname, _Alias(), origin=real.origin)
        spec.submodule_search_locations = real.submodule_search_locations
        return spec

    @staticmethod
    def find_distributions(
        context: DistributionFinder.Context | None = None,
    ) -> cabc.Iterator[Distribution]:
        name = None if context is None else context.name
        if name is None or name.lower() == "flask":
            yield _distribution()


def _distribution() -> Distribution:
    # Imported on demand: importlib.metadata takes 10 ms, and the caller has already imported it.
    from importlib.metadata import Distribution

    class FlaskDistribution(Distribution):
        def read_text(self, filename: str) -> str | None:
            return _METADATA if filename in {"METADATA", "PKG-INFO"} else None

        def locate_file(self, path: t.Any) -> t.Any:
            from pathlib import Path

            return Path(__file__).parent / path

    return FlaskDistribution()


def alias_loaded_modules() -> None:
    """Register the loaded modules of carboy under their Flask names; remove Flask's modules."""
    with _lock:
        names = list(sys.modules)
        for name in names:
            if is_flask(name) and real_name(name) not in sys.modules:
                del sys.modules[name]
        for name in names:
            if name == "carboy" or name.startswith("carboy."):
                sys.modules["flask" + name[len("carboy") :]] = sys.modules[name]
        if (module := sys.modules.get("carboy.app")) is not None:
            # Programs print and compare the name of an app's class.
            module.Carboy.__name__ = module.Carboy.__qualname__ = "Flask"


def install_finder() -> None:
    """Insert the finder before all others, unless it is installed."""
    with _lock:
        if not any(isinstance(finder, FlaskFinder) for finder in sys.meta_path):
            sys.meta_path.insert(0, FlaskFinder())
            importlib.invalidate_caches()


def install_if_asked() -> None:
    """Install the finder if the environment variable is 1, as in child processes of `--as-flask`.

    Called by the `.pth` file.
    """
    if os.environ.get(ENV_VAR) == "1":
        install_finder()
