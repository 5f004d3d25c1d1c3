"""The tables of the documentation that are made from the code.

`python tests/support/doctables.py` writes them anew; tests compare them. A table stands between
two comments: `<!-- table: NAME -->` and `<!-- end of table -->`.
"""

from __future__ import annotations

import pathlib
import re
import typing as t
from functools import partial

from carboy.config import OWN_KEYS
from carboy.serving.metrics.families import FAMILIES
from carboy.serving.settings import SETTINGS

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
_BLOCK = re.compile(r"(<!-- table: ([\w ]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def table(titles: t.Sequence[str], rows: t.Iterable[t.Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def settings() -> str:
    """The settings of the server."""
    rows = []
    for setting in SETTINGS:
        option = (
            f"`{setting.short}`, `{setting.option}`" if setting.short else f"`{setting.option}`"
        )
        variables = f"`{setting.variables[0]}`"
        for other in filter(None, (setting.variable, setting.platform)):
            variables += f", then `{other}`"
        rows.append(
            (
                option,
                variables,
                f"`{setting.argument}`",
                setting.default_text,
                setting.help,
            )
        )
    return table(("Option", "Environment", "Argument", "Default", "Meaning"), rows)


def config_keys(prefix: str) -> str:
    rows = (
        (f"`{name}`", f"`{key.default!r}`".replace("'", ""), key.help)
        for name, key in OWN_KEYS.items()
        if name.startswith(f"{prefix}_")
    )
    return table(("Key", "Default", ""), rows)


def metrics() -> str:
    """The metrics of the server."""
    rows = []
    for family in FAMILIES:
        labels = " ".join(f"`{label}`" for label in family.labels)
        rows.append((f"`{family.name}`", family.kind, labels, family.help))
    return table(("Metric", "Type", "Labels", "Meaning"), rows)


TABLES: dict[str, t.Callable[[], str]] = {
    "settings of the server": settings,
    "metrics": metrics,
    "config keys JSON": partial(config_keys, "JSON"),
    "config keys LOG": partial(config_keys, "LOG"),
    "config keys MODEL": partial(config_keys, "MODEL"),
    "config keys OPENAPI": partial(config_keys, "OPENAPI"),
}


def renewed(text: str) -> str:
    """The text of a page with its tables made anew."""
    return _BLOCK.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], text)


def main() -> None:
    for page in sorted(DOCS.rglob("*.md")):
        before = page.read_text(encoding="utf-8")
        after = renewed(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(f"wrote {page.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
