"""The guards of an app, by route."""

from __future__ import annotations

import typing as t
from datetime import UTC, datetime

from carboy.core.identity import ADMISSION
from carboy.core.problemdetails import as_page_or_problem
from carboy.observability.environkeys import FIELDS

from .guard import PRIVATE, Admission, RouteGuard, RoutePolicy, check_key, needs_key
from .notices import logger
from .ratelimit import RateLimit
from .tokensources import is_shared

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from werkzeug.routing import Map, Rule

    from carboy.core.identity import Identity
    from carboy.core.problemdetails import Problem
    from carboy.ctx import RequestContext
    from carboy.wrappers import Response

    from .accessdeclaration import AccessDeclaration
    from .keystore import KeyStore
    from .rates import Rate
    from .routedeclarations import RouteDeclarations

ALONE: t.Final = (
    "each process of this server counts the requests of rate limits alone, so that several allow a"
    " multiple of each rate. Under `carboy serve` all workers count together; elsewhere"
    " Flask-Limiter does it by Redis"
)

# Stands for the guard of a rule that was not looked for.
_UNKNOWN: t.Any = object()


class AccessTable:
    """Finds the guard of a route at the first request to it, and asks it at each request.

    Args:
        store: the keys of the app.
        url_map: the rules of the app.
        declarations: what is declared for them.
        scope: the name of the app, which is the same in all processes.
        identify_user: returns who the user of the active request is; None if the app does not know
            its users.
    """

    def __init__(
        self,
        store: KeyStore,
        url_map: Map,
        declarations: RouteDeclarations,
        *,
        scope: str,
        identify_user: cabc.Callable[[], str] | None,
    ) -> None:
        self.store = store
        self._url_map = url_map
        self._declarations = declarations
        self._scope = scope
        self._identify_user = identify_user
        self._knows_who_counts = False
        # By `id`, because rules have no hash. Rules live as long as their map.
        self._guards: dict[int, RouteGuard | None] = {}

    def admit(self, ctx: RequestContext) -> None:
        """Raise the error that refuses the request of a context; else let it pass."""
        # PERF: the next lines inline `ctx._matched` and `guard_of`.
        request = ctx._request
        rule = ctx._rule if request is None else request.url_rule
        if rule is None:
            return
        guard = self._guards.get(id(rule), _UNKNOWN)
        if guard is _UNKNOWN:
            guard = self.guard_of(rule)
        if guard is None:
            return
        environ = ctx._environ
        admission: Admission | None = environ.get(ADMISSION)
        if admission is None or admission.guard is not guard:
            if environ["REQUEST_METHOD"] == "OPTIONS" and _answers_options(rule):
                return
            # PERF: most requests to a route with a rate pass here. Nothing is noted in the environ,
            # whose dict would have to grow for it.
            quick = guard.quick_count
            if quick is not None and quick.passes(environ.get("REMOTE_ADDR") or ""):
                return
            admission = self._ask(guard, ctx)
        if admission.keyed:
            ctx._after_request_functions.append(_keep_from_caches)
        if admission.refusal is not None:
            self._refuse(ctx, guard, admission.refusal)

    def _ask(self, guard: RouteGuard, ctx: RequestContext) -> Admission:
        """Return what the guard decides about a request, and note it in the environ."""
        environ, (_, variables), user = ctx._environ, ctx._matched(), self._identify_user
        admission = guard.admit(environ, environ.get("REMOTE_ADDR"), variables, user)
        environ[ADMISSION] = admission
        if guard.policy.limit is not None and not self._knows_who_counts:
            self._warn_if_alone(environ)
        _log(environ, admission.identity)
        return admission

    def guard_of(self, rule: Rule) -> RouteGuard | None:
        """Return the guard of a rule; None if all requests to it may pass."""
        try:
            return self._guards[id(rule)]
        except KeyError:
            guard = self._guards[id(rule)] = self._make_guard(rule)
            return guard

    def guard_at(self, endpoint: str) -> RouteGuard | None:
        """Return the guard of the first rule of an endpoint; None if all requests may pass."""
        rule = next(iter(self._url_map.iter_rules(endpoint)), None)
        return None if rule is None else self.guard_of(rule)

    def may_use(self, environ: cabc.Mapping[str, t.Any], model: str) -> bool:
        """Return whether the client of a request may use a model."""
        access = self._policy_of_model(model).access
        if not needs_key(access, self.store):
            return True
        return check_key(self.store, environ, model)[1] is None

    def _make_guard(self, rule: Rule) -> RouteGuard | None:
        declared = self._declarations.of(rule)
        purpose, policy = declared.purpose, self._policy_of(rule, declared)
        if purpose.kind == "asset":
            return None
        if policy.limit is None and policy.access == "open" and not purpose.has_model_variable:
            return None
        return RouteGuard(
            self.store,
            rule.endpoint,
            policy,
            purpose,
            self._policy_of_model,
            has_users=self._identify_user is not None,
        )

    def _policy_of(self, rule: Rule, declared: AccessDeclaration) -> RoutePolicy:
        """Return what is declared for a rule, by itself, its blueprints or the app."""
        kind = declared.purpose.kind
        if kind == "control":
            is_closed = self._declarations.of_app.access == "key"
            return RoutePolicy("key" if is_closed else None)
        access = declared.access
        if access is None and kind in ("view", "probe"):
            access = "open"
        return RoutePolicy(access, self._limit_of(rule))

    def _limit_of(self, rule: Rule) -> RateLimit | None:
        # What `url_for("static", filename=...)` leads to, and no other view of that name.
        is_static = rule.endpoint.rpartition(".")[2] == "static" and "filename" in rule.arguments
        for place, (name, declared) in enumerate(self._declarations.levels(rule)):
            if declared.rates is not None:
                # One page may need any number of static files, so that they do not count for a rate
                # of the app or of a blueprint.
                is_exempt = is_static and place > 0
                return None if is_exempt else self._limit(name, declared.rates)
        return None

    def _policy_of_model(self, name: str) -> RoutePolicy:
        rule = self._declarations.rule_of_model(name)
        if rule is None:
            of_app = self._declarations.of_app
            limit = self._limit("all routes", of_app.rates)
            return RoutePolicy(of_app.access, limit, is_known=False)
        guard = self.guard_of(rule)
        return RoutePolicy("open") if guard is None else guard.policy

    def _limit(self, name: str, rates: cabc.Sequence[Rate] | None) -> RateLimit | None:
        return RateLimit(rates, f"{self._scope}: {name}") if rates else None

    def _warn_if_alone(self, environ: dict[str, t.Any]) -> None:
        """Warn once if the server has several processes, and this one counts requests alone."""
        self._knows_who_counts = True
        if environ.get("wsgi.multiprocess") and not is_shared():
            logger.warning("%s", ALONE)

    def needs_key(self, rule: Rule) -> bool:
        """Return whether clients need a key for a rule now."""
        guard = self.guard_of(rule)
        return guard is not None and guard.needs_key()

    def describe_keys(self) -> str:
        """Return how many URLs need a key, and how many keys there are; "" if none needs one."""
        keyed = sum(map(self.needs_key, self._url_map.iter_rules()))
        if not keyed:
            return ""
        now = datetime.now(UTC)
        valid = sum(key.is_valid(now) for key in self.store.all_keys())
        where = f"needed at {keyed} URL{'s' if keyed > 1 else ''}"
        if not valid:
            return f"none is valid; {where}; make one by 'carboy keys new NAME'"
        return f"{valid} valid; {where}"

    def has_rates(self) -> bool:
        """Return whether a rate is declared for some route, or a key has one."""
        keys = self.store.all_keys()
        return any(each.rates for _, each in self._declarations.places()) or any(
            key.rate for key in keys
        )

    def place_that_counts_by(self, way: str) -> str | None:
        """Return what declares a rate by user, or by model, for an error message; None if nothing
        does.
        """
        for place, declared in self._declarations.places():
            if any(rate.by == way for rate in declared.rates or ()):
                return place
        return None

    @staticmethod
    def _refuse(ctx: RequestContext, guard: RouteGuard, problem: Problem) -> t.NoReturn:
        if (refuse := guard.purpose.refuse) is not None:
            raise refuse(problem)
        raise as_page_or_problem(problem, ctx)


def _log(environ: dict[str, t.Any], identity: Identity) -> None:
    """If the server has an access log, let it say who has sent the request."""
    if FIELDS in environ and (fields := identity.log_fields):
        environ[FIELDS] = {**(environ[FIELDS] or {}), **fields}


def _keep_from_caches(response: Response) -> Response:
    """Let no cache give the response to another client. A Cache-Control of the view is kept."""
    headers, vary = response.headers, PRIVATE["Vary"]
    if "Vary" in headers:
        response.vary.update(vary.split(", "))
    else:
        headers["Vary"] = vary  # PERF: `response.vary` takes 3 us
    headers.setdefault("Cache-Control", PRIVATE["Cache-Control"])
    return response


def _answers_options(rule: Rule) -> bool:
    """Whether a request with OPTIONS gets the list of the methods of a rule, and not its view."""
    return bool(getattr(rule, "provide_automatic_options", False))
