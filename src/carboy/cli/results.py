"""Keep what an app prints out of the results that a command writes to stdout.

Apps and models print: progress bars, warnings, lines of C libraries. Users redirect the results of
a command to a file (`carboy models predict m in.csv > out.csv`, `carboy openapi > openapi.json`),
which must contain nothing else.
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
    """Decorate a command that writes its results to the argument `out`, which is stdout. What else
    is printed in the meantime goes to stderr.

    Place it above `with_appcontext`, so that the output of loading the app goes to stderr too.
    """

    @wraps(command)
    def run(*args: t.Any, **options: t.Any) -> R:
        with stdout_for_results() as out:
            return command(*args, out=out, **options)

    return run


@contextlib.contextmanager
def stdout_for_results() -> t.Iterator[t.TextIO]:
    """Yield a file for the results, which writes to the process's stdout. As long as it is open,
    whatever else is printed to stdout goes to stderr.

    The file descriptor itself is redirected, because native code and child processes also print. It
    is redirected again when the process exits, because `atexit` functions may print.
    """
    printed = sys.stdout
    try:
        descriptor = printed.fileno()
    # Do not redirect stdout if it is not a real file, as in tests and notebooks.
    except (OSError, ValueError):
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
        printed.flush()  # write buffered prints to stderr, before stdout is restored
        os.dup2(kept, descriptor)
        # Redirect prints at the exit, too. `atexit` calls the latest function first, so this one is
        # called before those that the app has registered.
        atexit.register(os.dup2, sys.stderr.fileno(), descriptor)
        with one_line_for_unwritable_results():
            results.close()
        os.close(kept)


@contextlib.contextmanager
def one_line_for_unwritable_results() -> t.Iterator[None]:
    """If the results cannot be written, for example to a full disk, raise an error that click
    prints in one line.
    """
    try:
        yield
    except BrokenPipeError:
        # The reader has closed the pipe, as `| head` does: click ends the command silently.
        raise
    except OSError as exc:
        raise click.ClickException(f"The results cannot be written: {exc.strerror}.") from exc
