"""Write a document as JSON or YAML, and read YAML. PyYAML is needed only for YAML."""

from __future__ import annotations

import json
import math
import typing as t

from ..errors import DocumentationError, YAMLMissingError


def to_json(document: t.Any) -> str:
    """Return indented JSON with the keys in the document's order."""
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def to_yaml(document: t.Any) -> str:
    """Return block-style YAML with the keys in the document's order.

    Raises:
        YAMLMissingError: PyYAML is not installed.
    """
    yaml = _yaml("The document cannot be written as YAML")

    class Dumper(yaml.SafeDumper):  # type: ignore[misc, name-defined]
        """A YAML writer that never uses anchors (`&id001`), because some readers of OpenAPI do not
        support them: an object that occurs twice is written in full twice.
        """

        def ignore_aliases(self, data: t.Any) -> bool:
            return True

    return t.cast(
        "str",
        yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100),
    )


def plain(node: t.Any) -> t.Any:
    """Return a copy of values from YAML or from an author's dict, in which all values are of types
    that JSON has.
    """
    if isinstance(node, dict):
        # Members whose value is infinite or NaN, such as the `default` of a parameter, are left
        # out, because JSON has no such numbers.
        kept = (key for key, value in node.items() if not _is_infinite(value))
        return {str(key): plain(node[key]) for key in kept}
    if isinstance(node, list | tuple | set | frozenset):
        return [plain(value) for value in node]
    if node is None or isinstance(node, bool):
        return node
    if isinstance(node, str):
        # Replace lone surrogates (half of a surrogate pair), because they cannot be encoded as
        # UTF-8.
        return node.encode("utf-8", "replace").decode()
    # Numbers of subclasses, such as members of an `IntEnum`, become plain numbers.
    if isinstance(node, int):
        return int(node)
    if isinstance(node, float):
        return None if _is_infinite(node) else float(node)
    # A class, such as a marshmallow schema that flasgger accepts in a specification, becomes an
    # empty schema.
    if isinstance(node, type):
        return {}
    try:
        return str(node)  # such as a date in YAML, or a lazy string of flasgger
    # A lazy string can be evaluated only during a request. Outside of one, it becomes an empty
    # text.
    except RuntimeError:
        return ""


def _is_infinite(value: t.Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def from_yaml(text: str, *, where: str) -> t.Any:
    """Parse YAML. YAML tags that would create Python objects are refused.

    Args:
        text: the YAML.
        where: where the text stands, for error messages: for example "The documentation".

    Raises:
        YAMLMissingError: PyYAML is not installed.
        DocumentationError: the text is not YAML.
    """
    yaml = _yaml(f"{where} has YAML")
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise DocumentationError(f"{where}: the text after `---` is not YAML: {exc}") from exc


def _yaml(why: str) -> t.Any:
    try:
        import yaml
    except ImportError:
        raise YAMLMissingError(
            f"{why}, which needs PyYAML: pip install 'carboy[docs]' (or PyYAML alone)."
        ) from None
    return yaml
