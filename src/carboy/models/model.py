"""One model, as views, scripts and notebooks use it."""

from __future__ import annotations

import inspect
import threading
import typing as t
from collections import abc as cabc
from functools import partial

from carboy.contract.answers import AnswerWriter
from carboy.contract.bodies import BodyReader
from carboy.contract.schemas import body_schema, json_schema
from carboy.contract.signature import predict_at, read_predict

from .arguments import Binder
from .example import Example
from .health import Checkup
from .options import Options
from .queue.calls import Columns, item_operation
from .queue.computing import Computation
from .queue.scheduler import UNSET, Scheduler
from .replicas import InProcess, Source

if t.TYPE_CHECKING:
    from concurrent.futures import Future

    from carboy.contract.operation import BodySpec, Operation

    from ..errors import UnavailableError
    from .queue.counting import Statistics
    from .queue.ticket import OnDone, Ticket
    from .view import Site


class Model:
    """One registered model: its operation, its codec, its queue, and the replica that computes."""

    def __init__(self, name: str, rule: str, target: t.Any, options: Options | None = None) -> None:
        owner = self._owner = f"Model {name!r}"
        source = self._source = Source(target, owner=owner)
        self.name = name
        self.rule = rule
        self.target = target
        self.options = options or Options()
        #: Set where it gets a URL.
        self.site: Site | None = None
        batch = self.options.batch
        read = read_predict if batch == 1 else item_operation
        #: What one prediction takes and gives, also where `predict` takes lists of them.
        self.operation: Operation = read(source.predict, owner=owner)
        self.interface = t.cast("BodySpec", self.operation.body)
        columns = None if batch == 1 else Columns.of(source.predict, owner=owner)
        self.codec = BodyReader(self.interface, f"{owner}, {predict_at(source.predict)}")
        self.answers = AnswerWriter(self.operation.answer)
        self.example: Example | None = None
        warm = None
        if self.options.example is not None:
            self.example = Example(self.options.example, codec=self.codec, owner=owner)
            warm = partial(self.example.predict, batch=batch, columns=columns, answers=self.answers)
        self.binder = Binder(name, self.interface)
        self._replica = InProcess(source, owner=owner, warm=warm)
        computation = Computation(self._replica.run, columns=columns, streams=self.answers.streams)
        self._item, self._run_items = computation.item, computation.run
        self._checkup = Checkup(self._replica.check, owner=owner)
        self._scheduler: Scheduler | None = None
        self._scheduling = threading.Lock()

    def __repr__(self) -> str:
        state = "loaded" if self.loaded else "not loaded"
        return f"<Model {self.name!r} at {self.rule!r}, {state}>"

    @property
    def loaded(self) -> bool:
        return self._replica.loaded

    @property
    def doc(self) -> str:
        """What the author wrote about it."""
        own = self.target.__dict__.get("__doc__") if inspect.isclass(self.target) else None
        return inspect.cleandoc(own or getattr(self._source.predict, "__doc__", None) or "")

    def load(self) -> None:
        """Build the model now. Does nothing when that is done. Thread-safe."""
        self._replica.load()

    def close(self, timeout_s: float | None = None) -> bool:
        """Answer what waits, then unload; the next prediction loads again.

        False: not all was answered within `timeout_s`, or `predict` hangs and could not be closed.
        """
        scheduler, drained = self._scheduler, True
        if scheduler is not None:
            drained = scheduler.close(timeout_s)
            with self._scheduling:
                self._scheduler = None
        self._replica.close()
        self._checkup.forget()
        return drained

    def check(self) -> None:
        """Load, and ask the model's own `check`, if it has one. Raises what that raises."""
        self._replica.check()

    def not_ready(self) -> str:
        """Why it should not be asked now; empty if it should. Never waits: see `health`."""
        if not self.loaded:
            return "not loaded"
        if self.stuck:
            return "hangs past its deadline"
        return self._checkup.reason() if self._source.has_check else ""

    @property
    def stuck(self) -> bool:
        """Whether `predict` hangs past its deadline, and new requests are refused at once."""
        return self._scheduler is not None and self._scheduler.stuck

    def predict(self, *values: t.Any, **named: t.Any) -> t.Any:
        """Predict one item in this process, from any view, script or notebook.

        Values are handed over as they are: a picture is a PIL image, a record is the type that
        `predict` names. They wait for their turn with all other predictions, without a deadline.
        Raises what `predict` raises, or `UnavailableError`. Thread-safe. Of a `predict` that
        yields, an iterator: the model computes for it until it is read to the end or closed.
        """
        return self.run(self.binder.bind(values, named), deadline_s=None)

    def submit(self, *values: t.Any, **named: t.Any) -> Future[t.Any]:
        """The same without waiting. The future can be cancelled until its batch computes."""
        from .futures import Prediction

        return Prediction.begin(self._queue(), self._item(self.binder.bind(values, named)))

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
        inputs: cabc.Iterable[cabc.Mapping[str, t.Any] | Exception],
        *,
        progress: bool = False,
    ) -> cabc.Iterator[t.Any]:
        """`map` for what `codec.decode` returned or raised; yields failures in their places."""
        return self._map(inputs, length=None, progress=progress, raises=False)

    def _map(
        self,
        inputs: cabc.Iterable[cabc.Mapping[str, t.Any] | Exception],
        *,
        length: int | None,
        progress: bool,
        raises: bool,
    ) -> cabc.Iterator[t.Any]:
        from .bulk import collected, predict_all

        answers = predict_all(
            self._queue(),
            (each if isinstance(each, Exception) else self._item(each) for each in inputs),
            ahead=self.options.ahead,
            length=length,
            label=self.name if progress else None,
            raises=raises,
        )
        return collected(answers, raises=raises) if self.answers.streams else answers

    def run(
        self, arguments: cabc.Mapping[str, t.Any], *, deadline_s: float | None = UNSET
    ) -> t.Any:
        """Predict from arguments by name, as `codec.decode` returns them, and wait for it."""
        if deadline_s is UNSET:
            deadline_s = self.options.deadline_s
        if self.answers.streams:
            return self._run_stream(arguments, deadline_s)
        return self._queue().call(self._item(arguments), deadline_s=deadline_s)

    def _run_stream(self, arguments: cabc.Mapping[str, t.Any], deadline_s: float | None) -> t.Any:
        queue = self._queue()
        if queue.has_caller:  # of itself, for whose place it would wait
            return self._replica.run(arguments)
        return queue.ask(self._item(arguments), deadline_s=deadline_s).result()

    def ask(
        self, arguments: cabc.Mapping[str, t.Any], *, deadline_s: float | None = UNSET
    ) -> Ticket:
        """The same for who wants to know more: a settled ticket, with times and batch size.

        Raises `UnavailableError` where it could not wait; `result()` gives or raises the rest.
        """
        return self._queue().ask(self._item(arguments), deadline_s=deadline_s)

    def begin(
        self,
        arguments: cabc.Mapping[str, t.Any],
        *,
        on_done: OnDone,
        deadline_s: float | None = UNSET,
    ) -> Ticket:
        """The same for who waits without a thread: `on_done([ticket, ...])`, once per batch.

        See `Scheduler.submit`.
        """
        return self._queue().submit(self._item(arguments), on_done=on_done, deadline_s=deadline_s)

    def begin_all(
        self,
        round_: cabc.Iterable[tuple[cabc.Mapping[str, t.Any], t.Any]],
        *,
        on_done: OnDone,
    ) -> list[Ticket | UnavailableError]:
        """The same for all that came together, each with the `client` of its ticket.

        Nobody is woken for them: `compute_quickly` must follow. See `Scheduler.submit_all`.
        """
        item = self._item
        return self._queue().submit_all(
            [(item(arguments), client) for arguments, client in round_],
            on_done=on_done,
            wakes=False,
        )

    def compute_quickly(self, limit_s: float) -> None:
        """Let what `begin_all` began be computed. See `Scheduler.compute_quickly`."""
        self._queue().compute_quickly(limit_s)

    def cancel(self, ticket: Ticket) -> bool:
        """Give up what `begin` began; unless its batch computes, it never will.

        Its `on_done` is called too, from this thread. False: it was settled before.
        """
        return self._queue().cancel(ticket)

    def statistics(self) -> Statistics:
        """Counts since the model was first used."""
        return self._queue().statistics()

    def metadata(self) -> dict[str, t.Any]:
        """What a program needs to know to call the model."""
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

    def _queue(self) -> Scheduler:
        scheduler = self._scheduler
        if scheduler is None:
            with self._scheduling:
                if self._scheduler is None:
                    self._scheduler = self._make_scheduler()
                scheduler = self._scheduler
        return scheduler

    def _make_scheduler(self) -> Scheduler:
        options = self.options
        return Scheduler(
            self._run_items,
            owner=self._owner,
            batch=options.batch,
            wait_s=options.wait_s,
            deadline_s=options.deadline_s,
            queue=options.queue_items,
            concurrency=options.concurrency,
        )
