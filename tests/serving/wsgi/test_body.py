"""The body that a view reads, against a client made of pieces."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from carboy.serving.wsgi.body import EMPTY, ChunkedBody, SizedBody


def sized(data, length=None):
    return SizedBody(io.BytesIO(data).read, len(data) if length is None else length)


def chunked(data, limit=None):
    return ChunkedBody(io.BytesIO(data).read, limit)


BODIES = pytest.mark.parametrize("make", [sized, chunked], ids=["sized", "chunked"])
steps = st.lists(
    st.tuples(st.sampled_from(["read", "readline"]), st.one_of(st.none(), st.integers(-1, 9)))
)


@BODIES
@given(data=st.binary(max_size=40).map(lambda data: data.replace(b"\x00", b"\n")), calls=steps)
def test_reads_as_a_file_does(make, data, calls):
    body, file = make(data), io.BytesIO(data)
    for name, size in calls:
        assert getattr(body, name)(size) == getattr(file, name)(size)
    assert body.read() == file.read()
    assert body.done


@BODIES
@pytest.mark.parametrize("data", [b"", b"a", b"a\n", b"a\n\nb", b"x" * 20_000 + b"\ny"])
def test_lines_are_those_of_a_file(make, data):
    assert list(make(data)) == list(io.BytesIO(data))
    assert make(data).readlines() == io.BytesIO(data).readlines()
    assert make(data).readlines(2) == io.BytesIO(data).readlines(2)


def test_sized_body_takes_no_more_than_its_length():
    body = sized(b"abcdef", length=3)
    assert body.read() == b"abc"
    assert body.read() == b""
    assert body.done


def test_sized_body_that_is_cut_short_is_an_error():
    body = sized(b"abc", length=10)
    with pytest.raises(ClientDisconnected):
        body.read()


@pytest.mark.parametrize("size", [-1, 4, 1000])
def test_chunked_body_beyond_its_limit_is_an_error(size):
    body = chunked(b"x" * 1000, limit=10)
    with pytest.raises(RequestEntityTooLarge):
        while body.read(size):
            pass


def test_chunked_body_of_its_limit_is_taken():
    assert chunked(b"x" * 10, limit=10).read() == b"x" * 10


def test_empty_body_has_no_state():
    assert EMPTY.read() == EMPTY.read(5) == EMPTY.readline() == b""
    assert list(EMPTY) == []
    assert EMPTY.done
