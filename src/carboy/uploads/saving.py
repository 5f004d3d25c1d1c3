"""`save` and `save_all`: check files that a client has sent, and store them in a folder."""

from __future__ import annotations

import contextlib
import numbers
import os
import typing as t

from ..contract.values.file import Upload
from ..contract.values.image import DEFAULT_MAX_PIXELS, PILLOW_MAX_PIXELS, HeaderReader
from ..core.spooledfile import SpoolFullError, is_without_room
from ..errors import Fault, InputError, InputTooLargeError, UnsupportedInputError
from . import picturesize
from .clientnames import MAX_CHARACTERS, fault_of_name, plain_name, shown
from .contenttypes import HEAD_BYTES, FileType, name_of, type_of, types_of, word_for
from .picturesize import Size
from .uploadfolder import (
    SavedFile,
    Staged,
    absolute,
    discard,
    identity,
    prepare,
    publish,
    refuse_public,
    stage,
)

if t.TYPE_CHECKING:
    import collections.abc as cabc

    import PIL.Image
    from werkzeug.datastructures import FileStorage

    from .uploadfolder import Owner

    File: t.TypeAlias = FileStorage | Upload

# The types that `save` accepts by default: pictures that all browsers show in a page, in formats
# that cannot contain scripts.
DEFAULT_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif")
# The default of `max_bytes`: enough for photographs of phones (3 to 8 MB) and for most documents.
DEFAULT_MAX_BYTES = 32 * 1024 * 1024
# The default of `max_frames`: half a minute of an animation with 30 frames per second.
DEFAULT_MAX_FRAMES = 1000
# How many bytes Pillow may read of one picture to find its size. The limit exists because Pillow
# keeps these bytes in memory. It is high because the header of a photograph has some MB if it
# contains a second picture, such as a map of depths.
_MAX_HEADER_BYTES = 32 * 1024 * 1024


def save(
    file: File | None,
    folder: str | os.PathLike[str],
    *,
    keep: t.Literal["all", "latest"] = "all",
    owner: Owner | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
    types: str | cabc.Sequence[str] = DEFAULT_TYPES,
    max_pixels: int | None = DEFAULT_MAX_PIXELS,
    max_frames: int | None = DEFAULT_MAX_FRAMES,
    max_folder_bytes: int | None = None,
) -> SavedFile:
    """Check a file that a client has sent, and store it under a new random name.

    The file appears in the folder only when it is complete and on the disk (fsync); only this user
    of the system may read it. If the file is refused, nothing of it stays. If the process is
    killed, a temporary file may stay, which is removed by the first `save` in this folder after
    an hour. Several threads and processes may save files in the same folder at the same time.

    Args:
        file: a file from `request.files`, or an `Upload`; None means that the client has sent no
            file, which is refused with a 422.
        folder: where the file is stored; a relative path is below the app's `root_path`. A missing
            folder is created with private permissions.
        keep: "latest" removes the earlier files of this owner when the new file is stored; "all"
            keeps them.
        owner: to whom the file belongs: the id of a user, or a session, which then gets a random
            id. Needed for `keep="latest"`.
        max_bytes: the largest size that a file may have. A request that exceeds
            `MAX_CONTENT_LENGTH`, or `--max-body` of `carboy serve` (64 MiB), is refused before.
        types: the allowed media types, such as "application/pdf", "image/*" or "*/*". SVG and HTML
            can contain scripts: "image/*" and "text/*" do not include them, "image/svg+xml",
            "text/html" and "*/*" do.
        max_pixels: the largest width times height that a picture may have, also each frame of an
            animation; for JPEG and BMP, Pillow must be installed. None: no limit.
        max_frames: how many frames an animation may have, and how many pages a TIFF file. None: no
            limit.
        max_folder_bytes: how many bytes all files of the folder may take together, without the
            files that this file replaces. None: no limit.

    Raises:
        InputError: the file is refused. Unless the view catches the error, the client gets a 422
            (no file, an empty file, a damaged picture, or a name that no honest client sends), a
            413 (too large, or no room in the folder or on the disk) or a 415 (a type that is not
            allowed).
        ValueError: an argument other than `file` is wrong.
        OSError: the folder cannot be written. If another process has locked it for 5 s, the error
            is also an HTTP exception: 503 with Retry-After.
    """
    rules = _Rules.of(keep, owner, max_bytes, types, max_pixels, max_frames, max_folder_bytes)
    return _store([] if file is None else [file], folder, rules)[0]


