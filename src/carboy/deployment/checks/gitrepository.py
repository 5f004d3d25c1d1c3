"""What git says about a project: which files and texts are committed, and which files it ignores.

Without git, or outside of a repository, nothing is committed. Texts that are searched for are
secrets, so they are passed to git by its stdin and never as arguments, which `ps` shows.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
import typing as t

from ..projectfiles import TextLine

if t.TYPE_CHECKING:
    import collections.abc as cabc

_TIMEOUT_S = 20.0
_GIT = (
    "git",
    # Without this option, git refuses a repository that belongs to another user, as in many
    # containers, because git may run code that the repository names. Importing the app has run its
    # code already.
    "-c",
    "safe.directory=*",
    "-c",
    "core.quotePath=false",
    "-c",
    "grep.fullName=false",
    "--no-pager",
)
_LOG = (
    "log",
    "--all",
    "--patch",
    "--unified=0",
    "--relative",
    "--format=%x00%h",
    "--no-color",
    "--no-ext-diff",
    "--no-textconv",
    "--no-renames",
    "--no-show-signature",
    "--dst-prefix=b/",
)
# Patterns of the files whose earlier versions are searched for a text: those in which people write
# settings.
_SETTINGS_FILES = (
    *(f"*.{ending}" for ending in ("cfg", "conf", "ini", "json", "py", "service", "sh", "toml")),
    *("*.yaml", "*.yml", "*.env", "*.env.*", "*Dockerfile*", "*Procfile*"),
)


class AddedText(t.NamedTuple):
    """A commit that has added a text to a file."""

    commit: str  # the short hash
    path: str


def tracked_files(root: str, *patterns: str) -> list[str]:
    """Return the committed (or staged) files below a folder, relative to it, that match one of the
    patterns of git.
    """
    listed = _git(root, "ls-files", "-z", "--", *patterns)
    return [os.fsdecode(path) for path in listed.split(b"\0") if path]


def tracked_text(root: str, path: str) -> str:
    """Return the text of a file as it is committed or staged."""
    return _git(root, "show", f":./{path}").decode("utf-8", "replace")


def ignores(root: str, path: str) -> bool | None:
    """Return whether git ignores a file, which need not exist; None outside of a repository."""
    answer = _run(root, "check-ignore", "--quiet", "--", path)
    return None if answer is None or answer.returncode > 1 else answer.returncode == 0


def tracked_lines(root: str, texts: cabc.Iterable[str]) -> list[TextLine]:
    """Return the lines of committed (or staged) files below a folder that contain one of the texts,
    in upper or lower case. Files that are not text are left out.
    """
    found = _git(
        root,
        *("grep", "--cached", "--line-number", "--null", "--no-color", "--no-column"),
        *("-I", "--ignore-case", "--fixed-strings", "-f", "-", "--", "."),
        given="".join(f"{text}\n" for text in texts if text),
    )
    matches = re.findall(rb"^([^\0\n]+)\0(\d+)\0(.*)$", found, re.MULTILINE)
    return [
        TextLine(os.fsdecode(path), int(number), text.decode("utf-8", "replace"))
        for path, number, text in matches
    ]


def commits_that_add(root: str, texts: cabc.Collection[str]) -> dict[str, AddedText]:
    """Return the latest commit of any branch that has added a text to a file of settings below a
    folder, for each of the texts that was found. The search ends after 20 seconds.
    """
    wanted = {text: text.encode() for text in texts}
    found: dict[str, AddedText] = {}
    commit = path = ""
    for line in _output(root, *_LOG, "--", *_SETTINGS_FILES) if texts else ():
        if line.startswith(b"\0"):
            commit = line[1:].strip().decode()
        elif line.startswith(b"+++ b/"):
            path = os.fsdecode(line.removeprefix(b"+++ b/").rstrip())
        elif line.startswith(b"+"):
            here = {text for text, data in wanted.items() if data in line}
            found.update((text, AddedText(commit, path)) for text in here - found.keys())
            if len(found) == len(wanted):
                break
    return found


def _git(root: str, *arguments: str, given: str = "") -> bytes:
    """Return what git prints; nothing if it fails."""
    done = _run(root, *arguments, given=given)
    return b"" if done is None or done.returncode else done.stdout


def _run(root: str, *arguments: str, given: str = "") -> subprocess.CompletedProcess[bytes] | None:
    try:
        return subprocess.run(  # noqa: S603  # no shell; paths and patterns come after "--"
            [*_GIT, *arguments],
            check=False,
            cwd=root,
            input=given.encode(),
            capture_output=True,
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _output(root: str, *arguments: str) -> cabc.Iterator[bytes]:
    """Yield the lines that git prints, for at most 20 seconds, one by one: the whole output may be
    larger than the memory.
    """
    with contextlib.ExitStack() as stack:
        try:
            process = subprocess.Popen(  # noqa: S603  # no shell; as in `_run`
                [*_GIT, *arguments],
                cwd=root,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            return
        stack.enter_context(process)
        timer = threading.Timer(_TIMEOUT_S, process.kill)
        stack.callback(process.kill)  # the caller may stop before git has printed everything
        stack.callback(timer.cancel)
        timer.start()
        yield from t.cast("t.IO[bytes]", process.stdout)
