"""Send the static files of an app to clients, and open files for views."""

from __future__ import annotations

import os
import typing as t
from datetime import timedelta

from ..globals import current_app
from ..helpers import send_from_directory

if t.TYPE_CHECKING:
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
            NotFound: there is no such file in the static folder.
        """
        if not self.has_static_folder:
            raise RuntimeError("'static_folder' must be set to serve static_files.")
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
