"""Multipart bodies: carboy's parser compared with Werkzeug's and two libraries, and its worst
cases.

    python bench/forms.py [--quick] [--json FILE]

First table: one form with two fields and an image, parsed from the stream to the two multi-dicts.
Each
body has its own boundary, as each body of a browser has (with one boundary for all, Werkzeug's
compiled
patterns would come from a cache that real requests do not hit). The libraries stop at names and
bytes and
create neither multi-dicts nor file objects, so they look faster than they are.

Second table: bodies made to be slow, each in two sizes: 60 and 480 kB, which carboy keeps in
memory, and 1
and 8 MB, which it streams. A linear parser takes about 8 times as long for the larger one, a
quadratic
one 64 times.

This file is not called multipart.py, which would hide the library of that name.
"""

from __future__ import annotations

import collections.abc as cabc
import functools
import io
import itertools
import os
import typing as t

from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser as WerkzeugParser
from werkzeug.wsgi import LimitedStream

import _results
from _measure import QUICK_ROUNDS, Case, arguments, measure, rounds_of
from carboy.core.formparser import FormDataParser

SIZES = {"20 kB": 20_000, "400 kB": 400_000, "5 MB": 5_000_000}
# Bodies per size; they have more boundaries than the 512 patterns that `re` caches.
BODIES = {"20 kB": 600, "400 kB": 260, "5 MB": 20}
PEERS = ("werkzeug", "multipart", "python-multipart")

Parse = cabc.Callable[[str, bytes], object]


def form(boundary: str, image: bytes) -> bytes:
    delimiter = f"--{boundary}\r\nContent-Disposition: form-data; name="
    head = f'{delimiter}"title"\r\n\r\nIris\r\n{delimiter}"note"\r\n\r\nfrom a meadow\r\n'
    head += f'{delimiter}"image"; filename="iris.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return head.encode() + image + f"\r\n--{boundary}--\r\n".encode()


def with_(parser: type[WerkzeugParser]) -> Parse:
    def parse(boundary: str, body: bytes) -> object:
        stream = LimitedStream(io.BytesIO(body), len(body))
        options = {"boundary": boundary}
        _, fields, files = parser(
            max_form_memory_size=500_000, max_form_parts=1000, cls=ImmutableMultiDict
        ).parse(t.cast("t.IO[bytes]", stream), "multipart/form-data", len(body), options)
        for file in files.values():
            file.close()
        return fields, files

    return parse


def defnull() -> Parse:
    from multipart import PushMultipartParser

    def parse(boundary: str, body: bytes) -> object:
        parts: list[tuple[object, list[bytes]]] = []
        with PushMultipartParser(boundary, content_length=len(body)) as parser:
            for event in parser.parse_blocking(io.BytesIO(body).read):
                if isinstance(event, (bytes, bytearray)):
                    parts[-1][1].append(event)
                elif event is not None:
                    parts.append((event.name, []))
        return [(name, b"".join(chunks)) for name, chunks in parts]

    return parse


def kludex() -> Parse:
    from python_multipart import MultipartParser

    def parse(boundary: str, body: bytes) -> object:
        parts: list[list[bytes]] = []
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": lambda: parts.append([]),
                "on_part_data": lambda data, start, end: parts[-1].append(data[start:end]),
                "on_header_value": lambda data, start, end: data[start:end],
            },
        )
        for at in range(0, len(body), 65536):
            parser.write(body[at : at + 65536])
        parser.finalize()
        return [b"".join(chunks) for chunks in parts]

    return parse


def parsers(record: _results.Record) -> dict[str, Parse]:
    found = {"carboy": with_(FormDataParser), "Werkzeug": with_(WerkzeugParser)}
    for name, make in (("multipart", defnull), ("python-multipart", kludex)):
        try:
            found[name] = make()
        except ImportError:
            record.leave_out(name, "not installed")
    return found


def turns(parse: Parse, bodies: list[tuple[str, bytes]]) -> cabc.Callable[[], object]:
    around = itertools.cycle(bodies)
    return lambda: parse(*next(around))


def compare(record: _results.Record) -> None:
    for size, count in SIZES.items():
        image = os.urandom(count)
        boundaries = [f"----WebKitFormBoundary{os.urandom(8).hex()}" for _ in range(BODIES[size])]
        bodies = [(boundary, form(boundary, image)) for boundary in boundaries]
        cases = [Case(name, turns(parse, bodies)) for name, parse in parsers(record).items()]
        row = record.row(f"image-{count}", f"two fields and an image of {size}")
        row.add_times(measure(cases, rounds=rounds_of(record.options)))


def slow_bodies(boundary: str, count: int) -> dict[str, bytes]:
    near = f"\r\n--{boundary}".encode()
    whole = form(boundary, b"IMAGE")
    start, _, end = whole.partition(b"IMAGE")
    head = start.removesuffix(b"\r\n\r\n")

    def filled(unit: bytes) -> bytes:
        return start + unit * (count // len(unit)) + end

    return {
        "look-alikes": filled(near + b"x"),
        "delimiters but for the last byte": filled(near[:-1]),
        "delimiters without line break": filled(near[2:]),
        "carriage returns": filled(b"\r"),
        "line breaks": filled(b"\r\n"),
        "dashes": filled(b"-"),
        "padding": start + near + b" " * count + end,
        "headers": head + b"\r\nX: y" * (count // 6) + b"\r\n\r\n" + end,
        "a header": head + b"; x" * (count // 3) + b"\r\n\r\n" + end,
        "preamble": near[2:] * (count // len(near)) + whole,
    }


def scale(record: _results.Record) -> None:
    boundary = "----WebKitFormBoundary0123456789abcdef"
    parse = with_(FormDataParser)

    def outcome(body: bytes) -> object:
        try:
            return parse(boundary, body)
        except RequestEntityTooLarge:
            return None

    for small_bytes, large_bytes in ((60_000, 480_000), (1_000_000, 8_000_000)):
        large = slow_bodies(boundary, large_bytes)
        for name, small in slow_bodies(boundary, small_bytes).items():
            refused = ", refused" if outcome(large[name]) is None else ""
            cases = [
                Case("eight times as long", functools.partial(outcome, large[name])),
                Case("short", functools.partial(outcome, small)),
            ]
            row = record.row(
                f"slow-{name.replace(' ', '-')}-{large_bytes}",
                f"{name}, {large_bytes // 1000} kB{refused}",
                ours="eight times as long",
            )
            row.add_times(measure(cases, rounds=QUICK_ROUNDS))


def main() -> None:
    options = arguments(__doc__).parse_args()
    record = _results.Record("forms", options, "carboy", *PEERS, how="in process")
    compare(record)
    scale(record)
    record.close()


if __name__ == "__main__":
    main()
