"""An RSGI callable that reads the body, without framework or model: the limit of the load
generator.
"""

from __future__ import annotations

import typing as t

_BODY = b'{"label":3,"score":0.5}'


async def app(scope: t.Any, protocol: t.Any) -> None:
    await protocol()
    protocol.response_bytes(200, [("content-type", "application/json")], _BODY)
