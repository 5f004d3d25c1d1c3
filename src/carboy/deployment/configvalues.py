"""The values of config keys that generated files depend on, checked before they are used."""

from __future__ import annotations

import typing as t

import msgspec

from ..config import Config
from ..errors import ConfigError
from ..project.configproblems import ConfigProblem, describe_value, origin_of
from ..project.keytypes import built_in_types, checked

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..app import Carboy

#: Config key -> its type, for the keys that the files read directly. A path may also be an object
#: of `pathlib`.
_TYPES: t.Mapping[str, t.Any] = {
    "MAX_CONTENT_LENGTH": t.Annotated[int, msgspec.Meta(ge=0)] | None,
    "SEND_FILE_MAX_AGE_DEFAULT": built_in_types()["SEND_FILE_MAX_AGE_DEFAULT"],
    "TRUSTED_HOSTS": built_in_types()["TRUSTED_HOSTS"],
    "UPLOAD_FOLDER": str | None,
}


def config_value(app: Carboy, key: str) -> t.Any:
    """Return the value of a config key that generated files depend on; None if it is not set.

    Raises:
        ConfigError: the value is of a wrong type.
    """
    for problem in _problems(app, key):
        raise ConfigError(str(problem))
    return app.config.get(key)


def more_problems(app: Carboy, found: cabc.Iterable[ConfigProblem]) -> list[ConfigProblem]:
    """Return what is wrong with the values that generated files depend on, besides `found`."""
    known = {each.message.replace(":", " ").split(" ")[0] for each in found}
    return [each for key in _TYPES if key not in known for each in _problems(app, key)]


def _problems(app: Carboy, key: str) -> cabc.Iterator[ConfigProblem]:
    config: object = app.config  # which may be another class of the user
    value = app.config.get(key)
    try:
        checked(value, _TYPES[key])
    except ValueError as exc:
        place = str(origin_of(config, key)) if isinstance(config, Config) else ""
        yield ConfigProblem(place, f"{key}: {exc}, got {describe_value(key, value, ())}.")