def save_all(
    files: cabc.Sequence[File],
    folder: str | os.PathLike[str],
    *,
    keep: t.Literal["all", "latest"] = "all",
    owner: Owner | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
    types: str | cabc.Sequence[str] = DEFAULT_TYPES,
    max_pixels: int | None = DEFAULT_MAX_PIXELS,
    max_frames: int | None = DEFAULT_MAX_FRAMES,
    max_folder_bytes: int | None = None,
) -> list[SavedFile]:
    """Check several files, and store all of them, or none if one is refused.

    Args:
        files: files from `request.files.getlist(name)`, or a `list[Upload]`. An empty list is
            refused with a 422.
        folder: as for `save`, like all arguments that are not described here.
        keep: "latest" replaces the owner's earlier files by all of `files`.
        max_bytes: the largest size that each of the files may have.

    Raises:
        InputError, ValueError, OSError: for the same reasons as in `save`.
    """
    rules = _Rules.of(keep, owner, max_bytes, types, max_pixels, max_frames, max_folder_bytes)
    return _store(files, folder, rules)


class _Rules(t.NamedTuple):
    """The rules for files that the arguments of `save` state, after the arguments were checked."""

    replace: bool
    owner: str | None
    max_bytes: int
    types: tuple[FileType, ...]
    max_pixels: int | None
    max_frames: int | None
    max_folder_bytes: int | None

    @classmethod
    def of(
        cls,
        keep: str,
        owner: Owner | None,
        max_bytes: int,
        types: str | cabc.Sequence[str],
        max_pixels: int | None,
        max_frames: int | None,
        max_folder_bytes: int | None,
    ) -> _Rules:
        if keep not in {"all", "latest"}:
            raise ValueError(f"keep={keep!r}: expected 'all' or 'latest'.")
        if keep == "latest" and owner is None:
            raise ValueError(
                "keep='latest' needs to know whose latest file it is: owner=session, or the id of"
                " a user."
            )
        if not _is_number(max_bytes):
            raise ValueError(f"max_bytes={max_bytes!r}: expected a number, 1 or more.")
        limits = {"max_frames": max_frames, "max_folder_bytes": max_folder_bytes}
        for name, most in limits.items():
            if most is not None and not _is_number(most):
                raise ValueError(f"{name}={most!r}: expected a number, 1 or more, or None.")
        allowed = types_of(types)
        _check_max_pixels(max_pixels, [each.pillow for each in allowed if each.pillow])
        who = None if owner is None else identity(owner)
        return cls(
            keep == "latest", who, max_bytes, allowed, max_pixels, max_frames, max_folder_bytes
        )

    def quota_for(self, files: list[_Received]) -> cabc.Callable[[int], object] | None:
        """Return a function that checks `max_folder_bytes`; None if there is no such limit.

        The function is called with the bytes that the files in the folder take already, and raises
        InputTooLargeError if `files` would exceed the limit.
        """
        most, size = self.max_folder_bytes, sum(each.size for each in files)
        if most is None:
            return None

        def check(used: int) -> None:
            if used + size > most:
                left = _readable(max(0, most - used))
                raise InputTooLargeError(
                    f"Expected at most {left}, which is the room that is left for uploads, got"
                    f" {_readable(size)}."
                )

        return check


