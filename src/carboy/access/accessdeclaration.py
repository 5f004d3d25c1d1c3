"""What the author of an app declares about the access to a route.

    @app.get("/report", access="key", rate="10/minute")
    Blueprint("admin", __name__, access="key")
    @app.model("/digits", access="open", cors="https://shop.example")

The declaration of a route takes precedence over that of its blueprint, and this over the config
keys ACCESS_DEFAULT, ACCESS_RATE and CORS_POLICY.
"""

from __future__ import annotations

import dataclasses
import typing as t

from carboy.errors import ConfigError

from .rates import parse_rates

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from werkzeug.exceptions import HTTPException

    from carboy.core.problemdetails import Problem

    from .cors import Cors
    from .rates import Rate

    #: Makes the response to the current request, which is refused, from the reason.
    Refuse = cabc.Callable[[Problem], HTTPException]

AccessRule = t.Literal["key", "open"]
ACCESS_RULES: t.Final = t.get_args(AccessRule)


@dataclasses.dataclass(frozen=True, slots=True)
class Purpose:
    """What a route gives access to, which decides about routes that declare nothing.

    Attributes:
        kind: a "view" is open. A "model", and what tells about all "models", needs a key as soon as
            the app has keys. A "control" changes what is served; as soon as the app has keys, it
            needs one that is not for some models alone, whatever is declared. A "probe" says
            whether the app is ready. An "asset" is a file of carboy's own pages, which is always
            open.
        model: the name of the model; empty for other kinds, and if `variable` has it.
        variable: the variable of the rule that contains the name of the model, whose `cors` holds
            for the URL. For a "model", so does all else that is declared for it.
        refuse: makes the response to a refused request; None for problem details.
    """

    kind: t.Literal["view", "model", "models", "control", "probe", "asset"] = "view"
    model: str = ""
    variable: str = ""
    refuse: Refuse | None = None

    @property
    def has_model_variable(self) -> bool:
        """Whether `access` and `rate` are those of the model that `variable` names."""
        return self.kind == "model" and bool(self.variable)


@dataclasses.dataclass(frozen=True, slots=True)
class AccessDeclaration:
    """The access that an app, a blueprint or a route declares. A field is None if it declares
    nothing there.

    Attributes:
        access: whether clients need an API key.
        rates: how many requests are answered; empty for any number.
        purpose: what a route gives access to.
    """

    access: AccessRule | None = None
    rates: tuple[Rate, ...] | None = None
    purpose: Purpose = Purpose()
    cors: Cors | t.Literal[False] | None = None

    @classmethod
    def read(
        cls, options: cabc.Mapping[str, t.Any], owner: str, *, of_view: bool = False
    ) -> AccessDeclaration:
        """Return what the options of a route or blueprint declare.

        Args:
            owner: what has the options, such as "@app.route('/a')", for error messages.
            of_view: whether the options are those of a route to a view.

        Raises:
            ValueError: a value is not one that the option can have.
        """
        access, cors = options.get("access"), check_cors(options.get("cors"), owner)
        if isinstance(access, cls):
            return access if cors is None else dataclasses.replace(access, cors=cors)
        rates = check_rate(options.get("rate"), owner)
        if of_view and any(each.by == "model" for each in rates or ()):
            raise ValueError(
                f"{owner}: rate={options['rate']!r}: the route is not one of a model. To count all"
                " requests to it, whoever sends them, write 'by route'."
            )
        return cls(check_access(access, owner), rates, cors=cors)

    def within(
        self, outer: AccessDeclaration, *, purpose: Purpose | None = None
    ) -> AccessDeclaration:
        """Return this declaration, with the fields that it leaves out from `outer`.

        Args:
            purpose: what the route gives access to, if it is not what this declaration says.
        """
        return dataclasses.replace(
            self,
            access=self.access or outer.access,
            rates=outer.rates if self.rates is None else self.rates,
            cors=outer.cors if self.cors is None else self.cors,
            purpose=purpose or self.purpose,
        )


NOTHING_DECLARED: t.Final = AccessDeclaration()


def check_access(value: object, owner: str) -> AccessRule | None:
    """Return the value of an option `access`. Raises ValueError if it is none."""
    if value is None or (isinstance(value, str) and value in ACCESS_RULES):
        return t.cast("AccessRule | None", value)
    raise ValueError(
        f"{owner}: access={value!r}: expected 'key' (clients need an API key), 'open' (they need"
        " none), or None (what is declared further out)."
    )


def check_rate(value: object, owner: str) -> tuple[Rate, ...] | None:
    """Return the rates of an option `rate`. Raises ValueError if it is not valid."""
    if value is None:
        return None
    try:
        return parse_rates(value)
    except ValueError as exc:
        raise ValueError(f"{owner}: rate={value!r}: {exc}.") from None


def check_value(key: str, value: t.Any, source: str) -> None:
    """Refuse a value of the config key ACCESS_RATE that is not valid.

    Raises:
        ConfigError: the value is not valid.
    """
    try:
        check_rate(value, f"{key} from {source}")
    except ValueError as exc:
        raise ConfigError(str(exc)) from None


def check_cors(value: t.Any, owner: str) -> Cors | t.Literal[False] | None:
    """Return what the value of an option `cors` stands for; False if no other site is allowed.

    Raises:
        ValueError: the option cannot have the value.
    """
    if value is None:
        return None
    from .cors import parse

    return parse(value, f"{owner}: cors") or False
