r"""Parse form bodies into `request.form` and `request.files`, with a fast parser for usual bodies.

Werkzeug's parser is the reference and handles every other body. This module recognises one
kind of multipart body: at most `MAX_IN_MEMORY_BYTES` long and written as current clients write it
(CRLF everywhere, no preamble, one line per header, a final delimiter). It splits such a body with
`bytes.find`. For any other body `split_multipart` returns None and Werkzeug's decoder parses the
same bytes, so results, errors and limits are always Werkzeug's. Only the content of a long file
goes past the decoder, up to the next delimiter.

Both parsers find the same parts, because every occurrence of `--boundary` outside a header must be
a delimiter in the strict form, `\r\n--boundary\r\n` or `\r\n--boundary--`. A parser that is more
lenient about line ends or padding can then neither see another delimiter nor miss one.
"""

from __future__ import annotations

import re
import typing as t

from werkzeug.datastructures import FileStorage, Headers, ImmutableMultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser as _WerkzeugFormDataParser
from werkzeug.formparser import MultiPartParser
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData, State

from .percentescapes import form_pairs
from .spooledfile import MAX_IN_MEMORY_BYTES, SpooledFile, SpoolFullError, is_without_room, spool

T = t.TypeVar("T")

if t.TYPE_CHECKING:
    from werkzeug.datastructures import MultiDict

    ParseResult = tuple[t.IO[bytes], MultiDict[str, str], MultiDict[str, FileStorage]]

# The largest number of parts in a body, if the app sets no limit: the same as Werkzeug's.
_MAX_PARTS = 1000

# An urlencoded body may have so many fields for each part that a multipart body may have. Werkzeug
# has no limit; a field of two bytes takes 130 bytes of memory.
_FIELDS_PER_PART = 100

# The longest header block of a part. Browsers send about 100 bytes, plus the names.
_MAX_PART_HEADER_BYTES = 8 * 1024

_READ_BYTES = 64 * 1024
# The content of a long file is copied in blocks of so many bytes. PERF: larger blocks are not
# faster.
_BLOCK_BYTES = 256 * 1024

# Matches the two part headers that browsers, curl and requests send; the only escape in the names
# is `%22`. Each repetition is of a negated class that ends at the following literal, so matching
# takes linear time.
_COMMON_PART_HEADERS = re.compile(
    rb'\r\nContent-Disposition: (form-data; name="[^"\\\r\n]*"(?:; filename="[^"\\\r\n]*")?)'
    rb"(?:\r\nContent-Type:[ \t]*([^\r\n]*))?\r\n\r\n"
)

_COMMON_CONTENT_TYPE = "multipart/form-data; boundary="

_charset_of = MultiPartParser().get_part_charset


# The parsed headers of a part: name, filename (None for a field), all headers as pairs,
# Content-Type, Content-Length (0 if there is none), and the offset at which the content starts.
_PartHeaders = tuple[str, str | None, list[tuple[str, str]], str | None, int, int]
# A part of the body: `_PartHeaders`, and the offset at which the content ends. PERF: a plain tuple,
# because a NamedTuple costs 0.6 us more per part.
Part = tuple[str, str | None, list[tuple[str, str]], str | None, int, int, int]


