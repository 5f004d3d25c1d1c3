"""Resolve requirements to the newest versions, with the hashes of their files."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import tempfile
import typing as t

import bootstrap

if t.TYPE_CHECKING:
    import collections.abc as cabc

UV = "uv==0.13.9"
# The oldest Python that carboy runs on. The versions hold for newer ones as well.
PYTHON = "3.11"

Resolve = t.Callable[["cabc.Sequence[str]", bool], str]


@contextlib.contextmanager
def resolver() -> cabc.Iterator[Resolve]:
    """Install uv into an environment of its own; yield a function that resolves.

    It takes requirements, and whether what carboy needs is one of them, and returns a text for
    `pip install --require-hashes -r`.
    """
    with tempfile.TemporaryDirectory() as folder:
        python = bootstrap.venv(pathlib.Path(folder, "uv"))
        bootstrap.pip(python, "--quiet", UV, constraints=None)

        def resolve(needed: cabc.Sequence[str], with_carboy: bool) -> str:
            given = pathlib.Path(folder, "needed.in")
            given.write_text("\n".join(needed) + "\n")
            command = [
                *(str(python.with_name("uv")), "pip", "compile", "--quiet", "--universal"),
                *("--python-version", PYTHON, "--generate-hashes", "--no-header", "--no-annotate"),
                *("--no-emit-index-url", "--no-emit-find-links", str(given)),
                *([str(bootstrap.PYPROJECT)] if with_carboy else []),
            ]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout

        yield resolve
