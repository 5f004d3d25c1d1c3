"""A registered model as views, scripts and notebooks use it: `app.models["digits"]`.

`Model` combines four parts: `queue` decides when a prediction is computed, `replicas` decide where
(in this process or elsewhere), `versions` from which files, and `carboy.contract` reads inputs and
writes results.
"""

from __future__ import annotations

import inspect
import typing as t
from collections import abc as cabc

from carboy.contract.answers import AnswerWriter
from carboy.contract.bodies import BodyReader
from carboy.contract.schemas import body_schema, json_schema
from carboy.contract.signature import predict_at, read_predict
from carboy.errors import AnswerError, SignatureError

from .batched import columns_of, item_operation
from .binder import Binder
from .example import Example
from .options import EXAMPLE, Options
from .queue import PredictionQueue
from .queue.calls import one_by_one
from .replicas.inprocess import InProcess
from .replicas.placing import directory_for
from .replicas.source import ModelSource
from .replicas.supervision import NO_APP, AppIdentity, wanted_replicas
from .saved.card import cards_in
from .saved.filestates import fingerprint
from .sources import source_of
from .versions.memoryroom import files_bytes
from .versions.modelversion import ModelVersion
from .versions.versionset import VersionSet
from .warmup import WarmUp

if t.TYPE_CHECKING:
    from concurrent.futures import Future

    from carboy.contract.operation import BodySpec, Operation

    from .protocol import Endpoint
    from .queue.calls import Arguments
    from .queue.state import Statistics
    from .replicas.replica import ModelReplica
    from .saved.card import Card


