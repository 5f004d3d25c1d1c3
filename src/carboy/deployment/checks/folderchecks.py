"""Checks of folders: who may change what is in them, and what the static folders show everybody."""

from __future__ import annotations

import os
import stat
import typing as t

from ...errors import ConfigError
from ...project.origins import shortened
from ..projectfiles import ENV_FILES, is_within, matches, walk
from .checkregistry import Found, check

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..facts import Facts

# Kind of files that nobody wants to publish -> patterns of their names. Formats of models that
# browsers load, such as ONNX, are left out.
_PRIVATE = {
    "settings with secrets": (*ENV_FILES, "secret_key", "*.pem"),
    "logs": ("*.log", "*.log.[0-9]*"),
    "models": ("*.ckpt", "*.h5", "*.joblib", "*.keras", "*.pickle", "*.pkl", "*.pt", "*.pth"),
    "databases": ("*.db", "*.sqlite", "*.sqlite3"),
    "code of the app": ("*.py", "*.pyc", ".git"),
}
_UPLOAD_FOLDERS = ("upload", "uploads", "uploaded", "user_files")
# carboy.uploads keeps its lock in a folder of this name.
_STORE = ".carboy"


@check(
    "carboy.W104",
    "Every user of the machine may change files or folders of the project (`chmod 777`).",
    remedy="Run 'chmod o-w' on it. If the server cannot write there then, make the server's user"
    " the owner: 'chown'.",
    deploy=True,
)
def find_world_writable(facts: Facts) -> cabc.Iterator[Found]:
    if os.name == "posix":
        for folder in _folders_of(facts):
            yield from _find_world_writable_below(folder)


def _folders_of(facts: Facts) -> list[str]:
    """Return the project's folder, and those outside of it that the app uses."""
    app = facts.app
    code = [os.path.join(app.root_path, each or "") for each in ("", app.template_folder)]
    shown = [each.folder for each in facts.static_folders]
    folders = [facts.root]
    for folder in map(os.path.abspath, (*code, *shown, *_written_folders(facts))):
        if os.path.isdir(folder) and not any(is_within(folder, known) for known in folders):
            folders.append(folder)
    return folders


def _written_folders(facts: Facts) -> list[str]:
    try:
        return facts.written_folders
    except ConfigError:  # a wrong value, which another check reports
        return []


def _find_world_writable_below(folder: str) -> cabc.Iterator[Found]:
    """Find a folder that all users may change, or else what they may change below it. Nothing below
    a found folder is reported, because all users may replace it anyway.
    """
    if _is_world_writable(folder):
        yield _found_writable(folder)
        return
    for entry in walk(folder, lambda entry: not _is_world_writable(entry.path)):
        if _is_world_writable(entry.path):
            yield _found_writable(entry.path)


def _found_writable(path: str) -> Found:
    what = "files in it" if os.path.isdir(path) else "it"
    return Found(shortened(path), f"Every user of this machine may change {what}.")


def _is_world_writable(path: str) -> bool:
    try:
        mode = os.lstat(path).st_mode
    except OSError:  # it was removed meanwhile
        return False
    if stat.S_ISDIR(mode):  # in a sticky folder, such as /tmp, users change their own files only
        return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX
    return stat.S_ISREG(mode) and bool(mode & stat.S_IWOTH)


@check(
    "carboy.E105",
    "A static folder holds files that nobody should read: `.env`, logs, models, databases, code.",
    remedy="Move them out of the static folder, whose files everybody can read. If they have been"
    " public, replace the secrets in them.",
)
def find_private_static_files(facts: Facts) -> cabc.Iterator[Found]:
    for folder, url in _static_folders(facts):
        entries = list(walk(folder, hidden=True))
        for kind, patterns in _PRIVATE.items():
            files = [entry.path for entry in entries if matches(entry.name, patterns)]
            if files:
                yield Found(shortened(files[0]), f"{url} shows everybody {kind}{_more(files)}.")


def _static_folders(facts: Facts) -> list[tuple[str, str]]:
    """Return the static folders, each once, with the beginning of the URLs of its files."""
    return list({each.folder: each.url for each in facts.static_folders}.items())


def _more(files: list[str]) -> str:
    return f" (this file and {len(files) - 1} more)" if len(files) > 1 else ""


@check(
    "carboy.W106",
    "A static folder holds files that users upload: scripts in an uploaded page or SVG file run as"
    " those of the app.",
    remedy="Store them in a folder beside the static one, and send them by 'carboy.uploads.view'."
    " docs/howto/uploads.md shows how.",
)
def find_uploads_in_static_folder(facts: Facts) -> cabc.Iterator[Found]:
    for folder, url in _static_folders(facts):
        for path in sorted({*_upload_folders_below(folder), *_configured_uploads(facts, folder)}):
            yield Found(shortened(path), f"{url} shows everybody what users upload.")


def _upload_folders_below(folder: str) -> cabc.Iterator[str]:
    for entry in walk(folder, hidden=True):
        if not entry.is_dir(follow_symlinks=False):
            continue
        if entry.name == _STORE:
            yield os.path.dirname(entry.path)
        elif entry.name.lower() in _UPLOAD_FOLDERS:
            yield entry.path


def _configured_uploads(facts: Facts, folder: str) -> cabc.Iterator[str]:
    """Yield the folders below a static one that config keys such as UPLOAD_FOLDER name."""
    for key, value in facts.app.config.items():
        if "UPLOAD" in key and isinstance(value, str | os.PathLike):
            path = os.path.abspath(os.path.join(facts.app.root_path, os.fspath(value)))
            if os.path.isdir(path) and is_within(path, folder):
                yield path
