"""A replica in this process: it builds the model's object and calls its `predict`."""

from __future__ import annotations

import gc
import inspect
import os
import threading
import traceback
import typing as t
import weakref
from threading import get_ident
from time import monotonic

from carboy.core.foreignservers import (
    preforking_server,
    refuse_before_uwsgi_forks,
    warning_of_fork,
)
from carboy.core.forks import change_in_child
from carboy.core.logmasking import get_masked_logger
from carboy.core.processmemory import resident_bytes
from carboy.errors import ModelFileError, ModelLoadError, ServingError, WrongAnswerError
from carboy.observability.handlers import show_messages

from ..queue.calls import one_by_one
from ..queue.occupied import computes_for, slots_of_caller
from ..saved.card import noting_cards

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ..queue.calls import Arguments, Compute
    from ..queue.state import Slot
    from ..saved.card import Card
    from .replica import Posts, Turns
    from .source import ModelSource

_logger = get_masked_logger("carboy.models")


class InProcess:
    """A replica in this process. The first thread that needs the model builds the object, once.

    Args:
        folder: the folder of a saved model, from which the object is built; None if there is none.
        bind: returns the function that computes batches by calls of the object's `predict`.
        warm: called with `predict` before the replica is used; raises if the model does not work.

    Attributes:
        loading: whether a thread builds the model at the moment.
        loaded_bytes: how much the memory of this process grew by while the model was built; 0 if
            the system does not tell. Models that are built at the same time count for each other.
        load_s: how long that took, in seconds.
        cards: the cards of the saved models that were opened while the model was built.
        compute: computes a batch; see `Replica`. PERF: once the model is loaded, the attribute
            holds the function that computes, so that a batch need not check whether the model is
            loaded.
    """

    compute: Compute
    turns: Turns | None = None
    posts: Posts | None = None
    is_ready = True
    is_remote = False

    def __init__(
        self,
        source: ModelSource,
        *,
        owner: str,
        folder: str | None = None,
        bind: cabc.Callable[[cabc.Callable[..., t.Any]], Compute] = one_by_one,
        warm: cabc.Callable[[cabc.Callable[..., t.Any], Card | None], object] | None = None,
    ) -> None:
        self._source = source
        self._owner = owner
        self._folder = folder
        self._bind = bind
        self._warm = warm
        self._forget_parent()
        change_in_child(self, InProcess._forget_parent)
        self._object: t.Any = None
        self._failed_attempts = 0
        self._failure: ModelLoadError | None = None
        self.loaded_bytes = 0
        self.load_s = 0.0
        self.cards: tuple[Card, ...] = ()
        self.loaded = not source.is_class and warm is None
        self.compute = self._load_and_compute
        if self.loaded:
            self.compute = bind(source.by_name(source.predict))

    def _forget_parent(self) -> None:
        """Begin anew in a forked child process: the thread that loads the model is not there."""
        self._lock = threading.Lock()
        self.loading = False
        # The thread that loads the model, the slot that it occupies meanwhile, and what computes
        # while the object is warmed up.
        self._loader = 0
        self._slot: Slot | None = None
        self._warming: Compute | None = None

    def _load_and_compute(self, batch: cabc.Sequence[Arguments]) -> t.Any:
        return self.load()(batch)

    def load(self) -> Compute:
        """Build the model's object unless it exists already, and return `compute`.

        If building fails, all threads that waited for it get the error. The next call builds again,
        because a missing file may exist by then. While the model is warmed up, its example may ask
        for further predictions of it, on any thread: these are computed at once.

        Raises:
            ModelLoadError: building fails, or `__init__` asks for a prediction of the same model.
        """
        if self.loading and (self._loader == get_ident() or computes_for(self._slot)):
            return self._compute_for_itself()
        seen = self._failed_attempts
        with self._lock:
            if self.loaded:
                return self.compute
            if self._failed_attempts != seen and self._failure is not None:
                raise self._failure
            self._loader, self._slot = get_ident(), next(iter(slots_of_caller()), None)
            self.loading = True
            before_bytes, begun_s = resident_bytes() or 0, monotonic()
            try:
                self.compute = compute = self._bind(self._build())
            except ModelLoadError as exc:
                self._failed_attempts += 1
                self._failure = exc
                raise
            finally:
                self.loading, self._slot, self._warming = False, None, None
            self.loaded_bytes = max(0, (resident_bytes() or 0) - before_bytes)
            self.load_s = monotonic() - begun_s
            self.loaded = True
            _log_loaded(self._owner, self.load_s)
            return compute

    def _compute_for_itself(self) -> Compute:
        if self._warming is None:
            raise ModelLoadError(
                f"{self._owner} is asked for a prediction by its own `__init__`, or by a model that"
                " this asks. Ask for it in `predict`, which is called when the model is built."
            )
        return self._warming

    def _build(self) -> cabc.Callable[..., t.Any]:
        source, model = self._source, None
        predict = source.predict
        _prepare_load(self._owner)
        if source.is_class:
            try:
                with noting_cards() as noted:
                    model = source.build(self._folder)
                self.cards = tuple(noted.values())
            except Exception as exc:
                raise _load_error(self._owner, "", source.target, exc) from exc
            predict = t.cast("cabc.Callable[..., t.Any]", model.predict)
        predict = source.by_name(predict)
        if self._warm is not None:
            self._warming = self._bind(predict)
            try:
                self._warm(predict, self._card())
            except Exception as exc:
                self._close(model)
                raise _load_error(
                    self._owner, "it failed on its example: ", source.target, exc
                ) from exc
        self._object = model
        return predict

    def _card(self) -> Card | None:
        """Return the card in the folder that the model was built from; None without a folder."""
        return self.cards[0] if self.cards and self._folder is not None else None

    def check(self) -> None:
        """Call the model's own `check` method, if it has one; raises what `check` raises."""
        self.load()
        check = getattr(self._object, "check", None)
        if check is not None:
            check()

    def close(self) -> None:
        """Call the model's own `close` method, if it has one, and drop the reference to the model's
        object.
        """
        with self._lock:
            closing, self._object = self._object, None
            if self._source.is_class:
                self.loaded = False
                self.compute = self._load_and_compute
        self._close(closing)
        freed = _reference(closing)
        del closing
        if freed() is not None:
            # The object refers to itself, as networks often do. It may take gigabytes, and Python's
            # collector, which counts objects, would free it only after a long time.
            gc.collect()

    def _close(self, model: t.Any) -> None:
        """Call the `close` method of a model's object. If it fails, that is logged, and nothing
        more: the model is unloaded all the same.
        """
        if model is None or not hasattr(model, "close"):
            return
        try:
            model.close()
        except (Exception, SystemExit):
            _logger.exception("%s: the model's `close` method failed", self._owner)


