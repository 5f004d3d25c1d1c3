"""Keep what an app prints away from the results of a command.

Apps and models print: progress bars, warnings, lines of C libraries. Users redirect results into a
file (`carboy models predict m in.csv > out.csv`, `carboy openapi > openapi.json`), and the file
must contain nothing else.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import typing as t
from functools import wraps

import click

R = t.TypeVar("R")


def results_on_stdout(command: t.Callable[..., R]) -> t.Callable[..., R]:
    """Decorate a command that writes its results to `out`; everything printed goes to stderr.

    Write it above `with_appcontext`, so that loading the app is a part of the command.
    """

    @wraps(command)
    def run(*args: t.Any, **options: t.Any) -> R:
        with _stdout_for_results() as out:
            return command(*args, out=out, **options)

    return run


@contextlib.contextmanager
def _stdout_for_results() -> t.Iterator[t.TextIO]:
    """Yield the stdout of the process, and meanwhile send all prints to stderr.

    The file descriptor itself is redirected, because native code and child processes print as well,
    and once more when the process exits, because functions of `atexit` do.
    """
    printed = sys.stdout
    try:
        descriptor = printed.fileno()
    except (OSError, ValueError):  # in tests and notebooks this is not a file
        with contextlib.redirect_stdout(sys.stderr):
            yield printed
        return
    printed.flush()
    kept = os.dup(descriptor)
    results = open(kept, "w", encoding="utf-8", newline="", closefd=False)  # noqa: SIM115 - below
    os.dup2(sys.stderr.fileno(), descriptor)
    try:
        yield results
    finally:
        printed.flush()  # to stderr, as it was printed meanwhile
        os.dup2(kept, descriptor)
        # Functions of `atexit` are called in reverse order: this one before those of the app.
        atexit.register(os.dup2, sys.stderr.fileno(), descriptor)
        with one_line_for_unwritable_results():
            results.close()
        os.close(kept)


@contextlib.contextmanager
def one_line_for_unwritable_results() -> t.Iterator[None]:
    """Convert errors of writing, such as a full disk, to an error of click."""
    try:
        yield
    except BrokenPipeError:
        raise  # click ends the command in silence, as when `head` has seen enough
    except OSError as exc:
        raise click.ClickException(f"The results cannot be written: {exc.strerror}.") from exc
