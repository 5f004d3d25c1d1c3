"""What the protocols of other model servers have in common: errors, and URLs beside predictions."""

from __future__ import annotations

import dataclasses
import re
import typing as t
import zlib
from json import dumps

from carboy.access.accessdeclaration import AccessDeclaration, Purpose
from carboy.contract import inputerrors
from carboy.contract.answers import encode
from carboy.contract.media import JSON
from carboy.core.bytesizes import body_too_large
from carboy.core.nosniff import NOSNIFF
from carboy.core.problemdetails import Problem
from carboy.errors import ConfigError, InputTooLargeError, MalformedInputError
from carboy.globals import request

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from werkzeug.wrappers import Response

    from carboy.contract.framing import Explain

    from ..host import ModelApp
    from ..model import Model
    from ..protocol import PredictionRequest, StreamedAnswer
    from ..queue.stream import ResultStream

#: The purposes of URLs that say whether the server or a model is ready, and of those that describe
#: the server or list all models.
PROBE: t.Final = Purpose("probe")
MODEL_PROBE: t.Final = Purpose("probe", variable="name")
ALL_MODELS: t.Final = Purpose("models")
_GZIP_MAGIC = b"\x1f\x8b\x08"
# How many members a gzip body may have. An empty one of 20 bytes takes 12 us.
_MOST_MEMBERS = 10_000
# Tells `zlib` to read the header and the checksum of gzip.
_GZIP_WBITS = 31
# At the end of a member, `zlib` copies the rest of what it was given.
_SLICE_BYTES = 2**14
# Zeros may follow a member.
_PADDING = re.compile(rb"\0*")
#: The purpose of URLs by which clients change what is served.
CONTROL: t.Final = Purpose("control")


class WireProblem(Problem):
    """An error whose body is `{"error": "..."}`, as Triton, KServe and TensorFlow Serving write
    it.
    """

    def get_body(self, environ: t.Any = None, scope: t.Any = None) -> str:
        return dumps(self.to_wire(self.text(environ)), ensure_ascii=False)

    def get_headers(self, environ: t.Any = None, scope: t.Any = None) -> list[tuple[str, str]]:
        return [("Content-Type", JSON), NOSNIFF, *self.headers]

    def to_wire(self, text: str) -> dict[str, t.Any]:
        """Return the body of the response."""
        return {"error": text}

    @property
    def is_input(self) -> bool:
        """Whether the request is wrong, and not the server."""
        return t.cast("int", self.code) < 500

    def text(self, environ: t.Any) -> str:
        """Return the description. For an error inside it has the request id, because the protocols
        have no member for the id, under which the log has the reason.
        """
        request_id = self.to_dict(environ).get("request_id")
        found = f" (request id {request_id})" if request_id and self.code == 500 else ""
        return f"{self.description}{found}"

    @classmethod
    def of(cls, problem: Problem) -> t.Self:
        """Return the error that the protocol sends for a failed prediction."""
        # These protocols know one status for requests that do not fit the model.
        status = 400 if problem.code == 422 else t.cast("int", problem.code)
        text = problem.description or ""
        return cls(status, text, headers=problem.headers, **problem.members)


class ProtocolWithoutStreams:
    """A part of protocols that cannot send a result item by item, so that models that yield have no
    URL of them: `path` is None for such a model, or `install` refuses it.

    Attributes:
        name: the name of the protocol in the config key MODEL_PROTOCOLS.
        problem: the class of the protocol's errors.
    """

    name: str
    problem: type[WireProblem] = WireProblem

    def body(self, model: Model, request: PredictionRequest) -> bytes:
        """Return the body of a request as it was before its Content-Encoding, gzip or deflate.

        Raises:
            InputError: the body has another encoding, or its decompressed form is too long.
        """
        data, encoding = request.raw(), request.encoding
        if encoding in ("", "identity"):
            return data
        if encoding not in ("gzip", "deflate"):
            raise inputerrors.unsupported_encoding(encoding)
        return _decompressed(data, encoding, model.endpoints[self.name].max_body_bytes())

    def stream(
        self, model: Model, request: PredictionRequest, items: ResultStream, explain: Explain
    ) -> StreamedAnswer:
        raise NotImplementedError

    def refuse(self, model: Model, request: PredictionRequest, problem: Problem) -> Problem:
        return self.problem.of(problem)


