"""A request body without a server, as a model's codec reads it."""

from __future__ import annotations

import dataclasses
import io

from carboy.contract.values.file import Upload
from carboy.models.codec import Form


@dataclasses.dataclass
class FakeBody:
    """The part of a request that a codec reads, as plain values."""

    data: bytes = b""
    media_type: str = "application/json"
    fields: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    files: dict[str, list[bytes]] = dataclasses.field(default_factory=dict)
    encoding: str = ""

    @property
    def content_type(self) -> str:
        return self.media_type

    def raw(self) -> bytes:
        return self.data

    def form(self) -> Form:
        files = {
            key: [Upload(io.BytesIO(data)) for data in many] for key, many in self.files.items()
        }
        return Form(self.fields, files)
