"""Make the files of a new project from the templates in the folder `files` of this package.

A template is written in Jinja, but with square brackets (`[[ title ]]`, `[% if ... %]`), because
some files of a project are Jinja templates themselves, which contain the usual brackets. The
template of a file such as `.gitignore` is called `dot-gitignore`, because tools that build packages
leave out files whose names begin with a dot.
"""

from __future__ import annotations

import os
import typing as t

from ..core.texttemplates import text_environment

if t.TYPE_CHECKING:
    import collections.abc as cabc

_FOLDER = os.path.join(os.path.dirname(__file__), "files")
_TEMPLATE = ".jinja"
# The template files that only one part of a project needs, with the name of this part.
_ONLY_FOR = {"model.json": "model", "uploads/dot-gitkeep": "upload"}


def project_files(name: str, parts: cabc.Collection[str], wheel: str) -> dict[str, bytes]:
    """Return the content of each file of a new project, by the path of the file in the project,
    with "/" between folders.

    Args:
        name: the name of the project.
        parts: the keys of `PARTS` that the project contains.
        wheel: the file name of carboy's wheel.
    """
    variables = {"name": name, "title": title_of(name), "parts": parts, "wheel": wheel}
    return {
        _path_in_project(path): _render(path, variables)
        for path in _template_paths()
        if path not in _ONLY_FOR or _ONLY_FOR[path] in parts
    }


def title_of(name: str) -> str:
    """Return the title that the pages of a project show, made from its name: "My shop" for
    "my-shop".
    """
    words = name.replace("_", " ").replace("-", " ").split()
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


def _template_paths() -> list[str]:
    paths = []
    for folder, _, names in os.walk(_FOLDER):
        inside = os.path.relpath(folder, _FOLDER).replace(os.sep, "/")
        paths += [name if inside == "." else f"{inside}/{name}" for name in names]
    return sorted(paths)


def _path_in_project(path: str) -> str:
    folder, _, name = path.removesuffix(_TEMPLATE).rpartition("/")
    name = "." + name.removeprefix("dot-") if name.startswith("dot-") else name
    return f"{folder}/{name}" if folder else name


def _render(path: str, variables: dict[str, t.Any]) -> bytes:
    with open(os.path.join(_FOLDER, *path.split("/")), encoding="utf-8", newline="") as file:
        source = file.read()
    if path.endswith(_TEMPLATE):
        source = _environment().from_string(source).render(variables)
    return source.encode()


def _environment() -> t.Any:
    return text_environment(
        block_start_string="[%",
        block_end_string="%]",
        variable_start_string="[[",
        variable_end_string="]]",
        comment_start_string="[#",
        comment_end_string="#]",
    )
