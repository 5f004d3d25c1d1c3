"""How much is installed: of carboy and of its peers, and of an image of a project.

    python bench/footprint.py [--quick] [--json FILE] [--no-images]

The size of a distribution is that of its files, with those of all that it requires, in the pinned
environments that the other programs use: what NumPy or a model's own library takes is counted only
if the distribution requires it. Bytecode is not counted. The image is that of `carboy docker` for
the project of `carboy new`, and for comparison one of the same base image with Flask and gunicorn;
both need root, Debian and buildah, and are left out elsewhere.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import typing as t

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import _measure
import _peers
import _results

# The title of what is installed, the environment, and the distributions with their extras.
SERVED = {
    "carboy": ("carboy", ["carboy"]),
    "Flask and gunicorn": ("flask", ["flask", "gunicorn"]),
    "FastAPI and uvicorn": ("fastapi", ["fastapi", "uvicorn", "uvloop", "httptools"]),
}
MODELS = {
    "carboy": ("carboy", ["carboy"]),
    "mosec": ("mosec", ["mosec"]),
    "LitServe": ("litserve", ["litserve"]),
    "BentoML": ("bentoml", ["bentoml"]),
    "MLServer": ("mlserver", ["mlserver"]),
    "mlflow": ("mlflow", ["mlflow"]),
    "Ray Serve": ("ray", ["ray[serve]"]),
}
# Prints the requirements and the size of each distribution of the Python that runs it.
LIST = """
import importlib.metadata, json, pathlib
found = {}
for each in importlib.metadata.distributions():
    files = [pathlib.Path(each.locate_file(f)) for f in each.files or () if f.suffix != ".pyc"]
    size = sum(file.stat().st_size for file in files if file.is_file())
    found[each.metadata["Name"]] = [each.requires or [], size]
print(json.dumps(found))
"""


def installed(python: str) -> dict[str, tuple[list[Requirement], int]]:
    """Return the distributions of an environment: what each requires, and its bytes."""
    done = subprocess.run([python, "-c", LIST], capture_output=True, text=True, check=True)
    return {
        canonicalize_name(name): ([Requirement(each) for each in requires], size)
        for name, (requires, size) in json.loads(done.stdout).items()
    }


def closure(known: dict[str, tuple[list[Requirement], int]], roots: list[str]) -> set[str]:
    """Return the distributions that some distributions need, with themselves."""
    found: set[str] = set()
    left = [Requirement(root) for root in roots]
    while left:
        asked = left.pop()
        name = canonicalize_name(asked.name)
        if name not in known or (name in found and not asked.extras):
            continue
        found.add(name)
        left += [each for each in known[name][0] if _applies(each.marker, asked.extras)]
    return found


def _applies(marker: Marker | None, extras: set[str]) -> bool:
    return marker is None or any(marker.evaluate({"extra": e}) for e in (extras or {""}))


def carboy_bytes() -> int:
    """Return the size of carboy's files, which its editable distribution does not have."""
    folder = _peers.ROOT / "src" / "carboy"
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    )


def add_sizes(record: _results.Record, row: _results.Row, kinds: dict[str, t.Any]) -> None:
    wanted = [_peers.BY_KEY[key] for key, _ in kinds.values()]
    if record.options.quick:
        wanted = [peer for peer in wanted if pathlib.Path(peer.python).exists()]
    missing = _peers.install(wanted)
    for title, (key, roots) in kinds.items():
        peer = _peers.BY_KEY[key]
        if peer not in wanted or peer.name in missing:
            record.leave_out(title, missing.get(peer.name, "not installed, and the run is quick"))
            continue
        known = installed(peer.python)
        names = closure(known, roots)
        size = sum(known[name][1] for name in names)
        size += carboy_bytes() if "carboy" in names else 0
        row.add(title, mib=size / 2**20, packages=len(names))


# -- images ----------------------------------------------------------------------------------

FLASK = """\
FROM python:3.11-slim
RUN pip install --no-cache-dir flask==3.1.3 gunicorn==27.0.1
COPY app.py /srv/app.py
WORKDIR /srv
CMD ["gunicorn", "--bind", "0.0.0.0:8000", "app:app"]
"""
APP = """\
from flask import Flask

app = Flask(__name__)


@app.get("/")
def index():
    return "Hello, World!"
"""


def why_no_images() -> str:
    missing = [tool for tool in ("buildah", "debootstrap") if shutil.which(tool) is None]
    if os.geteuid() != 0:
        return "not measured: images need root"
    return f"not measured: no {' and no '.join(missing)}" if missing else ""


def carboy_project(folder: pathlib.Path) -> pathlib.Path:
    """Make a new project with its Dockerfile, and carboy's wheel for it; return its folder."""
    project = folder / "shop"

    def python(*command: str, cwd: pathlib.Path) -> None:
        done = subprocess.run([sys.executable, "-m", *command], cwd=cwd, capture_output=True,
                              text=True, check=False)  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")

    python("carboy", "new", "shop", cwd=folder)
    wheels = str(project / "wheels")
    python("pip", "wheel", "--no-deps", str(_peers.ROOT), "--wheel-dir", wheels, cwd=folder)
    python("carboy", "docker", cwd=project)
    return project


def add_images(record: _results.Record, row: _results.Row) -> None:
    """Build both images as the tests of containers do, and add what each has beyond its base."""
    _peers.bootstrap()
    sys.path.insert(0, str(_peers.ROOT / "tests" / "support"))
    import containers

    import base_image

    base_image.prepare()
    with tempfile.TemporaryDirectory() as name:
        flask = pathlib.Path(name, "flask")
        flask.mkdir()
        (flask / "app.py").write_text(APP)
        images = {
            "carboy": containers.build(carboy_project(pathlib.Path(name)), "bench-carboy"),
            "Flask and gunicorn": containers.build_text(FLASK, flask, "bench-flask"),
        }
        for title, image in images.items():
            row.add(title, mib=image.own_size / 2**20)


def main() -> None:
    parser = _measure.arguments(__doc__)
    parser.add_argument("--no-images", action="store_true", help="installed sizes only")
    options = parser.parse_args()
    record = _results.Record("footprint", options, "carboy", how="files without bytecode")
    add_sizes(record, record.row("served", "installed, for pages"), SERVED)
    add_sizes(record, record.row("models", "installed, for models"), MODELS)
    row = record.row("image", "an image, beyond its base")
    why = "left out by --no-images" if options.no_images or options.quick else why_no_images()
    if why:
        record.leave_out("images", why)
    else:
        add_images(record, row)
    record.close()


if __name__ == "__main__":
    main()
