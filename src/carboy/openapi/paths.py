"""Convert a URL rule to an OpenAPI path and parameters, with a JSON Schema for each URL
converter.
"""

from __future__ import annotations

import re
import typing as t

from werkzeug import routing

if t.TYPE_CHECKING:
    from werkzeug.routing import BaseConverter, Rule

# Matches the regex of the converter in `<string(length=3):x>`. The converter stores its limits
# nowhere else.
_TEXT = re.compile(r"\[\^/\]\{(\d+)(?:,(\d*))?\}")
_VARIABLE = re.compile(r"\{([^{}]+)\}")
# Matches regex syntax that Python and JSON Schema (ECMA-262) define differently. A regex that
# contains such syntax is left out of the schema.
_PYTHON_ONLY = re.compile(r"\(\?[^:=!]|\\[AZ]|\\p")


def path_template(rule: Rule) -> str:
    """Return the path of a rule: `/flowers/{id}` for `/flowers/<int:id>`."""
    _, _, path = _trace(rule).partition("|")
    return path


def path_parameters(rule: Rule) -> list[dict[str, t.Any]]:
    """Return the variables of a rule as OpenAPI parameters, in the order of the path."""
    names = _VARIABLE.findall(path_template(rule))
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": converter_schema(rule._converters[name]),
        }
        for name in dict.fromkeys(names)
    ]


def without_names(path: str) -> str:
    """Return a path without the names of its variables: `/flowers/{}` for `/flowers/{id}`.

    For a document, paths that differ only in these names are the same path.
    """
    return _VARIABLE.sub("{}", path)


def renamed(parameters: list[dict[str, t.Any]], path: str, new_path: str) -> list[dict[str, t.Any]]:
    """Return the parameters of an operation at `path` for `new_path`, which differs from it at most
    in the names of its variables.
    """
    names = dict(zip(_VARIABLE.findall(path), _VARIABLE.findall(new_path), strict=True))
    return [
        {**each, "name": names[each["name"]]}
        if each.get("in") == "path" and each.get("name") in names
        else each
        for each in parameters
    ]


def may_refuse(parameters: list[dict[str, t.Any]]) -> bool:
    """Return whether a URL rule does not match some texts of its variables, so that the client gets
    a 404.
    """
    return any(p["schema"] != {"type": "string", "minLength": 1} for p in parameters)


def _trace(rule: Rule) -> str:
    # Werkzeug's trace is a list of texts: static ones, and names of variables, which are put in
    # braces here. It begins with the host and a `|`; the path follows.
    return "".join(f"{{{data}}}" if dynamic else data for dynamic, data in rule._trace)


def converter_schema(converter: BaseConverter) -> dict[str, t.Any]:
    """Return the JSON Schema of the text that a URL converter accepts."""
    for kind, describe in _DESCRIBERS.items():
        if type(converter) is kind:
            return describe(converter)
    # Of a converter that a user has written, only the regular expression is known.
    return {"type": "string", **_pattern(converter.regex)}


def _pattern(regex: str) -> dict[str, str]:
    return {} if regex == "[^/]+" or _PYTHON_ONLY.search(regex) else {"pattern": f"^(?:{regex})$"}


def _text(converter: t.Any) -> dict[str, t.Any]:
    schema: dict[str, t.Any] = {"type": "string"}
    if found := _TEXT.fullmatch(converter.regex):
        least, most = found.groups()
        schema["minLength"] = int(least)
        if most is None:
            schema["maxLength"] = int(least)
        elif most:
            schema["maxLength"] = int(most)
    return schema


def _number(converter: t.Any) -> dict[str, t.Any]:
    whole = isinstance(converter, routing.IntegerConverter)
    schema: dict[str, t.Any] = {"type": "integer" if whole else "number"}
    least = converter.min if converter.min is not None else (None if converter.signed else 0)
    if least is not None:
        schema["minimum"] = least
    if converter.max is not None:
        schema["maximum"] = converter.max
    # The smallest number may be none that the URL rule matches: a float needs a decimal point, and
    # `fixed_digits` all its digits.
    if not whole:
        schema["examples"] = [_between(least, converter.max)]
    elif converter.fixed_digits:
        schema["examples"] = [max(10 ** (converter.fixed_digits - 1), least or 0)]
    return schema


def _between(least: float | None, most: float | None) -> float:
    """Return a number with decimals, which JavaScript does not write without a point either."""
    if least is None:
        least = 0 if most is None else most - 1
    return least + 0.5 if most is None else least + min(0.5, (most - least) / 2)


def _choice(converter: t.Any) -> dict[str, t.Any]:
    return {"type": "string", "enum": sorted(converter.items)}


_DESCRIBERS: dict[type, t.Callable[[t.Any], dict[str, t.Any]]] = {
    routing.UnicodeConverter: _text,
    routing.PathConverter: lambda _: {"type": "string", "minLength": 1},
    routing.IntegerConverter: _number,
    routing.FloatConverter: _number,
    routing.UUIDConverter: lambda _: {"type": "string", "format": "uuid"},
    routing.AnyConverter: _choice,
}
