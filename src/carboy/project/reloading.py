"""What the reloader of the development server must know about the configuration.

The reloader starts a child process, and starts it anew when a file changes. The child inherits the
environment variables of its parent, and so those of `.env` files as they were when the parent
started. The child must remove these variables before it reads the files, because a variable that is
set takes precedence over a file.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .dotenvfile import set_from_files, with_other_prefix

if t.TYPE_CHECKING:
    import collections.abc as cabc

# The environment variable that tells a child process which variables its parent has set from files:
# their names, separated by "=", which no name contains.
_NAMES = "_CARBOY_VARIABLES_OF_FILES"
# The files from which the configuration was read, or would be read if they existed.
_watched: set[str] = set()


@contextlib.contextmanager
def variables_named_for_child() -> cabc.Iterator[None]:
    """During the `with` block, an environment variable lists the names of the variables that this
    process has set from files. A child process that starts in the block can remove them by name.
    """
    found = set_from_files()
    os.environ[_NAMES] = "=".join(name for name in found if os.environ.get(name) == found[name])
    try:
        yield
    finally:
        os.environ.pop(_NAMES, None)


def forget_inherited_variables() -> None:
    """In a child process of the reloader, remove the variables that its parent has set from files,
    as named by `variables_named_for_child`. Further calls do nothing.
    """
    for name in os.environ.pop(_NAMES, "").split("="):
        value = os.environ.pop(name, None) if name else None
        # The parent may have copied the variable, because a command copies each CARBOY_X to FLASK_X
        # when it starts. The copy is removed, too.
        copy = with_other_prefix(name)
        if value is not None and copy is not None and os.environ.get(copy) == value:
            del os.environ[copy]


def watch(paths: cabc.Iterable[str]) -> None:
    """Let the reloader restart its child process if one of these files changes."""
    _watched.update(paths)


def watched_files() -> list[str]:
    """Return the files whose changes restart the child process of the reloader."""
    return sorted(_watched)
