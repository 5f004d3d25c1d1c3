"""Hooks that let schemathesis write MessagePack.

Loaded by SCHEMATHESIS_HOOKS; see tests/openapi/test_clients.py.
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
