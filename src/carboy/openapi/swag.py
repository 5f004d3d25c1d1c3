"""Read specifications that authors have written in the style of flasgger.

This module finds the YAML or dict that documents a view (its specification), and merges its parts.
`carboy.openapi.swagger2` then converts it from Swagger 2 or OpenAPI 3.0 to OpenAPI 3.1.

flasgger looks in this order: `@swag_from` (a dict; a file; files by endpoint and method), `file:
name.yml` as the docstring, YAML after `---` in the docstring; each may contain `import:
"other.yml"`. The attributes of functions are flasgger's own, so views that were decorated by
flasgger's `swag_from` can be read too.
"""

from __future__ import annotations

import codecs
import inspect
import os
import re
import typing as t

from carboy.contract.docstrings import read_docstring, split_yaml

from ..core.annotations import declared, innermost
from ..errors import DocumentationError
from .formats import from_yaml, plain

F = t.TypeVar("F", bound=t.Callable[..., t.Any] | type)

_IMPORT = re.compile(r'^([ \t]*(?:- )?)import: "([^"]+)"', re.MULTILINE)
_BYTE_ORDER_MARKS = (
    ("utf-8-sig", (codecs.BOM_UTF8,)),
    ("utf-32", (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)),
    ("utf-16", (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)),
)
# The maximum nesting of `import:` in YAML files. It is exceeded if a file imports itself.
_MAX_IMPORTS = 50


def swag_from(
    specs: str | os.PathLike[str] | dict[str, t.Any],
    filetype: str | None = None,
    endpoint: str | None = None,
    methods: str | t.Sequence[str] | None = None,
    validation: bool = False,
    **options: t.Any,
) -> t.Callable[[F], F]:
    """Document a view like flasgger's decorator of this name: by a dict, or by a YAML file.

    Args:
        specs: the specification, or the name of a file relative to the view's own file.
        filetype: accepted for compatibility and ignored; the content decides.
        endpoint: the file is for this endpoint only.
        methods: the file is for these HTTP methods only, or for this one.
        validation: not supported; annotate the view with types instead.
        options: flasgger's other options, which concern validation; ignored.
    """
    if validation:
        raise TypeError(
            "swag_from(validation=True): carboy validates by types. Give the view a parameter with"
            " the type of its body, such as a msgspec Struct; see 'Coming from flasgger'."
        )

    def decorator(view: F) -> F:
        holder: t.Any = view
        if isinstance(specs, dict):
            holder.specs_dict = specs
            return view
        path = os.path.join(_folder(view), os.fspath(specs))
        if not endpoint and not methods:
            holder.swag_path = path
        else:
            # Assign a new dict and do not change the old one, because `functools.wraps` lets a
            # wrapper share it with the wrapped function.
            known = getattr(view, "swag_paths", {})
            holder.swag_paths = {**known, **dict.fromkeys(_keys(endpoint, methods), path)}
        return view

    return decorator


def _keys(endpoint: str | None, methods: str | t.Sequence[str] | None) -> list[str]:
    if not methods:
        return [endpoint or ""]
    methods = [methods] if isinstance(methods, str) else methods
    prefix = f"{endpoint}_" if endpoint else ""
    return [f"{prefix}{method.lower()}" for method in methods]


def read_specification(
    holders: t.Sequence[t.Any], *, endpoint: str, method: str
) -> dict[str, t.Any]:
    """Return the specification in flasgger's style for one method of a view; {} if there is none.

    Args:
        holders: the view or method, then the functions that it wraps, then its class.
        endpoint: the view's endpoint in the URL map.
        method: the HTTP method in lower case.

    Raises:
        DocumentationError: the text is not YAML, or not a mapping.
        FileNotFoundError: a named file does not exist.
    """
    found: dict[str, t.Any] = {}
    given = _first(holders, "specs_dict")
    if isinstance(given, dict):
        merge(found, plain(given))
    text, folder = _text_of(holders, endpoint, method)
    if text:
        loaded = from_yaml(_with_imports(text, folder), where="The documentation")
        if not isinstance(loaded, dict | None):
            raise DocumentationError(
                "expected a mapping in YAML after `---`, such as `tags: [a]`,"
                f" got {type(loaded).__name__}. Correct it, or separate prose by another line."
            )
        merge(found, loaded or {})
    return found


