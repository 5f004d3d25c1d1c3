"""Build the wheel, install it where nothing else is, and ask a small app for its pages and for its
OpenAPI document. Then create a project by that installation, and install and test the project where
nothing else is.

What the editable install of the tests cannot show: that every file is in the wheel, that the
declared requirements are enough, that the `carboy` command starts from it, and that the wheel which
`carboy new` packs again has the same files.
"""

from __future__ import annotations

import html
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile

import bootstrap

APP = """\
from carboy import Flask

app = Flask(__name__)

@app.route("/")
def index():
    return "out of the wheel"

@app.model("/double")
class Double:
    def predict(self, number: float) -> float:
        return 2 * number
"""
# A cold start of two processes on a busy machine.
START_S = 60.0


def build() -> pathlib.Path:
    """Build dist/carboy-*.whl by way of the source distribution's own rules; return its path."""
    python = bootstrap.venv(bootstrap.VENV)
    dist = bootstrap.ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    wheel: bootstrap.Command = [
        "-m",
        "pip",
        "wheel",
        "-qq",
        "--no-deps",
        "--wheel-dir",
        dist,
        bootstrap.ROOT,
    ]
    bootstrap.run(python, *wheel)
    return next(dist.glob("carboy-*.whl"))


def check_content(wheel: pathlib.Path) -> None:
    """Compare the wheel's files with those of src/."""
    src = bootstrap.ROOT / "src"
    source = {
        path.relative_to(src).as_posix()
        for path in src.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    if source != packed:
        raise SystemExit(f"carboy: wheel and src/ differ in {sorted(source ^ packed)}")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def fetch(url: str, server: subprocess.Popen[bytes]) -> str:
    until = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own address
                return str(answer.read().decode())
        except (urllib.error.URLError, ConnectionError) as error:
            if server.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"carboy: no page from the installed wheel: {error}") from None
            time.sleep(0.05)


def load(url: str) -> str:
    """Fetch what a browser would be sent; raise OSError unless it is there."""
    request = urllib.request.Request(url, headers={"Accept": "text/html"})  # noqa: S310 - our own
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own
        return str(answer.read().decode(errors="replace"))


def fetch_page(url: str) -> int:
    """Fetch a page as a browser does, with the scripts, styles and pages of its site to which it
    links; return the number of these.
    """
    page = load(url)
    linked = {
        urllib.parse.urljoin(url, html.unescape(place))
        for place in re.findall(r'(?:src|href)="([^"#]+)"', page)
    }
    site = urllib.parse.urljoin(url, "/")
    own = [each for each in linked if each.startswith(site)]
    for each in own:
        load(each)
    if not own:
        raise SystemExit(f"carboy: {url} links to nothing:\n{page[:500]}")
    return len(own)


def check_document(carboy: pathlib.Path, folder: pathlib.Path) -> None:
    """Write the OpenAPI document of the app."""
    printed = subprocess.run(
        [carboy, "openapi"], cwd=folder, check=True, capture_output=True, text=True
    ).stdout
    if "/double" not in json.loads(printed)["paths"]:
        raise SystemExit(f"carboy: openapi has no /double:\n{printed}")


def check_server(carboy: pathlib.Path, folder: pathlib.Path, command: str) -> None:
    """Start `carboy run` or `carboy serve` on the app; it must answer and leave."""
    port = free_port()
    (folder / "app.py").write_text(APP)
    server = subprocess.Popen([carboy, command, "--port", str(port)], cwd=folder)
    try:
        page = fetch(f"http://127.0.0.1:{port}/", server)
        fetch_page(f"http://127.0.0.1:{port}/double")
    finally:
        server.terminate()
        server.wait(30)
    if page != "out of the wheel":
        raise SystemExit(f"carboy: {command} gave {page!r}")


def install(folder: pathlib.Path, *arguments: str | os.PathLike[str]) -> pathlib.Path:
    """Make a virtual environment and install into it; return the folder of its commands."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    binaries = folder / "bin"
    bootstrap.run(binaries / "python", "-m", "pip", "install", "-qq", *arguments)
    return binaries


def check_new_project(carboy: pathlib.Path, folder: pathlib.Path, wheel: pathlib.Path) -> None:
    """Create a project, and run its tests in an environment that is installed as it says."""
    parts = ("page", "api", "model", "upload")
    options = [word for part in parts for word in ("--with", part)]
    subprocess.run([carboy, "new", "project", *options], cwd=folder, check=True)
    project = folder / "project"
    (packed_again,) = (project / "wheels").iterdir()
    if packed_again.name != wheel.name or contents(packed_again) != contents(wheel):
        raise SystemExit("carboy: the wheel that `carboy new` has packed has other files")
    os.chdir(project)
    binaries = install(folder / "venv-of-project", "-r", "requirements-dev.txt")
    bootstrap.run(binaries / "python", "-m", "pytest", "-q")


def contents(wheel: pathlib.Path) -> dict[str, bytes]:
    """Return the files of a wheel, except its list of files, whose order differs."""
    with zipfile.ZipFile(wheel) as archive:
        names = (name for name in archive.namelist() if not name.endswith("/RECORD"))
        return {name: archive.read(name) for name in names}


def main() -> None:
    wheel = build().resolve()
    check_content(wheel)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        binaries = install(folder / "venv", wheel)
        # The folder of this repository must not be what answers.
        os.environ.pop("PYTHONPATH", None)
        for command in ("run", "serve"):
            check_server(binaries / "carboy", folder, command)
        check_document(binaries / "carboy", folder)
        check_new_project(binaries / "carboy", folder, wheel)
        os.chdir(bootstrap.ROOT)
    print(f"carboy: {wheel.name} installs by itself and answers ({wheel.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
