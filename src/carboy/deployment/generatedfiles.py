"""Write generated files into a project: all of them, or none; over other files only if the user
asks for that.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import tempfile
import typing as t

from ..errors import DeploymentError

if t.TYPE_CHECKING:
    import collections.abc as cabc


class GeneratedFile(t.NamedTuple):
    """A file for the project."""

    path: str  # relative to the project's folder, with "/" between folders
    text: str | bytes  # bytes for a file that is not text, of which no diff is shown
    mode: int = 0o644

    @property
    def content(self) -> bytes:
        return self.text.encode() if isinstance(self.text, str) else self.text


class WrittenFile(t.NamedTuple):
    """The result of writing a generated file."""

    path: str
    outcome: t.Literal["created", "replaced", "unchanged"]
    diff: str  # from the file that was there, to the generated one; "" unless it was replaced


def write_files(
    root: str, files: cabc.Sequence[GeneratedFile], *, force: bool
) -> list[WrittenFile]:
    """Write generated files into a project's folder.

    Args:
        root: the project's folder.
        files: the files, all of which are written, or none.
        force: whether files that exist with other content are replaced.

    Raises:
        DeploymentError: a file exists with other content, and `force` is false; or a file cannot be
            written. Nothing has changed then.
    """
    written = [_compare(root, file) for file in files]
    replaced = [each for each in written if each.outcome == "replaced"]
    if replaced and not force:
        names = ", ".join(each.path for each in replaced)
        raise DeploymentError(
            f"{names}: exists with other content. Nothing was written. --force replaces it, as"
            " the diff shows.",
            diff="".join(each.diff for each in replaced),
        )
    changes = [
        file for file, each in zip(files, written, strict=True) if each.outcome != "unchanged"
    ]
    _replace_all(root, changes)
    return written


def _compare(root: str, file: GeneratedFile) -> WrittenFile:
    path = _path_of(root, file)
    try:
        with open(path, "rb") as existing:
            before = existing.read()
        if before == file.content:
            return WrittenFile(file.path, "unchanged", "")
        return WrittenFile(file.path, "replaced", _diff(file, before))
    except FileNotFoundError:
        return WrittenFile(file.path, "created", "")
    except (OSError, UnicodeDecodeError) as exc:
        raise DeploymentError(f"{file.path}: cannot be read: {exc}. Nothing was written.") from None


def _path_of(root: str, file: GeneratedFile) -> str:
    """Return the absolute path of a file.

    Raises:
        DeploymentError: its folder is a link to somewhere else, where files have other owners.
    """
    path = os.path.join(root, *file.path.split("/"))
    folder, project = os.path.realpath(os.path.dirname(path)), os.path.realpath(root)
    if os.path.commonpath([folder, project]) != project:
        raise DeploymentError(
            f"{file.path}: its folder is a link to {folder}, outside of the project. Nothing was"
            " written."
        )
    return path


def _diff(file: GeneratedFile, before: bytes) -> str:
    if isinstance(file.text, bytes):
        return f"{file.path} differs\n"
    lines = difflib.unified_diff(
        before.decode().splitlines(keepends=True),
        file.text.splitlines(keepends=True),
        file.path,
        f"{file.path} (generated)",
    )
    # A last line without a newline would run into the next line of the diff.
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _replace_all(root: str, files: cabc.Sequence[GeneratedFile]) -> None:
    """Write each file under another name, then give all of them their names, so that a full disk or
    a folder that cannot be written leaves no half of the files behind.
    """
    with contextlib.ExitStack() as undo:
        try:
            prepared = [_write_beside(root, file, undo) for file in files]
            for temporary, path in prepared:
                os.replace(temporary, path)
        except OSError as exc:
            # Not the name of the temporary file, which nobody knows.
            folder = os.path.dirname(exc.filename) if exc.filename else root
            raise DeploymentError(
                f"The files cannot be written: {exc.strerror} ({folder})."
            ) from None
        undo.pop_all()


def _write_beside(root: str, file: GeneratedFile, undo: contextlib.ExitStack) -> tuple[str, str]:
    """Write the content of a file into a temporary file in the file's own folder. Return the paths
    of the two.
    """
    path = _path_of(root, file)
    _make_folder(os.path.dirname(path), undo)
    descriptor, temporary = tempfile.mkstemp(
        prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path)
    )
    undo.callback(_remove, os.unlink, temporary)
    with open(descriptor, "wb") as out:
        out.write(file.content)
    os.chmod(temporary, file.mode)
    return temporary, path


def _make_folder(folder: str, undo: contextlib.ExitStack) -> None:
    if not os.path.isdir(folder):
        _make_folder(os.path.dirname(folder), undo)
        os.mkdir(folder)
        undo.callback(_remove, os.rmdir, folder)


def _remove(remove: cabc.Callable[[str], None], path: str) -> None:
    """Remove a file or folder that a failed command has made, unless it is gone: a temporary file
    may have been renamed.
    """
    with contextlib.suppress(OSError):
        remove(path)
