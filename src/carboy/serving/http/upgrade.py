"""Check the request by which a client opens a WebSocket. Source: RFC 6455, 4.2.1

The server's answer to it (101) is written by the application, whose library speaks the protocol.
"""

from __future__ import annotations

import re
import typing as t

from .limits import refusal

if t.TYPE_CHECKING:
    from .parser import RequestHead

# Base64 of 16 bytes.
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
_VERSION = "13"


def is_asked_for(head: RequestHead) -> bool:
    """Whether a request with an Upgrade header asks for a WebSocket.

    In HTTP/1.0, and with another method than GET, that wish is ignored (RFC 9110, 7.8; RFC 6455,
    4.1). Its header is then removed, because the application cannot fulfil it either: Werkzeug
    would look for a view of WebSockets.
    """
    headers = head.headers
    if headers.get("HTTP_UPGRADE", "").lower() != "websocket":
        return False
    if head.method == "GET" and head.version == "HTTP/1.1":
        return True
    del headers["HTTP_UPGRADE"]
    return False


def refusal_of(head: RequestHead) -> bytes | None:
    """Return an error response to a request that asks for a WebSocket in a wrong way; None if there
    is nothing wrong with it.
    """
    headers = head.headers
    if headers.get("HTTP_SEC_WEBSOCKET_VERSION") != _VERSION:
        return _WRONG_VERSION
    if _KEY.fullmatch(headers.get("HTTP_SEC_WEBSOCKET_KEY", "")) is None:
        return _NO_KEY
    if headers.get("CONTENT_LENGTH", "0").strip("0") or "HTTP_TRANSFER_ENCODING" in headers:
        return _BODY
    return None if "HTTP_HOST" in headers else _NO_HOST


_WRONG_VERSION = refusal(
    "426 UPGRADE REQUIRED",
    f"the request needs the header Sec-WebSocket-Version: {_VERSION}",
    f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: {_VERSION}\r\n",
)
_NO_KEY = refusal(
    "400 BAD REQUEST", "the request needs the header Sec-WebSocket-Key, 16 bytes in Base64"
)
_BODY = refusal("400 BAD REQUEST", "a request for a WebSocket has no body")
_NO_HOST = refusal("400 BAD REQUEST", "the Host header has no host")
