"""Checks of what is committed to git: secret keys, `.env` files."""

from __future__ import annotations

import os
import re
import typing as t

from ...core.weakkeys import weakness_of
from ...project.secretkey import KEY_NAME, value_of
from ..projectfiles import ENV_FILES, is_example, matches, secrets_in, uses_env_file
from .checkregistry import Found, check
from .gitrepository import commits_that_add, ignores, tracked_files, tracked_lines, tracked_text

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..facts import Facts
    from ..projectfiles import TextLine

# The text of a shorter key may be in a file by chance, so that it counts only in a line that
# contains SECRET_KEY. (Another check reports short keys, because they can be guessed.)
_MIN_UNMISTAKABLE = 16
# Matches a line that sets a secret key to a text: SECRET_KEY = "...", "SECRET_KEY": "...", and
# SECRET_KEY=... outside of Python files. A text with $, {, ( or < is computed, or a placeholder.
_KEY_IN_LINE = re.compile(
    r"""(?<![a-z0-9_])(?:flask_|carboy_)?secret_key["']?\]?\s*(?::\s*str\s*)?[=:]\s*"""
    r"""(?:[rbu]?"([^"${(<]+)"|[rbu]?'([^'${(<]+)'|([^\s"'${(<#,]+)\s*$)""",
    re.IGNORECASE,
)
# Files of tests and documentation, whose keys protect nothing.
_TESTS = re.compile(r"(?:^|/)(?:tests?|docs?)/|(?:^|/)(?:test_|conftest)", re.IGNORECASE)


@check(
    "carboy.E101",
    "A secret key is committed to git: whoever reads the repository can sign in as any user.",
    remedy="Make a new key with 'carboy secret new', and remove the old one from the file."
    " Removing it alone does not help, because the history of the repository still has it.",
)
def find_committed_key(facts: Facts) -> cabc.Iterator[Found]:
    keys = _keys_in_use(facts)
    committed = set[str]()
    for line in tracked_lines(facts.root, [KEY_NAME, *keys]):
        if key := next((key for key in keys if _has_key(line.text, key)), None):
            committed.add(key)
            yield Found(line.place, f"The {KEY_NAME} of the app is committed to git.")
        elif _sets_key(line):
            yield Found(line.place, f"A {KEY_NAME} is committed to git.")
    others = [key for key in keys if key not in committed and len(key) >= _MIN_UNMISTAKABLE]
    for added in commits_that_add(facts.root, others).values():
        yield Found(
            f"git commit {added.commit}: {added.path}",
            f"The {KEY_NAME} of the app is in an earlier version of this file.",
        )


def _keys_in_use(facts: Facts) -> list[str]:
    """Return the keys by which the app verifies sessions, as they are written in source code: with
    escapes, without quotes.
    """
    config = facts.app.config
    fallbacks = config.get(f"{KEY_NAME}_FALLBACKS")
    key = value_of(config, KEY_NAME) if KEY_NAME in config else None
    values = [key, *(fallbacks if isinstance(fallbacks, list) else ())]
    texts = [_as_written(value) for value in values if isinstance(value, str | bytes)]
    return [text for text in texts if text]


def _as_written(key: str | bytes) -> str:
    written = repr(key).removeprefix("b")
    return written[1:-1]


def _has_key(text: str, key: str) -> bool:
    return key in text and (len(key) >= _MIN_UNMISTAKABLE or KEY_NAME in text.upper())


def _sets_key(line: TextLine) -> bool:
    """Return whether a line sets a secret key to a text that seems to be a real key."""
    found = _KEY_IN_LINE.search(line.text)
    if found is None or is_example(line.path) or _TESTS.search(line.path):
        return False
    if found[3] and line.path.endswith(".py"):  # the value is a name, and no text
        return False
    return weakness_of(found[1] or found[2] or found[3]) is None


@check(
    "carboy.E102",
    "An `.env` file with secrets is committed to git.",
    remedy="Run 'git rm --cached' on the file, add it to .gitignore, and replace the secrets in it:"
    " the old ones stay in the history of the repository.",
)
def find_committed_env_file(facts: Facts) -> cabc.Iterator[Found]:
    for path in tracked_files(facts.root, *ENV_FILES, *(f"*/{name}" for name in ENV_FILES)):
        if is_example(path) or not matches(os.path.basename(path), ENV_FILES):
            continue
        if secrets := secrets_in(tracked_text(facts.root, path)):
            yield Found(path, f"The file is committed to git, with {', '.join(secrets)}.")


@check(
    "carboy.W103",
    "Git does not ignore `.env`, so that the secrets in it may be committed.",
    remedy="Add the line '.env' to .gitignore.",
)
def find_env_file_not_ignored(facts: Facts) -> cabc.Iterator[Found]:
    if not uses_env_file(facts) or tracked_files(facts.root, ".env"):
        return
    if ignores(facts.root, ".env") is False:
        yield Found(".gitignore", "No line of it matches .env.")
