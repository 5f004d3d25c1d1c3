"""One prediction, from its head to its answer, without a thread that waits for it."""

from __future__ import annotations

import io
import typing as t
from contextvars import copy_context
from functools import partial
from threading import Thread

from carboy.contract.answers import encode
from carboy.contract.framing import Chunks, Frames, framing_of
from carboy.models.endpoint import RequestBody, measured
from carboy.models.failures import refusal, tell_amid
from carboy.models.ways import OUTCOME
from carboy.problems import Problem

from .answers import AT_ONCE_BYTES, CLOSE
from .log import logger
from .office import busy
from .patience import SHORTEST_S
from .streams import send_stream

if t.TYPE_CHECKING:
    import collections.abc as cabc
    from contextvars import Context

    from _typeshed.wsgi import StartResponse

    from carboy.ctx import RequestContext
    from carboy.models.codec import Form
    from carboy.models.streaming import Stream
    from carboy.models.tickets import Ticket
    from carboy.wrappers import Request

    from .exchange import Exchange
    from .predictions import Desk
    from .rsgi import Future, Pairs

# What a client has for its body, and for each megabyte of it: 100 kB/s is a slow phone.
BODY_S = 60.0
BODY_S_PER_MB = 10.0
# How long a prediction waits before it is worth 10 us to notice that its client leaves. Who left
# before is noticed then.
WATCHED_AFTER_S = SHORTEST_S
# Decoding a body beyond this takes longer than to let another thread lead; much of it may be done
# without the interpreter's lock, as by Pillow.
LONG_BYTES = 8 * 1024