class FormDataParser(_WerkzeugFormDataParser):
    """Werkzeug's `FormDataParser`, but faster for multipart bodies that fit in memory and are
    written as current clients write them.
    """

    def _parse_multipart(
        self,
        stream: t.IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str],
    ) -> ParseResult:
        boundary = options.get("boundary", "")
        limit = self._memory_limit()
        if not _is_plain_boundary(boundary) or (content_length or 0) > limit:
            return self._parse_by_werkzeug(stream, stream, mimetype, content_length, options)

        chunks, is_whole = _read(stream, content_length, limit)
        if is_whole:
            body = b"".join(chunks)
            parsed = self.parse_body(body, boundary, content_length)
            if parsed is not None:
                return stream, *parsed
            chunks = [body]
        again = t.cast("t.IO[bytes]", _ReplayStream(chunks, None if is_whole else stream))
        return self._parse_by_werkzeug(stream, again, mimetype, content_length, options)

    def parse_body(
        self, body: bytes, boundary: str, content_length: int | None
    ) -> tuple[MultiDict[str, str], MultiDict[str, FileStorage]] | None:
        """Return the fields and files of a multipart body that is held in memory; None if Werkzeug
        must parse it.
        """
        if len(body) > self._memory_limit() or not _is_plain_boundary(boundary):
            return None
        parts = split_multipart(body, boundary.encode(), self.max_form_parts)
        return None if parts is None else self._build(body, parts, content_length)

    def _memory_limit(self) -> int:
        # If the app limits the size of a field to less than `MAX_IN_MEMORY_BYTES`, only bodies
        # below that limit are parsed here: no field in them can exceed it, so this parser need not
        # check.
        of_field = self.max_form_memory_size
        return MAX_IN_MEMORY_BYTES if of_field is None else min(of_field, MAX_IN_MEMORY_BYTES)

    def _parse_by_werkzeug(
        self,
        stream: t.IO[bytes],
        source: t.IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str],
    ) -> ParseResult:
        boundary = options.get("boundary", "")
        if not boundary:
            raise ValueError("Missing boundary")
        parser = _StreamParser(
            self.stream_factory,
            self.max_form_memory_size,
            self.cls,
            max_form_parts=self.max_form_parts,
        )
        source = keep_delimiters_whole(source, boundary)
        try:
            form, files = parser.parse(source, boundary.encode("ascii"), content_length)
        except OSError as exc:
            if is_without_room(exc):
                raise SpoolFullError from exc
            raise
        return stream, form, files

    def _build(
        self, body: bytes, parts: list[Part], content_length: int | None
    ) -> tuple[MultiDict[str, str], MultiDict[str, FileStorage]]:
        fields: list[tuple[str, str]] = []
        files: list[tuple[str, FileStorage]] = []
        for name, filename, pairs, content_type, part_length, start, stop in parts:
            if filename is None:
                charset = "utf-8" if content_type is None else _charset_of(Headers(pairs))
                fields.append((name, body[start:stop].decode(charset, "replace")))
                continue
            container: t.IO[bytes]
            if self.stream_factory is spool:
                # PERF: does the same as `spool`, without the cost of a call
                container = SpooledFile(MAX_IN_MEMORY_BYTES, "rb+")
            else:
                container = self.stream_factory(
                    total_content_length=content_length,
                    filename=filename,
                    content_type=content_type,
                    content_length=part_length,
                )
            container.write(body[start:stop])
            container.seek(0)
            headers = Headers()
            # PERF: `Headers(pairs)` would also check for line breaks, which takes 1.2 us
            headers._list.extend(pairs)
            files.append((name, FileStorage(container, filename, name, headers=headers)))
        return self._collect(fields), self._collect(files)

    def _collect(self, pairs: list[tuple[str, T]]) -> MultiDict[str, T]:
        if self.cls is not ImmutableMultiDict:
            return self.cls(pairs)
        # PERF: building the dict of lists directly takes a third of the time of
        # `ImmutableMultiDict(pairs)`, which spends half of its time on determining the type of its
        # argument.
        lists: dict[str, list[T]] = {}
        for name, value in pairs:
            lists.setdefault(name, []).append(value)
        collected: MultiDict[str, T] = ImmutableMultiDict()
        dict.update(collected, lists)
        return collected

    def _parse_urlencoded(
        self,
        stream: t.IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str],
    ) -> ParseResult:
        text = stream.read().decode()
        most = self.max_form_parts
        if most is not None and text.count("&") >= most * _FIELDS_PER_PART:
            raise RequestEntityTooLarge
        # Werkzeug's error handler leaves escapes that are no UTF-8 as they are.
        pairs = form_pairs(text, "werkzeug.url_quote")
        return stream, self._collect(pairs), self._collect([])


