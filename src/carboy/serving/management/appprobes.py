"""Probes on the app's port, by the setting `probes`: a worker answers them for itself, on the
thread that reads requests, without calling the app.

They are for orchestrators that reach nothing but the app's port, such as Kubernetes. Anybody may
ask, so they tell less than those of the management: not which process answers, and not the text of
an exception.
"""

from __future__ import annotations

import typing as t
from functools import partial

from ...core.dispatch import carboy_app
from ...errors import ConfigError
from ..wsgi.gateway import Gateway
from .probes import LIVE, PATHS, READY, STARTED, STOPPING, Reason, Verdict, model_reasons
from .workertopics import models_health

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed.wsgi import WSGIApplication

    from ..http.exchange import Exchange

_HEADERS = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]


class WorkerProbes:
    """Answers the probes of one worker.

    Args:
        app: the application.
        least_models: how many models the app must have to be ready.

    Attributes:
        by_path: the functions that answer, by URL path. They are called with whether the worker
            drains.
    """

    def __init__(self, app: WSGIApplication, least_models: int) -> None:
        self.by_path: dict[str, cabc.Callable[[bool], Verdict]] = {
            LIVE: lambda draining: Verdict(),
            READY: self._ready,
            STARTED: self._started,
        }
        self._app = app
        self._least_models = least_models
        self._has_started = False

    def _ready(self, draining: bool) -> Verdict:
        return Verdict([Reason(STOPPING)]) if draining else self._models()

    def _started(self, draining: bool) -> Verdict:
        if self._has_started:
            return Verdict()
        verdict = self._models()
        self._has_started = not verdict.reasons
        return verdict

    def _models(self) -> Verdict:
        # The text after the first colon is that of an exception, which may be confidential.
        reasons = models_health(self._app)
        public = {name: reason.partition(":")[0] for name, reason in reasons.items()}
        return Verdict(list(model_reasons(public, self._least_models)))


class ProbingGateway(Gateway):
    """A gateway that answers the probes itself, and passes all other requests to the application.

    Args:
        least_models: how many models the app must have to be ready.
        **options: the arguments of `Gateway`.
    """

    def __init__(self, app: WSGIApplication, least_models: int, **options: t.Any) -> None:
        super().__init__(app, **options)
        _refuse_own_views(app)
        self._probes = WorkerProbes(app, least_models).by_path

    def admit(self, exchange: Exchange) -> None:
        probe = self._probes.get(exchange.path)
        if probe is None:
            super().admit(exchange)
            return
        exchange.discard()
        exchange.handler = partial(_answer, probe)


def _answer(probe: cabc.Callable[[bool], Verdict], exchange: Exchange) -> None:
    if exchange.method not in ("GET", "HEAD"):
        exchange.respond(405, [*_HEADERS, ("Allow", "GET, HEAD")], b"{}\n")
        return
    verdict = probe(exchange.transport.draining)
    exchange.respond(verdict.status, _HEADERS, verdict.body())


def _refuse_own_views(app: WSGIApplication) -> None:
    """Raise ConfigError if the app has a view at the path of a probe: no request would reach it."""
    own = carboy_app(app)
    rules = () if own is None else own.url_map.iter_rules()
    for rule in rules:
        if rule.rule in PATHS:
            raise ConfigError(
                f"Setting 'probes': the server would answer {rule.rule}, but the app has the view"
                f" {rule.endpoint!r} there. Remove the view or its rule, or set 'probes' to no."
            )
