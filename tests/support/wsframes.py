"""Requests that ask for a WebSocket, and frames, byte for byte."""

from __future__ import annotations

import stage

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ASK: stage.Pairs = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY),
]
# The response of a program that speaks the protocol itself.
ACCEPT = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


def ask(target: str = "/", **changed: str | None) -> bytes:
    """A request for a WebSocket. `Sec_WebSocket_Key="x"` replaces a header, and None leaves it
    out.
    """
    headers = dict(ASK)
    for name, value in changed.items():
        headers.pop(name.replace("_", "-"), None)
        if value is not None:
            headers[name.replace("_", "-")] = value
    return stage.head(target=target, headers=list(headers.items()))


def frame(payload: bytes, opcode: int = 1, *, last: bool = True, mask: bytes = b"") -> bytes:
    """A frame. Frames of servers have no mask, and those of clients one of four bytes."""
    size, masked = len(payload), 0x80 if mask else 0
    if size < 126:
        length = bytes([masked | size])
    elif size < 1 << 16:
        length = bytes([masked | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([masked | 127]) + size.to_bytes(8, "big")
    if mask:
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return bytes([(0x80 if last else 0) | opcode]) + length + mask + payload


def close(code: int) -> bytes:
    return frame(code.to_bytes(2, "big"), 8)