class Model:
    """One registered model: the types of its `predict`, and the version of it that computes.

    `codec` decodes a request body to a dict of arguments by name. The queue of a version takes such
    a dict for each prediction.

    Attributes:
        current: the version that computes predictions. Changing versions is one assignment, so a
            request that asks for several predictions reads this attribute once.
        versions: loads versions, and changes from one to another.
    """

    def __init__(
        self,
        name: str,
        rule: str,
        target: t.Any,
        options: Options | None = None,
        *,
        app: AppIdentity = NO_APP,
    ) -> None:
        self._app = app
        self._owner = owner = f"Model {name!r}"
        self.name = name
        self.rule = rule
        self.target = target
        self.options = options = options or Options()
        source = self._source = ModelSource(target, owner=owner, folder=options.source)
        batch = options.batch
        read = read_predict if batch == 1 else item_operation
        #: The types of a single prediction, derived from those of `predict` if it takes batches.
        self.operation: Operation = read(source.predict, owner=owner)
        self.interface = t.cast("BodySpec", self.operation.body)
        bind = one_by_one if batch == 1 else columns_of(source.predict, owner=owner).bind
        self._bind = bind
        where = f"{owner}, {predict_at(source.predict)}"
        self.codec = BodyReader(self.interface, where)
        self.answers = AnswerWriter(self.operation.answer, where)
        named = {} if options.example is None else {EXAMPLE: options.example}
        #: The inputs to choose from on the model's page, by their titles.
        self.examples = {
            title: Example(value, codec=self.codec, owner=owner, title=_title(title))
            for title, value in {**named, **options.examples}.items()
        }
        #: The input that is predicted when the model is loaded, to warm it up.
        self.example = next(iter(self.examples.values()), None)
        self._warm = None
        if self.example is not None or options.source is not None:
            self._warm = WarmUp(
                list(self.examples.values()),
                owner=owner,
                interface=self.interface,
                codec=self.codec,
                answers=self.answers,
                batch=batch,
                bind=bind,
            )
        if options.shadow is not None and self.answers.streams:
            raise SignatureError(
                f"{owner}: shadow={options.shadow!r} compares whole answers, and `predict` yields"
                " its answer item by item. Leave out shadow, or return a list."
            )
        self.binder = Binder(name, self.interface)
        self.current = self.make_version("", options.source)
        stored = None if options.source is None else source_of(options.source)
        self.versions = VersionSet(self, stored)
        #: The URLs and views of the model, by protocol name.
        self.endpoints: dict[str, Endpoint] = {}

    def __repr__(self) -> str:
        state = "loaded" if self.loaded else "not loaded"
        return f"<Model {self.name!r} at {self.rule!r}, {state}>"

    def make_version(self, name: str, folder: str | None) -> ModelVersion:
        """Return a version of the model, which is not loaded yet and gets no predictions.

        Args:
            name: the name of the version; empty if the model declares no versions.
            folder: the folder of its files; None if the model has no `source`.
        """
        source, options = self._source, self.options
        owner = f"{self._owner}, version {name!r}" if name else self._owner
        cards = cards_in(folder)
        named = self._named(name, cards)
        label = "" if named is None else str(named)
        files = fingerprint(folder, cards[0]) if name and folder and cards else ""
        replica = self._make_replica(name, label, folder, files, owner, files_bytes(cards))
        queue = PredictionQueue(
            replica,
            owner=owner,
            batch=options.batch,
            wait_s=options.wait_s,
            deadline_s=options.deadline_s,
            queue=options.queue_items,
            concurrency=options.concurrency if replica.turns is None else replica.turns.batches,
            streams=self.answers.streams,
            device=None if replica.is_remote else options.shared_device,
            version=name,
        )
        return ModelVersion(name, folder, replica, queue, label=label, has_check=source.has_check)

    def _make_replica(
        self, version: str, label: str, folder: str | None, files: str, owner: str, size: int
    ) -> ModelReplica:
        """Return the place where a version is computed: this process, or others."""
        source, options = self._source, self.options
        directory = directory_for(options, owner)
        if directory is None:
            return InProcess(source, owner=owner, folder=folder, bind=self._bind, warm=self._warm)
        return directory.make(
            wanted_replicas(
                self.name,
                options,
                version=version,
                label=label,
                source=folder or "",
                files=files,
                files_bytes=size,
                has_check=source.has_check,
                app=self._app,
            ),
            options,
            self.operation,
            owner=owner,
            streams=self.answers.streams,
        )

    @property
    def queue(self) -> PredictionQueue:
        """The queue of the version that computes predictions now."""
        return self.current.queue

    @property
    def loaded(self) -> bool:
        return self.current.loaded

    @property
    def is_remote(self) -> bool:
        """Whether other processes compute the model."""
        return self.current.replica.is_remote

    @property
    def loaded_bytes(self) -> int:
        """How much the memory of this process grew by while the model was loaded; 0 if the system
        does not tell.
        """
        return self.current.replica.loaded_bytes

    @property
    def doc(self) -> str:
        """The docstring of the model's class, or else that of its `predict`."""
        own = self.target.__dict__.get("__doc__") if inspect.isclass(self.target) else None
        return inspect.cleandoc(own or getattr(self._source.predict, "__doc__", None) or "")

    @property
    def version(self) -> str | int | None:
        """The version that computes predictions, if the `source` is a folder of versions.

        Otherwise the attribute `version` of the model's class or function; if that is neither a
        text nor a whole number, the version on the model's card; None without a card.
        """
        return self._named(self.current.name, self.cards)

    def _named(self, name: str, cards: cabc.Sequence[Card]) -> str | int | None:
        if name:
            return name
        found = getattr(self.target, "version", None)
        if isinstance(found, (str, int)):
            return found
        return cards[0].version if cards else None

    @property
    def cards(self) -> tuple[Card, ...]:
        """The cards of the saved models that this model was built from. Before it is loaded, only
        the card of its `source` is known.
        """
        return self.current.cards

    def load(self) -> None:
        """Build the model now, unless it is loaded. Thread-safe.

        Raises:
            ModelLoadError: the model's `__init__` or its example failed.
        """
        self.versions.load()

    def unload(self) -> None:
        """Compute the waiting predictions, at most for as long as their deadline, then unload.
        Predictions are refused until `load` is called. Thread-safe.
        """
        self.versions.unload(self.options.deadline_s)

    @property
    def unloaded(self) -> bool:
        """Whether `unload` was called, and not `load` since."""
        return self.versions.unloaded

    def close(self, timeout_s: float | None = None) -> bool:
        """Compute the waiting predictions, then unload; the next prediction loads the model again.

        Returns:
            False if predictions were left after `timeout_s` seconds, or if `predict` hangs.
        """
        return self.versions.close(timeout_s)

    def check(self) -> None:
        """Load the model and call the `check` method of its class, if there is one. Raises what
        `check` raises.
        """
        self.load()
        self.current.replica.check()

    def not_ready(self) -> str:
        """Return why the model is not ready, or an empty string if it is ready. Never blocks."""
        if self.unloaded:
            return "unloaded by a client"
        reason = self.current.not_ready()
        return "loading" if reason == "not loaded" and self.versions.is_changing else reason

    @property
    def stuck(self) -> bool:
        """Whether `predict` hangs, that is, runs longer than its deadline. New requests are then
        refused at once.
        """
        return self.current.queue.stuck

    def predict(self, *values: t.Any, **named: t.Any) -> t.Any:
        """Predict one item in this process, from any view, script or notebook. Thread-safe.

        The prediction waits in the same queue as the predictions of HTTP requests, but without a
        deadline. If `predict` yields, the result is an iterator, and the model is busy until the
        iterator is exhausted or closed.

        Args:
            *values: passed to `predict` unchanged: an image is a PIL image, a record is an
                instance of the type that `predict` names.
            **named: the same, by parameter name.

        Raises:
            UnavailableError: the queue is full or closed, or `predict` hangs.
            Exception: whatever `predict` raises.
        """
        return self.queue.run(self.binder.bind(values, named), deadline_s=None)

    def submit(self, *values: t.Any, **named: t.Any) -> Future[t.Any]:
        """Queue one prediction and return its future; `cancel` works until `predict` is called."""
        from .bulk import PredictionFuture

        return PredictionFuture.submit(self.queue, self.binder.bind(values, named))

    def map(
        self,
        values: cabc.Iterable[t.Any],
        *,
        progress: bool = False,
        errors: t.Literal["raise", "return"] = "raise",
    ) -> cabc.Iterator[t.Any]:
        """Predict many items in batches; yield the results in the order of `values`.

        Only a few batches are queued at any time, so `values` may be endless.

        Args:
            values: one per prediction; each is a dict by parameter name if `predict` has several
                parameters.
            progress: show a progress bar on stderr.
            errors: "return" yields the exception of an item that failed, instead of raising it.

        If `predict` yields, each result is the list of all its items.
        """
        if errors not in ("raise", "return"):
            raise ValueError(f"model.map(..., errors={errors!r}): expected 'raise' or 'return'.")
        length = len(values) if isinstance(values, cabc.Sized) else None
        bound = (self.binder.bind_one(value) for value in values)
        return self._map(bound, length=length, progress=progress, raises=errors == "raise")

    def map_decoded(
        self,
        inputs: cabc.Iterable[Arguments | Exception],
        *,
        progress: bool = False,
    ) -> cabc.Iterator[t.Any]:
        """Predict inputs that are already decoded, in batches. An exception among the inputs stands
        for an input that could not be decoded, and is yielded as it is.

        Each result is checked against the return type of `predict`. If a result does not fit the
        type, the error is yielded instead.
        """
        results = self._map(inputs, length=None, progress=progress, raises=False)
        return map(self._checked, results)

    def _checked(self, result: t.Any) -> t.Any:
        if isinstance(result, BaseException):
            return result
        try:
            for each in result if self.answers.streams else (result,):
                self.answers.check(each)
        except AnswerError as exc:
            return exc
        return result

    def _map(
        self,
        inputs: cabc.Iterable[Arguments | Exception],
        *,
        length: int | None,
        progress: bool,
        raises: bool,
    ) -> cabc.Iterator[t.Any]:
        from .bulk import collect_streams, predict_all

        results = predict_all(
            self.queue,
            inputs,
            ahead=self.options.ahead,
            length=length,
            label=self.name if progress else None,
            raises=raises,
        )
        return collect_streams(results, raises=raises) if self.answers.streams else results

    def statistics(self) -> Statistics:
        """Return the queue's counters since the model was first used."""
        return self.current.statistics()

    def metadata(self) -> dict[str, t.Any]:
        """Return the model's description as plain JSON values. Programs get it by GET at the
        model's URL.
        """
        found = {
            "name": self.name,
            "doc": self.doc,
            "accepts": self.codec.media_types,
            "parameters": [p.name for p in self.interface.parameters],
            "batch": self.options.batch,
            "input": body_schema(self.interface),
            "output": json_schema(self.answers.item, answered=True),
            "answers": list(self.answers.media_types),
            "streams": self.answers.streams,
        }
        if cards := self.cards:
            found["cards"] = [card.to_dict() for card in cards]
        return found


def _title(title: str) -> str:
    return "the example" if title == EXAMPLE else f"the example {title!r}"
