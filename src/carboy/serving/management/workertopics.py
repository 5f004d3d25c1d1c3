"""What a worker process tells its supervisor when it is asked: the health of its models, their
counts, the stacks of its threads, the levels of its loggers; and what it does when it is asked:
load and unload a model, and change its version.

These functions run on the thread that reads the supervisor's messages. None of them waits for a
view or a model; models are loaded and unloaded on threads of their own.
"""

from __future__ import annotations

import typing as t

from ...core.masking import mask_text
from ...errors import ControlRequestError, ModelLoadError, WorkerAnswerError
from ..threads.stacks import stacks_of_others
from .loglevels import LogLevels
from .modelcontrol import LOAD, UNLOAD
from .modelrollout import REFRESH, REFUSE, SWITCH
from .questions import answered_apart
from .versionrequests import SOURCE

if t.TYPE_CHECKING:
    import collections.abc as cabc
    from concurrent.futures import Future

    from _typeshed.wsgi import WSGIApplication

    from carboy.models.collection import Models
    from carboy.models.model import Model

    from .modelrollout import Refreshed, Tried
    from .questions import Answering


class WorkerTopics:
    """Answers the questions about one worker process.

    Attributes:
        app: the application; None until it is imported.
    """

    def __init__(self) -> None:
        self.app: WSGIApplication | None = None
        self._levels = LogLevels()

    def topics(self) -> dict[str, Answering]:
        """Return the functions that answer, by topic."""
        return {
            "health": lambda _: models_health(self.app),
            "models": lambda _: describe_models(self.app),
            SOURCE: lambda arguments: source_of_model(self.app, **arguments),
            "stacks": lambda _: stacks_of_others(),
            "log-level": self._log_level,
            LOAD: answered_apart(self._load_model),
            UNLOAD: answered_apart(self._unload_model),
            REFRESH: answered_apart(self._refresh_model),
            SWITCH: answered_apart(self._switch_model),
            REFUSE: self._refuse_version,
        }

    def _log_level(self, arguments: dict[str, t.Any]) -> dict[str, str]:
        return self._levels.apply(app_logger_name(self.app), **arguments)

    def _load_model(self, arguments: dict[str, t.Any]) -> None:
        t.cast("Models", models_of(self.app))[arguments["name"]].load()

    def _refresh_model(self, arguments: dict[str, t.Any]) -> Refreshed:
        model = t.cast("Models", models_of(self.app))[arguments["name"]]
        before = model.current.name
        try:
            model.versions.refresh(retry=arguments["retry"])
        except ModelLoadError as exc:
            if model.versions.refused() is None:
                raise ControlRequestError(str(exc)) from None
        if refused := model.versions.refused():
            refused["reason"] = mask_text(refused["reason"])
        return {
            "before": before,
            "now": model.current.name,
            "refused": refused,
            "trials": _trials_of(model),
            "unloaded": model.versions.unloaded,
        }

    def _switch_model(self, arguments: dict[str, t.Any]) -> None:
        versions = t.cast("Models", models_of(self.app))[arguments["name"]].versions
        if not versions.unloaded:
            versions.switch(arguments["version"])

    def _refuse_version(self, arguments: dict[str, t.Any]) -> None:
        model = t.cast("Models", models_of(self.app))[arguments["name"]]
        model.versions.refuse(arguments["refused"])

    def _unload_model(self, arguments: dict[str, t.Any]) -> None:
        t.cast("Models", models_of(self.app))[arguments["name"]].unload()


class ModelsOfAllWorkers:
    """Loads and unloads models in all workers of the server, in place of this one alone.

    Args:
        ask: lets the supervisor do something; takes the topic and its arguments.
    """

    def __init__(self, ask: cabc.Callable[..., Future[t.Any]]) -> None:
        self._ask = ask

    def load(self, name: str) -> None:
        try:
            self._ask(LOAD, name=name).result()
        except WorkerAnswerError as exc:
            raise ModelLoadError(str(exc)) from None

    def unload(self, name: str) -> None:
        self._ask(UNLOAD, name=name).result()

    def refresh(self, name: str, *, retry: bool = False) -> None:
        try:
            self._ask(REFRESH, name=name, retry=retry).result()
        except WorkerAnswerError as exc:
            raise ModelLoadError(str(exc)) from None


def models_of(app: WSGIApplication | None) -> Models | None:
    """Return the models of an application, which may be any WSGI application; None if it is none
    with models.
    """
    return vars(app).get("models") if hasattr(app, "__dict__") else None


def versions_of(models: cabc.Iterable[Model]) -> dict[str, str]:
    """Return the versions that are loaded, by model, of models that declare versions."""
    return {model.name: model.current.name for model in models if model.current.name}


def app_logger_name(app: WSGIApplication | None) -> str | None:
    name = getattr(app, "name", None)
    return name if isinstance(name, str) else None


# ------------------------------------------------------------------------------------ models


def models_health(app: WSGIApplication | None) -> dict[str, str]:
    """Return, for each model of an application, why it is not ready, or "". Never blocks."""
    models = models_of(app)
    if not models:
        return {}
    reasons = models.health().reasons
    return {name: mask_text(reasons.get(name, "")) for name in models}


def describe_models(app: WSGIApplication | None) -> list[dict[str, t.Any]]:
    """Return the state, the limits and the counts of each model."""
    return [_describe_model(model) for model in (models_of(app) or {}).values()]


def source_of_model(app: WSGIApplication | None, name: str) -> dict[str, t.Any]:
    """Return the option `source` of a model, which may contain a password, and which versions are
    tried for what. The supervisor alone asks for it.
    """
    models = models_of(app)
    if models is None or name not in models:
        known = ", ".join(models or ())
        raise ControlRequestError(f"No model {name!r}: the app has {known or 'none'}.")
    source = models[name].options.source
    if source is None:
        from ...models.sources import without_source

        raise ControlRequestError(without_source(name, models[name].rule))
    return {"source": source, "trials": models[name].options.trials}


def _trials_of(model: Model) -> dict[str, Tried]:
    return {
        each["version"]: {"state": each["state"], "reason": mask_text(each["reason"])}
        for each in model.versions.states()
        if each["version"] in model.options.trials
    }


def _describe_model(model: Model) -> dict[str, t.Any]:
    counts, options, source = model.statistics(), model.options, model.versions.source
    return {
        "name": model.name,
        "url": model.rule,
        "version": model.version,
        "source": None if source is None else source.location,
        "versions": [
            {**state, "reason": mask_text(state["reason"])} for state in model.versions.states()
        ],
        "shadow": None if (shadow := model.versions.shadow) is None else shadow.report(),
        "device": options.device,
        "not_ready": mask_text(model.not_ready()),
        "memory_bytes": model.current.memory_bytes,
        "batch": options.batch,
        "concurrency": options.concurrency,
        "deadline_s": options.deadline_s,
        "queue": options.queue_items,
        "waiting": counts.waiting,
        "computing": counts.computing,
        "answered": counts.answered,
        "failed": counts.failed,
        "refused": counts.refused,
        "expired": counts.expired,
        "cancelled": counts.cancelled,
        "batches": counts.batches,
        "waited_s": counts.waited_s,
        "computed_s": counts.computed_s,
    }
