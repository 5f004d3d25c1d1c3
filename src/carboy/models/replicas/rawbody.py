"""The body of a request that a replica decodes, and not the process that has received it.

Decoding a picture or a large array takes as long as computing it with many a model. A web worker,
which reads the requests of all clients, would be the bottleneck of all replicas.
"""

from __future__ import annotations

import typing as t

from carboy.contract.media import MULTIPART, URLENCODED

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from carboy.contract.forms import FormData


class RawBody(t.NamedTuple):
    """A body that has not been decoded, in place of the arguments of a prediction.

    Attributes:
        content_type: the Content-Type header with its parameters.
        encoding: the Content-Encoding header in lower case; "" if the request has none.
        pieces: the parts of the body.
    """

    content_type: str
    encoding: str
    pieces: cabc.Sequence[bytes]


def is_decoded_on_arrival(media_type: str) -> bool:
    """Return whether the process that has received a body decodes it, even if it is long: the app's
    request class parses forms.
    """
    return media_type in (MULTIPART, URLENCODED)


class ReceivedBody(t.NamedTuple):
    """The `IncomingBody` that a replica makes of a `RawBody`.

    Attributes:
        data: the body; a memoryview if `BodyReader.copies` says so for its media type.
    """

    content_type: str
    encoding: str
    data: bytes | memoryview

    @property
    def media_type(self) -> str:
        """The media type in lower case, without parameters."""
        return self.content_type.partition(";")[0].strip().lower()

    def raw(self) -> bytes:
        """Return the whole body."""
        return t.cast("bytes", self.data)

    def form(self) -> FormData:
        """Forms are decoded on arrival; see `is_decoded_on_arrival`."""
        raise NotImplementedError
