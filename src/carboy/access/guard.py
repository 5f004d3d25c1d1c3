"""Decide whether a request may reach the view or model of its route, and who has sent it."""

from __future__ import annotations

import typing as t
from time import monotonic

from carboy.core.identity import Identity
from carboy.core.problemdetails import Problem

from .ratelimit import UNKNOWN_MODEL, QuickCount, Sender, count, limit_of_key

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .accessdeclaration import AccessRule, Purpose
    from .apikey import ApiKey
    from .keystore import KeyStore
    from .ratelimit import RateLimit

_BEARER = "bearer"
#: Headers of a response to a request that needs a key. Caches know that what follows upon
#: `Authorization` is for one client (RFC 9111, 3.5), but not so of X-API-Key.
PRIVATE: t.Final = {"Vary": "Authorization, X-API-Key", "Cache-Control": "private"}
# Source: RFC 6750, 3.
_CHALLENGE = 'Bearer realm="API key"'
_HOW_TO_SEND = "in the header Authorization: Bearer KEY, or X-API-Key: KEY."


class Admission(t.NamedTuple):
    """A guard's decision about a request, which is kept, so that the guard is not asked twice.

    Attributes:
        refusal: why the request is refused; None if it is not.
        keyed: whether the request needs a key, so that its response is for one client.
    """

    guard: RouteGuard
    identity: Identity
    refusal: Problem | None = None
    keyed: bool = True


class RoutePolicy(t.NamedTuple):
    """The rules for requests to one route or model: whether they need a key, and their rate.

    Attributes:
        access: "key" or "open", as it was declared; None if the route needs a key as soon as the
            app has keys.
        limit: how many requests are answered; None for any number.
        is_known: False for a model that the app does not have.
    """

    access: AccessRule | None = None
    limit: RateLimit | None = None
    is_known: bool = True


class RouteGuard:
    """Decides about the requests to one route. Thread-safe.

    Args:
        store: the keys of the app.
        endpoint: the endpoint of the route.
        policy: what holds for the route.
        purpose: what the route gives access to.
        policy_of_model: returns what holds for the model with this name, if a
            variable of the route has it.
        has_users: whether the app knows its users.

    Attributes:
        quick_count: counts the requests to a route that is open to clients without keys and users;
            None for other routes.
        passed: what is decided about the requests that it lets pass.
    """

    __slots__ = (
        "_count_without_key",
        "_policy_of_model",
        "endpoint",
        "passed",
        "policy",
        "purpose",
        "quick_count",
        "required",
        "store",
    )

    def __init__(
        self,
        store: KeyStore,
        endpoint: str,
        policy: RoutePolicy,
        purpose: Purpose,
        policy_of_model: cabc.Callable[[str], RoutePolicy],
        *,
        has_users: bool,
    ) -> None:
        self.store = store
        self.endpoint = endpoint
        self.purpose = purpose
        #: Whether the guard must be asked also while the app has no keys.
        self.required = policy.access == "key" or policy.limit is not None
        self.policy = policy
        self._policy_of_model = policy_of_model
        self.passed = Admission(self, Identity(), keyed=False)
        self.quick_count: QuickCount | None = None
        self._count_without_key: QuickCount | None = None
        is_anonymous = policy.access != "key" and not (has_users or purpose.has_model_variable)
        if policy.limit is not None and is_anonymous:
            self._count_without_key = QuickCount(policy.limit, purpose.model, endpoint)
            if policy.access == "open":
                self.quick_count = self._count_without_key

    def passes(self, address: str) -> bool:
        """Count a request and let it pass if that needs no question. False says nothing: `admit`
        decides.
        """
        quick = self._count_without_key
        if quick is None or (self.policy.access is None and self._may_need_key()):
            return False
        return quick.passes(address)

    def _may_need_key(self) -> bool:
        return self.store.closed or monotonic() >= self.store.due_s

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
        return needs_key(self._policy_for(model).access, self.store)

    def _policy_for(self, model: str) -> RoutePolicy:
        return self._policy_of_model(model) if self.purpose.has_model_variable else self.policy

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
            identity = Identity(address, identify_user=identify_user)
            return Admission(self, identity, self._count(identity, model), keyed=False)
        is_beside_models = purpose.kind in ("view", "control")
        key, refusal = check_key(self.store, headers, model, is_beside_models=is_beside_models)
        identity = Identity(address, key, identify_user)
        return Admission(self, identity, refusal or self._count(identity, model))

    def _count(self, identity: Identity, model: str) -> Problem | None:
        """Count a request that may pass; return why it is refused if it exceeds a rate."""
        policy, key = self._policy_for(model), identity.key
        limits = [] if policy.limit is None else [policy.limit]
        if key is not None and key.rate is not None:
            limits.append(limit_of_key(key.rate))
        if not limits:
            return None
        counted = model if policy.is_known else UNKNOWN_MODEL
        refusal = count(limits, Sender(identity, counted, self.endpoint))
        return refusal and refusal.problem()


def needs_key(access: AccessRule | None, store: KeyStore) -> bool:
    """Return whether clients need a key for what is declared so."""
    return store.closed if access is None else access == "key"


def check_key(
    store: KeyStore,
    headers: cabc.Mapping[str, t.Any],
    model: str,
    *,
    is_beside_models: bool = False,
) -> tuple[ApiKey | None, Problem | None]:
    """Return the key that a request has, and why it is refused if it is.

    Args:
        model: the name of the model that the request is for; empty if it is for none.
        is_beside_models: whether the request is for something else than models and their
            predictions. A key that is for some models opens nothing else.
    """
    sent = sent_key(headers)
    if not sent:
        return None, _missing()
    key = store.find(sent)
    if key is None:
        return None, _not_valid()
    if model and not key.allows_model(model):
        return key, _not_allowed(f"may not use the model {model!r}")
    if is_beside_models and key.models is not None:
        return key, _not_allowed("is for models alone")
    return key, None


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
        headers=[("WWW-Authenticate", _CHALLENGE)],
    )


def _not_valid() -> Problem:
    return Problem(
        401,
        "The API key is not known, has expired or was revoked.",
        code="key-invalid",
        headers=[("WWW-Authenticate", f'{_CHALLENGE}, error="invalid_token"')],
    )


def _not_allowed(reason: str) -> Problem:
    return Problem(
        403,
        f"The API key {reason}.",
        code="key-not-allowed",
        headers=[("WWW-Authenticate", f'{_CHALLENGE}, error="insufficient_scope"')],
    )
