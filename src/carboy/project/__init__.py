"""The configuration of a project: files, `.env`, environment variables, and the origin of each
value.

`app.config.from_project()` loads it (`carboy.project.loader`), and sets `app.config.project` to the
`Project` that this module defines. Without that call nothing in this package is imported by an app.

    loader          loads all layers, in their order
    layers          values with their origins
    origins         where a value comes from
    dotenvfile      `.env`
    datafiles       `config.toml` and `config.json`
    pythonfile      `config.py`
    variables       environment variables
    secretfiles     `X_FILE`: files with secrets
    declaredkeys    the keys that a project declares
    keytypes        the types of keys
    valuechecks     values of the right type that cannot be used
    secretkey       makes the key for development; `rotation` replaces keys
    privatefiles    writes files with secrets
    configproblems  what is wrong, for `carboy config --check`
    reloading       what the reloader must know
    uncaught        ends a program whose configuration cannot be used
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

if t.TYPE_CHECKING:
    from .origins import Origin

# The keys that hold secrets in each app. A project may declare more of them, as fields of type
# `Secret`.
DECLARED_SECRETS = frozenset({"SECRET_KEY", "SECRET_KEY_FALLBACKS"})


class _SecretMarker:
    """Marks an annotation as the type of a secret."""

    def __repr__(self) -> str:
        return "Secret"


SECRET_MARKER: t.Final = _SecretMarker()

# The type of a secret in `class Config(Struct)`: a `str` that no command, log or error page shows.
# A field `X: Secret` may be given by the variable `X`, or by `X_FILE`, the path of a file that
# contains it.
Secret: t.TypeAlias = t.Annotated[str, SECRET_MARKER]


class AppPlace(t.NamedTuple):
    """The module of an app, its root folder and its instance folder, which the app passes to its
    config.
    """

    import_name: str
    root_path: str
    instance_path: str


@dataclass(frozen=True, slots=True)
class Project:
    """Facts about the project that `app.config.from_project()` has loaded.

    Attributes:
        root: the project's folder, which holds `config.py` and `.env`.
        instance_path: the app's folder for files that are not part of the code.
        environment: the name of the environment, such as "development" or "production".
        origins: where the value of each key comes from. A key that has its default is missing. If
            code assigns a value later, the dict is updated.
        environments: the names of the environments for which a file or a section of a file exists.
        secrets: the keys that are declared as secrets; `SECRET_KEY` always is.
        declared: the `class Config(Struct)` that declares the project's keys, if there is one.
        unused: the variables of `.env` files that set no config key, with the file and line of
            each.
        replaced: the value that each key of the project had before `from_project()` set it;
            `ABSENT` if it had none.
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
        """Return the name of the environment as text, and how to select one of the others that the
        project has.
        """
        from .layers import same_environment

        others = [
            each for each in self.environments if not same_environment(each, self.environment)
        ]
        how = f" (FLASK_ENV selects another: {', '.join(others)})" if others else ""
        return f"{self.environment}{how}"
