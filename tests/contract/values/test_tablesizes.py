"""The unpacked sizes that Parquet and Arrow files declare."""

from __future__ import annotations

import io

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carboy.contract.values.registry import kind_of
from carboy.contract.values.tables import arrowsize, parquetsize
from carboy.errors import InputError
from carboy.models import DataFrame

FRAME = pd.DataFrame({"a": range(5000), "b": [i / 7 for i in range(5000)], "c": ["x", "yy"] * 2500})
TABLE = pa.Table.from_pandas(FRAME, preserve_index=False)


def parquet(**options):
    file = io.BytesIO()
    pq.write_table(TABLE, file, **options)
    return file.getvalue()


def unpacked_bytes(data, start, length):
    return sum(page.bytes for page in parquetsize.pages(data, start, length))


def chunks(data):
    about = pq.ParquetFile(io.BytesIO(data)).metadata
    for i in range(about.num_row_groups):
        group = about.row_group(i)
        for k in range(group.num_columns):
            column = group.column(k)
            start = column.dictionary_page_offset or column.data_page_offset
            yield column, start


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zstd", "data_page_size": 500},
        {"data_page_version": "2.0"},
        {"use_dictionary": False, "row_group_size": 700},
        {"write_statistics": True, "write_page_checksum": True, "compression": "gzip"},
    ],
    ids=str,
)
def test_page_sizes_of_a_parquet_file_match_its_footer(options):
    data = parquet(**options)
    for column, start in chunks(data):
        found = unpacked_bytes(data, start, column.total_compressed_size)
        # The footer counts the headers of pages too.
        assert 0.8 * column.total_uncompressed_size <= found <= column.total_uncompressed_size


def test_delta_byte_array_encoding_is_refused():
    data = parquet(use_dictionary=False, column_encoding={"c": "DELTA_BYTE_ARRAY"})
    with pytest.raises(InputError, match="DELTA_BYTE_ARRAY"):
        kind_of(DataFrame).read(data)


def test_all_columns_of_a_file_are_counted():
    found = parquetsize.sizes(parquet(row_group_size=700))
    assert (found.rows, found.columns) == (5000, 3)
    assert found.bytes <= sum(
        c.total_uncompressed_size for c, _ in chunks(parquet(row_group_size=700))
    )


def test_long_footer_is_refused():
    footer = b"\0" * (2**22 + 1)
    with pytest.raises(ValueError, match="its footer has 4,194,305 bytes"):
        parquetsize.sizes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")


@pytest.mark.parametrize(
    "footer", [b"", b"\0", b"\x16\x02\x19\x1c\x00\x00", b"\x46\x02\x00"], ids=repr
)
def test_incomplete_footer_is_refused(footer):
    with pytest.raises(ValueError, match=r"damaged|last bytes"):
        parquetsize.sizes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")


def _varint(number):
    data = b""
    while number > 127:
        data += bytes([number & 127 | 128])
        number >>= 7
    return data + bytes([number])


def _file(header, headers, columns, length=None):
    """Return a Parquet file whose columns all have the same pages, which are headers only."""
    size = _varint((len(header) * headers if length is None else length) << 1)
    column = b"\x3c\x76" + size + b"\x26" + _varint(4 << 1) + b"\x00\x00"
    group = b"\x19\xfc" + _varint(columns) + column * columns + b"\x26\x00\x00"
    footer = b"\x36\x00\x19\x1c" + group + b"\x00"
    return b"PAR1" + header * headers + footer + len(footer).to_bytes(4, "little") + b"PAR1"


_SHORT = b"\x25\x00\x15\x00\x00"
# Headers of many fields, list items, or structs.
_FIELDS = b"\x25\x00\x15\x00" + b"\x15\x00" * 2_000 + b"\x00"
_ITEMS = b"\x25\x00\x15\x00\x19\xf1" + _varint(2_000) + b"\x01" * 2_000 + b"\x00"
_STRUCTS = b"\x25\x00\x15\x00\x19\xfc" + _varint(2_000) + b"\x00" * 2_001


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (_file(_SHORT, 4000, columns=400), "same pages"),
        (_file(_SHORT, 120_000, columns=1), "too many pages"),
        (_file(_FIELDS, 1, columns=1), "too many values"),
        (_file(_ITEMS, 1, columns=1), "too many values"),
        (_file(_STRUCTS, 1, columns=1), "too many values"),
    ],
    ids=["overlapping", "pages", "fields", "items", "structs"],
)
def test_pages_that_take_long_to_count_are_refused(data, says):
    with pytest.raises(InputError, match=says) as caught:
        kind_of(DataFrame).read(data)
    assert caught.value.status == 400


def test_many_small_pages_of_a_usual_file_are_read():
    table = pa.table({"a": range(30_000), "b": ["text"] * 30_000})
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=10)
    assert len(kind_of(DataFrame).read(file.getvalue())) == 30_000


_WORDS = pa.schema([("a", pa.dictionary(pa.int32(), pa.string()))])


def stream_of(columns, schema=_WORDS, **options):
    """Write an Arrow stream with one batch for each column."""
    file = io.BytesIO()
    with pa.ipc.new_stream(file, schema, options=pa.ipc.IpcWriteOptions(**options)) as stream:
        for column in columns:
            stream.write_batch(pa.record_batch([column], schema=schema))
    return file.getvalue()


def coded(indices, dictionary, *, safe=True):
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), dictionary, safe=safe)


