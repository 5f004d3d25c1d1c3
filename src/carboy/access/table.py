"""The guards of an app, by route."""

from __future__ import annotations

import typing as t

from carboy.core.identity import ADMISSION
from carboy.core.problemdetails import as_page_or_problem
from carboy.observability.environkeys import FIELDS

from .accessdeclaration import (
    AccessDeclaration,
    AccessRule,
    declared_at,
    declared_with_blueprints,
)
from .guard import PRIVATE, Admission, RouteGuard, check_key

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from werkzeug.routing import Map, Rule

    from carboy.core.identity import Identity
    from carboy.core.problemdetails import Problem
    from carboy.ctx import RequestContext
    from carboy.wrappers import Response

    from .keystore import KeyStore


class AccessTable:
    """Finds the guard of a route at the first request to it, and asks it at each request.

    Args:
        store: the keys of the app.
        url_map: the rules of the app. The attribute `declaration` of a rule has what was declared
            with it.
        by_blueprint: what blueprints have declared, by the names of their registrations.
        of_app: what the configuration declares for all routes.
        of_probes: the same for probes.
    """

    def __init__(
        self,
        store: KeyStore,
        url_map: Map,
        by_blueprint: cabc.Mapping[str, AccessDeclaration],
        *,
        of_app: AccessDeclaration,
        of_probes: AccessDeclaration,
    ) -> None:
        self.store = store
        self._url_map = url_map
        self._by_blueprint = by_blueprint
        self._of_app = of_app
        self._of_probes = of_probes
        # By `id`, because rules have no hash. Rules live as long as their map.
        self._guards: dict[int, RouteGuard | None] = {}

    def admit(self, ctx: RequestContext) -> None:
        """Raise the error that refuses the request of a context; else let it pass."""
        rule, variables = ctx._matched()
        if rule is None:
            return
        guard = self.guard_of(rule)
        if guard is None:
            return
        environ = ctx._environ
        admission: Admission | None = environ.get(ADMISSION)
        if admission is None or admission.guard is not guard:
            if environ["REQUEST_METHOD"] == "OPTIONS" and _answers_options(rule):
                return
            admission = guard.admit(environ, environ.get("REMOTE_ADDR"), variables)
            environ[ADMISSION] = admission
            _log(environ, admission.identity)
        if admission.keyed:
            ctx._after_request_functions.append(_keep_from_caches)
        if admission.refusal is not None:
            self._refuse(ctx, guard, admission.refusal)

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
        rule = self._rule_of_model(model)
        if not (self.store.closed if rule is None else rule == "key"):
            return True
        return check_key(self.store, environ, model)[1] is None

    def _make_guard(self, rule: Rule) -> RouteGuard | None:
        declared = declared_at(rule)
        purpose = declared.purpose
        effective = self._effective(rule, declared).access
        if purpose.kind == "asset":
            return None
        if effective == "open" and not purpose.variable:
            return None
        if effective is None and purpose.kind in ("view", "probe"):
            return None
        return RouteGuard(self.store, effective, purpose, self._rule_of_model)

    def _effective(self, rule: Rule, declared: AccessDeclaration) -> AccessDeclaration:
        """Return what is declared for a rule, by itself, its blueprints or the app."""
        if declared.purpose.kind == "probe":
            return declared.within(self._of_probes)
        return declared_with_blueprints(rule, self._by_blueprint).within(self._of_app)

    def _rule_of_model(self, name: str) -> AccessRule | None:
        for rule in self._url_map.iter_rules():
            declared = declared_at(rule)
            if declared.purpose.kind == "model" and declared.purpose.model == name:
                return self._effective(rule, declared).access
        return self._of_app.access

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
    response.vary.update(PRIVATE["Vary"].split(", "))
    response.headers.setdefault("Cache-Control", PRIVATE["Cache-Control"])
    return response


def _answers_options(rule: Rule) -> bool:
    """Whether a request with OPTIONS gets the list of the methods of a rule, and not its view."""
    return bool(getattr(rule, "provide_automatic_options", False))
