"""`install_as_flask`: in this process, `import flask` means carboy.

The habit of `pymysql.install_as_MySQLdb()`, for programs and extensions written for Flask. The hook
itself stands outside the package, in `_carboy_as_flask`, so that a child process can have it
without importing carboy first.
"""

from __future__ import annotations

from _carboy_as_flask import ENV_VAR as ENV_VAR
from _carboy_as_flask import alias_loaded_modules, install_finder


def install_as_flask() -> None:
    """From now on, `flask` and every module below it are carboy's: the very same objects.

    With or without Flask installed. `importlib.metadata` answers for the distribution `flask` with
    the release whose API this is. Modules that already imported Flask keep what they bound, so call
    this first. Calling it again does nothing; it is safe from any thread. Child processes are not
    reached: `carboy --as-flask` does that.
    """
    install_finder()
    alias_loaded_modules()
