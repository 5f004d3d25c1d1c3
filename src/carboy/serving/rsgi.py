"""What granian hands over with each request: RSGI, as far as it is used here.

Source: https://github.com/emmett-framework/granian/blob/master/docs/spec/RSGI.md
"""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc

Pairs = list[tuple[str, str]]


class Headers(t.Protocol):
    """Names in lower case. Values that are not ASCII are left out."""

    def __contains__(self, name: str, /) -> bool: ...

    def get(self, name: str, default: t.Any = None, /) -> t.Any: ...

    def items(self) -> Pairs:
        """Also those that came more than once."""


class Scope(t.Protocol):
    """The head of a request. Each attribute is made when it is asked for."""

    @property
    def method(self) -> str: ...

    @property
    def path(self) -> str:
        """Percent-decoded, as UTF-8."""

    @property
    def query_string(self) -> str: ...

    @property
    def scheme(self) -> str: ...

    @property
    def http_version(self) -> str: ...

    @property
    def authority(self) -> str | None:
        """Of a target in absolute form."""

    @property
    def client(self) -> str:
        """`address:port`"""

    @property
    def server(self) -> str: ...

    @property
    def headers(self) -> Headers:
        """A copy each time."""


class Future(t.Protocol):
    """The end of something that goes on in granian; one callback, on one of its threads."""

    def add_done_callback(self, callback: cabc.Callable[[Future], object], /) -> None: ...

    def result(self) -> t.Any: ...

    def cancel(self) -> bool:
        """The callback is called with it too."""

    def cancelled(self) -> bool: ...


class Frames(t.Protocol):
    """A body piece by piece; b"" is its end."""

    def __anext__(self) -> Future: ...


class Protocol(t.Protocol):
    """The rest of a request, and the place for its answer. The first answer counts."""

    def __call__(self) -> Future:
        """The whole body."""

    def __aiter__(self) -> Frames: ...

    def client_disconnect(self) -> Future: ...

    def response_bytes(self, status: int, headers: Pairs, body: bytes, /) -> None: ...

    def response_file(self, status: int, headers: Pairs, path: str, /) -> None: ...

    def response_stream(self, status: int, headers: Pairs, /) -> t.Any: ...