def _decompressed(data: bytes, encoding: str, limit: int) -> bytes:
    # gzip and zlib, which HTTP calls deflate, are told by their first bytes.
    read = _gunzip if data[:3] == _GZIP_MAGIC else _inflate
    try:
        found = read(data, limit + 1)
    except EOFError:
        raise MalformedInputError(f"The body ends before its {encoding} data does.") from None
    except zlib.error as exc:
        raise MalformedInputError(f"The body is not valid {encoding}: {exc}.") from exc
    if len(found) > limit:
        raise InputTooLargeError(body_too_large(None, limit, "this model"))
    return found


def _gunzip(data: bytes, most: int) -> bytes:
    """Return at most so many decompressed bytes; of all members, of which gzip may have several."""
    if data.count(_GZIP_MAGIC) > _MOST_MEMBERS:
        raise InputTooLargeError(f"The body has more than {_MOST_MEMBERS:,} gzip members.")
    view, parts, place = memoryview(data), [], 0
    while most and place < len(data):
        # PERF: `gzip.GzipFile` would read the file name in a header byte by byte.
        reader = zlib.decompressobj(_GZIP_WBITS)
        while most and not reader.eof:
            if not (given := view[place : place + _SLICE_BYTES]):
                raise EOFError
            part = reader.decompress(given, most)
            place += len(given) - len(reader.unused_data)
            parts.append(part)
            most -= len(part)
        place = t.cast("re.Match[bytes]", _PADDING.match(data, place)).end()
    return b"".join(parts)


def _inflate(data: bytes, most: int) -> bytes:
    """Return at most so many decompressed bytes."""
    reader = zlib.decompressobj()
    found = reader.decompress(data, most)
    if len(found) < most and not reader.eof:
        raise EOFError
    return found


def add_page(
    app: ModelApp,
    rule: str,
    methods: list[str],
    view: cabc.Callable[..., t.Any],
    *,
    endpoint: str,
    purpose: Purpose,
) -> None:
    """Add a URL of a protocol that computes no prediction. It is hidden from the OpenAPI
    document.

    Args:
        purpose: what the URL gives access to, and so whether clients need a key.

    Raises:
        ConfigError: the URL is that of a model.
    """
    for model in app.models.values():
        own = next(iter(model.endpoints.values()))
        if own.path == rule and not own.subdomain:
            raise ConfigError(
                f"The protocol {endpoint.partition(':')[0]!r} has the URL {rule}, which is that of"
                f" the model {model.name!r} itself. Give the model another rule."
            )
    if purpose.refuse is None:
        purpose = dataclasses.replace(purpose, refuse=WireProblem.of)

    def respond(**variables: t.Any) -> Response:
        return t.cast("Response", view(**variables))

    # The same as `carboy.openapi.operation(hidden=True)`, which this package may not import.
    respond.__openapi_marks__ = {"hidden": True}  # type: ignore[attr-defined]
    access = AccessDeclaration(purpose=purpose)
    app.add_url_rule(rule, endpoint, respond, methods=methods, access=access)


def usable(app: ModelApp, names: cabc.Iterable[str]) -> list[str]:
    """Return those of these models that the client of the current request may use: others do not
    appear in lists and messages.
    """
    access = app.find_overrides().access
    if access is None:
        return list(names)
    return [name for name in names if access.may_use(request.environ, name)]


def json_response(app: ModelApp, value: t.Any, *, status: int = 200) -> Response:
    """Return a response with a value as JSON."""
    response = app.response_class(encode(value), status=status, mimetype=JSON, headers=[NOSNIFF])
    return t.cast("Response", response)
