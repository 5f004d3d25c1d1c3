"""The URLs of the Open Inference Protocol beside predictions: health, metadata, statistics,
repository.

    GET  /v2                                             the server
    GET  /v2/health/live, /v2/health/ready
    GET  /v2/models/NAME[/versions/N]                    inputs and outputs
    GET  /v2/models/NAME[/versions/N]/ready
    GET  /v2/models/NAME[/versions/N]/config, /stats     Triton's extensions; also /v2/models/stats
    POST /v2/models/NAME/versions/N/infer
    POST /v2/repository/index
    POST /v2/repository/models/NAME/load, /unload        if MODEL_REPOSITORY_CONTROL is set

All of them are views of the app, so its hooks run for them.
"""

from __future__ import annotations

import typing as t
from importlib.metadata import version

from carboy.access.accessdeclaration import Purpose
from carboy.core.masking import mask_text
from carboy.errors import ModelLoadError
from carboy.globals import request

from ..view import CHOSEN
from .openinference import NAME, version_of
from .shared import (
    ALL_MODELS,
    CONTROL,
    MODEL_PROBE,
    PROBE,
    WireProblem,
    add_page,
    json_response,
    usable,
)

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from werkzeug.wrappers import Response

    from ..collection import Models
    from ..host import ModelApp
    from ..model import Model
    from ..queue.state import Statistics
    from ..versions.modelversion import ModelVersion
    from .openinference import OpenInferenceProtocol
    from .tensorsignature import TensorSignature, TensorSpec

CONTROL_KEY = "MODEL_REPOSITORY_CONTROL"
# What the protocol calls the states of versions that are not the current one.
_INDEX_STATES = {"loading": "LOADING", "draining": "UNLOADING", "failed": "UNAVAILABLE"}
_EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "statistics")


def add_pages(app: ModelApp, protocol: OpenInferenceProtocol) -> None:
    """Add the URLs of the protocol that compute no prediction."""
    pages = _Pages(app, protocol)
    for rule, method, view, purpose in pages.rules():
        # Rules with and without a version need endpoints of their own. No other view has a colon in
        # its name.
        add_page(app, rule, [method], view, endpoint=f"{NAME}:{rule}", purpose=purpose)
    # Each URL below /v2 responds in the form of the protocol, also if it does not exist.
    every = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    for rule in ("/v2/", "/v2/<path:rest>"):
        add_page(app, rule, every, pages.unknown, endpoint=f"{NAME}:{rule}", purpose=ALL_MODELS)