class Prediction:
    """One prediction, from its head to its answer."""

    __slots__ = (
        "arrival",
        "context",
        "desk",
        "exchange",
        "form",
        "held_bytes",
        "over",
        "ticket",
        "watch",
    )

    def __init__(self, exchange: Exchange, desk: Desk) -> None:
        self.exchange = exchange
        self.desk = desk
        self.arrival: Future | None = None
        self.context: tuple[Context, RequestContext] | None = None
        self.held_bytes = 0
        self.ticket: Ticket | None = None
        self.form: Request | None = None
        self.over = False
        self.watch: Future | None = None

    # --- its body ------------------------------------------------------------------------------

    def await_body(self, size_bytes: int) -> None:
        office, exchange = self.desk.office, self.exchange
        limit = self.desk.max_body_bytes
        if size_bytes > limit:
            self.refuse_length(f"{size_bytes} bytes", limit)
            return
        limit_s = BODY_S
        if size_bytes > AT_ONCE_BYTES:
            if not self.hold(size_bytes):
                self.refuse_more()
                return
            limit_s += BODY_S_PER_MB * size_bytes / 1e6
        arrival = exchange.protocol()
        patience = office.gateway.patience
        if self.desk.batched and not self.held_bytes:
            self.desk.model.announce()
            # PERF: one look for both: is it slow, and is it too slow.
            self.arrival = arrival
            patience.begin(self._is_slow, SHORTEST_S)
        else:
            patience.begin(arrival.cancel, limit_s)
        arrival.add_done_callback(self._body_is_there)

    def _is_slow(self) -> None:
        """The body does not come in a moment: nobody shall wait for it but its own client."""
        self.desk.model.retract()
        if self.arrival is not None:
            self.desk.office.gateway.patience.begin(self.arrival.cancel, BODY_S)

    def hold(self, size_bytes: int) -> bool:
        """Count its body so far with all others; False if it is too much."""
        if not self.desk.office.hold(size_bytes - self.held_bytes):
            return False
        self.held_bytes = size_bytes
        return True

    def refuse_more(self, *, unread: bool = True) -> None:
        self._release()
        self.desk.office.refuse(self.exchange, self.desk.model, busy(), unread=unread)

    def refuse_length(self, length: str, limit: int, *, unread: bool = True) -> None:
        self._release()
        detail = f"The body has {length}, which exceeds the {limit} that this model takes."
        problem = Problem(413, detail, code="input-too-large")
        self.desk.office.refuse(self.exchange, self.desk.model, problem, unread=unread)

    def _body_is_there(self, arrival: Future) -> None:
        patience = self.desk.office.gateway.patience
        announced = self.arrival is not None and patience.end(self._is_slow)
        in_time = announced or patience.end(arrival.cancel)
        self.arrival = None
        try:
            data = arrival.result()
        except BaseException:  # noqa: BLE001  # granian has two classes for it, and CancelledError
            if announced:
                self.desk.model.retract()
            self.body_is_lost(in_time=in_time)
            return
        self.begin(data, announced=announced)

    def body_is_lost(self, *, in_time: bool) -> None:
        self._release()
        status, detail = (400, _CUT_SHORT) if in_time else (408, _TOO_SLOW)
        self.desk.office.answer(self.exchange, Problem(status, detail, headers=[CLOSE]))

    def _release(self) -> None:
        if self.held_bytes:
            self.desk.office.release(self.held_bytes)
            self.held_bytes = 0

    # --- the model -----------------------------------------------------------------------------

    def begin(self, data: bytes, *, announced: bool = False) -> None:
        """Let it wait for its turn."""
        desk = self.desk
        model = desk.model
        if len(data) > LONG_BYTES:
            desk.office.gateway.crew.step_aside()
        try:
            try:
                arguments = model.codec.decode(_Body(data, self))
            except BaseException:
                if announced:
                    model.retract()
                raise
            self._release()
            desk.office.gateway.patience.begin(self._watch, WATCHED_AFTER_S)
            if desk.batched:
                self.ticket = model.begin(arguments, on_done=self._done, announced=announced)
            else:
                self.ticket = self._begin_in_context(arguments, data)
            if self.exchange.gone:  # before there was a ticket to cancel
                self._leave()
        except BaseException as exc:  # noqa: BLE001  # whatever it is, somebody waits for an answer
            self._forget_client()
            self._release()
            self._fail(exc)

    def _begin_in_context(self, arguments: dict[str, t.Any], data: bytes) -> Ticket:
        """A prediction of its own sees its request, as it does where a view waits for it."""
        context = copy_context()
        current = self.desk.office.app.request_context(self._environ(data))
        context.run(current.push)
        self.context = context, current
        # In a copy: the answer may be there, and the context be left, before `begin` returns.
        return context.copy().run(partial(self.desk.model.begin, arguments, on_done=self._done))

    def _end_context(self) -> None:
        self._close_form()
        if self.context is not None:
            (context, current), self.context = self.context, None
            try:
                context.run(current.pop, None)
            except Exception:  # noqa: BLE001  # of a teardown function; the answer is out
                logger.exception("error while ending a request of %r", self.desk.model.name)

    def _close_form(self) -> None:
        if self.form is not None:
            self.form.close()  # its files

    def _watch(self) -> None:
        self.watch = watch = self.exchange.watch(self._leave)
        # Just while this was called: the answer did not find the watch.
        if self.over and watch is not None:
            watch.cancel()

    def _leave(self) -> None:
        if self.ticket is not None:
            self.desk.model.cancel(self.ticket)

    def _forget_client(self) -> None:
        if not self.desk.office.gateway.patience.end(self._watch):
            self.over = True
            if self.watch is not None:
                self.watch.cancel()

    def _done(self, tickets: list[Ticket]) -> None:
        (ticket,) = tickets
        self._forget_client()
        if self.exchange.gone:
            self._end_context()
            return
        answers = self.desk.model.answers
        try:
            result = ticket.result()
            if self._app_has_last_word():
                self._leave_to_app(ticket)
            elif answers.streams:
                Thread(target=self._stream, args=(result,), name="stream", daemon=True).start()
            elif answers.is_light(result):
                self._answer(result, ticket)
            else:
                self.desk.office.writers.submit(self._answer, result, ticket)
        except BaseException as exc:  # noqa: BLE001  # SystemExit of `predict` must not end a thread
            self._fail(exc)

    # --- its answer ----------------------------------------------------------------------------

    def _answer(self, result: t.Any, ticket: Ticket) -> None:
        exchange = self.exchange
        accept = exchange.headers.get("accept", "")
        try:
            answer = self.desk.model.answers.encode(result, accept)
        except BaseException as exc:  # noqa: BLE001
            self._fail(exc)
            return
        headers = [("Content-Type", answer.media_type), *answer.headers, *measured(ticket)]
        try:
            self.desk.office.gateway.answer(exchange, 200, headers, answer.body)
        finally:
            self._end_context()

    def _fail(self, exc: BaseException) -> None:
        desk = self.desk
        problem = refusal(exc)
        if (
            isinstance(problem, Problem)
            and not self._app_has_last_word()
            and not desk.office.wants(self.exchange, desk.model, problem)
        ):
            desk.office.answer(self.exchange, problem)
            self._end_context()
        else:
            self._leave_to_app(exc)

    def _app_has_last_word(self) -> bool:
        if self.context is not None:
            current = self.context[1]
            # What `predict` did to the session, or wants to do to the answer.
            if current._opened is not None or current._after is not None:
                return True
        return self.desk.office.has_last_word(self.exchange, self.desk.model)

    def _leave_to_app(self, outcome: Ticket | BaseException) -> None:
        if self.context is not None:
            self.exchange.app = self._resume
        self._close_form()
        self.desk.office.leave_to_app(self.exchange, outcome)

    def _resume(
        self, environ: dict[str, t.Any], start_response: StartResponse
    ) -> cabc.Iterable[bytes]:
        """`Carboy.wsgi_app` in the context that `predict` saw: `g` and the session are those."""
        assert self.context is not None
        (context, current), self.context = self.context, None
        current._environ[OUTCOME] = environ[OUTCOME]
        return context.run(self._go_on, current, start_response)

    def _go_on(
        self, current: RequestContext, start_response: StartResponse
    ) -> cabc.Iterable[bytes]:
        app = self.desk.office.app
        failure: BaseException | None = None
        try:
            try:
                response = app.full_dispatch_request()
            except Exception as exc:  # noqa: BLE001  # of the user's code
                failure = exc
                response = app.handle_exception(exc)
            except BaseException as exc:
                failure = exc
                raise
            return t.cast("cabc.Iterable[bytes]", response(current._environ, start_response))
        finally:
            try:
                app._end(current, failure)
            finally:
                failure = None  # it holds this frame

    def _stream(self, items: Stream) -> None:
        """Send items as they come, on a thread of its own: there are `concurrency` such streams."""
        model, exchange, gateway = self.desk.model, self.exchange, self.desk.office.gateway
        framing = framing_of(model.answers.choose(exchange.headers.get("accept", "")))
        try:
            frames = Frames(items, framing, encode, self._tell_amid)
        except BaseException as exc:  # noqa: BLE001  # of the first item: nothing was sent
            self._fail(exc)
            return
        chunks = Chunks(frames)
        headers: Pairs = [
            ("Content-Type", framing.media_type),
            *framing.headers.items(),
            ("Vary", "Accept"),
        ]
        if gateway.draining:
            headers.append(CLOSE)
        try:
            send_stream(exchange, 200, headers, chunks)
        except Exception:  # noqa: BLE001  # the thread is ours
            logger.exception("error while sending a stream of %r", model.name)
        finally:
            chunks.close()
            self._end_context()

    def _tell_amid(self, exc: BaseException) -> dict[str, t.Any]:
        return tell_amid(self.desk.office.app, self.desk.model, self.request(b""), exc)

    def _environ(self, data: bytes) -> dict[str, t.Any]:
        return self.desk.office.gateway.environs.make(self.exchange, io.BytesIO(data))

    def request(self, data: bytes) -> Request:
        """The request as the app would see it."""
        return t.cast("Request", self.desk.office.app.request_class(self._environ(data)))


class _Body:
    """What the codec reads."""

    __slots__ = ("_data", "_prediction", "content_type", "encoding", "media_type")

    def __init__(self, data: bytes, prediction: Prediction) -> None:
        headers = prediction.exchange.headers
        self._data = data
        self._prediction = prediction
        self.content_type: str = headers.get("content-type", "")
        self.media_type = _media_type(self.content_type)
        self.encoding: str = headers.get("content-encoding", "").strip().lower()

    def raw(self) -> bytes:
        return self._data

    def form(self) -> Form:
        # Any view of the app would read it by the same rules.
        request = self._prediction.form = self._prediction.request(self._data)
        return RequestBody(request, self._prediction.desk.max_body_bytes).form()


def _media_type(content_type: str) -> str:
    if content_type == "application/json":  # PERF: half of all, 0.1 instead of 0.3 us
        return content_type
    return content_type.partition(";")[0].strip().lower()


_CUT_SHORT = "The body was cut short: its sender left, or sent less than announced."
_TOO_SLOW = "The body did not come in time."
