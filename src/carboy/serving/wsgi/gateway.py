"""Between the server of this package and an application: for apps with models.

    a request --> no body, or a small one that has arrived --> a slot --> the application
              --> a longer one: the application reads it as it comes
              --> longer than allowed: 413, before any thread is taken
              --> a prediction of a model that needs no thread (`predictions`)

A slow client holds no thread while it sends a small body or while its prediction waits. An answer
given before the body was read reaches the client.
"""

from __future__ import annotations

import io
import itertools
import typing as t

from werkzeug.exceptions import HTTPException

from ..http.environ import environ_of
from ..log import logger
from ..threads.slots import Slots
from ..threads.timing import Habits, Shift
from .answers import AT_ONCE_BYTES, CLOSE, TEXT, StartResponse, too_long
from .body import EMPTY, ChunkedBody, SizedBody

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed.wsgi import WSGIApplication

    from ..http.exchange import Exchange
    from ..threads.leader import Crew

    #: Says what becomes of the body of a request that needs no view, and who takes it.
    Shortcut = cabc.Callable[[Exchange], object]

# What a client has for a body of AT_ONCE_BYTES: 1 kB/s is slower than any line.
AT_ONCE_S = 60.0
# An answer of unknown shape that says it is not longer than this is sent in one piece.
ONE_PIECE_BYTES = 256 * 1024


class Gateway:
    """What the front calls with each request, on the thread that leads.

    Attributes:
        call: lets the thread that leads do something soon.
        leads: whether that is the calling one.
        shortcuts: by path, who admits the POSTs to it.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        max_body_bytes: int | None,
        threads: int,
        crew: Crew,
        call: cabc.Callable[[cabc.Callable[[], object]], object],
        leads: cabc.Callable[[], bool],
    ) -> None:
        self.app = app
        self.call = call
        self.leads = leads
        self.max_body_bytes = max_body_bytes
        self.shortcuts: cabc.Mapping[str, Shortcut] = {}
        self.slots = Slots(threads)
        self.crew = crew
        self._habits = Habits(app)
        self._shift = Shift(crew)
        self._after_round: list[cabc.Callable[[], object]] = []

    # --- before the body -----------------------------------------------------------------------

    def admit(self, exchange: Exchange) -> None:
        """The head of a request is there: who takes it, and with how much of its body."""
        shortcut = self.shortcuts.get(exchange.path) if exchange.method == "POST" else None
        if shortcut is not None:
            shortcut(exchange)
        else:
            self.admit_to_view(exchange)

    def admit_to_view(self, exchange: Exchange) -> None:
        length, limit = exchange.length, self.max_body_bytes
        if exchange.chunked or exchange.expects or (length is not None and length > AT_ONCE_BYTES):
            exchange.intake = "pieces"
            exchange.taker = self.take_unread
        else:
            exchange.taker = self.take
            exchange.patience_s = AT_ONCE_S
        if limit is not None and length is not None and length > limit:
            exchange.intake = "nothing"
            exchange.taker = self._refuse_length

    def _refuse_length(self, exchange: Exchange) -> None:
        text = too_long(str(exchange.length), self.max_body_bytes)
        exchange.respond(413, [TEXT, CLOSE], text)

    # --- rounds --------------------------------------------------------------------------------

    def call_after_round(self, call: cabc.Callable[[], object]) -> None:
        """Call it when all that came together was handed over, or when the leader may be long."""
        self._after_round.append(call)

    def in_round(self) -> bool:
        return bool(self._after_round)

    def end_round(self) -> None:
        while self._after_round:
            try:
                call = self._after_round.pop()
            except IndexError:  # a leader that was relieved took the last
                return
            call()

    def step_aside(self) -> None:
        """What follows on this thread may take long: another leads meanwhile."""
        self.end_round()
        self.crew.step_aside()

    # --- handing over --------------------------------------------------------------------------

    def take(self, exchange: Exchange) -> None:
        """Let the app answer a request whose body has come, or cannot come any more."""
        if exchange.fault is not None:
            status, text = (408, _TOO_SLOW) if exchange.fault == "late" else (400, _CUT_SHORT)
            exchange.respond(status, [TEXT, CLOSE], text)
            return
        if self._after_round:
            self.end_round()
        self.slots.run(self._answer, exchange)

    def take_unread(self, exchange: Exchange) -> None:
        """Let the app answer a request, and read its body if it wants."""
        self.slots.run(self._answer_reading, exchange)

    def hand_over(self, exchange: Exchange) -> None:
        """Let the app answer on another thread, and without a body."""
        self.slots.hand_over(self._answer, exchange)

    def _answer_reading(self, exchange: Exchange) -> None:
        body: ChunkedBody | SizedBody
        if exchange.length is None:
            body = ChunkedBody(exchange.read, self.max_body_bytes)
        else:
            body = SizedBody(exchange.read, exchange.length)
        self.step_aside()
        self._ask(exchange, body)

    def _answer(self, exchange: Exchange) -> None:
        if exchange.gone and exchange.app is None:
            exchange.drop()
            return
        view = self._habits.of(exchange.method, exchange.path)
        body = io.BytesIO(exchange.body()) if exchange.pieces else EMPTY
        self._shift.do(view, self._ask, exchange, body)

    def _ask(self, exchange: Exchange, body: t.Any) -> None:
        try:
            environ = environ_of(exchange, body)
            start = StartResponse()
            try:
                chunks = (exchange.app or self.app)(environ, start)
            except HTTPException as exc:  # of the body, in an app that does not know Werkzeug
                chunks = exc(environ, start)
            if type(chunks) is list and len(chunks) == 1 and start.written is None and start.status:
                exchange.respond(start.status, start.headers, chunks[0])
            else:
                _send(exchange, start, chunks)
        except BaseException:  # noqa: BLE001  # SystemExit of a view must not end a slot
            logger.exception("error while answering %s %s", exchange.method, exchange.path)
            exchange.respond(500, [TEXT, CLOSE], b"500 Internal Server Error\n")


def _send(exchange: Exchange, start: StartResponse, chunks: cabc.Iterable[bytes]) -> None:
    try:
        stream = iter(chunks)
        if not start.status:
            # A generator comes to its `start_response` with its first chunk.
            stream = itertools.chain([next(stream, b"")], stream)
        if start.written:
            stream = itertools.chain(start.written, stream)
        if not start.status:
            raise RuntimeError("The application answered without calling start_response.")
        if isinstance(chunks, list) or _is_short(start.headers):
            exchange.respond(start.status, start.headers, b"".join(stream))
        else:
            exchange.stream(start.status, start.headers, stream)
    finally:
        if hasattr(chunks, "close"):
            chunks.close()


_CUT_SHORT = b"400 Bad Request: the body is shorter than its Content-Length says.\n"
_TOO_SLOW = b"408 Request Timeout: the body did not come in time.\n"


def _is_short(headers: list[tuple[str, str]]) -> bool:
    for name, value in headers:
        if name.lower() == "content-length":
            return int(value) <= ONE_PIECE_BYTES
    return False
