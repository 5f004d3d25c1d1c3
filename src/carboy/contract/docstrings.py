"""Parse the docstring of a view or a model, written in Google's style.

    Summary on the first lines.                       -> summary

    Anything more.                                    -> description (Markdown)

    Args:                                             -> descriptions of parameters and body
        flower: what to add.
    Returns:                                          -> description of the response
        The flower with its number.
    Raises:                                           -> descriptions of error responses
        404: there is no such flower.
    Example:                                          -> an example of the body, if it is JSON
        {"name": "iris"}
    ---                                               -> YAML in flasgger's style
    tags: [flowers]

Every part is optional. `carboy.openapi.operations` puts the parts into the document, and the page
of a model shows them.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import typing as t

_HEADING = re.compile(r"^(Args|Arguments|Parameters|Returns|Yields|Raises|Examples?):\s*$")
_ENTRY = re.compile(r"^(\*{0,2}[\w.]+)(?:\s*\([^)]*\))?:\s*(.*)$")
# YAML starts at a line `---`. flasgger lets it start at any `---`, but its users write one on a
# separate line, and Markdown tables and dashes must not start YAML.
_YAML = re.compile(r"^\s*---\s*$", re.MULTILINE)
_KIND = {
    "Args": "arguments",
    "Arguments": "arguments",
    "Parameters": "arguments",
    "Returns": "returns",
    "Yields": "returns",
    "Raises": "raises",
    "Example": "example",
    "Examples": "example",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Docstring:
    """The parts of the docstring of a view or a model."""

    summary: str = ""
    description: str = ""
    arguments: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    returns: str = ""
    #: Descriptions of errors, by the text before the colon in `Raises:`, such as `404` or
    #: `NotFound`.
    raises: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    #: The example, decoded from JSON; None if there is none, or if it is not JSON.
    example: t.Any = None
    yaml: str = ""


def read_docstring(text: str | None) -> Docstring:
    """Parse the docstring of a view or a model into summary, description and sections."""
    prose, yaml = split_yaml(inspect.cleandoc(text or ""))
    paragraphs, sections = _split_sections(prose)
    summary, _, description = paragraphs.strip().partition("\n\n")
    return Docstring(
        summary=" ".join(summary.split()),
        description=description.strip(),
        arguments=_entries(sections.get("arguments", "")),
        returns=_one_text(sections.get("returns", "")),
        raises=_entries(sections.get("raises", "")),
        example=_json(sections.get("example", "")),
        yaml=yaml,
    )


def split_yaml(text: str) -> tuple[str, str]:
    """Split a docstring at a line `---` into the text before it and the YAML after it."""
    found = _YAML.search(text)
    return (text, "") if found is None else (text[: found.start()], text[found.end() :])


def _split_sections(text: str) -> tuple[str, dict[str, str]]:
    """Split a docstring into the text outside of sections such as `Args:`, and the texts of the
    sections by name.
    """
    prose: list[str] = []
    sections: dict[str, list[str]] = {}
    current = prose
    for line in text.splitlines():
        heading = _HEADING.match(line)
        if heading is not None:
            current = sections.setdefault(_KIND[heading[1]], [])
        elif current is not prose and line and not line[0].isspace():
            current = prose
            current.append(line)
        else:
            current.append(line)
    return "\n".join(prose), {
        kind: inspect.cleandoc("\n" + "\n".join(lines)) for kind, lines in sections.items()
    }


def _entries(text: str) -> dict[str, str]:
    """Parse lines of the form `name: description`, with indented continuation lines."""
    entries: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in text.splitlines():
        found = _ENTRY.match(line)
        if found is not None:
            current = entries.setdefault(found[1].lstrip("*"), [])
            current.append(found[2])
        elif current is not None:
            current.append(line)
    return {name: _one_text("\n".join(lines)) for name, lines in entries.items()}


def _one_text(text: str) -> str:
    return " ".join(text.split())


def _json(text: str) -> t.Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
