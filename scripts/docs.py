"""Build the documentation site from docs/ into build/docs. A warning of Sphinx fails the build.

    docs.py            build/docs
    docs.py FOLDER     another folder

Among the warnings are links to pages, headings and files that are not there, pages that index.md
does not list, and docstrings that are no valid markup.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def build(site: pathlib.Path) -> int:
    """Build the site into a folder; return the exit code of Sphinx."""
    doctrees = ROOT / ".cache" / "doctrees"
    # -E: the sidebar of each page has the headings of others, and is not renewed with them.
    options = ["-b", "html", "-E", "-q", "-W", "--keep-going", "-d", str(doctrees)]
    command = [sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(site)]
    return subprocess.run(command, check=False).returncode


def main(arguments: list[str]) -> int:
    site = pathlib.Path(arguments[0]) if arguments else ROOT / "build" / "docs"
    code = build(site)
    if code == 0:
        print(f"carboy: the site is in {site}/index.html")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