def _prepare_load(owner: str) -> None:
    """Look for what another server does before a model is loaded, and would make it hang.

    Raises:
        ModelLoadError: the model cannot be used in this process.
    """
    if preforking_server():
        show_messages(_logger)
    if warning := warning_of_fork():
        _logger.warning("%s", warning)
    try:
        refuse_before_uwsgi_forks(owner)
    except ServingError as exc:
        raise ModelLoadError(str(exc)) from None


def _log_loaded(owner: str, took_s: float) -> None:
    """Say that a process has loaded a model: each worker of another server does so on its own."""
    server = preforking_server()
    process = f"process {os.getpid()}{f' of {server}' if server else ''}"
    _logger.info("%s: loaded by %s in %.2f s", owner, process, took_s)


def _reference(model: t.Any) -> cabc.Callable[[], object]:
    """Return a function that returns the model's object as long as it exists."""
    try:
        return weakref.ref(model)
    except TypeError:  # there is no object, or its class does not allow weak references
        return lambda: None


def _load_error(owner: str, prefix: str, target: t.Any, exc: Exception) -> ModelLoadError:
    """Return the error for a model that failed to load. It names the failing line in the user's own
    file instead of a line in a library.
    """
    from ..saved.loadfailures import explain_failure

    frames = traceback.extract_tb(exc.__traceback__)
    home = getattr(inspect.getmodule(target), "__file__", None)
    own = [frame for frame in frames if frame.filename == home] or frames[-1:]
    place = f"{own[-1].filename}, line {own[-1].lineno}" if own else "an unknown line"
    is_about_files = isinstance(exc, (ModelFileError, WrongAnswerError))
    if is_about_files and home and own[-1].filename != home:
        place = f"the model {target.__qualname__} in {home}"
    advice = explain_failure(exc)
    return ModelLoadError(
        f"{owner} could not be loaded: {prefix}{type(exc).__name__}: {exc} ({place})"
        f"{'. ' if advice else ''}{advice}"
    )
