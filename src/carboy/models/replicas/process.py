"""The work of a replica's process: it computes the batches that other processes send.

One thread does it: it waits for connections and messages, computes one batch, answers, and writes
the next token, unless `TokenTimer` has written it before. The messages of the supervisor are
handled on the thread that reads them, so that they are answered while `predict` computes.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
import typing as t
import weakref
from functools import partial
from time import monotonic, sleep

from carboy.core.logmasking import get_masked_logger
from carboy.errors import ModelLoadError

from ..queue.stream import items_of
from .batches import BatchFormat, BatchReader, ResultWriter, encode_failure
from .devicefaults import sticky_device_fault
from .devicelock import DeviceLock
from .frames import (
    BATCH,
    BEGINS,
    END,
    FAILED,
    ITEM,
    ITEMS_AHEAD,
    KEPT,
    MORE,
    READ_ITEMS,
    RESULTS,
    STALE,
    STOP,
    UNUSED,
    WAITS,
    ConnectionLost,
    Copied,
    Frame,
    FrameSocket,
)
from .supervision import Ready
from .tokens import TokenWriter
from .tokentimer import TokenTimer

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from carboy.contract.bodies import BodyReader

    from ..model import Model
    from ..queue.calls import Compute
    from ..versions.modelversion import ModelVersion
    from .supervision import Link, ReplicaJob
    from .tokens import NoTokens

# How long a process that is to end goes on to tell clients that their tokens are void.
_LINGER_S = 0.2
# How long results may wait until their client reads them. A client that is stopped would stop the
# replica for all others. (Items of a stream may wait for ever: their clients read when they like.)
_UNREAD_S = 10
_TIMEVAL = struct.Struct("ll")
# How long a process whose supervisor has died waits for another client.
_UNUSED_S = 1.0
# How often a process that ends looks for batches: each time it accepts one more client.
_LAST_ROUNDS = 100
# How often a token is written again if the pipe was full.
_RETRY_S = 0.05
# The exit code of a process whose device cannot compute any more.
_BROKEN = 70

_logger = get_masked_logger("carboy.models")


def run_replica(model: Model, job: ReplicaJob, link: Link) -> int:
    """Load a model, and compute its batches until the supervisor ends the process. Returns the exit
    code.
    """
    version = model.make_version(job["version"], job["source"] or None)
    begun_s = monotonic()
    try:
        version.load()
    except ModelLoadError as exc:
        link.report("failed", str(exc))
        return 1
    server = ReplicaServer(
        version.replica.compute,
        BatchFormat.of(model.operation),
        model.codec,
        listener=socket.socket(fileno=job["listener_fd"]),
        tokens=TokenWriter(job["tokens_fd"], job["replica"]),
        device_lock=job["device_lock"],
        streams=model.answers.streams,
        asks_early=model.options.least_replicas == 1 and model.options.retry,
    )
    link.on("renew", lambda _: server.renew_token())
    link.on("drain", lambda _: server.drain())
    link.on("check?", lambda _: _check(version, link))
    link.on("computes?", lambda _: link.report("computes", server.computing_s()))
    link.on_orphaned[:] = [lambda: server.drain(when_unused=True)]
    ready = Ready(
        took_s=monotonic() - begun_s,
        loaded_bytes=version.replica.loaded_bytes,
        cards=[card.to_dict() for card in version.cards],
    )
    link.report("ready", t.cast("dict[str, t.Any]", ready))
    fault = server.run()
    if fault:
        link.report("broken", fault)
        return _BROKEN
    version.replica.close()
    return 0


def _check(version: ModelVersion, link: Link) -> None:
    """Call the model's `check` on a thread of its own, and report the result."""

    def check() -> None:
        try:
            version.replica.check()
        except Exception as exc:
            _logger.exception("The check of a replica failed")
            link.report("checked", f"{type(exc).__name__}: {exc}")
        else:
            link.report("checked", "")

    threading.Thread(target=check, name="carboy check", daemon=True).start()


