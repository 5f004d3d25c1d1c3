"""Names of media types that several modules use."""

from __future__ import annotations

import typing as t

JSON: t.Final = "application/json"
MSGPACK: t.Final = "application/msgpack"
JSON_LINES: t.Final = "application/x-ndjson"
EVENTS: t.Final = "text/event-stream"
URLENCODED: t.Final = "application/x-www-form-urlencoded"
MULTIPART: t.Final = "multipart/form-data"