@pytest.mark.timeout(60)
def test_a_dictionary_that_many_batches_share_is_validated_once():
    words = pa.array([f"word {i}" for i in range(100_000)])
    data = stream_of([coded([7], words)] * 20_000, compression="zstd")
    frame = kind_of(DataFrame).read(data)
    assert len(frame) == 20_000
    assert set(frame["a"]) == {"word 7"}


def test_a_dictionary_that_each_batch_extends_counts_with_each():
    texts = pa.array([f"text {i}" for i in range(100_000)])
    grown = [coded([0], texts[: 99_800 + i]) for i in range(200)]
    data = stream_of(grown, emit_dictionary_deltas=True)
    assert len(data) < 2**22
    with pytest.raises(InputError, match="bytes when unpacked"):
        kind_of(DataFrame).read(data)


def test_batches_with_shared_replaced_and_extended_dictionaries_are_read():
    first, second = pa.array(["a", "b"]), pa.array(["a", "b", "c"])
    parts = [
        coded([0, None, 1], first),
        coded([1], first),
        coded([2, 0], second),
        coded([], second),
        coded([1, 0, None, 2], second)[1:],
        coded([0], pa.array(["z"])),
    ]
    expected = ["a", None, "b", "b", "c", "a", "a", None, "c", "z"]
    for deltas in (False, True):
        frame = kind_of(DataFrame).read(stream_of(parts, emit_dictionary_deltas=deltas))
        found = [None if pd.isna(each) else each for each in frame["a"]]
        assert found == expected


@pytest.mark.parametrize("index", [2, 2**31 - 1, -1])
def test_an_index_outside_of_a_dictionary_is_refused_in_each_batch(index):
    words = pa.array(["a", "b"])
    parts = [coded([0], words), coded([1], words), coded([index], words, safe=False)]
    with pytest.raises(InputError, match="damaged"):
        kind_of(DataFrame).read(stream_of(parts))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 900), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_footer_gives_sizes_or_a_value_error(changes):
    damaged = bytearray(_FILE)
    for at, byte in changes:
        damaged[-(at % len(damaged))] = byte
    try:
        parquetsize.sizes(bytes(damaged))
    except ValueError:
        pass


_FILE = parquet()


def test_a_column_outside_the_file_is_refused():
    for start, length in ((-1, 10), (0, 11), (5, -1)):
        with pytest.raises(ValueError, match="not inside"):
            unpacked_bytes(b"0123456789", start, length)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_any_page_headers_give_a_size_or_a_value_error(data):
    try:
        assert unpacked_bytes(data, 0, len(data)) >= 0
    except ValueError:
        pass


HEADER = {  # fields 2 and 3, then one more; sizes 0 and 0
    "string": b"\x25\x00\x15\x00\x18\x02ab\x00",
    "list": b"\x25\x00\x15\x00\x19\x25\x02\x04\x00",
    "long-list": b"\x25\x00\x15\x00\x19\xf5\x02\x02\x04\x00",
    "booleans": b"\x25\x00\x15\x00\x19\x21\x01\x02\x11\x00",
    "map": b"\x25\x00\x15\x00\x1b\x01\x55\x02\x04\x00",
    "empty-map": b"\x25\x00\x15\x00\x1b\x00\x00",
    "double-byte": b"\x25\x00\x15\x00\x17" + b"\0" * 8 + b"\x13\x07\x00",
    "far-field": b"\x25\x00\x15\x00\x05\xc8\x01\x02\x00",
}
DAMAGED = {
    "unknown-type": b"\x25\x00\x15\x00\x1d\x00",
    "endless-number": b"\x25" + b"\xff" * 12,
    "long-string": b"\x25\x00\x15\x00\x18\x7f\x00",
    "huge-list": b"\x25\x00\x15\x00\x19\xf1\xff\xff\xff\x7f\x00",
    "negative-size": b"\x25\x01\x15\x00\x00",
    "no-size": b"\x00",
    "deep": b"\x1c" * 20 + b"\x00" * 21,
}


@pytest.mark.parametrize("header", HEADER.values(), ids=HEADER)
def test_unneeded_fields_of_a_page_header_are_skipped(header):
    assert unpacked_bytes(header * 3, 0, len(header) * 3) == 0


@pytest.mark.parametrize("header", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_page_header_is_refused(header):
    with pytest.raises(ValueError, match="damaged"):
        unpacked_bytes(header, 0, len(header))


def messages(**options):
    file = io.BytesIO()
    with pa.ipc.new_stream(file, TABLE.schema, options=pa.ipc.IpcWriteOptions(**options)) as stream:
        stream.write_table(TABLE, max_chunksize=1000)
    return list(pa.ipc.MessageReader.open_stream(file.getvalue()))


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_arrow_buffers_are_counted_unpacked(compression):
    found = sum(
        arrowsize.unpacked_bytes(message.metadata, message.body or b"")
        for message in messages(compression=compression)
    )
    assert TABLE.nbytes * 0.95 <= found <= TABLE.nbytes * 1.1


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 5), st.lists(st.tuples(st.integers(0, 999), st.integers(0, 255)), max_size=4))
def test_damaged_arrow_messages_give_a_size_or_a_value_error(which, changes):
    message = _MESSAGES[which % len(_MESSAGES)]
    metadata = bytearray(message.metadata)
    for at, byte in changes:
        metadata[at % len(metadata)] = byte
    try:
        assert arrowsize.unpacked_bytes(bytes(metadata), message.body or b"") >= 0
    except ValueError:
        pass


_MESSAGES = messages(compression="zstd")
