"""What is declared for each route of an app: the one place that knows which declaration counts."""

from __future__ import annotations

import typing as t
from functools import cached_property

from carboy.helpers import _split_blueprint_path

from .accessdeclaration import NOTHING_DECLARED, AccessDeclaration

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from werkzeug.routing import Map, Rule


class RouteDeclarations:
    """The declarations of an app, by rule. The innermost one counts: that of the rule, then that of
    the model whose view it has, then those of its blueprints, then that of the app.

    Args:
        url_map: the rules of the app. The attribute `declaration` of a rule has what was declared
            with it.
        views: the views of the app, by endpoint.
        by_blueprint: what blueprints have declared, by the names of their registrations.
        of_app: what the configuration declares for all routes.
        of_probes: the same for probes.
    """

    def __init__(
        self,
        url_map: Map,
        views: cabc.Mapping[str, t.Any],
        by_blueprint: cabc.Mapping[str, AccessDeclaration],
        *,
        of_app: AccessDeclaration = NOTHING_DECLARED,
        of_probes: AccessDeclaration = NOTHING_DECLARED,
    ) -> None:
        self._url_map = url_map
        self._views = views
        self._by_blueprint = by_blueprint
        self.of_app = of_app
        self._of_probes = of_probes

    def at(self, rule: Rule) -> AccessDeclaration:
        """Return what is declared for a rule itself.

        A program may give the view of a model a second rule or endpoint, which gives access
        to the same model: what is declared for the model holds there, too.
        """
        declared = _declared_at(rule)
        if declared.purpose.kind != "view":
            return declared
        own = self._of_own_views.get(rule.endpoint) or self._of_own_views.get(
            id(self._views.get(rule.endpoint))
        )
        return declared if own is None else declared.within(own, purpose=own.purpose)

    def levels(self, rule: Rule) -> cabc.Iterator[tuple[str, AccessDeclaration]]:
        """Yield the declarations that hold for a rule with their names, innermost first."""
        declared = self.at(rule)
        if declared.purpose.kind == "probe":
            yield rule.endpoint, declared
            yield "probes", self._of_probes
            return
        model = declared.purpose.model
        yield f"model {model}" if model else f"route {rule.endpoint}", declared
        blueprint = rule.endpoint.rpartition(".")[0]
        for name in _split_blueprint_path(blueprint) if blueprint else ():
            yield f"blueprint {name}", self._by_blueprint.get(name, NOTHING_DECLARED)
        yield "all routes", self.of_app

    def of(self, rule: Rule) -> AccessDeclaration:
        """Return what holds for a rule, with the purpose of the rule."""
        found = self.at(rule)
        for _, declared in self.levels(rule):
            found = found.within(declared)
        return found

    def of_model_at(self, rule: Rule, variables: cabc.Mapping[str, t.Any] | None) -> Rule:
        """Return a rule of the model that a variable of a rule names; the rule itself if there is
        none.

        Args:
            variables: the values of the variables of the rule.
        """
        variable = self.at(rule).purpose.variable
        name = (variables or {}).get(variable) if variable else None
        return self._rules_of_models.get(name or "", rule)

    def rule_of_model(self, name: str) -> Rule | None:
        """Return a rule of the model with this name; None if there is none."""
        return self._rules_of_models.get(name)

    def places(self) -> cabc.Iterator[tuple[str, AccessDeclaration]]:
        """Yield all that was declared, with its place, as error messages name it."""
        yield "The config key ACCESS_RATE", self.of_app
        for name, declared in self._by_blueprint.items():
            yield f"The blueprint {name!r}", declared
        for rule in self._url_map.iter_rules():
            yield f"The rule {rule.rule!r}", _declared_at(rule)

    # Looked for at the first question: many apps declare nothing, and have many rules. An app whose
    # rules change gets a new object.

    @cached_property
    def _of_own_views(self) -> dict[str | int, AccessDeclaration]:
        """What is declared for models and for carboy's own pages, by their endpoints and the `id`
        of their views.
        """
        found: dict[str | int, AccessDeclaration] = {}
        for rule in self._url_map.iter_rules():
            declared = _declared_at(rule)
            if declared.purpose.kind != "view":
                for key in (rule.endpoint, id(self._views.get(rule.endpoint, rule))):
                    found.setdefault(key, declared)
        return found

    @cached_property
    def _rules_of_models(self) -> dict[str, Rule]:
        found: dict[str, Rule] = {}
        for rule in self._url_map.iter_rules():
            purpose = _declared_at(rule).purpose
            if purpose.kind == "model" and purpose.model:
                found.setdefault(purpose.model, rule)
        return found


def _declared_at(rule: Rule) -> AccessDeclaration:
    return getattr(rule, "declaration", NOTHING_DECLARED)
