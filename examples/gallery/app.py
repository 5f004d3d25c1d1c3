"""A gallery: upload pictures, see them again. Each visitor sees only their own.

carboy --app app.py run          http://127.0.0.1:5000/
"""

from __future__ import annotations

import os

from msgspec import Struct

from carboy import (
    Carboy,
    Response,
    Upload,
    abort,
    redirect,
    render_template,
    request,
    session,
    uploads,
    url_for,
)
from carboy.openapi import operation

app = Carboy(__name__)
app.config.from_project()  # the SECRET_KEY of sessions, from the environment or `instance/`
app.config["SESSION_COOKIE_SAMESITE"] = "Lax"  # no other site can upload for a visitor
# The page loads nothing from other hosts, and runs only the script that has its nonce. It shows the
# pictures that are being sent (blob:).
app.config["STRICT_HEADERS"] = {"Content-Security-Policy": {"img-src": "blob:"}}

FOLDER = "pictures"
TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif")
MAX_BYTES = 10 * 1024 * 1024
MAX_FOLDER_BYTES = 1024 * 1024 * 1024

# A stored picture has a random name, so its URL is a secret that only the visitor knows.
app.add_url_rule("/pictures/<name>", "picture", operation(hidden=True)(uploads.view(FOLDER)))


class Picture(Struct):
    """A stored picture: its address, and its size in bytes."""

    name: str
    url: str
    size: int
    type: str


def described(saved: uploads.SavedFile) -> Picture:
    url = url_for("picture", name=saved.name)
    return Picture(saved.name, url, saved.size, saved.media_type)


def own_pictures() -> list[Picture]:
    return [described(each) for each in uploads.files(FOLDER, owner=session)]


@app.get("/")
def index() -> str:
    return render_template(
        "index.html", pictures=own_pictures(), types=",".join(TYPES), max_bytes=MAX_BYTES
    )


@app.get("/pictures")
def pictures() -> list[Picture]:
    """List the visitor's pictures, newest first."""
    return own_pictures()


@app.post("/pictures")
@operation(hidden=True)  # the samples of the document are no pictures
def add(pictures: list[Upload]) -> list[Picture]:
    """Store pictures: all of them, or none if one is refused."""
    saved = uploads.save_all(
        pictures,
        FOLDER,
        owner=session,
        types=TYPES,
        max_bytes=MAX_BYTES,
        max_folder_bytes=MAX_FOLDER_BYTES,
    )
    if wants_page():
        return redirect(url_for("index"))
    return [described(each) for each in saved]


@app.post("/pictures/<name>/remove")
@operation(hidden=True)
def remove(name: str) -> Response:
    """Remove one of the visitor's own pictures."""
    own = {each.name: each.path for each in uploads.files(FOLDER, owner=session)}
    if name not in own:
        abort(404, "You have no picture of this name.")
    os.remove(own[name])
    return redirect(url_for("index")) if wants_page() else Response(status=204)


def wants_page() -> bool:
    """Return whether a browser has sent the form itself, without the page's script."""
    return "text/html" in request.headers.get("Accept", "")
