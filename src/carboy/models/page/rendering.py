"""The page's HTML: a header for people, the description for the script, and nothing else."""

from __future__ import annotations

import typing as t
from html import escape

import msgspec

from carboy.contract.answers import encode

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from carboy.models.registry import Model

# An example is part of the page, in JSON. A photograph fits; a tensor as large as a network's input
# does not, and the page makes up such values with a click.
_MOST_EXAMPLE_BYTES = 512 * 1024

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>{name}: try it</title>
<link rel="icon" href="{files}/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="{files}/page.css">
{preloads}
<script type="module" src="{files}/main.js"></script>
</head>
<body>
<header>
<p class="route"><b>POST</b> <span>{path}</span></p>
<h1>{name}</h1>
{doc}
</header>
<main id="model"><noscript><p>This page needs JavaScript. Programs ask the same URL for
<code>application/json</code>: then it says what the model takes and gives.</p></noscript></main>
<footer>Served by carboy.</footer>
<script type="application/json" id="description">{description}</script>
</body>
</html>
"""


def describe(model: Model) -> dict[str, t.Any]:
    """The metadata, and what stands in the form at first."""
    parameters = model.interface.parameters
    found: dict[str, t.Any] = {
        **model.metadata(),
        "defaults": {p.name: _default_as_json(p.default) for p in parameters if not p.required},
    }
    example = model.example
    if example is not None and len(example.json) <= _MOST_EXAMPLE_BYTES:
        found["example"] = msgspec.json.decode(example.json)
    return found


def render(
    description: cabc.Mapping[str, t.Any], *, path: str, files: str, modules: cabc.Iterable[str]
) -> bytes:
    """The page of one model.

    Args:
        description: what `description.describe` gives. All texts in it may come from strangers.
        path: the model's URL, as people see it.
        files: where the page's own files are, relative to the page.
        modules: names of its scripts, which are fetched at once instead of one after the other.
    """
    return _PAGE.format(
        name=escape(str(description["name"])),
        path=escape(path),
        files=escape(files),
        preloads="\n".join(
            f'<link rel="modulepreload" href="{escape(files)}/{escape(name)}">' for name in modules
        ),
        doc=_paragraphs(str(description.get("doc", ""))),
        description=_json(description),
    ).encode()


def _paragraphs(doc: str) -> str:
    """A docstring as text: the first paragraph leads, what is indented keeps its shape."""
    found = []
    for i, paragraph in enumerate(filter(None, (each.strip("\n") for each in doc.split("\n\n")))):
        lines = paragraph.split("\n")
        kept = any(line.startswith((" ", "\t", ">>>", "- ", "* ", "|")) for line in lines)
        kind = "lead" if i == 0 else "verbatim" if kept else ""
        text = paragraph if kept else " ".join(line.strip() for line in lines)
        found.append(f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>")
    return "\n".join(found)


def _json(description: cabc.Mapping[str, t.Any]) -> str:
    """JSON that stays within its element, whatever is in it."""
    text = msgspec.json.encode(description).decode()
    # Source: https://html.spec.whatwg.org/multipage/scripting.html#restrictions-for-contents-of-script-elements
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _default_as_json(default: t.Any) -> t.Any:
    """A default in JSON; null, which leaves the field empty, if it has no such form."""
    try:
        return msgspec.json.decode(encode(default))
    except (TypeError, ValueError, NotImplementedError):
        return None
