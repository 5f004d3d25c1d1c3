"""One model, as views, scripts and notebooks use it."""

from __future__ import annotations

import inspect
import typing as t
from collections import abc as cabc
from functools import partial

from carboy.contract.answers import AnswerWriter
from carboy.contract.bodies import BodyReader
from carboy.contract.schemas import body_schema, json_schema
from carboy.contract.signature import predict_at, read_predict

from .batched import columns_of, item_operation
from .binder import Binder
from .example import Example
from .options import Options
from .queue import PredictionQueue
from .queue.calls import one_by_one
from .replicas import Checkup, InProcess, ModelSource

if t.TYPE_CHECKING:
    from concurrent.futures import Future

    from carboy.contract.operation import BodySpec, Operation

    from .protocol import Endpoint
    from .queue.calls import Arguments
    from .queue.state import Statistics


class Model:
    """One registered model: its operation, its codec, its queue, and the replica that computes.

    Predictions wait in `queue`, which takes arguments by name as `codec.decode` returns them.
    """

    def __init__(self, name: str, rule: str, target: t.Any, options: Options | None = None) -> None:
        owner = f"Model {name!r}"
        source = self._source = ModelSource(target, owner=owner)
        self.name = name
        self.rule = rule
        self.target = target
        self.options = options = options or Options()
        batch = options.batch
        read = read_predict if batch == 1 else item_operation
        #: Of one prediction, also where `predict` takes batches.
        self.operation: Operation = read(source.predict, owner=owner)
        self.interface = t.cast("BodySpec", self.operation.body)
        bind = one_by_one if batch == 1 else columns_of(source.predict, owner=owner).bind
        self.codec = BodyReader(self.interface, f"{owner}, {predict_at(source.predict)}")
        self.answers = AnswerWriter(self.operation.answer)
        self.example: Example | None = None
        warm = None
        if options.example is not None:
            self.example = Example(options.example, codec=self.codec, owner=owner)
            warm = partial(self.example.predict, batch=batch, bind=bind, answers=self.answers)
        self.binder = Binder(name, self.interface)
        self._replica = InProcess(source, owner=owner, bind=bind, warm=warm)
        self._checkup = Checkup(self._replica.check, owner=owner)
        self.queue = PredictionQueue(
            self._replica,
            owner=owner,
            batch=batch,
            wait_s=options.wait_s,
            deadline_s=options.deadline_s,
            queue=options.queue_items,
            concurrency=options.concurrency,
            streams=self.answers.streams,
        )
        #: Where the model is served, by the name of the protocol.
        self.endpoints: dict[str, Endpoint] = {}

    def __repr__(self) -> str:
        state = "loaded" if self.loaded else "not loaded"
        return f"<Model {self.name!r} at {self.rule!r}, {state}>"

    @property
    def loaded(self) -> bool:
        return self._replica.loaded

    @property
    def doc(self) -> str:
        """The docstring of the class, or of its `predict`."""
        own = self.target.__dict__.get("__doc__") if inspect.isclass(self.target) else None
        return inspect.cleandoc(own or getattr(self._source.predict, "__doc__", None) or "")

    def load(self) -> None:
        """Build the model now. Does nothing when that is done. Thread-safe."""
        self._replica.load()

    def close(self, timeout_s: float | None = None) -> bool:
        """Compute what waits, then unload; the next prediction loads again.

        False: something was left after `timeout_s`, or `predict` hangs.
        """
        drained = self.queue.close(timeout_s)
        self._replica.close()
        self._checkup.forget()
        self.queue.open()
        return drained

    def check(self) -> None:
        """Load the model, and run its own `check`, if it has one. Raises what `check` raises."""
        self._replica.check()

    def not_ready(self) -> str:
        """Why the model is not ready; empty if it is. Never waits."""
        if not self.loaded:
            return "not loaded"
        if self.stuck:
            return "hangs past its deadline"
        return self._checkup.reason() if self._source.has_check else ""

    @property
    def stuck(self) -> bool:
        """Whether `predict` hangs past its deadline, and new requests are refused at once."""
        return self.queue.stuck

    def predict(self, *values: t.Any, **named: t.Any) -> t.Any:
        """Predict one item in this process, from any view, script or notebook.

        Values are handed over as they are: a picture is a PIL image, a record is the type that
        `predict` names. They wait for their turn with all other predictions, without a deadline.
        Raises what `predict` raises, or `UnavailableError`. Thread-safe. Of a `predict` that
        yields, an iterator: the model computes for it until it is read to the end or closed.
        """
        return self.queue.run(self.binder.bind(values, named), deadline_s=None)

    def submit(self, *values: t.Any, **named: t.Any) -> Future[t.Any]:
        """Predict one item without waiting. `cancel` works until its batch computes."""
        from .bulk import PredictionFuture

        return PredictionFuture.submit(self.queue, self.binder.bind(values, named))

    def map(
        self,
        values: cabc.Iterable[t.Any],
        *,
        progress: bool = False,
        errors: t.Literal["raise", "return"] = "raise",
    ) -> cabc.Iterator[t.Any]:
        """Predict many, in batches; yields answers in the order of `values`.

        Only a few batches are ahead at any time, so `values` may be endless.

        Args:
            values: one per prediction; a dict by parameter where `predict` has several.
            progress: show a bar on stderr.
            errors: "return" yields the exception of an item that failed, instead of raising it.

        Of a `predict` that yields, each answer is the list of all its items.
        """
        length = len(values) if isinstance(values, cabc.Sized) else None
        bound = (self.binder.bind_one(value) for value in values)
        return self._map(bound, length=length, progress=progress, raises=errors == "raise")

    def map_decoded(
        self,
        inputs: cabc.Iterable[Arguments | Exception],
        *,
        progress: bool = False,
    ) -> cabc.Iterator[t.Any]:
        """`map` for what `codec.decode` returned or raised; yields failures in their places."""
        return self._map(inputs, length=None, progress=progress, raises=False)

    def _map(
        self,
        inputs: cabc.Iterable[Arguments | Exception],
        *,
        length: int | None,
        progress: bool,
        raises: bool,
    ) -> cabc.Iterator[t.Any]:
        from .bulk import collected, predict_all

        answers = predict_all(
            self.queue,
            inputs,
            ahead=self.options.ahead,
            length=length,
            label=self.name if progress else None,
            raises=raises,
        )
        return collected(answers, raises=raises) if self.answers.streams else answers

    def statistics(self) -> Statistics:
        """Counts since the model was first used."""
        return self.queue.statistics()

    def metadata(self) -> dict[str, t.Any]:
        """The description of the model for programs that call it."""
        return {
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
