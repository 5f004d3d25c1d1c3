"""Make `import flask` import carboy in this process: the function `install_as_flask`.

The function lets programs and extensions that were written for Flask run on carboy unchanged, as
`pymysql.install_as_MySQLdb()` does for MySQLdb. The import hook is in a module outside of the
package, `_carboy_as_flask`, so that a child process can install it without importing carboy.
"""

from __future__ import annotations

from _carboy_as_flask import ENV_VAR as ENV_VAR
from _carboy_as_flask import alias_loaded_modules, install_finder

from .core.otherflask import warn_before_install


def install_as_flask() -> None:
    """Make `import flask`, and every module below it, import carboy's modules.

    This works with or without Flask installed. `importlib.metadata` reports a distribution `flask`
    of the release whose API carboy provides. Call this before anything imports Flask: modules that
    have imported it keep Flask's objects, and a warning names them. Further calls do nothing.
    Thread-safe. Child processes are not affected: use `carboy --as-flask` for them.
    """
    warn_before_install()
    install_finder()
    alias_loaded_modules()
