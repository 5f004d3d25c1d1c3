"""Read `config.toml` and `config.json`.

A key in upper case is a config key. A table (in JSON, an object) whose name is in lower case is a
section: its keys are for the environment of that name.
"""

from __future__ import annotations

import json
import re
import typing as t

from ..errors import ProjectError
from .layers import BASE_SECTION, STANDARD_ENVIRONMENTS, ConfigFile, Layer, Loaded, full_name
from .origins import Origin, shortened, unreadable

Finder = t.Callable[[str, str | None], int | None]


def read_toml(path: str) -> ConfigFile:
    """Read a TOML file, and return its values and sections.

    Raises:
        ProjectError: the file cannot be read, or is not TOML.
    """
    import tomllib

    text = _read(path)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        found = re.search(r"\(at line (\d+)", str(exc))
        line = int(found[1]) if found else text.count("\n") + 1
        raise _unparsable(path, line, f"this is not TOML: {exc}") from None
    except (ValueError, RecursionError) as exc:
        raise _beyond_limits(path, exc) from None
    return _sort(values, path, lambda key, section: _line_in_toml(text, key, section))


def read_json(path: str) -> ConfigFile:
    """Read a JSON file, and return its values and sections.

    Raises:
        ProjectError: the file cannot be read, is not JSON, or contains no object.
    """
    text = _read(path)
    try:
        values = json.loads(text, object_pairs_hook=_refuse_duplicates)
    except json.JSONDecodeError as exc:
        raise _unparsable(path, exc.lineno, f"this is not JSON: {exc.msg}") from None
    except _DuplicateKeyError as exc:
        line = _last_line_in_json(text, str(exc))
        raise _unparsable(path, line, f"the key {exc} is given twice. Remove one") from None
    except (ValueError, RecursionError) as exc:
        raise _beyond_limits(path, exc) from None
    if not isinstance(values, dict):
        kind = type(values).__name__
        advice = f'expected an object such as {{"NAME": "value"}}, got {kind}'
        raise _unparsable(path, 1, advice)
    return _sort(values, path, lambda key, section: _line_in_json(text, key, section))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as exc:
        raise unreadable(path, exc) from None


def _unparsable(path: str, line: int, what: str) -> ProjectError:
    return ProjectError(f"{shortened(path)}:{line}: {what}.")


def _beyond_limits(path: str, exc: ValueError | RecursionError) -> ProjectError:
    """Return the error for a file in which a number has too many digits for Python, or values are
    nested too deeply. It names no line, because Python reports none.
    """
    too_deep = "values are nested too deeply"
    reason = too_deep if isinstance(exc, RecursionError) else str(exc).partition(";")[0]
    return ProjectError(f"The file {shortened(path)} cannot be read: {reason}.")


class _DuplicateKeyError(ValueError):
    """A JSON object contains a key twice."""


def _refuse_duplicates(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _DuplicateKeyError(next(key for key in keys if keys.count(key) > 1))
    return values


def _sort(values: dict[str, t.Any], path: str, find: Finder) -> ConfigFile:
    """Divide the top level of a file into values for all environments and sections for single
    environments.
    """
    file = ConfigFile()
    for key, value in values.items():
        if isinstance(value, dict) and key.isupper() and full_name(key) in STANDARD_ENVIRONMENTS:
            file.problems.append(
                f"{_place(path, find(key, None))}: {key} in upper case is a config key that holds a"
                f" dict. Write {key.lower()} for the section of the environment."
            )
        if isinstance(value, dict) and not key.isupper():
            section = _layer(value, path, find, key, file.problems)
            if key == BASE_SECTION:
                file.base |= section
            else:
                file.sections[key] = section
    top = {
        key: value for key, value in values.items() if key.isupper() or not isinstance(value, dict)
    }
    file.base |= _layer(top, path, find, None, file.problems)
    return file


def _place(path: str, line: int | None) -> str:
    return shortened(path) if line is None else f"{shortened(path)}:{line}"


def _layer(
    values: dict[str, t.Any], path: str, find: Finder, section: str | None, problems: list[str]
) -> Layer:
    layer: Layer = {}
    for key, value in values.items():
        place = _place(path, find(key, section))
        if section is not None:
            place += f" [{section}]"
        if not key.isupper():
            advice = f"Write {key.upper()}."
            if section is not None:
                advice += (
                    f" (A table in lower case is the section of an environment. For a config key"
                    f" that holds a dict, write [{section.upper()}].)"
                )
            problems.append(
                f"{place}: {key!r} is not a config key, because it is not in upper case. {advice}"
            )
            continue
        layer[key] = Loaded(value, Origin("file", place))
    return layer


# ---------------------------------------------------------------------------- lines of keys
# The parsers of the standard library do not report on which line a key stands, so that the
# functions below search the text of the file for it.


def _line_in_toml(text: str, key: str, section: str | None) -> int | None:
    path = key if section is None else f"{section}.{key}"
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\[?([^\]]+)\]", line):
            table = _toml_path(header[1])
            found = table
        elif assigned := re.match(r"([\w.\"'\- \t]+)=", line.lstrip()):
            found = ".".join(filter(None, (table, _toml_path(assigned[1].rstrip()))))
        else:
            continue
        if found == path or found.startswith(f"{path}."):
            return number
    return None


def _toml_path(written: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in written.split("."))


def _line_in_json(text: str, key: str, section: str | None) -> int | None:
    start = 0
    if section is not None:
        found = re.search(rf"{re.escape(json.dumps(section))}\s*:", text)
        if found is None:
            return None
        start = found.end()
    places = list(re.finditer(rf"{re.escape(json.dumps(key))}\s*:", text[start:]))
    # The key occurs several times. If no section is given, the search cannot tell which occurrence
    # is at the top level, and the line is not known.
    if not places or (section is None and len(places) > 1):
        return None
    return text.count("\n", 0, start + places[0].start()) + 1


def _last_line_in_json(text: str, key: str) -> int:
    places = list(re.finditer(rf"{re.escape(json.dumps(key))}\s*:", text))
    return text.count("\n", 0, places[-1].start()) + 1 if places else 1