class _StreamParser(MultiPartParser):
    """Parses a multipart body with Werkzeug's decoder while the body arrives. The content of long
    files does not pass through the decoder, but is copied directly to their temporary files.

    PERF: an upload takes 0.85 s of CPU time per GB, with the decoder alone 1.15 s. Of these,
    receiving the body takes 0.3 s, and writing the file 0.45 s.
    """

    def parse(
        self, stream: t.IO[bytes], boundary: bytes, content_length: int | None
    ) -> tuple[MultiDict[str, str], MultiDict[str, FileStorage]]:
        limit = self.max_form_memory_size
        decoder = MultipartDecoder(boundary, limit, max_parts=self.max_form_parts)
        parts: list[_FieldPart | _FilePart] = []
        ended = False
        while not ended:
            data = stream.read(self.buffer_size)
            ended = not data
            decoder.receive_data(data or None)
            while not isinstance(event := decoder.next_event(), Epilogue | NeedData):
                if isinstance(event, Field):
                    parts.append(_FieldPart(event, limit))
                elif isinstance(event, File):
                    container = self.start_file_streaming(event, content_length)
                    parts.append(_FilePart(event, container))
                elif isinstance(event, Data):
                    parts[-1].write(event.data)
            if decoder.state is State.DATA and isinstance(parts[-1], _FilePart):
                _copy_content(stream, decoder, parts[-1])
        return (
            self.cls([(part.name, part.value(self)) for part in parts if type(part) is _FieldPart]),
            self.cls([(part.name, part.value()) for part in parts if type(part) is _FilePart]),
        )


class _FieldPart:
    """A field of a form (not a file) whose value is being read from the body."""

    def __init__(self, event: Field, limit: int | None) -> None:
        self.name = event.name
        self._headers = event.headers
        self._limit = limit
        self._content = bytearray()

    def write(self, data: bytes) -> None:
        self._content += data
        if self._limit is not None and len(self._content) > self._limit:
            raise RequestEntityTooLarge

    def value(self, parser: MultiPartParser) -> str:
        return self._content.decode(parser.get_part_charset(self._headers), "replace")


class _FilePart:
    """A file of a form whose content is being read from the body."""

    def __init__(self, event: File, container: t.IO[bytes]) -> None:
        self.name = event.name
        self.write = container.write
        self._event = event
        self._container = container

    def value(self) -> FileStorage:
        event = self._event
        self._container.seek(0)
        return FileStorage(self._container, event.filename, event.name, headers=event.headers)


def _copy_content(stream: t.IO[bytes], decoder: MultipartDecoder, part: _FilePart) -> None:
    """Copy the content of a file from the body to `part`, up to bytes that may be a delimiter.

    The bytes that the decoder has received but not returned are copied first. The decoder holds
    them back because they might be the beginning of a delimiter, but they are content:
    `_WholeDelimiterStream` never ends a read inside a delimiter.
    """
    if isinstance(stream, _WholeDelimiterStream):
        part.write(bytes(decoder.buffer))
        decoder.buffer.clear()
        stream.copy_content(part.write)


def _is_plain_boundary(boundary: str) -> bool:
    return bool(boundary) and boundary.isascii() and boundary.isprintable()


def split_multipart(
    body: bytes, boundary: bytes, max_parts: int | None = None
) -> list[Part] | None:
    """Return the parts of a multipart body, found in one pass.

    Returns None if the body is not as current clients write it; then Werkzeug must parse it.
    """
    if max_parts is None:
        max_parts = _MAX_PARTS
    delimiter = b"--" + boundary
    at = 2 if body.startswith(b"\r\n") else 0
    if not body.startswith(delimiter, at):
        return None
    at += len(delimiter)
    parts: list[Part] = []
    while body.startswith(b"\r\n", at):
        try:
            head = _common_part_headers(body, at) or _any_part_headers(body, at)
        except UnicodeDecodeError:
            return None
        if head is None or len(parts) >= max_parts:
            return None
        start = head[5]
        end = body.find(delimiter, start)
        if end < 0 or body[end - 2 : end] != b"\r\n":
            return None
        # NOTE: if the delimiter directly follows the blank line after the headers, `end - 2` is
        # less than `start`. The slice is then empty, as is the content in Werkzeug.
        parts.append((*head, end - 2))
        at = end + len(delimiter)
    return parts if body.startswith(b"--", at) else None


