"""`carboy --as-flask program.py`: run a program in which `import flask` imports carboy.

The program finds `__main__`, `sys.argv` and `sys.path[0]` as under `python program.py`. An
environment variable makes `import flask` import carboy in child processes, too (see
`_carboy_as_flask`).
"""

from __future__ import annotations

import os
import sys
import types
import typing as t
from contextlib import redirect_stderr

import click

from ..compat import ENV_VAR, install_as_flask
from ..core.masking import known_secrets, mask_text
from ..core.tracebacks import drop_leading_frames


def become_flask() -> None:
    """Make `import flask` import carboy, in this process and in its child processes."""
    os.environ[ENV_VAR] = "1"
    install_as_flask()


def names_program(args: list[str]) -> bool:
    """Return whether the arguments after `--as-flask` are a program to run, and not a command of
    carboy.
    """
    if not args:
        return False
    return args[0] == "-m" or args[0].endswith(".py") or os.path.dirname(args[0]) != ""


def run_program(args: list[str]) -> None:
    """Run `program.py args...` or `-m module args...` in this process."""
    become_flask()
    if args[0] == "-m":
        if len(args) == 1:
            raise click.UsageError("-m needs the name of a module, such as: carboy -m shop.main")
        _run_module(args[1], args[2:])
    else:
        _run_file(args[0], args[1:])


def _run_module(name: str, args: list[str]) -> None:
    import runpy

    sys.argv[:] = [name, *args]
    _set_first_path(os.getcwd())
    _run_like_python(lambda: runpy.run_module(name, run_name="__main__", alter_sys=True))


def _run_file(path: str, args: list[str]) -> None:
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as exc:
        raise click.UsageError(f"The program {path!r} cannot be read: {exc.strerror}.") from None

    main = types.ModuleType("__main__")
    # As in Python, `__file__` is absolute, so that it is valid after `os.chdir`.
    main.__dict__.update(__file__=os.path.abspath(path), __builtins__=__builtins__, __cached__=None)
    main.__package__ = None
    sys.modules["__main__"] = main
    sys.argv[:] = [path, *args]
    _set_first_path(os.path.dirname(os.path.abspath(path)))
    # The file is compiled only when `_run_like_python` runs it, so that a syntax error is reported
    # like other errors of the program.
    _run_like_python(lambda: exec(compile(source, path, "exec", dont_inherit=True), main.__dict__))  # noqa: S102 - as Python does


def _set_first_path(folder: str) -> None:
    # Python puts the folder of the program that it runs first in `sys.path`. That is now the folder
    # of the `carboy` script: replace it.
    if not sys.flags.safe_path:
        sys.path[0] = folder


def _run_like_python(run: t.Callable[[], object]) -> None:
    """Call `run`, which runs the program. If it raises an exception, print the traceback without
    frames of carboy.
    """
    try:
        run()
    except Exception as exc:  # noqa: BLE001  # any error of the program
        from .failures import format_for_user, is_internal

        if isinstance(exc, ImportError) and is_internal(exc):
            # `runpy` has not found the module that is named after `-m`. No code of the program has
            # run.
            raise click.UsageError(f"There is nothing to run after -m: {exc}.") from None
        if sys.excepthook is sys.__excepthook__:
            sys.stderr.write(format_for_user(exc))
        else:  # the program reports its errors itself
            drop_leading_frames(exc)
            stream = _MaskedStream(sys.stderr)
            try:
                with redirect_stderr(t.cast("t.TextIO", stream)):
                    sys.excepthook(type(exc), exc, exc.__traceback__)
            finally:
                stream.flush()
        sys.exit(1)


class _MaskedStream:
    """A stream of text that masks secrets in what is written to it.

    Whole lines are written at once, because the program may end before it closes the stream. Lines
    that may be the beginning of a secret of several lines wait for the rest of it, or for `flush`.
    The bytes of `buffer` are not masked.
    """

    def __init__(self, stream: t.TextIO) -> None:
        self._stream = stream
        self._pending = ""

    def __getattr__(self, name: str) -> t.Any:
        if name in ("buffer", "fileno"):
            self.flush()  # what is written there comes after what is pending
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._pending += text
        lines, line_feed, rest = self._pending.rpartition("\n")
        if line_feed and not _may_continue(lines):
            self._pending = rest
            self._stream.write(mask_text(lines) + line_feed)
        return len(text)

    def flush(self) -> None:
        """Write also what may be a part of a secret."""
        pending, self._pending = self._pending, ""
        self._stream.write(mask_text(pending))
        self._stream.flush()

    def writelines(self, texts: t.Iterable[str]) -> None:
        for each in texts:
            self.write(each)


def _may_continue(text: str) -> bool:
    """Return whether a text may contain the beginning of a secret of several lines."""
    if text.rfind("-----BEGIN ") > text.rfind("-----END "):
        return True
    return any(
        secret.partition("\n")[0] in text and secret not in text
        for secret in known_secrets()
        if "\n" in secret
    )
