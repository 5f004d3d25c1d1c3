"""Write a document as JSON, or as YAML if PyYAML is installed. Read YAML."""

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
        """Writes a value that occurs twice in full each time, because some readers of OpenAPI do
        not support YAML anchors.
        """

        def ignore_aliases(self, data: t.Any) -> bool:
            return True

    return t.cast(
        "str",
        yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100),
    )


def plain(node: t.Any) -> t.Any:
    """Convert values that occur in YAML or in authors' dicts to values that JSON can express."""
    if isinstance(node, dict):
        # Leave out infinity, as in the default of a parameter: JSON has no number for it.
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
    # Convert members of an `Enum` and NumPy's numbers to plain numbers and texts.
    if isinstance(node, int):
        return int(node)
    if isinstance(node, float):
        return None if _is_infinite(node) else float(node)
    # For a class of another library that a user has put in the place of a schema.
    if isinstance(node, type):
        return {}
    try:
        return str(node)  # a date, or a lazy string of another library
    except RuntimeError:  # a lazy string whose text needs a request
        return ""


def _is_infinite(value: t.Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def from_yaml(text: str, *, where: str) -> t.Any:
    """Parse YAML. YAML tags that would create Python objects are refused.

    Args:
        text: the YAML.
        where: the source of the text for error messages, such as the docstring of a view.

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
