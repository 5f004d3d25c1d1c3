"""Layers of configuration: values with their origins, of which a later layer takes precedence."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

if t.TYPE_CHECKING:
    from .origins import Origin


class Loaded(t.NamedTuple):
    """A value in a layer of configuration, and where it comes from.

    Attributes:
        value: the value.
        origin: where it comes from.
        is_text: whether it is the text of an environment variable, which has no type yet.
    """

    value: t.Any
    origin: Origin
    is_text: bool = False


Layer = dict[str, Loaded]


@dataclass(slots=True)
class ConfigFile:
    """The contents of one config file of a project, such as `config.toml`.

    Attributes:
        base: the values for all environments.
        sections: the values for one environment each, by the name of the environment. A Python
            file has only those of the chosen environment.
        problems: what is wrong with the file.
        declared: the `Struct` in the file that declares the keys of the project, if there is one.
        declared_by_section: by the name of a section, the `Struct` that declares the keys in place
            of `declared` if that section is used.
        missing: the fields of dataclasses to which the file gives no value.
    """

    base: Layer = field(default_factory=dict)
    sections: dict[str, Layer] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    declared: type | None = None
    declared_by_section: dict[str, type] = field(default_factory=dict)
    missing: dict[str, Origin] = field(default_factory=dict)


def merge_peers(layers: t.Iterable[Layer], problems: list[str]) -> Layer:
    """Merge layers that have the same precedence into one. If two of them set a key to different
    values, add that to `problems`.
    """
    merged: Layer = {}
    for layer in layers:
        for key, loaded in layer.items():
            other = merged.get(key)
            if other is not None and not same_value(other.value, loaded.value):
                problems.append(
                    f"{key} is set by {other.origin} and, to another value, by {loaded.origin}."
                    " Neither takes precedence: remove one of them."
                )
            merged[key] = loaded
    return merged


def same_value(one: object, other: object) -> bool:
    """Return whether two values are equal. Values that cannot be compared are not."""
    try:
        return one is other or bool(one == other)
    except Exception:  # noqa: BLE001  # a user's class may compare in any way
        return False


# Short names of environments that files may use as names of sections, and the full names.
_FULL_NAMES = {
    "dev": "development",
    "develop": "development",
    "prod": "production",
    "test": "testing",
    "tests": "testing",
}
STANDARD_ENVIRONMENTS = frozenset({"development", "production", "testing"})
# The name of the section whose values are for all environments.
BASE_SECTION = "default"


def full_name(environment: str) -> str:
    """Return the name of an environment; `development` for its short name `dev`, and so on."""
    lower = environment.lower()
    return _FULL_NAMES.get(lower, lower if lower in STANDARD_ENVIRONMENTS else environment)


def same_environment(one: str, other: str) -> bool:
    """Return whether two names are those of one environment: `dev` is short for `development`, and
    case, `-` and `_` do not count.
    """
    return _plain(one) == _plain(other)


def _plain(name: str) -> str:
    return full_name(name).lower().replace("-", "").replace("_", "")


def sections_for(environment: str, names: t.Iterable[str]) -> list[str]:
    """Return which of `names` are those of sections for an environment."""
    return [name for name in names if same_environment(name, environment)]
