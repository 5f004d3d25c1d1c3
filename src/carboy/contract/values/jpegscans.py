"""Count the scans of a JPEG file without decoding it.

A progressive JPEG file consists of several scans, each of which makes all pixels more exact. Each
scan takes time for each pixel of the image, although it may have as few as 20 bytes.

Source: ITU-T T.81 (https://www.w3.org/Graphics/JPEG/itu-t81.pdf), annex B.
"""

from __future__ import annotations

import re
import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc

# FF, which may be repeated, and the code of a marker that a segment with a length follows, or of
# the end of the image. Of the other codes, 00 marks an FF within the data of a scan. 01 to BF and
# D0 to D8 have no segment: where the data of a scan restarts, the decoder skips them.
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
_END, _SCAN = 0xD9, 0xDA
# Frames that are not progressive.
_SEQUENTIAL = (0xC0, 0xC1)


def has_more_scans(data: bytes, most: int) -> bool:
    """Return whether more than `most` scans of a JPEG file are decoded."""
    # PERF: this usual file is recognised by its first kilobyte.
    if _has_one_scan(data):
        return False
    # PERF: the loop below takes five times as long as counting these bytes.
    if data.count(b"\xff\xda") <= most:
        return False
    # The bytes may also be part of a preview, a color profile, or a video after the image.
    found = 0
    for code, _ in _segments(data):
        found += code == _SCAN
        if found > most:
            return True
    return False


def _has_one_scan(data: bytes) -> bool:
    """Return whether the first scan has all components of the image: then the decoder ignores all
    that follows.
    """
    components = b""
    for code, at in _segments(data):
        if code in _SEQUENTIAL:
            components = data[at + 7 : at + 8]
        elif code == _SCAN:
            return data[at + 2 : at + 3] == components
    return False


def _segments(data: bytes) -> cabc.Iterator[tuple[int, int]]:
    """Yield the code of each segment before the end of the image, and the position after it."""
    at = 0
    while (marker := _MARKER.search(data, at)) and marker[1][0] != _END:
        at = marker.end()
        yield marker[1][0], at
        at += int.from_bytes(data[at : at + 2], "big")
