"""Checks of Dockerfiles: secrets in the image, and folders that everybody may change."""

from __future__ import annotations

import os
import re
import typing as t
from functools import cache

from ...core.masking import names_known_secret
from ..projectfiles import (
    ENV_FILES,
    FLASKENV,
    files_named,
    is_example,
    lines_of,
    matches,
    read_text,
    secrets_in,
    uses_env_file,
)
from .checkregistry import Found, check
from .deploymentfiles import deployment_files, instructions

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..facts import Facts

_IGNORED = ".dockerignore"
_WILDCARD = re.compile(r"(\*\*/?|\*|\?|\[\^?[^\]^][^\]]*\])")
_SPECIAL_IN_BRACKETS = re.compile(r"([\[&~|])")
_NOTHING = re.compile(r"(?!)")
_MEANINGS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
# Matches a mode with which all users may write; but not one with the sticky bit, such as that of
# /tmp (1777), in whose folder users may change only their own files.
_CHMOD = re.compile(
    r"(?<![\w.-])chmod(?:\s+-\S+)*\s+(0?[0-7]{2}[2367]|(?:[ugo]*[ao][ugoa]*[+=][rxXst]*w\w*))(?!\S)"
)


@check(
    "carboy.E112",
    "A Dockerfile sets a secret by ENV or ARG: whoever gets the image can read it.",
    remedy="Pass it when the container starts, as in 'docker run -e SECRET_KEY', or as a file: 'RUN"
    " --mount=type=secret' while the image is built. Replace the secret if the image was pushed.",
)
def find_secret_in_dockerfile(facts: Facts) -> cabc.Iterator[Found]:
    for line, name, arguments in instructions(facts, "ENV", "ARG"):
        for variable, value in _variables(name, arguments):
            if names_known_secret(variable) and not _is_public(variable) and value != "":
                yield Found(line.place, f"{name} {variable} is stored in the image.")


def _is_public(variable: str) -> bool:
    """Return whether a variable holds a public key although its name looks secret. GPG_KEY, in the
    images of Python, names who has signed a downloaded file.
    """
    return "PUBLIC" in variable.upper() or variable == "GPG_KEY"


def _variables(name: str, arguments: list[str]) -> cabc.Iterator[tuple[str, str | None]]:
    """Yield the variables that ENV or ARG declares, with their values."""
    if name == "ENV" and len(arguments) > 1 and "=" not in arguments[0]:  # ENV NAME value
        yield arguments[0], " ".join(arguments[1:])
        return
    for argument in arguments:
        variable, has_value, value = argument.partition("=")
        yield variable, value if has_value else None


@check(
    "carboy.E113",
    "A Dockerfile copies an `.env` file into the image.",
    remedy="Add its name to .dockerignore, and pass the variables when the container starts:"
    " 'docker run --env-file .env'. Replace the secrets in it if the image was pushed.",
)
def find_env_file_in_image(facts: Facts) -> cabc.Iterator[Found]:
    for line, name, arguments in instructions(facts, "COPY", "ADD"):
        if any(argument.startswith("--from") for argument in arguments):
            continue
        for source in _sources(arguments):
            if _is_private(facts, source):
                yield Found(line.place, f"{name} {source} puts it into the image.")
            elif _is_whole_folder(source) and (copied := _copied_env_files(facts, line.path)):
                yield Found(
                    line.place,
                    f"{name} {source} puts {', '.join(copied)} into the image, as .dockerignore"
                    f" does not exclude {'it' if len(copied) == 1 else 'them'}.",
                )


def _is_private(facts: Facts, path: str) -> bool:
    """Return whether a path is that of a file whose variables are nobody's business. The file
    .flaskenv belongs into the image, as into git, unless there are secrets in it.
    """
    if os.path.basename(path) == FLASKENV:
        return bool(secrets_in(read_text(os.path.join(facts.root, path.lstrip("/")))))
    return matches(os.path.basename(path), ENV_FILES)


def _sources(arguments: list[str]) -> list[str]:
    """Return what COPY or ADD copies: all arguments but options and the last one."""
    paths = " ".join(each for each in arguments if not each.startswith("--"))
    return paths.translate(str.maketrans("[],", "   ")).split()[:-1]


def _is_whole_folder(source: str) -> bool:
    return os.path.normpath(source.lstrip("/") or ".") in {".", "*"}


def _copied_env_files(facts: Facts, dockerfile: str) -> list[str]:
    """Return the files with environment variables that a copy of the whole project contains."""
    found = [each.replace(os.sep, "/") for each in files_named(facts, *ENV_FILES)]
    possible = {".env"} if uses_env_file(facts) else set[str]()
    private = {each for each in found if not is_example(each) and _is_private(facts, each)}
    wanted = sorted(possible | private)
    lines = _ignored_lines(facts, dockerfile)
    return [each for each in wanted if not _is_excluded(each, lines)]


def _ignored_lines(facts: Facts, dockerfile: str) -> list[str]:
    """Return the lines of .dockerignore, or of the file that replaces it for one Dockerfile, such
    as Dockerfile.dockerignore.
    """
    paths = [os.path.join(facts.root, each) for each in (f"{dockerfile}{_IGNORED}", _IGNORED)]
    lines = map(str.strip, read_text(next(filter(os.path.isfile, paths), "")).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _is_excluded(path: str, lines: list[str]) -> bool:
    """Return whether .dockerignore excludes a file: the last line decides that matches the file or
    a folder around it.
    """
    parts = path.split("/")
    around = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    excluded = False
    for line in lines:
        pattern = _compiled(line.removeprefix("!").strip("/").removeprefix("./"))
        if any(map(pattern.fullmatch, around)):
            excluded = not line.startswith("!")
    return excluded


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern of .dockerignore. One that is not valid, such as
    [z-a], excludes nothing; Docker refuses it.
    """
    texts = _WILDCARD.split(pattern)
    texts[::2] = map(re.escape, texts[::2])
    texts[1::2] = map(_of_wildcard, texts[1::2])
    try:
        return re.compile("".join(texts))
    except re.error:
        return _NOTHING


def _of_wildcard(text: str) -> str:
    """Return the regular expression of a wildcard."""
    # What is in brackets means the same in regular expressions, except for these characters.
    inside = _SPECIAL_IN_BRACKETS.sub(r"\\\1", text[1:-1])
    return _MEANINGS.get(text) or f"[{inside}]"


@check(
    "carboy.W114",
    "A Dockerfile or a script makes files or folders writable for every user (`chmod 777`).",
    remedy="Let them belong to the user of the server instead: 'COPY --chown=app', 'chown app'.",
)
def find_chmod(facts: Facts) -> cabc.Iterator[Found]:
    for path in sorted({*deployment_files(facts), *files_named(facts, "*.sh")}):
        for line in lines_of(facts.root, path):
            if found := _CHMOD.search(line.text):
                yield Found(line.place, f"'chmod {found[1]}' lets every user change it.")
