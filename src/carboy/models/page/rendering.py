"""Generate the HTML of a model's page: a heading for people, and a JSON description of the model
for the page's scripts.
"""

from __future__ import annotations

import typing as t
from html import escape

import msgspec

from carboy.contract.answers import encode
from carboy.contract.docstrings import read_docstring
from carboy.core.ownpages import html_page

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from carboy.models.collection import Model
    from carboy.models.saved.card import Card

# The HTML of the page contains the example inputs as JSON, up to this size in total. A photograph
# fits. A large array of numbers does not; the page has a button that generates such values.
_MAX_EXAMPLE_BYTES = 512 * 1024

_HEAD = """\
<meta name="robots" content="noindex">
<link rel="icon" href="{files}/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="{files}/page.css">
{preloads}
<script type="module" src="{files}/main.js"></script>"""
_BODY = """\
<header>
<p class="route"><b>POST</b> <span>{path}</span></p>
<h1>{name}</h1>
{doc}
{cards}
</header>
<main id="model"><noscript><p>This page needs JavaScript. Programs that accept
<code>application/json</code> get a description of the model at the same URL.</p></noscript></main>
<footer>{links}<p>Served by carboy.</p></footer>
<script type="application/json" id="description">{description}</script>"""


_ASKING_HEAD = """\
<meta name="robots" content="noindex">
<link rel="icon" href="{files}/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="{files}/page.css">
<script type="module" src="{files}/ask.js"></script>"""
_ASKING_BODY = """\
<header>
<p class="route"><b>POST</b> <span>{path}</span></p>
<h1>API key</h1>
<p class="lead">This model needs an API key. The page keeps it in memory, and forgets it when you
leave or reload.</p>
</header>
<main id="model"><noscript><p>This page needs JavaScript. Programs send the key in the header
<code>Authorization: Bearer KEY</code>.</p></noscript></main>
<footer><p>Served by carboy.</p></footer>"""


def describe(model: Model) -> dict[str, t.Any]:
    """Return the model's metadata, with the default values and the examples for the form."""
    parameters = model.interface.parameters
    # The cards are shown as text; their examples may be large.
    metadata = {name: value for name, value in model.metadata().items() if name != "cards"}
    found: dict[str, t.Any] = {
        **metadata,
        "defaults": {p.name: _default_as_json(p.default) for p in parameters if not p.required},
    }
    left, examples = _MAX_EXAMPLE_BYTES, []
    for title, example in model.examples.items():
        if len(example.json) <= left:
            left -= len(example.json)
            examples.append({"title": title, "value": msgspec.json.decode(example.json)})
    return {**found, "examples": examples}


def render(
    description: cabc.Mapping[str, t.Any],
    *,
    path: str,
    files: str,
    modules: cabc.Iterable[str],
    links: str = "",
    cards: cabc.Iterable[Card] = (),
) -> str:
    """Return the page of one model.

    Args:
        description: the return value of `describe`. All texts in it are escaped.
        path: the path of the model's URL, shown in the heading.
        files: the URL of the assets, relative to the page.
        modules: names of the scripts to preload, so that they are fetched in parallel.
        cards: what the model was built from.
        links: links to other pages of the app, as HTML.
    """
    name = str(description["name"])
    head = _HEAD.format(
        files=escape(files),
        preloads="\n".join(
            f'<link rel="modulepreload" href="{escape(files)}/{escape(name)}">' for name in modules
        ),
    )
    body = _BODY.format(
        name=escape(name),
        path=escape(path),
        links=links,
        doc=_documentation(str(description.get("doc", ""))),
        cards="\n".join(map(_card, cards)),
        description=_json(description),
    )
    return html_page(f"{name}: try it", head=head, body=body)


def render_asking(*, path: str, files: str) -> str:
    """Return the page that asks for the API key of a model, and says nothing of this model and of
    others.

    Args:
        path: the path of the model's URL, shown in the heading.
        files: the URL of the assets, relative to the page.
    """
    return html_page(
        "API key needed",
        head=_ASKING_HEAD.format(files=escape(files)),
        body=_ASKING_BODY.format(path=escape(path)),
    )


def _documentation(text: str) -> str:
    """Convert a docstring to HTML: its paragraphs, then sections such as "Args" as lists."""
    doc = read_docstring(text)
    sections = {
        "Input": _definitions(doc.arguments),
        "Answer": f"<p>{escape(doc.returns)}</p>" if doc.returns else "",
        "Errors": _definitions(doc.raises),
    }
    return "\n".join([
        _paragraphs("\n\n".join(filter(None, (doc.summary, doc.description)))),
        *(f"<section>\n<h2>{title}</h2>\n{body}\n</section>" for title, body in sections.items()
          if body),
    ])  # fmt: skip


def _card(card: Card) -> str:
    """Return the card of a saved model as a section that is closed at first."""
    return (
        f"<details>\n<summary>Model {escape(card.title)}</summary>\n{_definitions(card.summary)}\n"
        "</details>"
    )


def _definitions(entries: cabc.Mapping[str, str]) -> str:
    items = "".join(f"<div><dt>{escape(n)}</dt><dd>{escape(d)}</dd></div>\n"
                    for n, d in entries.items())  # fmt: skip
    return f"<dl>\n{items}</dl>" if items else ""


def _paragraphs(doc: str) -> str:
    """Convert a docstring to HTML paragraphs. Code, lists and tables keep their line breaks."""
    found = []
    for i, paragraph in enumerate(filter(None, (each.strip("\n") for each in doc.split("\n\n")))):
        lines = paragraph.split("\n")
        verbatim = any(line.startswith((" ", "\t", ">>>", "- ", "* ", "|")) for line in lines)
        kind = "lead" if i == 0 else "verbatim" if verbatim else ""
        text = paragraph if verbatim else " ".join(line.strip() for line in lines)
        found.append(f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>")
    return "\n".join(found)


def _json(description: cabc.Mapping[str, t.Any]) -> str:
    """Encode as JSON with `<`, `>` and `&` escaped, so that the text cannot close the `<script>`
    element in which it is written.
    """
    text = msgspec.json.encode(description).decode()
    # `</script` ends the element even inside a JSON string. Source:
    # https://html.spec.whatwg.org/multipage/scripting.html#restrictions-for-contents-of-script-elements
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _default_as_json(default: t.Any) -> t.Any:
    """Return a parameter's default as JSON, or None (an empty field) if JSON cannot express it."""
    try:
        return msgspec.json.decode(encode(default))
    except (TypeError, ValueError, NotImplementedError):
        return None