def _common_part_headers(body: bytes, at: int) -> _PartHeaders | None:
    """Read the headers of a part, which begin at `at`, if they have the form that browsers send.

    Returns None for headers in any other form.
    """
    # PERF: this regex for the two headers that browsers send takes 0.5 us, `_any_part_headers`
    # 7 us.
    match = _COMMON_PART_HEADERS.match(body, at)
    if match is None:
        return None
    raw_disposition, raw_type = match.groups()
    disposition = raw_disposition.decode()
    quoted = disposition.split('"')
    name = quoted[1].replace("%22", '"')
    filename = quoted[3].replace("%22", '"') if len(quoted) > 3 else None
    pairs = [("Content-Disposition", disposition)]
    if raw_type is None:
        return name, filename, pairs, None, 0, match.end()
    content_type = raw_type.decode().strip(" \t")
    pairs.append(("Content-Type", content_type))
    return name, filename, pairs, content_type, 0, match.end()


def _any_part_headers(body: bytes, at: int) -> _PartHeaders | None:
    """Read the headers of a part, if each is on one line that ends in CRLF; else return None."""
    end = body.find(b"\r\n\r\n", at + 2, at + _MAX_PART_HEADER_BYTES)
    block = body[at + 2 : end]
    breaks = block.count(b"\r\n")
    if end < 0 or block.count(b"\r") != breaks or block.count(b"\n") != breaks:
        return None  # Werkzeug must parse a header with a CR or LF outside of a CRLF
    if block.startswith((b"\r\n", b" ", b"\t")) or b"\r\n " in block or b"\r\n\t" in block:
        return None  # Werkzeug must parse a part without headers, or with a header on two lines
    pairs: list[tuple[str, str]] = []
    for line in block.decode().split("\r\n"):
        key, _, value = line.partition(":")
        pairs.append((key.strip(" \t"), value.strip(" \t")))
    headers = Headers(pairs)
    disposition = headers.get("Content-Disposition")
    if disposition is None:
        return None
    options = parse_options_header(disposition)[1]
    # The `name` may be missing. Werkzeug then names the part None too, although its annotations say
    # `str`.
    name = t.cast("str", options.get("name"))
    # `FileStorage` parses Content-Length like Werkzeug's form parser: 0 if the value is not valid.
    length = FileStorage(headers=headers).content_length
    return name, options.get("filename"), pairs, headers.get("Content-Type"), length, end + 4


def parse_content_type(value: str | None) -> tuple[str, dict[str, str]]:
    """Parse a Content-Type header; gives the same result as Werkzeug's `parse_options_header`."""
    # PERF: for a multipart form this shortcut takes 0.4 us, Werkzeug's function 2.1. The shortcut
    # requires a boundary of letters, digits and hyphens, as all current clients send it.
    if value is not None and value.startswith(_COMMON_CONTENT_TYPE):
        boundary = value[len(_COMMON_CONTENT_TYPE) :]
        if boundary.isascii() and boundary.replace("-", "").isalnum():
            return "multipart/form-data", {"boundary": boundary}
    return parse_options_header(value)


def _read(stream: t.IO[bytes], content_length: int | None, limit: int) -> tuple[list[bytes], bool]:
    """Read a stream to its end, but stop once more than `limit` bytes were read.

    Returns:
        The chunks, and whether the stream ended.
    NOTE: the stream has ended only when a read returns nothing. This last read must not be omitted,
    because it raises 413 if the body is too large, and 400 if the client disconnected early.
    """
    chunks: list[bytes] = []
    room = limit
    chunk = stream.read(content_length or _READ_BYTES)
    while chunk:
        chunks.append(chunk)
        room -= len(chunk)
        if room < 0:
            return chunks, False
        chunk = stream.read(_READ_BYTES)
    return chunks, True


# Matches what may follow a delimiter on its line, like `boundary_re` in Werkzeug's decoder.
_END_OF_DELIMITER = re.compile(rb"-|(?:--)?[ \t\f\v]*")

# The most white space after a delimiter, and the most delimiters in succession. Without these
# limits a client could send a body for which the search takes quadratic time.
_MAX_DELIMITER_PADDING = 1024
_MAX_DELIMITERS_IN_A_ROW = 8


def keep_delimiters_whole(stream: t.IO[bytes], boundary: str | None) -> t.IO[bytes]:
    """Return a stream of the same bytes, in which no read ends inside a multipart delimiter.

    If a delimiter is split between two reads, Werkzeug's decoder may take its first part for
    content. One upload in 65,536 then has an additional CR (pallets/werkzeug#3285).
    """
    if not boundary or not boundary.isascii():
        return stream  # Werkzeug's parser refuses a boundary that is empty or not ASCII
    return t.cast("t.IO[bytes]", _WholeDelimiterStream(stream, b"--" + boundary.encode()))


