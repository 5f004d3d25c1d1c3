"""Sources of models: where the versions of a model are stored, and which of them should be served.

    models/digits/            a folder, or the URL of one (`s3://bucket/models/digits`)
        7/card.json           one version, as `carboy.models.save` has written it
        7/model.joblib
        8/...
        chosen.json           the version to which somebody has rolled back, if so

    localsource  a folder
    urlsource    a folder at an fsspec URL; `versioncache` keeps what was fetched
    versionlist  the versions, and which of them should be served
    build        the files of a new version
    changes      adds a version, switches, rolls back
    diskspace    errors of a disk that is too small

The source is the only record of versions. Every process that serves a model looks at its source now
and then, so that a new version reaches servers of all kinds, and a restart changes nothing. Modules
of this package know no model, thread or server.
"""

from __future__ import annotations

import typing as t
from importlib.util import find_spec

from carboy.core.masking import mask_text

from .localsource import FolderSource

if t.TYPE_CHECKING:
    from .versionlist import VersionList


class VersionSource(t.Protocol):
    """The versions of one model. Thread-safe; all methods may block.

    Attributes:
        location: the path or URL, without passwords, for messages.
        poll_s: the interval at which to look for changes, in seconds.
    """

    location: str
    poll_s: float

    def look(self) -> VersionList:
        """List the versions. Reads no model files, so that it may be called often.

        Raises:
            OSError: the source cannot be reached.
            ModelFileError: the source cannot be used; the message says why.
        """

    def folder(self, name: str) -> str:
        """Return the local folder with the files of a version, which may be fetched first.

        Raises:
            OSError: the source cannot be reached, or the disk is full.
            ModelFileError: there is no such version, or its files are not those on its card.
        """

    def keep(self, folder: str) -> None:
        """Note that a folder which `folder` has returned is still used: a cache must not remove it,
        because processes that are started later open its files, too.
        """

    def discard_damaged(self, folder: str) -> bool:
        """Remove a copy that `folder` has returned if its files are not those on its card any more,
        so that they are fetched again. Reads all of them. Returns whether it was removed.
        """

    def choose(self, name: str) -> None:
        """Let all servers of this source serve a version, until a newer one than all that exist now
        is added.

        Raises:
            OSError: the choice cannot be written.
            ModelFileError: there is no such version.
        """

    def push(self, folder: str, name: str | None = None) -> str:
        """Add the files in a local folder as a version, and return its name.

        Args:
            folder: a saved model, or any folder of files, which gets a card.
            name: by default the next number.

        Raises:
            OSError: the files cannot be read or written.
            ModelFileError: the version exists already, or the folder cannot be used.
        """


_LOCAL: t.Final = "file://"


def is_url(source: str) -> bool:
    """Return whether a source is an fsspec URL, and not the path of a folder."""
    return "://" in source


def refuse_without_fsspec(url: str, asked: str) -> None:
    """Refuse a URL if fsspec is not installed, which is a matter of the program and not of the
    store. Does not import it.

    Raises:
        ValueError: fsspec is needed and cannot be imported.
    """
    if not url.startswith(_LOCAL) and find_spec("fsspec") is None:
        raise ValueError(
            f"{asked}: {mask_text(url)!r} needs fsspec and the library of the store. Install both,"
            " such as: python -m pip install 'carboy[sources]' s3fs."
        )


def without_source(name: str, rule: str) -> str:
    """Return the message for a user who asks for versions of a model that has none."""
    return (
        f"The model {name!r} has no source, and so no versions. Declare where they are stored:"
        f" app.model({rule!r}, source='models/...')."
    )


def source_of(source: str) -> VersionSource:
    """Return the source at a path or an fsspec URL. Neither opens it nor imports fsspec."""
    if is_url(source) and not source.startswith(_LOCAL):
        from .urlsource import UrlSource

        return UrlSource(source)
    return FolderSource(source.removeprefix(_LOCAL))