def _is_number(value: object) -> bool:
    """Return whether a value is a number from 1 on, which may be one of NumPy, or 1e6."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_number and bool(t.cast("float", value) >= 1)


def _check_max_pixels(max_pixels: int | None, formats: list[str]) -> None:
    if max_pixels is None:
        return
    if not (_is_number(max_pixels) and max_pixels <= PILLOW_MAX_PIXELS):
        raise ValueError(f"max_pixels={max_pixels!r}: expected 1 to {PILLOW_MAX_PIXELS}, or None.")
    if all(picturesize.reads(each) for each in formats):  # also if there are no pictures
        return
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise RuntimeError(
            "Pillow is needed to count the pixels of JPEG and BMP and is not installed: `pip"
            " install pillow`. Or pass max_pixels=None, and pictures of any number of pixels are"
            " stored."
        ) from None


def _store(
    files: cabc.Sequence[File], folder: str | os.PathLike[str], rules: _Rules
) -> list[SavedFile]:
    received = [_Received.of(each) for each in files]
    if not received:
        raise InputError("Expected a file, got none. Choose one and send the form again.")
    staged: list[Staged] = []
    try:
        kinds = [_check(each, rules) for each in received]
        path = absolute(folder)
        refuse_public(path)
        with _refusing_without_room(path):
            prepare(path)
            for each, kind in zip(received, kinds, strict=True):
                staged.append(Staged(stage(each.stream, path), each.size, kind))
            saved = publish(
                path,
                staged,
                owner=rules.owner,
                replace=rules.replace,
                check_room=rules.quota_for(received),
            )
    finally:
        discard(*(each.path for each in staged))
        for file in received:
            file.stream.seek(0)  # the view may read a file that was stored, or one that was refused
    return [
        SavedFile(made.name, made.path, made.size, made.media_type, plain_name(each.name))
        for made, each in zip(saved, received, strict=True)
    ]


# --- checks ----------------------------------------------------------------------------------


class _Received(t.NamedTuple):
    """A file that a client has sent: content, name, size, and the name of its field in the form.

    It is made of Werkzeug's `FileStorage` (from `request.files`) or carboy's `Upload` alike.
    """

    stream: t.IO[bytes]
    name: str
    size: int
    field: str

    @classmethod
    def of(cls, file: File) -> _Received:
        if isinstance(file, Upload):
            return cls(file.stream, file.sent_name, file.size, "")
        if not file.filename:  # browsers send an empty name if the user has chosen no file
            raise InputError("Expected a file, got none. Choose one and send the form again.")
        size = file.stream.seek(0, os.SEEK_END)
        file.stream.seek(0)
        return cls(file.stream, file.filename, size, file.name or "")

    def refusal(
        self, kind: type[InputError], expected: str, got: str, hint: str = ""
    ) -> InputError:
        where = f"$.{self.field}" if self.field else "$"
        of_file = f"{shown(self.name)}: expected" if self.name else "Expected"
        detail = f"{of_file} {expected}, got {got}." + (f" {hint}" if hint else "")
        return kind(detail, faults=[Fault(where, expected, got)])


def _check(file: _Received, rules: _Rules) -> FileType:
    """Check name, size, type and pixels of one file, and return its type.

    Raises InputError if one of them is not allowed.
    """
    fault = fault_of_name(file.name) if file.name else ""
    if fault:
        expected = f"a usual file name of at most {MAX_CHARACTERS} characters"
        raise file.refusal(InputError, expected, fault, "Rename the file and send it again.")
    if not file.size:
        raise file.refusal(InputError, "a file with content", "an empty file")
    if file.size > rules.max_bytes:
        most = _readable(rules.max_bytes)
        raise file.refusal(InputTooLargeError, f"at most {most}", _readable(file.size))
    kind = type_of(file.stream, plain_name(file.name))
    if kind not in rules.types:
        file.stream.seek(0)
        got = word_for(kind, file.stream.read(HEAD_BYTES))
        expected = _alternatives([name_of(each) for each in rules.types])
        raise file.refusal(UnsupportedInputError, expected, got)
    if kind.pillow:
        _check_picture(file, kind, rules)
    return kind


def _check_picture(file: _Received, kind: FileType, rules: _Rules) -> None:
    """Raise InputError if a picture has too many pixels or frames, or cannot be read because it is
    damaged.

    Only the header and the structure of the file are read. Decoding the pixels, which would find
    more damages, takes up to a second, and four bytes of memory per pixel.
    """
    try:
        size = _size_of(file, kind.pillow, rules)
    except MemoryError:
        raise
    except Exception as exc:  # Pillow documents none of the errors that it raises for bad files
        got = f"a damaged {name_of(kind)}"
        raise file.refusal(InputError, "a whole picture", got) from exc
    if rules.max_pixels is not None and size.pixels > rules.max_pixels:
        raise file.refusal(
            InputTooLargeError,
            f"a picture of at most {rules.max_pixels:,} pixels",
            f"{size.width} x {size.height}",
            "Scale it down and send it again.",
        )
    if rules.max_frames is not None and size.frames > rules.max_frames:
        raise file.refusal(
            InputTooLargeError, f"at most {rules.max_frames:,} frames or pages", f"{size.frames:,}"
        )


def _size_of(file: _Received, name: str, rules: _Rules) -> Size:
    """Return the size of a picture, as far as a rule limits it.

    Args:
        file: the picture.
        name: Pillow's name of its format.
        rules: the rules.
    """
    has_one_frame = not picturesize.reads(name)
    if rules.max_pixels is None and (has_one_frame or rules.max_frames is None):
        return Size(0, 0)
    if has_one_frame:
        return _size_by_pillow(file, name)
    return picturesize.size_of(name, file.stream, file.size)


def _size_by_pillow(file: _Received, name: str) -> Size:
    from PIL import BmpImagePlugin, JpegImagePlugin

    # `PIL.Image.open` would write warnings to stderr: of many pixels, and of the further pictures
    # that a JPEG file may contain.
    formats: dict[str, cabc.Callable[[t.IO[bytes]], PIL.Image.Image]] = {
        "BMP": BmpImagePlugin.BmpImageFile,
        "JPEG": JpegImagePlugin.JpegImageFile,
    }
    file.stream.seek(0)
    reader = HeaderReader(file.stream, file.size, max_bytes=_MAX_HEADER_BYTES)
    return Size(*formats[name](t.cast("t.IO[bytes]", reader)).size)


@contextlib.contextmanager
def _refusing_without_room(folder: str) -> cabc.Iterator[None]:
    """Let the client get a 413 if storing a file in the folder fails because the disk is full."""
    try:
        yield
    except OSError as exc:
        if is_without_room(exc, folder):
            raise InputTooLargeError(SpoolFullError.description) from exc
        raise


def _readable(size: int) -> str:
    """Return a number of bytes as people read it, such as "1.5 MiB"."""
    if size < 1024:
        return f"{size} bytes"
    value, unit = float(size), 0
    while value >= 1024:
        value, unit = value / 1024, unit + 1
    return f"{f'{value:.1f}'.removesuffix('.0')} {'KMGTPE'[unit - 1]}iB"


def _alternatives(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
