"""`view`: the view function that sends stored files to clients."""

from __future__ import annotations

import typing as t

from werkzeug.exceptions import NotFound

from ..helpers import send_file
from .contenttypes import BY_SUFFIX
from .uploadfolder import absolute, find

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import os

    from ..wrappers import Response


def view(folder: str | os.PathLike[str]) -> cabc.Callable[[str], Response]:
    """Return a view that sends the files that `save` has stored in a folder.

        app.add_url_rule("/uploads/<name>", "uploads", uploads.view("uploads"))
        url_for("uploads", name=saved.name)

    A file is sent with the type that `save` has recognised and `nosniff`, in parts if the client
    asks for a range, and as 304 if it has it. What could run scripts in a page (SVG, HTML), and
    what browsers cannot show, is sent as an attachment. Other names are a 404. Everybody who knows
    a name gets the file; to ask who the client is, decorate the view:
    `login_required(uploads.view(...))`.

    Args:
        folder: as for `save`.
    """

    def send_upload(name: str) -> Response:
        saved = find(absolute(folder), name)
        if saved is None:
            raise NotFound
        is_shown = BY_SUFFIX[name.rpartition(".")[2]].is_shown
        try:
            response = send_file(
                saved.path, saved.media_type, as_attachment=not is_shown, download_name=name
            )
        except FileNotFoundError:  # replaced in this moment
            raise NotFound from None
        response.headers["X-Content-Type-Options"] = "nosniff"
        if not is_shown:
            # For browsers that show attachments in `<embed>` and `<object>`.
            response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
        return response

    return send_upload