class _Pages:
    """The views. Each returns a response, or raises an error in the form of the protocol."""

    def __init__(self, app: ModelApp, protocol: OpenInferenceProtocol) -> None:
        self._app = app
        self._protocol = protocol

    def rules(self) -> cabc.Iterator[tuple[str, str, cabc.Callable[..., t.Any], Purpose]]:
        """Yield the rules with their methods, views and purposes."""
        named = Purpose("model", variable="name")
        yield "/v2", "GET", self.server, PROBE
        yield "/v2/health/live", "GET", self.live, PROBE
        yield "/v2/health/ready", "GET", self.ready, PROBE
        yield "/v2/models/stats", "GET", self.statistics, ALL_MODELS
        yield "/v2/models/<name>/versions/<number>/infer", "POST", self.infer, named
        for rule in ("/v2/models/<name>", "/v2/models/<name>/versions/<number>"):
            yield rule, "GET", self.metadata, named
            yield f"{rule}/ready", "GET", self.model_ready, MODEL_PROBE
            yield f"{rule}/config", "GET", self.configuration, named
            yield f"{rule}/stats", "GET", self.statistics, named
        yield "/v2/repository/index", "POST", self.index, ALL_MODELS
        yield "/v2/repository/models/<name>/load", "POST", self.load, CONTROL
        yield "/v2/repository/models/<name>/unload", "POST", self.unload, CONTROL

    # --- the server ----------------------------------------------------------------------------

    def server(self) -> Response:
        release = version("carboy")
        return json_response(
            self._app, {"name": "carboy", "version": release, "extensions": _EXTENSIONS}
        )

    def live(self) -> Response:
        return json_response(self._app, {"live": True})

    def ready(self) -> Response:
        is_ready = self._app.models.health().ready
        return json_response(self._app, {"ready": is_ready}, status=200 if is_ready else 503)

    def unknown(self, rest: str = "") -> Response:
        raise WireProblem(
            404,
            f"{request.method} /v2/{rest} is not served. The app has the models"
            f" {self._names()}; GET /v2 lists the extensions.",
        )

    # --- models --------------------------------------------------------------------------------

    def metadata(self, name: str, number: str | None = None) -> Response:
        model = self._model(name, number)
        signature = self._protocol.signature(model)
        return json_response(self._app, {
            "name": name,
            "versions": list(_served_versions(model)),
            "platform": "carboy",
            "inputs": [_tensor(signature, spec) for spec in signature.inputs],
            "outputs": [_tensor(signature, spec) for spec in signature.outputs],
        })  # fmt: skip

    def model_ready(self, name: str, number: str | None = None) -> Response:
        model, version = self._version(name, number)
        reason = model.not_ready() if version is model.current else version.not_ready()
        return json_response(
            self._app, {"name": name, "ready": not reason}, status=503 if reason else 200
        )

    def configuration(self, name: str, number: str | None = None) -> Response:
        model = self._model(name, number)
        signature = self._protocol.signature(model)
        return json_response(self._app, {
            "name": name,
            "platform": "carboy",
            "backend": "carboy",
            "max_batch_size": model.options.batch if signature.batched else 0,
            "input": [{**_configured(spec), **_optional(spec)} for spec in signature.inputs],
            "output": [_configured(spec) for spec in signature.outputs],
        })  # fmt: skip

    def statistics(self, name: str | None = None, number: str | None = None) -> Response:
        models = self._usable() if name is None else [self._model(name, number)]
        found = [
            _statistics(model, called, version)
            for model in models
            for called, version in _served_versions(model).items()
            if number in (None, called)
        ]
        return json_response(self._app, {"model_stats": found})

    def infer(self, name: str, number: str) -> Response:
        model, version = self._version(name, number)
        request.environ[CHOSEN] = version
        endpoint = model.endpoints[NAME]
        return t.cast("Response", self._app.view_functions[endpoint.name]())

    # --- the repository ------------------------------------------------------------------------

    def index(self) -> Response:
        only_ready = _asked("ready")
        found = [entry for model in self._usable() for entry in self._index_of(model)]
        if only_ready:
            found = [each for each in found if each["state"] == "READY"]
        return json_response(self._app, found)

    def _index_of(self, model: Model) -> cabc.Iterator[dict[str, t.Any]]:
        """Yield what the index says of each version of a model."""
        reason = model.not_ready()
        state = "UNAVAILABLE" if reason else "READY"
        yield self._index_entry(model, version_of(model), state, reason)
        for each in model.versions.states():
            if each["version"] != model.current.name:
                state = _INDEX_STATES.get(each["state"], "READY")
                yield self._index_entry(model, each["version"], state, each["reason"])

    def _index_entry(self, model: Model, number: str, state: str, reason: str) -> dict[str, t.Any]:
        if not self._may_control:
            # The text after the first colon is that of an exception, which may be confidential.
            reason = reason.partition(":")[0]
        return {
            "name": model.name,
            "version": number,
            "state": state,
            "reason": mask_text(reason),
        }

    def load(self, name: str) -> Response:
        models = self._controlled(name)
        _asked()
        try:
            self._load(models, name)
        except ModelLoadError as exc:
            self._app.logger.exception("Model %r could not be loaded", name)
            raise WireProblem(
                exc.status, f"The model {name!r} could not be loaded. The log has the reason."
            ) from exc
        return json_response(self._app, {})

    def _load(self, models: Models, name: str) -> None:
        was_unloaded = models[name].unloaded
        models.lifecycle.load(name)
        if models[name].versions.source is None:
            return
        try:
            models.lifecycle.refresh(name, retry=not was_unloaded)
        except ModelLoadError:
            # The model is loaded, as it was asked for, with the version from before.
            if not was_unloaded:
                raise

    def unload(self, name: str) -> Response:
        models = self._controlled(name)
        _asked("unload_dependents")  # no model depends on another one, so it makes no difference
        models.lifecycle.unload(name)
        return json_response(self._app, {})

    def _controlled(self, name: str) -> Models:
        """Return the models if the client may load and unload the one of this name."""
        if not self._may_control:
            raise WireProblem(
                403, f"Clients may not load and unload models. Set {CONTROL_KEY} to allow it."
            )
        browsers = self._app.find_overrides().browsers
        if browsers.is_foreign((request.url_rule, request.view_args), request.environ):
            # The body of these requests is JSON under any Content-Type, so that browsers let pages
            # of all sites send them.
            raise WireProblem(403, "A page of another site may not load and unload models.")
        self._model(name, None)
        return self._app.models

    @property
    def _may_control(self) -> bool:
        return bool(self._app.config.get(CONTROL_KEY))

    # --- helpers -------------------------------------------------------------------------------

    def _served(self) -> dict[str, Model]:
        """Return the models that the protocol serves, by name."""
        return {model.name: model for model in self._app.models.values() if NAME in model.endpoints}

    def _usable(self) -> list[Model]:
        """Return those of them that the client may use."""
        served = self._served()
        return [served[name] for name in usable(self._app, served)]

    def _names(self) -> str:
        return ", ".join(model.name for model in self._usable()) or "(none)"

    def _model(self, name: str, number: str | None) -> Model:
        models = self._served()
        if name not in models:
            raise WireProblem(404, f"There is no model {name!r}. There are {self._names()}.")
        return self._version_of(models[name], number)[0]

    def _version(self, name: str, number: str | None) -> tuple[Model, ModelVersion]:
        return self._version_of(self._model(name, number), number)

    def _version_of(self, model: Model, number: str | None) -> tuple[Model, ModelVersion]:
        versions = _served_versions(model)
        if number is not None and number not in versions:
            served = ", ".join(map(repr, versions))
            raise WireProblem(
                404, f"The model {model.name!r} has the version {served}, not {number!r}."
            )
        return model, model.current if number is None else versions[number]


