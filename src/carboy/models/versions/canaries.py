"""Canaries: versions that compute a share of the requests, so that few clients meet a bad one."""

from __future__ import annotations

import typing as t
from hashlib import blake2b

from werkzeug.http import parse_options_header

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ..protocol import PredictionRequest
    from .modelversion import ModelVersion


class CanaryRouter:
    """Decides which version computes a request.

    A request belongs to a version by a key that does not change when it is sent again, so that a
    client does not get answers of different versions in turn. If the share of a version is raised,
    the requests that it computed before stay with it.

    Args:
        model: the name of the model. Models with the same shares choose different requests.
        shares: the shares of the requests, between 0 and 1, by the versions that compute them.
        header: the request header with the key, such as the id of a user. The body is the key of a
            request without this header.
    """

    def __init__(self, model: str, shares: cabc.Mapping[str, float], header: str | None) -> None:
        self.shares = dict(shares)
        #: The versions that are loaded, by name.
        self.loaded: dict[str, ModelVersion] = {}
        self._salt = model.encode()
        self._header = header

    def find(self, request: PredictionRequest) -> ModelVersion | None:
        """Return the version that computes a request; None if it is the current version."""
        key = self._header and request.header(self._header)
        point = self._point(key.encode() if key else _body_of(request))
        for name, share in self.shares.items():
            if point < share:
                return self.loaded.get(name)
            point -= share
        return None

    def _point(self, key: bytes) -> float:
        """Return a number between 0 and 1 that is always the same for a key."""
        digest = blake2b(self._salt + b"\0" + key, digest_size=8).digest()
        return int.from_bytes(digest) / 2**64


def _body_of(request: PredictionRequest) -> bytes:
    """Return the body of a request without the boundary between the parts of a form, which clients
    choose anew for each request.
    """
    body, content_type = request.raw(), request.header("Content-Type")
    if content_type[:10].lower() != "multipart/":
        return body
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    return body.replace(b"--" + boundary.encode(), b"--")
