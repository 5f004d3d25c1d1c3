"""Run Flask's own tests against carboy, in environments where Flask is not installed.

Three runs: the suite, with the configuration it comes with; that of the tutorial's blog, which is
a whole program written for Flask; and the suite of the newest Flask that the index had, with the
newest Werkzeug, Jinja, Click and so on, pre-releases included (`make pins`). Arguments go to
pytest, for the first run only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t

import bootstrap

if t.TYPE_CHECKING:
    import pathlib

SUPPORT = bootstrap.ROOT / "tests" / "support"
PLUGIN = bootstrap.ROOT / "tests" / "conformance"
# A request that hangs must end the run within its time.
TIMEOUT_S = 60


def flask_tests(
    where: pathlib.Path, arguments: list[str], *, environment: str = "conformance", suite: str = ""
) -> int:
    """Run the tests of a folder. `suite` names the list of deviations in deviations.toml."""
    python = bootstrap.OTHER_VENVS / environment / "bin" / "python"
    plugins = ["-p", "no_skips", "-p", "as_flask", "-p", "no:cacheprovider"]
    command = [os.fspath(python), "-m", "pytest", *plugins, f"--timeout={TIMEOUT_S}", "-rfE"]
    path = os.pathsep.join(map(os.fspath, (SUPPORT, PLUGIN, where)))
    env = {name: value for name, value in os.environ.items() if not name.startswith("FLASK_")}
    env |= {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "CARBOY_TESTS_SUITE": suite}
    return subprocess.run([*command, *arguments], cwd=where, env=env, check=False).returncode


def main(arguments: list[str]) -> int:
    source = bootstrap.FLASK_HOME / "source"
    bootstrap.say(f"the tests of Flask {bootstrap.FLASK_VERSION}, with `flask` being carboy")
    failed = flask_tests(source, arguments, suite="pinned")
    if not arguments:
        bootstrap.say("the tests of Flask's tutorial")
        failed |= flask_tests(source / "examples" / "tutorial", [])
        version, newest = bootstrap.newest_flask_source()
        bootstrap.say(f"the tests of Flask {version}, the newest, with the newest Werkzeug")
        failed |= flask_tests(newest, [], environment="conformance-newest", suite="newest")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
