"""Make a secret key for a project that sets none.

In development (and in debug mode) the key is made when it is first read, and kept in
`instance/secret_key`, so that sessions outlive the process. In testing it is made for the process
alone. In any other environment nothing is made: a key that each machine, or each start, makes for
itself would end sessions without an error. Instead, writing to a session raises
`SessionUnavailableError`.
"""

from __future__ import annotations

import os
import secrets
import stat
import threading
import time
import typing as t
from contextlib import suppress

from ..core.changetracking import note_change
from ..errors import ConfigError
from .origins import Origin, shortened
from .privatefiles import create_private

if t.TYPE_CHECKING:
    from ..config import Config
    from . import Project

KEY_NAME = "SECRET_KEY"
FILE_NAME = "secret_key"
# How many random bytes a key consists of: as many as SHA-256 has.
_KEY_BYTES = 32
_IGNORED = f"# The secret key that carboy has made for development on this machine.\n/{FILE_NAME}\n"
# Held while a thread makes a key, so that all threads get the same key.
_making = threading.RLock()
# How long to wait for another process that has created the file and writes its key into it.
_WAIT_S = 2.0


def new_key() -> str:
    """Return a new secret key: digits and letters, which no file and no shell needs to quote."""
    return secrets.token_hex(_KEY_BYTES)


def make_key_when_read(config: Config) -> None:
    """Let the first read of `SECRET_KEY` make a key if there is none, in development and testing.

    Assigned keys take precedence, also those that code assigns after this call. Until the key is
    read, the class of the config is a subclass that makes the key. Then the config gets its own
    class again, so that reading a config takes no longer than before.
    """
    project = config.project
    if project is None or isinstance(config, _MakesKey) or config.get(KEY_NAME):
        return
    if not _may_make_key(config):
        return
    path = os.path.join(project.instance_path, FILE_NAME)
    place = "for this process" if project.environment == "testing" else shortened(path)
    project.origins[KEY_NAME] = Origin("generated", f"when it is read, {place}")
    config.__class__ = _class_that_makes_a_key(type(config))


def _may_make_key(config: Config) -> bool:
    """Return whether the app is being developed or tested. Debug mode counts as development,
    because `carboy run --debug` and `app.run(debug=True)` are how developers start an app, and
    servers for production switch it off.
    """
    project = config.project
    if project is None:
        return False
    return project.environment in {"development", "testing"} or bool(config.get("DEBUG"))


class _MakesKey:
    """Marks those config classes that make a secret key when it is read."""

    _kind: type[Config]


def value_of(config: Config, name: str) -> t.Any:
    """Return the value of a config key to show it to people, without making a secret key."""
    kind = getattr(type(config), "_kind", type(config))
    return kind.__getitem__(config, name)


def _class_that_makes_a_key(kind: type[Config]) -> type[t.Any]:
    """Return a subclass of `kind` that makes the secret key of a config when the key is read.

    Its methods call methods of `kind`, and not of `super()`, which fails if the config has another
    class: another thread may give the config the class `kind` again while they run.
    """

    def getitem(self: Config, name: str) -> t.Any:
        return kind.__getitem__(self, name) if name != KEY_NAME else _read_key(self, kind)

    def get(self: Config, name: str, default: t.Any = None) -> t.Any:
        return kind.get(self, name, default) if name != KEY_NAME else _read_key(self, kind)

    def reduce(self: Config, protocol: t.SupportsIndex) -> t.Any:
        # A copied or unpickled config has the class `kind`, and makes no key.
        _, _, *content = t.cast("tuple[t.Any, ...]", kind.__reduce_ex__(self, 4))
        return (_create, (kind,), *content)

    body = {
        "_kind": kind,
        "__module__": kind.__module__,
        "__getitem__": getitem,
        "get": get,
        "__reduce_ex__": reduce,
    }
    # The subclass has the name of `kind`, because printing a config shows the name of its class.
    return type(kind.__name__, (_MakesKey, kind), body)


def _read_key(config: Config, kind: type[Config]) -> t.Any:
    """Return the secret key, after making it if there is none, and give the config the class `kind`
    again.
    """
    with _making:
        key = kind.__getitem__(config, KEY_NAME) if KEY_NAME in config else None
        if not key and _may_make_key(config):  # a server may have ended debug mode
            key, place = _key_of(t.cast("Project", config.project))
            kind.__setitem__(config, KEY_NAME, key)
            t.cast("Project", config.project).origins[KEY_NAME] = Origin("generated", place)
        # Change the class after the key is set, and not before: a thread that finds the class
        # `kind` reads the key without waiting for this one.
        config.__class__ = kind
    note_change()  # config values that are cached elsewhere are out of date
    return key


def _key_of(project: Project) -> tuple[str, str]:
    """Return the secret key of a project that sets none, and where that key is kept."""
    if project.environment == "testing":
        return new_key(), "for this process"
    path = os.path.join(project.instance_path, FILE_NAME)
    return read_or_make(path), shortened(path)


def _create(kind: type[Config]) -> Config:
    return kind.__new__(kind)


def read_or_make(path: str) -> str:
    """Return the key in the file at `path`; if there is no file, make one.

    Processes that call this at the same time get the same key.

    Raises:
        ConfigError: the file cannot be read or made, or contains no key.
    """
    try:
        if not os.path.lexists(path):
            _prepare_folder(os.path.dirname(path))
            with suppress(FileExistsError):  # another process was faster: its key is used
                create_private(path, f"{new_key()}\n")
        return _read(path)
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise ConfigError(
            f"No SECRET_KEY is set, and the one for development cannot be kept in {path!r}:"
            f" {reason}. Make the folder writable, or set SECRET_KEY: 'carboy secret new' writes"
            " one into '.env'."
        ) from None


def _read(path: str) -> str:
    until_s = time.monotonic() + _WAIT_S
    while True:
        with open(path, encoding="utf-8") as file:
            text = file.read()
            mode = os.stat(file.fileno()).st_mode
        if text.endswith("\n") and text.strip():
            break
        if time.monotonic() > until_s:
            raise ConfigError(
                f"The file {path!r} should contain the secret key for development in one line, and"
                " does not. Remove it: a new one is made."
            )
        # Wait by polling, because no event reports that the other process has written its key.
        time.sleep(0.005)
    # If `path` is a link, its target keeps its mode, because it belongs to whoever has made the
    # link.
    if stat.S_IMODE(mode) & 0o077 and os.name == "posix" and not os.path.islink(path):
        with suppress(OSError):  # the file belongs to somebody else
            os.chmod(path, 0o600)
    return text.strip()


def _prepare_folder(folder: str) -> None:
    """Create the folder of the key, and add the key to the folder's `.gitignore`, because the
    project's own `.gitignore` may not name it.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with open(os.path.join(folder, ".gitignore"), "a+", encoding="utf-8") as file:
        file.seek(0)
        text = file.read()
        if {"*", FILE_NAME, f"/{FILE_NAME}"}.isdisjoint(map(str.strip, text.splitlines())):
            file.write(_IGNORED if not text or text.endswith("\n") else f"\n{_IGNORED}")
