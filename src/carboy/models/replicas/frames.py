"""The messages between a process that has a batch to compute and the process of a replica.

They go over a Unix stream socket that the client opens to the replica. Nothing in them is pickled.

    head     22 bytes: see `_HEAD`
    meta     MessagePack: values, and where each buffer is in the region
    region   the buffers (arrays, pixels, files) one after the other: behind `meta` on the socket,
             or in shared memory (`arena`) if they are long

One connection carries one batch at a time, and the answer has the serial number of the batch:

    client                                   replica
    BATCH      a batch, with the serial  --> RESULTS   one result or failure for each prediction
               number of its token           FAILED    the exception that the batch raised
                                             STALE     not computed: take another token
                                             WAITS     another model computes on the device ...
                                             BEGINS    ... and from now on, this batch does
    UNUSED     the token was not needed      (nothing)
    ARENA      the shared memory into which the sender writes regions; both sides

If `predict` yields:

    BATCH                                --> ITEM, ITEM, ..., END   with the failure, or null
    MORE       asks for further items
    STOP       nothing reads the items   --> END

A closed connection means that the other process has ended. Bytes that are no message of this form
are treated in the same way, because nothing that follows them can be trusted.
"""

from __future__ import annotations

import enum
import struct

# Length of `meta`; bytes of the region on the socket; bytes of the region in shared memory; serial
# number; kind; flags.
_HEAD = struct.Struct("<IIIQBB")


class FrameKind(enum.IntEnum):
    """The kinds of messages. A client sends those below 16."""

    BATCH = 1
    UNUSED = 2
    MORE = 3
    STOP = 4
    ARENA = 15
    RESULTS = 16
    FAILED = 17
    STALE = 18
    WAITS = 19
    BEGINS = 20
    ITEM = 21
    END = 22
