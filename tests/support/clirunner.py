"""Run commands of click in this process."""

from __future__ import annotations

import inspect
import typing as t

from click.testing import CliRunner

R = t.TypeVar("R", bound=CliRunner)

# click 8.1 tells stdout and stderr apart only if asked to, later versions always.
_SEPARATE = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}


def separate_runner(make: t.Callable[..., R] = CliRunner) -> R:
    """Return a runner whose results have stdout and stderr apart.

    Args:
        make: the class of the runner, or `app.test_cli_runner`.
    """
    return make(**_SEPARATE)
