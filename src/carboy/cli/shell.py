"""`carboy shell`: open a Python shell with the app."""

from __future__ import annotations

import os
import sys
import typing as t

import click

from ..globals import current_app
from .groups import with_appcontext


@click.command("shell", short_help="Open a Python shell with the app.")
@with_appcontext
def shell_command() -> None:
    """Open a Python shell in the app's context.

    The app's shell context processors define the names that the shell knows.
    """
    import code

    namespace: dict[str, t.Any] = {}
    startup = os.environ.get("PYTHONSTARTUP")
    if startup and os.path.isfile(startup):
        with open(startup, "rb") as file:
            exec(compile(file.read(), startup, "exec", dont_inherit=True), namespace)  # noqa: S102  # as Python does
    namespace.update(current_app.make_shell_context())

    # Python calls `sys.__interactivehook__` when its interactive interpreter starts. By default,
    # this hook sets up history and completion.
    hook = getattr(sys, "__interactivehook__", None)
    if hook is not None:
        _complete_names_of(namespace)
        hook()
    code.interact(
        banner=f"Python {sys.version} on {sys.platform}\n"
        f"App: {current_app.import_name}\n"
        f"Instance: {current_app.instance_path}",
        local=namespace,
    )


def _complete_names_of(namespace: dict[str, t.Any]) -> None:
    try:
        import readline
        from rlcompleter import Completer
    except ImportError:
        return
    readline.set_completer(Completer(namespace).complete)
