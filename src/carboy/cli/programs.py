"""`carboy --as-flask program.py`: run a program for which `flask` is carboy.

The program sees what `python program.py` would give it: its own `__main__`, `sys.argv` and
`sys.path[0]`. Child processes are reached through the environment (see `_carboy_as_flask`).
"""

from __future__ import annotations

import os
import sys
import types
import typing as t

import click

from ..compat import ENV_VAR, install_as_flask


def become_flask() -> None:
    """Let `flask` mean carboy in this process and in those that it starts."""
    os.environ[ENV_VAR] = "1"
    install_as_flask()


def names_program(args: list[str]) -> bool:
    """Whether the words after `--as-flask` are a program's rather than a command of ours."""
    if not args:
        return False
    return args[0] == "-m" or args[0].endswith(".py") or os.path.dirname(args[0]) != ""


def run_program(args: list[str]) -> None:
    """Run `program.py args...` or `-m module args...` in this process, in place of ourselves."""
    become_flask()
    if args[0] == "-m":
        if len(args) == 1:
            raise click.UsageError("-m needs the name of a module.")
        _run_module(args[1], args[2:])
    else:
        _run_file(args[0], args[1:])


def _run_module(name: str, args: list[str]) -> None:
    import runpy

    sys.argv[:] = [name, *args]
    _set_first_path(os.getcwd())
    _guarded(lambda: runpy.run_module(name, run_name="__main__", alter_sys=True))


def _run_file(path: str, args: list[str]) -> None:
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as exc:
        raise click.UsageError(f"The program {path!r} cannot be read: {exc.strerror}.") from None

    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=path, __builtins__=__builtins__, __cached__=None)
    main.__package__ = None
    sys.modules["__main__"] = main
    sys.argv[:] = [path, *args]
    _set_first_path(os.path.dirname(os.path.abspath(path)))
    # Compiled inside the guard: a syntax error is the user's too.
    _guarded(lambda: exec(compile(source, path, "exec"), main.__dict__))  # noqa: S102


def _set_first_path(folder: str) -> None:
    # The first entry is that of how `carboy` was started, and Python would have made another.
    if not sys.flags.safe_path:
        sys.path[0] = folder


def _guarded(run: t.Callable[[], object]) -> None:
    """Let a program end as it would by itself; its traceback begins with its own first line."""
    try:
        run()
    except Exception as exc:  # noqa: BLE001  # whatever the program raises
        from .failures import format_for_user, is_ours_only

        if isinstance(exc, ImportError) and is_ours_only(exc):
            # No line of a program has run: it is runpy that does not find the module.
            raise click.UsageError(f"There is nothing to run after -m: {exc}.") from None
        sys.stderr.write(format_for_user(exc))
        sys.exit(1)
