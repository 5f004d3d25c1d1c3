"""Decide whether a request may reach the view or model of its route, and who has sent it."""

from __future__ import annotations

import typing as t

from carboy.core.identity import Identity
from carboy.core.problemdetails import Problem

from .ratelimit import Sender, count, limit_of_key

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .accessdeclaration import AccessRule, Purpose
    from .keystore import KeyStore
    from .ratelimit import RateLimit

_BEARER = "bearer"
_HOW_TO_SEND = "in the header Authorization: Bearer KEY, or X-API-Key: KEY."


class Admission(t.NamedTuple):
    """What a guard has decided about a request, so that it is not asked twice."""

    guard: RouteGuard
    identity: Identity
    refusal: Problem | None = None


class RoutePolicy(t.NamedTuple):
    """What holds for the requests to a route or model.

    Attributes:
        access: "key" or "open", as it was declared; None if the route needs a key as soon as the
            app has keys.
        limit: how many requests are answered; None for any number.
    """

    access: AccessRule | None = None
    limit: RateLimit | None = None


class RouteGuard:
    """Decides about the requests to one route. Thread-safe.

    Args:
        store: the keys of the app.
        endpoint: the endpoint of the route.
        policy: what holds for the route.
        purpose: what the route gives access to.
        policy_of_model: returns what holds for the model with this name, if `purpose` has a
            variable.
    """

    __slots__ = ("_policy_of_model", "endpoint", "policy", "purpose", "required", "store")

    def __init__(
        self,
        store: KeyStore,
        endpoint: str,
        policy: RoutePolicy,
        purpose: Purpose,
        policy_of_model: cabc.Callable[[str], RoutePolicy],
    ) -> None:
        self.store = store
        self.endpoint = endpoint
        self.purpose = purpose
        #: Whether the guard must be asked also while the app has no keys.
        self.required = policy.access == "key" or policy.limit is not None
        self.policy = policy
        self._policy_of_model = policy_of_model

    def asks_users(self) -> bool:
        """Return whether a rate needs to know who the user is."""
        limit = self.policy.limit
        if limit is None:
            return False
        return "user" in limit.ways or ("key" in limit.ways and not self.needs_key())

    def needs_key(self, model: str = "") -> bool:
        """Return whether clients need a key now.

        Args:
            model: the name of the model, if a variable of the route has it.
        """
        rule = self._policy_for(model).access
        return self.store.closed if rule is None else rule == "key"

    def _policy_for(self, model: str) -> RoutePolicy:
        return self._policy_of_model(model) if self.purpose.variable else self.policy

    def admit(
        self,
        headers: cabc.Mapping[str, t.Any],
        address: str | None,
        variables: cabc.Mapping[str, t.Any] | None = None,
        identify_user: cabc.Callable[[], str] | None = None,
    ) -> Admission:
        """Return who has sent a request, and why it is refused if it is.

        Args:
            headers: the headers by their WSGI names, such as `HTTP_AUTHORIZATION`.
            address: the IP address of the client.
            variables: the values of the variables of the route.
            identify_user: returns who the user is, or ""; None if there are no users.
        """
        purpose = self.purpose
        model = purpose.model or str((variables or {}).get(purpose.variable, ""))
        self.store.refresh()
        if not self.needs_key(model):
            return self._count(Identity(address, identify_user=identify_user), model)
        sent = sent_key(headers)
        if not sent:
            return Admission(self, Identity(address), _missing())
        key = self.store.find(sent)
        if key is None:
            return Admission(self, Identity(address), _not_valid())
        identity = Identity(address, key, identify_user)
        if model and not key.allows_model(model):
            return Admission(self, identity, _not_allowed(model))
        return self._count(identity, model)

    def _count(self, identity: Identity, model: str) -> Admission:
        """Admit a request, unless it exceeds a rate."""
        limit, key = self._policy_for(model).limit, identity.key
        limits = [] if limit is None else [limit]
        if key is not None and key.rate is not None:
            limits.append(limit_of_key(key.rate))
        if not limits:
            return Admission(self, identity)
        refusal = count(limits, Sender(identity, model, self.endpoint))
        return Admission(self, identity, refusal and refusal.problem())


def sent_key(headers: cabc.Mapping[str, t.Any]) -> str:
    """Return the key that a request has; empty if it has none. `X-API-Key` takes precedence, so
    that `Authorization` can have what another program asks for.
    """
    key: str = headers.get("HTTP_X_API_KEY", "")
    if key:
        return key.strip()
    scheme, _, rest = headers.get("HTTP_AUTHORIZATION", "").partition(" ")
    return str(rest.strip()) if scheme.lower() == _BEARER else ""


def _missing() -> Problem:
    return Problem(
        401,
        f"This URL needs an API key, {_HOW_TO_SEND}",
        code="key-missing",
        headers=[("WWW-Authenticate", "Bearer")],
    )


def _not_valid() -> Problem:
    return Problem(
        401,
        "The API key is not known, has expired or was revoked.",
        code="key-invalid",
        headers=[("WWW-Authenticate", 'Bearer error="invalid_token"')],
    )


def _not_allowed(model: str) -> Problem:
    return Problem(
        403,
        f"The API key may not use the model {model!r}.",
        code="key-not-allowed",
        headers=[("WWW-Authenticate", 'Bearer error="insufficient_scope"')],
    )