class _WholeDelimiterStream:
    """A stream whose reads never end in a line that may be the beginning of a delimiter.

    Such a line, and the line break before it, is held back until the next read. Before the first
    part, Werkzeug also accepts a delimiter in the middle of a line, and finds it even if it is
    split between two reads.
    """

    def __init__(self, stream: t.IO[bytes], delimiter: bytes) -> None:
        self._stream = stream
        self._delimiter = delimiter
        self._held = b""  # bytes that were read from the stream but not returned yet
        self._unread = b""  # bytes that `copy_content` has read but not written; read again next
        self._is_first = True

    def read(self, size: int) -> bytes:
        data = self._held
        while True:
            more = self._read_more(max(size - len(data), 1024))
            data += more
            end = self._find_end(data) if more else len(data)
            if end or not more:
                self._held = data[end:]
                self._is_first = False
                return data[:end]

    def _read_more(self, size: int) -> bytes:
        if not self._unread:
            return self._stream.read(size)
        data, self._unread = self._unread[:size], self._unread[size:]
        return data

    def copy_content(self, write: t.Callable[[bytes], object]) -> None:
        """Read from the stream, and pass the bytes to `write`, up to the next bytes that may be a
        delimiter. These bytes, and the line break before them, are left to the next `read`.
        """
        while block := self.read(_BLOCK_BYTES):
            at = block.find(self._delimiter)
            if at < 0:
                write(block)
                continue
            end = max(at - 2, 0)
            write(block[:end])
            self._unread = block[end:] + self._held + self._unread
            self._held = b""
            return

    def _find_end(self, data: bytes) -> int:
        """Return how many bytes of `data` can be returned by `read`; the others are held back.

        The result is 0 if all of `data` may be the beginning of a delimiter.
        """
        end, held = len(data), self._hold_last_line(data, len(data), self._may_begin)
        # If the last line is held back, the line before it becomes the last one of the data that
        # `read` returns. That line must be held back, too, if it is a delimiter.
        for _ in range(_MAX_DELIMITERS_IN_A_ROW):
            if held in (0, end):
                return held
            end, held = held, self._hold_last_line(data, held, self._is_delimiter)
        raise ValueError("The form has delimiters without parts between them.")

    def _hold_last_line(self, data: bytes, end: int, is_held: t.Callable[[bytes], bool]) -> int:
        """Return where to cut `data`: at `end`, but if `is_held` is true for the last line, before
        that line.

        The line break before a line that is held back is held back too.
        """
        line_break = max(data.rfind(b"\r", 0, end), data.rfind(b"\n", 0, end))
        if line_break < 0:
            return 0 if self._is_first and is_held(data[:end]) else end
        if not is_held(data[line_break + 1 : end]):
            return end
        return line_break - data.endswith(b"\r\n", 0, line_break + 1)

    def _may_begin(self, line: bytes) -> bool:
        """Return whether a line, which may be incomplete, may be a delimiter or the beginning of
        one.
        """
        delimiter = self._delimiter
        if len(line) <= len(delimiter):
            return delimiter.startswith(line)
        if not (line.startswith(delimiter) and _END_OF_DELIMITER.fullmatch(line, len(delimiter))):
            return False
        if len(line) > len(delimiter) + _MAX_DELIMITER_PADDING:
            raise ValueError("A delimiter of the form is followed by too much white space.")
        return True

    def _is_delimiter(self, line: bytes) -> bool:
        return len(line) >= len(self._delimiter) and self._may_begin(line)

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._stream, name)


class _ReplayStream:
    """A stream that first returns chunks already read from another stream, then reads the rest of
    it.

    Each read returns one chunk, because Werkzeug checks the size of each against
    `max_form_memory_size`.
    """

    def __init__(self, chunks: list[bytes], rest: t.IO[bytes] | None) -> None:
        self._chunks = iter(chunks)
        self._rest = rest

    def read(self, size: int) -> bytes:
        return next(self._chunks, b"") or (b"" if self._rest is None else self._rest.read(size))