def merge(target: dict[str, t.Any], source: t.Mapping[str, t.Any]) -> None:
    """Merge `source` into `target`: dicts are merged, lists concatenated, other values replaced."""
    for key, value in source.items():
        there = target.get(key)
        if isinstance(there, dict) and isinstance(value, dict):
            merge(there, value)
        elif isinstance(there, list) and isinstance(value, list):
            target[key] = there + [item for item in value if item not in there]
        else:
            target[key] = value


def _text_of(holders: t.Sequence[t.Any], endpoint: str, method: str) -> tuple[str, str]:
    """Return the author's YAML for one HTTP method, and the folder to which its file names are
    relative.
    """
    path = _first(holders, "swag_path")
    if path is None:
        paths = _first(holders, "swag_paths") or {}
        keys = (f"{endpoint}_{method}", endpoint, method)
        path = next((paths[key] for key in keys if key in paths), None)
        if path is None and paths:
            return "", ""
    if path is None:
        doc = _docstring(holders)
        folder = _folder(holders[0]) if holders else ""
        if not doc.startswith("file:"):
            return read_docstring(doc).yaml, folder
        path = os.path.join(folder, doc.partition(":")[2].split()[0])
    return _yaml_of_file(path), os.path.dirname(path)


def file_summary(holders: t.Sequence[t.Any], *, endpoint: str, method: str) -> tuple[str, str]:
    """Return the summary and description of a view from its YAML file, where they precede a line
    `---`.
    """
    path = _first(holders, "swag_path")
    paths = _first(holders, "swag_paths") or {}
    for key in (f"{endpoint}_{method}", endpoint, method):
        path = path or paths.get(key)
    if path is None:
        return "", ""
    text = _read(path)
    if not split_yaml(text)[1]:
        return "", ""
    parts = read_docstring(text)
    return parts.summary, parts.description


def _yaml_of_file(path: str) -> str:
    text = _read(path)
    return split_yaml(text)[1] or text


def _read(path: str) -> str:
    with open(path, "rb") as file:
        data = file.read()
    for encoding, marks in _BYTE_ORDER_MARKS:
        if data.startswith(marks):
            return data.decode(encoding)
    return data.decode()


def _with_imports(text: str, folder: str) -> str:
    """Replace each line `import: "name.yml"` by the text of that file, indented as the line was."""

    def insert(found: re.Match[str]) -> str:
        before, name = found.groups()
        lines = _read(os.path.join(folder, name)).strip().splitlines()
        return before + f"\n{' ' * len(before)}".join(lines)

    for _ in range(_MAX_IMPORTS):
        text, count = _IMPORT.subn(insert, text)
        if not count:
            return text
    raise DocumentationError(
        f"More than {_MAX_IMPORTS} levels of `import:` in the YAML of {folder!r}: does a file"
        " import itself?"
    )


def _first(holders: t.Sequence[t.Any], name: str) -> t.Any:
    return next((value for it in holders if (value := declared(it, name)) is not None), None)


def _docstring(holders: t.Sequence[t.Any]) -> str:
    return next((inspect.cleandoc(doc) for it in holders if (doc := _own_doc(it))), "")


def _own_doc(holder: t.Any) -> str | None:
    return t.cast("str | None", getattr(holder, "__doc__", None))


def _folder(view: t.Any) -> str:
    """Return the folder of the Python file that defines a view."""
    inner = innermost(view)
    try:
        name = inner.__globals__["__file__"]
    except (AttributeError, KeyError, TypeError):
        try:
            name = inspect.getfile(inner)
        except (TypeError, OSError):
            return os.getcwd()
    return str(os.path.dirname(os.path.abspath(name)))
