"""The work of a replica's process: it computes the batches that other processes send.

One thread does it: it waits for connections and messages, computes one batch, answers, and writes
the next token. The messages of the supervisor are handled on the thread that reads them, so that
they are answered while `predict` computes.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import typing as t
from contextlib import nullcontext
from time import monotonic

from carboy.core.logmasking import get_masked_logger
from carboy.errors import ModelLoadError

from .batches import BatchFormat, BatchReader, ResultWriter, encode_failure
from .devicelock import DeviceLock
from .frames import (
    BATCH,
    BEGINS,
    END,
    FAILED,
    ITEM,
    KEPT,
    MORE,
    RESULTS,
    STALE,
    STOP,
    UNUSED,
    WAITS,
    ConnectionLost,
    Frame,
    FrameSocket,
)
from .remote import ITEMS_AHEAD, READ_ITEMS
from .supervision import Ready
from .tokens import TokenWriter

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ..model import Model
    from ..queue.calls import Compute
    from ..versions.modelversion import ModelVersion
    from .supervision import Link, ReplicaJob

# How long a process that is to end goes on to tell clients that their tokens are void.
_LINGER_S = 0.2
# How long a process whose supervisor has died waits for another client.
_UNUSED_S = 1.0
# How often a token is written again if the pipe was full.
_RETRY_S = 0.05

_logger = get_masked_logger("carboy.models")


def run_replica(model: Model, job: ReplicaJob, link: Link) -> int:
    """Load a model, and compute its batches until the supervisor ends the process. Returns the exit
    code.
    """
    version = model.current
    if job["version"]:
        version = model.make_version(job["version"], job["source"] or None)
    begun_s = monotonic()
    try:
        version.load()
    except ModelLoadError as exc:
        link.report("failed", str(exc))
        return 1
    server = ReplicaServer(version.replica.compute, BatchFormat.of(model.operation), job)
    server.streams = model.answers.streams
    link.on("renew", lambda _: server.renew())
    link.on("drain", lambda _: server.drain())
    link.on("check?", lambda _: _check(version, link))
    link.on_orphaned.append(server.end_when_unused)
    server.is_broken = _reporting(link)
    server.start()
    ready = Ready(
        took_s=monotonic() - begun_s,
        loaded_bytes=version.replica.loaded_bytes,
        cards=[card.to_dict() for card in version.cards],
    )
    link.report("ready", ready)
    server.run()
    version.replica.close()
    return 0
