"""`view`: make a view function that sends stored files to clients."""

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

    A file is sent with the media type that `save` has recognised, and with the header `nosniff`, so
    that browsers do not guess another type. A client that asks for a range gets a part of the file;
    a client that has the file already gets a 304. Files that could run scripts (SVG, HTML), and
    files that browsers cannot show, are sent as attachments. A name that no stored file has is
    answered with a 404. Everybody who knows the name of a file gets the file; to check who the
    client is, decorate the view: `login_required(uploads.view(...))`.

    Args:
        folder: the folder that was passed to `save`.
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
        except FileNotFoundError:  # a `save` has just removed the file, to replace it
            raise NotFound from None
        response.headers["X-Content-Type-Options"] = "nosniff"
        if not is_shown:
            # Some browsers show even an attachment, in `<embed>` and `<object>` of a page. This
            # header lets no script of the file run there.
            response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
        return response

    return send_upload
