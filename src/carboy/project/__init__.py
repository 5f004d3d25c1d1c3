"""The configuration of a project: files, `.env`, environment variables, and the origin of each
value.

`app.config.from_project()` loads it (`carboy.project.loader`), and sets `app.config.project` to the
`Project` that this module defines. Without that call nothing in this package is imported by an app.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

if t.TYPE_CHECKING:
    from .origins import Origin

# Keys that hold secrets in each app: the fields of type `Secret` that a project declares are added.
DECLARED_SECRETS = frozenset({"SECRET_KEY", "SECRET_KEY_FALLBACKS"})


class _SecretMarker:
    """Marks an annotation as the type of a secret."""

    def __repr__(self) -> str:
        return "Secret"


SECRET_MARKER: t.Final = _SecretMarker()

#: The type of a secret in `class Config(Struct)`: a `str` that no command, log or error page shows.
#: A field `X: Secret` may be given by the variable `X`, or by `X_FILE`, the path of a file that
#: contains it.
Secret: t.TypeAlias = t.Annotated[str, SECRET_MARKER]


class AppFolders(t.NamedTuple):
    """The folders of an app, which its config does not know otherwise."""

    root_path: str
    instance_path: str


@dataclass(frozen=True, slots=True)
class Project:
    """What `app.config.from_project()` found.

    Attributes:
        root: the project's folder, which holds `config.py` and `.env`.
        instance_path: the app's folder for files that are not part of the code.
        environment: the name of the environment, such as "development" or "production".
        origins: where the value of a key comes from. Keys that have their default are missing. The
            dict is changed when code assigns a value.
        environments: the environments that have a section or a file.
        secrets: the keys that are declared as secrets; `SECRET_KEY` always is.
        declared: the `class Config(Struct)` that declares the project's keys, if there is one.
        unused: the variables of `.env` files that set no key, with their lines.
        replaced: the values before of the keys that the project sets; `ABSENT` if there was none.
    """

    root: str
    instance_path: str
    environment: str
    origins: dict[str, Origin]
    environments: tuple[str, ...] = ()
    secrets: frozenset[str] = DECLARED_SECRETS
    declared: type | None = None
    unused: t.Mapping[str, Origin] = field(default_factory=dict)
    replaced: t.Mapping[str, t.Any] = field(default_factory=dict)

    def describe_environment(self) -> str:
        """Return the environment, and how to select one of the others that the project knows."""
        from .layers import same_environment

        others = [
            each for each in self.environments if not same_environment(each, self.environment)
        ]
        how = f" (FLASK_ENV selects another: {', '.join(others)})" if others else ""
        return f"{self.environment}{how}"
