"""Which packages the image of an app installs, and which versions of them."""

from __future__ import annotations

import glob
import os
import re
import tomllib
import typing as t
from importlib import metadata
from urllib.parse import unquote

from ..errors import DeploymentError, StarterError
from .generatedfiles import GeneratedFile

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .facts import Facts

CONSTRAINTS = "constraints.txt"
PYPROJECT = "pyproject.toml"
_WHEELS = "wheels"
# The file that the Dockerfile makes of the dependencies in pyproject.toml.
_LISTED = "/dependencies.txt"
# Packages that install others. The app does not depend on their versions.
_INSTALLERS = frozenset({"pip", "setuptools", "wheel", "uv"})
# A command that prints the dependencies in pyproject.toml. `pip install .` would install the
# project, too, which setuptools refuses for a flat one with folders such as static and templates.
LIST_DEPENDENCIES = (
    """python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))"""
    """['project']['dependencies'], sep='\\n')\""""
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Matches a line of a requirements file that includes another file. Its path is relative to the file
# with the line.
_INCLUDED = re.compile(r"\s*(?:-[rc]|--requirement|--constraint)[\s=]*([^\s#]+)")
# A line that installs a file or folder: a path, or a URL that begins with `file:`.
_LOCAL = re.compile(
    r"""\s*(?:(?:-e|--editable)[\s=]*)?(?:[\w.-]+(?:\[[^\]]*\])?\s*@\s*)?
    (file:[^\s\[#;]+|\.{1,2}(?=\s|$)|[^\s:;@\[#-][^\s:;@\[#]*/[^\s\[#;]*|/[^\s\[#;]+)""",
    re.VERBOSE,
)
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")
_PINS = """\
# The versions of the packages that were installed here when `carboy docker` made this file. The
# image installs the same. To take newer ones, delete this file and run the command again.
"""


class Packages(t.NamedTuple):
    """The packages that the image of an app installs.

    Attributes:
        requirements: the file that names the packages, relative to the project; None if the app
            needs carboy alone.
        included: the files that the file `requirements` includes or installs, relative to the
            project.
        has_hashes: whether these files have a hash for each package, so that pip installs nothing
            else.
        constraints: the file with the versions; None if the file `requirements` has them.
        wheel: the wheel of carboy, relative to the project.
        wheel_is_required: whether the file `requirements` names the wheel.
        torch: whether PyTorch is among the packages.
        new_files: the files above that the project does not have yet, and that the command writes.
    """

    requirements: str | None
    included: tuple[str, ...]
    has_hashes: bool
    constraints: str | None
    wheel: str
    wheel_is_required: bool
    torch: bool
    new_files: list[GeneratedFile]

    @property
    def files(self) -> list[str]:
        """What pip reads, relative to the project."""
        found = [self.requirements, *self.included, self.constraints, self.wheel]
        return [file for file in found if file]

    def installations(self, torch_index: str | None) -> list[str]:
        """Return the arguments of each call of `pip install` in the Dockerfile."""
        index = f"--extra-index-url {torch_index} " if torch_index else ""
        pins = f"--constraint {self.constraints} " if self.constraints else ""
        file = _LISTED if self.requirements == PYPROJECT else self.requirements
        required = [f"--requirement {file}"] if file else []
        own = [] if self.wheel_is_required else [f"./{self.wheel}"]
        if self.has_hashes:  # in one call, pip would ask for a hash of the wheel, too
            return [*required, *own]
        return [index + pins + " ".join([*required, *own])]


def read_packages(facts: Facts) -> Packages:
    """Find out what the image of an app installs.

    Raises:
        DeploymentError: pyproject.toml names no packages, or carboy cannot be packed into a wheel.
    """
    files = _read_requirements(facts)
    text = "\n".join(line for lines in files.values() for line in lines)
    wheel, packed = _wheel_of(facts.root, text)
    local = [_check_local(facts.root, *each) for each in _local_lines(files)]
    closure = _installed(text.splitlines())
    has_hashes = "--hash=" in text
    constraints, pins = _constraints(facts, closure, has_hashes)
    known = {facts.requirements, constraints, wheel}
    return Packages(
        facts.requirements,
        tuple(dict.fromkeys(name for name in (*files, *local) if name not in known)),
        has_hashes,
        constraints,
        wheel,
        os.path.basename(wheel) in text,
        "torch" in closure,
        [*packed, *pins],
    )


def _read_requirements(facts: Facts) -> dict[str, list[str]]:
    """Return the lines of the file of the requirements, and of the files that it includes, by their
    paths relative to the project.
    """
    found: dict[str, list[str]] = {}
    waiting = [facts.requirements] if facts.requirements else []
    while waiting:
        name = waiting.pop()
        found[name] = lines = _lines_of(facts.root, name)
        here = os.path.dirname(name)
        included = [
            os.path.join(here, each[1]) for line in lines if (each := _INCLUDED.match(line))
        ]
        waiting += [path for each in included if (path := os.path.normpath(each)) not in found]
    return found


def _read(root: str, name: str) -> str:
    if name.startswith(("..", "/")):
        raise DeploymentError(
            f"{name}, which the requirements include, is outside of the project: an image contains"
            " files of the project only."
        )
    try:
        with open(os.path.join(root, name), encoding="utf-8-sig") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as exc:
        raise DeploymentError(
            f"{name}, from which the image would be installed, cannot be read: {exc}. Correct its"
            " path, or save it as UTF-8."
        ) from None


def _local_lines(files: cabc.Mapping[str, list[str]]) -> cabc.Iterator[tuple[str, str, str]]:
    """Yield the path, the line and its file for each line that installs a file or folder."""
    for name, lines in files.items():
        for line in lines:
            if found := _LOCAL.match(line):
                path = re.sub("^file:(//(localhost)?)?", "", found[1])
                yield unquote(path) if path != found[1] else path, line.strip(), name


def _check_local(root: str, path: str, line: str, name: str) -> str:
    """Return the path of a file that is installed, relative to the project.

    Raises:
        DeploymentError: the file will not be in the image, or it is a folder.
    """
    whole = os.path.join(root, path)
    relative = os.path.relpath(whole, root)
    if relative.startswith(os.pardir):
        raise DeploymentError(
            f"{name}: {line!r} is a file of this machine, and an image contains files of the"
            " project only. Name a version (NAME==VERSION), or copy the file into the project, such"
            " as ./wheels/NAME.whl."
        )
    if os.path.isdir(whole):
        raise DeploymentError(
            f"{name}: {line!r} is a folder. Leave the line out: the project's code is in the image,"
            " where it is started in the same folder as here."
        )
    return relative


def dependencies_of(root: str) -> list[str] | None:
    """Return the dependencies that pyproject.toml states; None if there are none in [project].

    Raises:
        DeploymentError: the file cannot be read, or is not TOML.
    """
    project = _pyproject(root).get("project", {})
    return t.cast("list[str] | None", project.get("dependencies"))


def says_how_to_build(root: str) -> bool:
    """Return whether pyproject.toml says how the project itself is built and installed.

    Raises:
        DeploymentError: the file cannot be read, or is not TOML.
    """
    content = _pyproject(root)
    return "build-system" in content or "setuptools" in content.get("tool", {})


def _pyproject(root: str) -> dict[str, t.Any]:
    try:
        return tomllib.loads(_read(root, PYPROJECT))
    except tomllib.TOMLDecodeError as exc:
        raise DeploymentError(f"{PYPROJECT}: {exc}.") from None


def _lines_of(root: str, name: str) -> list[str]:
    if name != PYPROJECT:
        return _read(root, name).splitlines()
    dependencies = dependencies_of(root)
    if dependencies is None:
        raise DeploymentError(
            "pyproject.toml has no 'dependencies' in [project], and there is no requirements.txt:"
            " nothing says which packages the image needs. Write them into one of the two."
        )
    return dependencies


def _wheel_of(root: str, requirements: str) -> tuple[str, list[GeneratedFile]]:
    """Return the path of the wheel of carboy in the project, and the file to write if the project
    has none.
    """
    found = sorted(glob.glob(os.path.join(glob.escape(root), _WHEELS, "carboy-*.whl")))
    if found:
        names = [os.path.basename(path) for path in found]
        named = next((name for name in names if name in requirements), names[-1])
        return f"{_WHEELS}/{named}", []
    from ..starter.packing import pack_wheel

    try:
        wheel = pack_wheel()
    except StarterError as exc:
        raise DeploymentError(str(exc)) from None
    path = f"{_WHEELS}/{wheel.name}"
    return path, [GeneratedFile(path, wheel.content)]


def _constraints(
    facts: Facts, closure: cabc.Mapping[str, str], has_hashes: bool
) -> tuple[str | None, list[GeneratedFile]]:
    if has_hashes or facts.requirements == "requirements.lock":
        return None, []
    if os.path.isfile(os.path.join(facts.root, CONSTRAINTS)):
        return CONSTRAINTS, []
    pins = "".join(f"{name}=={closure[name]}\n" for name in sorted(closure))
    return CONSTRAINTS, [GeneratedFile(CONSTRAINTS, _PINS + pins)]


def _installed(requirements: cabc.Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages of this environment that the requirements need, and of
    those that carboy needs, without carboy itself.
    """
    versions: dict[str, str] = {}
    waiting = [_Needed("carboy", frozenset()), *filter(None, map(_parse, requirements))]
    seen = set(waiting)
    while waiting:
        needed = waiting.pop()
        try:
            dist = metadata.distribution(needed.name)
        except metadata.PackageNotFoundError:
            continue  # a package for another system, or one that is not installed
        # "2.5.1" stands for "2.5.1+cu124", too, whose suffix says how PyTorch was built.
        versions[needed.name] = dist.version.partition("+")[0]
        more = {found for line in dist.requires or () if (found := _parse(line, needed.extras))}
        waiting += more - seen
        seen |= more
    return {name: versions[name] for name in versions.keys() - _INSTALLERS - {"carboy"}}


class _Needed(t.NamedTuple):
    name: str  # normalized (PEP 503)
    extras: frozenset[str]


def _parse(line: str, extras: frozenset[str] = frozenset()) -> _Needed | None:
    """Read a requirement (PEP 508), or the path of a wheel. Return None for another line, and for a
    requirement of an extra that is not among `extras`.
    """
    requirement, _, marker = line.partition(";")
    # A wheel is named by its file: `./wheels/carboy-0.1.0-py3-none-any.whl[docs]`.
    name = re.sub(r"^[^#\s]*/([^/-]+)-[^/]*\.whl", r"\1", requirement.strip())
    found = _NAME.match(name)
    wanted_by = set(_EXTRA.findall(marker))
    if found is None or (wanted_by and not wanted_by & extras):
        return None
    listed = re.match(r"\s*\[([^\]]*)\]", name[found.end() :])
    chosen = frozenset(filter(None, re.split(r"[\s,]+", listed[1] if listed else "")))
    return _Needed(re.sub(r"[-_.]+", "-", found[0]).lower(), chosen)
