"""Print the requests of a project's own tests, and whether that project takes them for valid.

    python collect_requests.py NAME FOLDER

FOLDER has the unpacked source distribution of gunicorn, h11 or waitress. Of h11 and waitress, the
tests are run, and what they feed to the parser is recorded. The output is a list in JSON: name of
the case, its bytes as Latin-1, whether it is valid.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import sys
import typing as t
import unittest

Case = tuple[str, bytes, bool]


def of_gunicorn(folder: pathlib.Path) -> t.Iterator[Case]:
    """Files with escapes, in folders that say what they are."""
    for path in sorted((folder / "tests" / "requests").glob("*/*.http")):
        data = path.read_bytes().replace(b"\n", b"").replace(b"\\r\\n", b"\r\n")
        data = data.replace(b"\\0", b"\0").replace(b"\\n", b"\n").replace(b"\\t", b"\t")
        data = re.sub(rb"\\x([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), data)
        yield f"{path.parent.name}/{path.stem}", data, path.parent.name == "valid"


def of_h11(folder: pathlib.Path) -> t.Iterator[Case]:
    """What the tests of reading give to the reader of a request's head."""
    sys.path.insert(0, str(folder))
    from h11.tests import test_io  # type: ignore[import-not-found]

    found: list[tuple[bytes, bool]] = []
    reader = test_io.READERS[test_io.CLIENT, test_io.IDLE]

    def record(read: t.Any, data: bytes, expected: object) -> None:
        valid = False
        try:
            read(test_io.makebuf(bytes(data)))
            valid = True
        finally:
            if read is reader:
                found.append((bytes(data), valid))

    test_io.tr = record
    for name, test in list(vars(test_io).items()):
        if name.startswith("test_") and not test.__code__.co_argcount:
            del found[:]
            test()
            for number, (data, valid) in enumerate(found, 1):
                yield f"{name.removeprefix('test_')}/{number}", data, valid


def of_waitress(folder: pathlib.Path) -> t.Iterator[Case]:
    """What the tests of the parser give to it."""
    sys.path[:0] = [str(folder / "src"), str(folder)]
    from tests import test_parser  # type: ignore[attr-defined]

    parser_class = test_parser.HTTPRequestParser
    received, parse_header = parser_class.received, parser_class.parse_header
    found: dict[int, list[t.Any]] = {}  # bytes and validity by parser

    def record_received(parser: t.Any, data: bytes) -> t.Any:
        entry = found.setdefault(id(parser), [b"", None, parser])
        taken = received(parser, data)
        entry[0] += data[:taken]
        if parser.completed:
            entry[1] = parser.error is None
        return taken

    def record_header(parser: t.Any, data: bytes) -> None:
        valid = False
        try:
            parse_header(parser, data)
            valid = True
        finally:
            if id(parser) not in found:  # called by the test itself
                found[id(parser)] = [data.rstrip(b"\r\n") + b"\r\n\r\n", valid, parser]

    parser_class.received, parser_class.parse_header = record_received, record_header
    for suite in unittest.defaultTestLoader.loadTestsFromModule(test_parser):
        for test in t.cast("unittest.TestSuite", suite):
            found.clear()
            test.run()
            name = test.id().split(".")[-1].removeprefix("test_")
            for number, (data, valid, _) in enumerate(list(found.values()), 1):
                if valid is not None and data.strip():
                    # The tests write 8.4 where the version does not matter.
                    yield f"{name}/{number}", data.replace(b"HTTP/8.4", b"HTTP/1.0"), valid


COLLECT = {"gunicorn": of_gunicorn, "h11": of_h11, "waitress": of_waitress}

if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # the tests print, too
        cases = list(COLLECT[sys.argv[1]](pathlib.Path(sys.argv[2])))
    json.dump([(name, data.decode("latin-1"), valid) for name, data, valid in cases], sys.stdout)