class ReplicaServer:
    """Computes batches for the processes that connect to it.

    Args:
        compute: computes a batch; see `Replica`.
        form: the types of one prediction.
        bodies: decodes the bodies of requests.
        listener: the socket on which the process listens.
        tokens: writes a token whenever the process can take a batch.
        device_lock: the file that is locked while a batch is computed; "" for none.
        streams: whether `predict` yields.
        asks_early: whether the next batch may be asked for before a batch is finished. Needs a
            `TokenWriter`.
    """

    def __init__(
        self,
        compute: Compute,
        form: BatchFormat,
        bodies: BodyReader,
        *,
        listener: socket.socket,
        tokens: TokenWriter | NoTokens,
        device_lock: str = "",
        streams: bool = False,
        asks_early: bool = False,
    ) -> None:
        self._compute = compute
        self._reader = BatchReader(form, bodies)
        self._writer = ResultWriter(form)
        self._listener = listener
        self._tokens = tokens
        self._timer = TokenTimer(tokens) if isinstance(tokens, TokenWriter) and asks_early else None
        self._device = DeviceLock(device_lock) if device_lock else None
        self._streams = streams
        self._connections: dict[int, FrameSocket] = {}
        self._poll = select.poll()
        self._wake, self._wakes = socket.socketpair()
        for each in (listener, self._wakes):
            each.setblocking(False)
            self._poll.register(each, select.POLLIN)
        self._ends_s: float | None = None
        self._ends_unused = False
        self._fault = ""
        # When the batch that is being computed has begun; None while there is none, or while it
        # waits for the device.
        self._began_s: float | None = None
        # Whether there is a batch for which no token was written yet.
        self._is_taken = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=partial(_close_in_child, weakref.ref(self)))

    # --- for any thread ------------------------------------------------------------------------

    def renew_token(self) -> None:
        """Write a new token in place of the last one, with which a process may have died, unless
        a batch has come with that.
        """
        self._tokens.renew()

    def computing_s(self) -> float:
        """Return for how long the batch has been computed that is being computed, without its wait
        for the device; 0 without one.
        """
        return 0.0 if (began_s := self._began_s) is None else monotonic() - began_s

    @property
    def takes_batches(self) -> bool:
        """Whether a batch that arrives now is computed. If not, its client need not wonder whether
        it was.
        """
        return self._ends_s is None and not self._fault

    def drain(self, *, when_unused: bool = False) -> None:
        """Let `run` return after the batch that is being computed.

        Args:
            when_unused: go on until no process is connected any more.
        """
        if when_unused:
            self._ends_unused = True
        else:
            self._tokens.end()
            self._ends_s = monotonic() + _LINGER_S
        with contextlib.suppress(OSError):  # `run` has returned
            self._wake.send(b"\0")

    # --- the thread that computes --------------------------------------------------------------

    def run(self) -> str:
        """Compute batches until `drain` is called. Returns the error of the device after which this
        process cannot compute any more, or "".
        """
        self._tokens.write()
        unused_since_s = monotonic()
        while not self._fault:
            now_s = monotonic()
            if self._connections:
                unused_since_s = now_s
            if self._ends_s is not None and now_s >= self._ends_s:
                break
            if self._ends_unused and now_s - unused_since_s > _UNUSED_S:
                break
            self._tokens.retry()
            for fd, _ in self._poll.poll(self._timeout_ms()):
                self._on_readable(fd)
        self._close()
        return self._fault

    def _close(self) -> None:
        """Tell clients whose batches have arrived that these are not computed, and close."""
        self._tokens.end()
        for _ in range(_LAST_ROUNDS):
            for fd, _ in self._poll.poll(0):
                self._on_readable(fd)
        self.close_descriptors()

    def close_descriptors(self) -> None:
        """Close all sockets, and the files that are locked."""
        for frames in self._connections.values():
            frames.close()
        self._connections.clear()
        for each in (self._listener, self._wake, self._wakes):
            each.close()
        if self._device is not None:
            self._device.close()
            self._device = None

    def _timeout_ms(self) -> float | None:
        if self._tokens.is_late or self._ends_s is not None or self._ends_unused:
            return _RETRY_S * 1000
        return None

    def _on_readable(self, fd: int) -> None:
        frames = self._connections.get(fd)
        if frames is not None:
            self._on_messages(frames)
        elif fd == self._listener.fileno():
            self._accept()
        else:
            self._wakes.recv(64)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # the client has left again
        except OSError as exc:  # no descriptor is left: the listener stays readable
            _logger.warning("A replica cannot accept clients at the moment: %s", exc.strerror)
            sleep(_RETRY_S)
        else:
            sock.setblocking(True)
            if not self._streams:
                with contextlib.suppress(OSError):  # the client has left again (macOS)
                    timeout = _TIMEVAL.pack(_UNREAD_S, 0)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
            self._connections[sock.fileno()] = FrameSocket(sock)
            self._poll.register(sock, select.POLLIN)

    def _drop(self, frames: FrameSocket) -> None:
        if self._connections.pop(frames.fileno(), None) is not None:
            self._poll.unregister(frames.fileno())
            frames.close()
            # The client may have had the token in its hand.
            self._tokens.renew()

    def _on_messages(self, frames: FrameSocket) -> None:
        try:
            self._on_message(frames, frames.receive())
            while frames.has_unread() and not self._fault:
                self._on_message(frames, frames.receive())
        except ConnectionLost as exc:
            if exc.is_garbage:
                _logger.warning("A client of the replica was disconnected: %s", exc)
            self._drop(frames)

    def _on_message(self, frames: FrameSocket, frame: Frame) -> None:
        if frame.kind == UNUSED:
            if self._tokens.use(frame.serial):
                self._tokens.write()
        elif frame.kind != BATCH:
            return  # a late answer to the items of a stream that has ended
        elif not self._tokens.use(frame.serial):
            frames.send(STALE, frame.serial)
        else:
            self._began_s, self._is_taken = monotonic(), True
            try:
                if self._streams:
                    self._answer_by_items(frames, frame)
                else:
                    self._answer(frames, frame)
            finally:
                if self._fault:
                    self._tokens.end()
                else:
                    self._free()
                if self._ends_s is not None:  # clients may have sent batches meanwhile
                    self._ends_s = monotonic() + _LINGER_S

    def _free(self) -> None:
        """Write the next token, unless it is written already."""
        self._began_s = None
        if self._is_taken:
            self._is_taken = False
            self._tokens.write()

    def _answer(self, frames: FrameSocket, frame: Frame) -> None:
        """Compute a batch and send the results, or its failure."""
        buffers: list[memoryview] = []
        result: t.Any = []
        kind = RESULTS
        try:
            batch = self._reader.read(frame.meta, frame.region)
            buffers = batch.buffers
            if batch.entries:
                with self._device_held(frames, frame.serial), self._timed(len(batch.entries)):
                    result = self._compute(batch.entries)
            # PERF: the next batch is on its way while these results are packed.
            self._free()
            meta, packer = self._writer.pack(result, batch)
            copied = frames.copy(meta, packer.buffers)
        except ConnectionLost:
            raise
        except BaseException as exc:  # noqa: BLE001  # clients must learn of any failure
            self._fault = sticky_device_fault(exc)
            if self._fault:
                return  # another replica can compute the batch
            kind, copied = FAILED, Copied(encode_failure(exc), b"", 0)
        # Drop all references to the batch, to see whether the model has kept some.
        batch = result = packer = None  # type: ignore[assignment]
        flags = 0
        if frame.is_shared and not frames.give_back_shared([*buffers, frame.region]):
            flags = KEPT
        frames.send_copied(kind, frame.serial, copied, flags=flags)

    @contextlib.contextmanager
    def _timed(self, size: int) -> cabc.Iterator[None]:
        """Ask for the next batch shortly before the end of this block, if that is allowed."""
        if self._timer is None:
            yield
            return
        self._timer.begin(size)
        try:
            yield
        finally:
            self._timer.end()

    @contextlib.contextmanager
    def _device_held(self, frames: FrameSocket, serial: int) -> cabc.Iterator[None]:
        """Hold the device, and tell the client if the batch has to wait for it."""
        if self._device is None:
            yield
            return

        def waits() -> None:
            self._began_s = None
            frames.send(WAITS, serial)

        def begins() -> None:
            self._began_s = monotonic()
            frames.send(BEGINS, serial)

        with self._device.hold(waits, begins):
            yield

    def _answer_by_items(self, frames: FrameSocket, frame: Frame) -> None:
        """Send what `predict` yields, item by item."""
        serial, failure, items = frame.serial, b"", None
        try:
            batch = self._reader.read(frame.meta, memoryview(bytearray(frame.region)))
            arguments = batch.only()
            with self._device_held(frames, serial):
                items = items_of(self._compute([arguments])[0])
            self._send_items(frames, serial, items)
        except ConnectionLost:
            _close(items)
            raise
        except BaseException as exc:  # noqa: BLE001  # clients must learn of any failure
            self._fault = sticky_device_fault(exc)
            if self._fault:
                return
            failure = encode_failure(exc)
        _close(items)
        frames.send(END, serial, failure)

    def _send_items(self, frames: FrameSocket, serial: int, items: cabc.Iterator[t.Any]) -> None:
        unread = 0
        while True:
            with self._device_held(frames, serial):
                try:
                    item = next(items)
                except StopIteration:
                    return
            meta, packer = self._writer.pack_each([item])
            copied = frames.copy(meta, packer.buffers, may_share=False)
            frames.send_copied(ITEM, serial, copied)
            unread += 1
            while (
                unread >= ITEMS_AHEAD
                or frames.has_unread()
                or not frames.is_open()
                # While this process holds the device, it must not wait for a client that reads
                # nothing: others could not compute on it.
                or (self._device is not None and not frames.await_room())
            ):
                answer = frames.receive()
                if answer.kind == STOP:
                    return
                if answer.kind == MORE:
                    unread -= READ_ITEMS


def _close_in_child(server: weakref.ref[ReplicaServer]) -> None:
    """Close the descriptors of a replica in a process that its model has forked: as long as one is
    open, clients would not notice the death of the replica.
    """
    if (found := server()) is not None:
        found.close_descriptors()


def _close(items: t.Any) -> None:
    close = getattr(items, "close", None)
    if close is None:
        return
    try:
        close()
    except BaseException:
        _logger.exception("A generator failed when it was closed")
