"""Requests for the access log that no server has received."""

from __future__ import annotations

import types
import typing as t


def logged_request(path: str, **values: t.Any) -> types.SimpleNamespace:
    """Return a request that has ended at once, but for the attributes given."""
    request = types.SimpleNamespace(
        method="POST", path=path, query="", version="HTTP/1.1", headers={"HTTP_USER_AGENT": "a"},
        origin=None, request_id="1", status="200", body_bytes=3, began_s=0.0,
        view_s=0.0, fields=None,
        transport=types.SimpleNamespace(environ={"REMOTE_ADDR": "127.0.0.1"}),
    )  # fmt: skip
    vars(request).update(values)
    return request
