"""`import flask` means carboy: the import hook, apart from carboy so that it costs nothing to have.

`carboy_as_flask.pth` beside this file runs at the start of every interpreter of the environment and
imports this module only where `CARBOY_AS_FLASK` is set. Hence the rules here: the standard library
only, and carboy itself is imported when somebody imports `flask`, not before. (A program may have
to do things first: gevent patches the sockets, pip replaces the files.) The public face of this
module is `carboy.compat`.

`flask.x` is never loaded as a module of its own. The finder answers for every name at or below
`flask`, imports `carboy.x` and puts that very object into `sys.modules`; the ordinary finders,
which could load the file a second time, are never asked.
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
# The release whose API carboy has; extensions compare `version("flask")` with what they need.
FLASK_VERSION = "3.1.3"
_METADATA = f"""\
Metadata-Version: 2.1
Name: Flask
Version: {FLASK_VERSION}
Summary: carboy, answering for Flask in this process (install_as_flask)
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
    """`flask.json.provider` -> `carboy.json.provider`."""
    return "carboy" + name[len("flask") :]


class _Alias(importlib.abc.InspectLoader):
    """Loads nothing: hands out the module of carboy that the name stands for."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Let the import system make an empty module, which `exec_module` throws away.

        Returning carboy's module here would let the import system write the alias's name into
        that module's `__spec__`.
        """

    def exec_module(self, module: types.ModuleType) -> None:
        name = module.__name__
        # The import system takes what stands in sys.modules afterwards, not what it passed in.
        sys.modules[name] = importlib.import_module(real_name(name))
        if name == "flask":
            alias_loaded_modules()

    def is_package(self, fullname: str) -> bool:
        spec = importlib.util.find_spec(real_name(fullname))
        return spec is not None and spec.submodule_search_locations is not None

    def get_source(self, fullname: str) -> str | None:
        return t.cast("str | None", _real_loader(fullname).get_source(real_name(fullname)))

    def get_code(self, fullname: str) -> types.CodeType | None:
        """The code, for `python -m flask`."""
        return t.cast("types.CodeType | None", _real_loader(fullname).get_code(real_name(fullname)))


def _real_loader(fullname: str) -> t.Any:
    spec = importlib.util.find_spec(real_name(fullname))
    if spec is None or spec.loader is None:
        raise ImportError(f"carboy has no module {real_name(fullname)!r}", name=fullname)
    return spec.loader


class FlaskFinder(importlib.abc.MetaPathFinder):
    """Answers for `flask`, for all below it, and for the distribution of that name."""

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
            # The finders after this one look into carboy's own folder for a name below `flask`,
            # and find as little there.
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
    # Built on demand: importlib.metadata costs a start 10 ms, and who calls this has paid them.
    from importlib.metadata import Distribution

    class FlaskDistribution(Distribution):
        def read_text(self, filename: str) -> str | None:
            return _METADATA if filename in {"METADATA", "PKG-INFO"} else None

        def locate_file(self, path: t.Any) -> t.Any:
            from pathlib import Path

            return Path(__file__).parent / path

    return FlaskDistribution()


def alias_loaded_modules() -> None:
    """Give each module of carboy that is loaded its name under `flask`, and drop Flask's own."""
    with _lock:
        names = list(sys.modules)
        for name in names:
            if is_flask(name) and real_name(name) not in sys.modules:
                del sys.modules[name]
        for name in names:
            if name == "carboy" or name.startswith("carboy."):
                sys.modules["flask" + name[len("carboy") :]] = sys.modules[name]


def install_finder() -> None:
    """Put the hook before all others, once."""
    with _lock:
        if not any(isinstance(finder, FlaskFinder) for finder in sys.meta_path):
            sys.meta_path.insert(0, FlaskFinder())
            importlib.invalidate_caches()


def install_if_asked() -> None:
    """What `carboy_as_flask.pth` calls in a process whose parent ran with `--as-flask`."""
    if os.environ.get(ENV_VAR) == "1":
        install_finder()
