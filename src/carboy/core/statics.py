"""Send the static files of an app to clients, and open files for views."""

from __future__ import annotations

import os
import typing as t
from datetime import timedelta

from werkzeug.exceptions import NotFound

from ..globals import current_app
from ..helpers import send_from_directory

if t.TYPE_CHECKING:
    from ..sansio.app import App
    from ..wrappers import Response


class StaticFiles:
    """The methods of `Carboy` and `Blueprint` that read files below the folders of an app."""

    if t.TYPE_CHECKING:
        root_path: str

        @property
        def static_folder(self) -> str | None:
            """Declares the folder of the static files for type checkers; `Scaffold` defines the
            property.
            """

        @static_folder.setter
        def static_folder(self, value: str | os.PathLike[str] | None) -> None: ...
        @property
        def has_static_folder(self) -> bool: ...

    def get_send_file_max_age(self, filename: str | None) -> int | None:
        """Return the seconds for which browsers may cache a file, or None to revalidate each time.

        The default is `SEND_FILE_MAX_AGE_DEFAULT`. Subclasses may override this method.
        """
        value = current_app.config["SEND_FILE_MAX_AGE_DEFAULT"]
        if isinstance(value, timedelta):
            return int(value.total_seconds())
        return t.cast("int | None", value)

    def send_static_file(self, filename: str) -> Response:
        """Return a static file as a response. This is the view of the endpoint "static".

        Raises:
            NotFound: there is no such file in the static folder, or it is a hidden one and
                `STATIC_DOTFILES` is not set.
        """
        if not self.has_static_folder:
            raise RuntimeError(
                f"'static_folder' must be set to serve static files: {self!r} has none. Pass"
                " static_folder=... where it is created."
            )
        if is_hidden(os.fspath(filename)) and not current_app.config.get("STATIC_DOTFILES"):
            raise NotFound
        max_age = self.get_send_file_max_age(filename)
        return send_from_directory(t.cast(str, self.static_folder), filename, max_age=max_age)

    def open_resource(
        self, resource: str, mode: str = "rb", encoding: str | None = "utf-8"
    ) -> t.IO[t.Any]:
        """Open a file below `root_path` for reading.

        Raises:
            ValueError: the mode is for writing, which `Carboy.open_instance_resource` allows.
        """
        if mode not in {"r", "rt", "rb"}:
            raise ValueError(f"Resources can only be opened for reading, not with mode {mode!r}.")
        path = os.path.join(self.root_path, resource)
        return open(path, mode, encoding=None if mode == "rb" else encoding)


def is_hidden(path: str) -> bool:
    """Return whether a path has a part that begins with a dot. Such files get into a static folder
    by accident: `.env`, `.git/config`, the `.DS_Store` of a desktop. Files in `.well-known` (RFC
    8615) are meant for clients.
    """
    # PERF: most paths have no such part, which this comparison tells in 0.1 us.
    if not path.startswith(".") and "/." not in path:
        return False
    folders, _, name = path.rpartition("/")
    parts = [part for part in folders.split("/") if part != ".well-known"]
    return any(part.startswith(".") and part.strip(".") for part in (*parts, name))


def is_public(path: str, app: App) -> bool:
    """Return whether a file or folder is in the static folder of an app or of one of its
    blueprints, or is such a folder itself, so that clients can download it. Links are followed,
    those below a static folder as well, which lead out of it.
    """
    owners = (app, *app.blueprints.values())
    folders = [os.path.realpath(each.static_folder) for each in owners if each.static_folder]
    path = os.path.abspath(path)
    above = [path]
    while (parent := os.path.dirname(above[-1])) != above[-1]:
        above.append(parent)
    return any(
        os.path.join(os.path.realpath(each), "").startswith(os.path.join(folder, ""))
        for each in above
        for folder in folders
    )
