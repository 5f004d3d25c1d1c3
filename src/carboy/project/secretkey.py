"""The secret key of a project to which nobody has given one.

In development the key is made when it is first read, and kept in `instance/secret_key`, so that
sessions outlive the process. In testing it is made for the process alone. In any other environment
nothing is made: a key that each machine, or each start, makes for itself would end sessions without
an error. There, writing to a session raises `SessionUnavailableError`.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
import typing as t
from contextlib import suppress

from ..errors import ConfigError
from .origins import Origin, shortened
from .privatefiles import create_private

if t.TYPE_CHECKING:
    from ..config import Config

KEY_NAME = "SECRET_KEY"
FILE_NAME = "secret_key"
# How many random bytes a key consists of: as many as SHA-256 has.
_KEY_BYTES = 32
_IGNORED = f"# The secret key that carboy has made for development on this machine.\n/{FILE_NAME}\n"
# How long to wait for another process that has created the file and writes its key into it.
_WAIT_S = 2.0


def new_key() -> str:
    """Return a new secret key: digits and letters, which no file and no shell needs to quote."""
    return secrets.token_hex(_KEY_BYTES)


def make_key_when_read(config: Config) -> None:
    """Let the first read of `SECRET_KEY` make a key if there is none, in development and testing.

    Assigned keys take precedence, also those that code assigns after this call. The config gets a
    class that makes the key, and loses it with the first read of a key, so that reading a config
    takes no longer than before.
    """
    project = config.project
    if project is None or project.environment not in {"development", "testing"}:
        return
    if config[KEY_NAME] or isinstance(config, _MakesKey):
        return
    path = os.path.join(project.instance_path, FILE_NAME)
    place = "for this process" if project.environment == "testing" else shortened(path)
    project.origins[KEY_NAME] = Origin("generated", f"when it is read, {place}")
    kind = type(config)
    # The same name, because the class is shown when the config is printed.
    body = {"_kind": kind, "__module__": kind.__module__}
    config.__class__ = type(kind.__name__, (_MakesKey, kind), body)


if t.TYPE_CHECKING:
    _Base = Config
else:
    _Base = object


def value_of(config: Config, name: str) -> t.Any:
    """Return the value of a config key to show it to people, without making a secret key."""
    return config._kind.__getitem__(config, name) if isinstance(config, _MakesKey) else config[name]


class _MakesKey(_Base):
    """Makes a secret key for the config in the moment in which it is read."""

    _kind: type[Config]

    def __getitem__(self, name: str) -> t.Any:
        value = super().__getitem__(name)
        return value if name != KEY_NAME or value else self._make_key()

    def get(self, name: str, default: t.Any = None) -> t.Any:
        return self[name] if name == KEY_NAME else super().get(name, default)

    def __reduce_ex__(self, protocol: t.SupportsIndex) -> t.Any:
        # A copy, or a pickle, has the class of the config and makes no key.
        _, _, *content = t.cast("tuple[t.Any, ...]", super().__reduce_ex__(4))
        return (_create, (self._kind,), *content)

    def _make_key(self) -> str:
        project = self.project
        assert project is not None
        if project.environment == "testing":
            key, place = new_key(), "for this process"
        else:
            path = os.path.join(project.instance_path, FILE_NAME)
            key, place = read_or_make(path), shortened(path)
        self.__class__ = self._kind  # type: ignore[assignment]
        self[KEY_NAME] = key
        project.origins[KEY_NAME] = Origin("generated", place)
        return key


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
            with suppress(FileExistsError):  # another process is faster: its key counts
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
        time.sleep(0.005)  # no event reports that the other process has written
    if stat.S_IMODE(mode) & 0o077 and os.name == "posix":
        with suppress(OSError):  # the file belongs to somebody else
            os.chmod(path, 0o600)
    return text.strip()


def _prepare_folder(folder: str) -> None:
    """Create the folder, and let git ignore the key in it, whatever the project lets git ignore."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with open(os.path.join(folder, ".gitignore"), "a+", encoding="utf-8") as file:
        file.seek(0)
        text = file.read()
        if {"*", FILE_NAME, f"/{FILE_NAME}"}.isdisjoint(map(str.strip, text.splitlines())):
            file.write(_IGNORED if not text or text.endswith("\n") else f"\n{_IGNORED}")