def _asked(known: str = "") -> bool:
    """Return the flag that a request for the repository may have in its body, at the top (`ready`)
    or among its `parameters`.

    Args:
        known: the name of the flag; empty if there is none.
    """
    # Clients do not send the Content-Type of JSON.
    body = request.get_json(force=True, silent=True) if request.get_data() else {}
    found = body.get("parameters", body) if isinstance(body, dict) else None
    if found is None and isinstance(body, dict):
        found = {}
    if not isinstance(found, dict) or set(found) - {known}:
        wanted = f'only the flag "{known}"' if known else "no parameters"
        raise WireProblem(400, f"Expected a JSON object with {wanted}, or an empty body.")
    flag = found.get(known, False)
    if not isinstance(flag, bool):
        raise WireProblem(400, f'"{known}" is {flag!r}: expected true or false.')
    return flag


def _tensor(signature: TensorSignature, spec: TensorSpec) -> dict[str, t.Any]:
    shape = [*signature.batch_side, *spec.sides]
    return {"name": spec.name, "datatype": spec.datatype, "shape": shape}


def _configured(spec: TensorSpec) -> dict[str, t.Any]:
    # Triton's configuration calls the datatype BYTES a string.
    datatype = "STRING" if spec.datatype == "BYTES" else spec.datatype
    return {"name": spec.name, "data_type": f"TYPE_{datatype}", "dims": spec.sides}


def _optional(spec: TensorSpec) -> dict[str, t.Any]:
    return {} if spec.required else {"optional": True}


def _served_versions(model: Model) -> dict[str, ModelVersion]:
    """Return the versions that compute predictions, by what they are called."""
    return {version_of(model, version): version for version in model.versions.served()}


def _statistics(model: Model, called: str, version: ModelVersion) -> dict[str, t.Any]:
    """Return the counts of a version of a model, in the form of Triton's extension for statistics.

    Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol
    """
    found: Statistics = version.statistics()
    ok, computed_ns = found.answered - found.failed, int(found.computed_s * 1e9)
    queue_ns = int(found.waited_s * 1e9)
    none = {"count": 0, "ns": 0}
    inference = {
        "success": {"count": ok, "ns": queue_ns + computed_ns},
        "fail": {"count": found.failed + found.refused + found.expired, "ns": 0},
        "queue": {"count": found.answered, "ns": queue_ns},
        "compute_input": none,
        "compute_infer": {"count": found.answered, "ns": computed_ns},
        "compute_output": none,
        "cache_hit": none,
        "cache_miss": none,
    }
    return {
        "name": model.name,
        "version": called,
        "inference_count": found.answered,
        "execution_count": found.batches,
        "inference_stats": inference,
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": none,
                "compute_infer": {"count": count, "ns": 0},
                "compute_output": none,
            }
            for size, count in found.batch_sizes.items()
        ],
    }
