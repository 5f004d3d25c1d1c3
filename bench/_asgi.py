"""Call ASGI apps as a server does, without a server: their callable, on one event loop.

A server would add its own reading and writing to every peer alike, so it is left out. The loop is
entered once for many requests, so that its start and stop cost an ASGI app next to nothing.
"""

from __future__ import annotations

import asyncio
import typing as t

App = t.Callable[..., t.Awaitable[None]]

_TEMPLATE: dict[str, t.Any] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "scheme": "http",
    "root_path": "",
    "client": ("127.0.0.1", 50000),
    "server": ("127.0.0.1", 8000),
}
_HEADERS = [
    (b"host", b"127.0.0.1:8000"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
    (b"user-agent", b"python-requests/2.32.5"),
]


class Caller:
    """Repeats one kind of request to an app."""

    def __init__(
        self,
        app: App,
        loop: asyncio.AbstractEventLoop,
        *,
        method: str,
        path: str,
        query: bytes = b"",
        body: bytes = b"",
    ) -> None:
        self._app = app
        self._loop = loop
        headers = list(_HEADERS)
        if body:
            headers += [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
            ]
        self._scope = {
            **_TEMPLATE,
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "headers": headers,
        }
        self._message = {"type": "http.request", "body": body, "more_body": False}

    async def _one(self, send: t.Any) -> None:
        scope = self._scope.copy()
        scope["headers"] = list(scope["headers"])
        sent = False

        async def receive() -> dict[str, t.Any]:
            nonlocal sent
            if sent:
                return {"type": "http.disconnect"}
            sent = True
            return self._message

        await self._app(scope, receive, send)

    def ask(self) -> tuple[int, dict[str, str], bytes]:
        """Send one request and keep the whole response."""
        messages: list[dict[str, t.Any]] = []

        async def send(message: dict[str, t.Any]) -> None:
            messages.append(message)

        self._loop.run_until_complete(self._one(send))
        headers = {k.decode().lower(): v.decode() for k, v in messages[0]["headers"]}
        return messages[0]["status"], headers, b"".join(m.get("body", b"") for m in messages[1:])

    def many(self, count: int) -> t.Callable[[], None]:
        """Return a function that makes `count` requests, one after the other."""

        async def send(message: t.Any) -> None: ...

        async def run() -> None:
            for _ in range(count):
                await self._one(send)

        return lambda: self._loop.run_until_complete(run())


def start(app: App, loop: asyncio.AbstractEventLoop) -> None:
    """Send the lifespan's start-up event, which some frameworks need before their first request."""

    async def run() -> None:
        started = asyncio.Event()
        waiting = asyncio.Event()

        async def receive() -> dict[str, t.Any]:
            if not started.is_set():
                started.set()
                return {"type": "lifespan.startup"}
            await waiting.wait()
            return {"type": "lifespan.shutdown"}

        complete = asyncio.Event()

        async def send(message: dict[str, t.Any]) -> None:
            if message["type"] != "lifespan.startup.complete":
                raise SystemExit(f"start-up failed: {message}")
            complete.set()

        task = asyncio.ensure_future(app({**_TEMPLATE, "type": "lifespan"}, receive, send))
        done = asyncio.ensure_future(complete.wait())
        await asyncio.wait({task, done}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        _running.append(task)

    loop.run_until_complete(run())


_running: list[t.Any] = []
