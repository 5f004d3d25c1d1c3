"""One prediction, from its head to its answer, without a thread that waits for it."""

from __future__ import annotations

import io
import typing as t
from contextvars import copy_context
from functools import partial
from threading import Thread

from carboy.contract.answers import encode
from carboy.contract.framing import Chunks, Frames, framing_of
from carboy.contract.media import JSON
from carboy.core.problems import Problem
from carboy.models.failures import refusal, tell_amid
from carboy.models.queue.stream import Stream
from carboy.models.view import LimitedBody
from carboy.models.ways import OUTCOME

from .http.environ import environ_of
from .log import logger
from .office import busy
from .wsgi.answers import CLOSE

if t.TYPE_CHECKING:
    import collections.abc as cabc
    from contextvars import Context

    from _typeshed.wsgi import StartResponse

    from carboy.contract.forms import FormData
    from carboy.ctx import RequestContext
    from carboy.models.queue.ticket import Ticket
    from carboy.wrappers import Request

    from .http.exchange import Exchange
    from .predictions import Desk
    from .wsgi.answers import Headers

# Decoding a body beyond this takes longer than to let another thread lead; much of it may be done
# without the interpreter's lock, as by Pillow.
LONG_BYTES = 8 * 1024


class Prediction:
    """One prediction, from its head to its answer."""

    __slots__ = ("context", "desk", "exchange", "form", "ticket")

    def __init__(self, exchange: Exchange, desk: Desk) -> None:
        self.exchange = exchange
        self.desk = desk
        self.context: tuple[Context, RequestContext] | None = None
        self.ticket: Ticket | None = None
        self.form: Request | None = None

    # --- its body ------------------------------------------------------------------------------

    def refuse(self) -> None:
        """Its body cannot be had."""
        exchange, desk, office = self.exchange, self.desk, self.desk.office
        fault = exchange.fault
        office.release(exchange)
        if fault == "full":
            office.refuse(exchange, desk, busy())
        elif fault == "long":
            limit, length = exchange.limit, exchange.length
            has = f"more than {limit} bytes" if length is None else f"{length} bytes"
            detail = f"The body has {has}, which exceeds the {limit} that this model takes."
            office.refuse(exchange, desk, Problem(413, detail, code="input-too-large"))
        else:
            status, detail = (408, _TOO_SLOW) if fault == "late" else (400, _CUT_SHORT)
            office.answer(exchange, Problem(status, detail, headers=[CLOSE]))

    # --- the model -----------------------------------------------------------------------------

    def begin(self, data: bytes) -> None:
        """Let it wait for its turn."""
        desk, exchange = self.desk, self.exchange
        model = desk.model
        leads = len(data) <= LONG_BYTES
        if not leads:
            desk.office.gateway.step_aside()
        try:
            headers = exchange.headers
            if headers.get("CONTENT_TYPE") == JSON and "HTTP_CONTENT_ENCODING" not in headers:
                arguments = model.codec.decode_json(data)  # PERF: most are; 1 us less
            else:
                arguments = model.codec.decode(_Body(data, self))
            if exchange.held_bytes:
                desk.office.release(exchange)
            if desk.batched:
                desk.submit(arguments, self, at_once=not leads)
            else:
                self.began(self._begin_in_context(arguments, data))
        except BaseException as exc:  # noqa: BLE001  # whatever it is, somebody waits for an answer
            if exchange.held_bytes:
                desk.office.release(exchange)
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

    def began(self, ticket: Ticket | Exception) -> None:
        """It waits for its turn, or cannot."""
        if isinstance(ticket, Exception):
            self._fail(ticket)
        elif not ticket.settled:
            self.ticket = ticket
            self.exchange.watch(self._leave)

    def _leave(self) -> None:
        if self.ticket is not None:
            self.desk.model.cancel(self.ticket)

    def _done(self, tickets: list[Ticket]) -> None:
        self.answer(tickets[0])

    def answer(self, ticket: Ticket) -> None:
        """It has its answer, or failed, or its client left."""
        # They know each other, and only the garbage collector would find them: body, answer, all.
        self.ticket = None
        if self.exchange.gone:
            if isinstance(ticket.value, Stream):
                ticket.value.close()  # or it would keep its place until nobody has read for long
            self._end_context()
            self.exchange.drop()
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
        accept = exchange.headers.get("HTTP_ACCEPT", "")
        try:
            answer = self.desk.model.answers.encode(result, accept)
            head = self.desk.head(answer, ticket)
            exchange.answer(head, answer.body)
        except BaseException as exc:  # noqa: BLE001
            self._fail(exc)
            return
        self._end_context()

    def _fail(self, exc: BaseException) -> None:
        """Tell the client; whatever becomes of that, it shall not wait for ever."""
        try:
            self._tell(exc)
        except BaseException:  # noqa: BLE001  # of the app's own methods; no thread for its view
            logger.exception("error while answering for %r", self.desk.model.name)
            self.exchange.drop()

    def _tell(self, exc: BaseException) -> None:
        desk = self.desk
        problem = refusal(exc)
        if (
            isinstance(problem, Problem)
            and not self._app_has_last_word()
            and not desk.office.wants(self.exchange, desk, problem)
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
        return self.desk.app_has_last_word(self.exchange)

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
        respond = self.desk.office.app.respond
        return t.cast(
            "cabc.Iterable[bytes]",
            context.run(respond, current, current._environ, start_response),
        )

    def _stream(self, items: Stream) -> None:
        """Send items as they come, on a thread of its own: there are `concurrency` such streams."""
        model, exchange = self.desk.model, self.exchange
        framing = framing_of(model.answers.choose(exchange.headers.get("HTTP_ACCEPT", "")))
        try:
            frames = Frames(items, framing, encode, self._tell_amid)
        except BaseException as exc:  # noqa: BLE001  # of the first item: nothing was sent
            self._fail(exc)
            return
        chunks = Chunks(frames)
        headers: Headers = [
            ("Content-Type", framing.media_type),
            *framing.headers.items(),
            ("Vary", "Accept"),
        ]
        exchange.watch(chunks.close)
        try:
            exchange.stream("200 OK", headers, chunks)
        except Exception:  # noqa: BLE001  # the thread is ours
            logger.exception("error while sending a stream of %r", model.name)
        finally:
            chunks.close()
            self._end_context()

    def _tell_amid(self, exc: BaseException) -> dict[str, t.Any]:
        return tell_amid(self.desk.office.app, self.desk.model, self.request(b""), exc)

    def _environ(self, data: bytes) -> dict[str, t.Any]:
        return environ_of(self.exchange, io.BytesIO(data))

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
        self.content_type: str = headers.get("CONTENT_TYPE", "")
        self.media_type = self.content_type.partition(";")[0].strip().lower()
        self.encoding: str = headers.get("HTTP_CONTENT_ENCODING", "").strip().lower()

    def raw(self) -> bytes:
        return self._data

    def form(self) -> FormData:
        # Any view of the app would read it by the same rules.
        request = self._prediction.form = self._prediction.request(self._data)
        return LimitedBody(request, self._prediction.desk.max_body_bytes).form()


_CUT_SHORT = "The body was cut short: its sender left, or sent less than announced."
_TOO_SLOW = "The body did not come in time."
