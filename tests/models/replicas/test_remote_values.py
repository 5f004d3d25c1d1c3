"""Arguments and results that go to a replica and back are as if `predict` had been called here."""

from __future__ import annotations

import datetime as dt
import decimal
import gc
import io
import pathlib
import typing as t
import uuid

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import replicamodels as models
from replicaprocesses import ReplicaThread

from carboy import Upload
from carboy.models.replicas.rawbody import RawBody

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from carboy.models.replicas.remote import RemoteReplicas

MOMENT = dt.datetime(2026, 11, 29, 22, 15, tzinfo=dt.UTC)
LARGE = np.arange(60_000, dtype="f4").reshape(1, 60_000)


def shared_memories() -> set[str]:
    """Return the inodes of the shared memory that this process has mapped."""
    maps = pathlib.Path("/proc/self/maps").read_text().splitlines()
    return {line.split()[4] for line in maps if "memfd:carboy-batch" in line}


@pytest.fixture
def replica_of() -> cabc.Iterator[t.Callable[[str], RemoteReplicas]]:
    opened: list[tuple[ReplicaThread, RemoteReplicas]] = []

    def open_one(name: str) -> RemoteReplicas:
        there = ReplicaThread(name).__enter__()
        opened.append((there, there.remote()))
        opened[-1][1].load()
        return opened[-1][1]

    yield open_one
    for there, remote in opened:
        remote.close()
        there.__exit__()


def test_a_body_is_decoded_by_the_replica_and_fails_alone(replica_of):
    found = replica_of("echo").compute(
        [
            RawBody("text/html", "", (b"<p>",)),
            {"x": 1},
            RawBody("application/json", "", (b"2", b"3")),
            RawBody("application/json", "", (b'"text"',)),
            RawBody("application/json", "gzip", (b"5",)),
            {"x": 4},
        ]
    )
    assert [each for each in found if isinstance(each, int)] == [1, 23, 4]
    assert [getattr(each, "status", 200) for each in found] == [415, 200, 200, 422, 415, 200]
    assert found[3].faults[0].expected == "`int`"


def test_a_picture_is_decoded_by_the_replica(replica_of):
    file = io.BytesIO()
    PIL.Image.new("RGB", (40, 30), (9, 9, 9)).save(file, "PNG")
    (found,) = replica_of("picture").compute([RawBody("image/png", "", (file.getvalue(),))])
    assert (found.size, found.getpixel((0, 0))) == ((40, 30), (9, 9, 9))


def test_records_arrive_as_instances_of_their_class(replica_of):
    rose = models.Flower(1.5, MOMENT, {"red"})
    found = replica_of("records").compute([{"flower": rose, "n": 2}, {"flower": rose, "n": None}])
    assert found == [
        models.Flower(3.0, MOMENT, {"red", "x"}),
        models.Flower(1.5, MOMENT, {"red", "x"}),
    ]


def test_pydantic_models_arrive_as_instances_of_their_class(replica_of):
    (found,) = replica_of("pet").compute(
        [{"animal": models.Pet(name="a", born=dt.date(2026, 1, 1))}]
    )
    assert found == models.Pet(name="A", born=dt.date(2026, 1, 2))


def test_a_record_may_contain_times_numbers_bytes_and_arrays(replica_of):
    given = models.Mixture(
        dt.date(2026, 1, 1), decimal.Decimal("1.10"), uuid.uuid4(), models.Color.RED, b"\0\xff",
        np.array([1.0, 2.0]),
    )  # fmt: skip
    (found,) = replica_of("mixture").compute([{"x": given}])
    assert (found.when, found.price, found.key, found.color, found.data) == (
        given.when, given.price, given.key, given.color, given.data,
    )  # fmt: skip
    assert found.weights.tolist() == [2.0, 3.0]


def test_pictures_arrive_with_mode_and_pixels(replica_of):
    for given in (PIL.Image.effect_noise((30, 20), 9), PIL.Image.new("RGB", (300, 200), (1, 2, 3))):
        (found,) = replica_of("picture").compute([{"image": given}])
        assert (found.mode, found.size) == (given.mode, given.size)
        assert found.tobytes() == given.transpose(0).tobytes()


def test_uploads_arrive_with_name_and_type(replica_of):
    file = Upload(io.BytesIO(b"12345"), name="a.bin", media_type="application/x-a", size=5)
    assert replica_of("size").compute([{"file": file}]) == [["a.bin", "application/x-a", 5]]
    assert file.read() == b"12345", "the client's own file is not used up"


def test_tables_are_joined_and_cut_as_in_process(replica_of):
    tables = [pd.DataFrame({"a": [1, 2], "b": [0.5, 0.25]}), pd.DataFrame({"a": [3], "b": [0.0]})]
    found = replica_of("table").compute([{"rows": each} for each in tables])
    assert [each.to_dict("list") for each in found] == [
        {"a": [1, 2], "b": [0.5, 0.25], "total": [1.5, 2.25]},
        {"a": [3], "b": [0.0], "total": [3.0]},
    ]


@pytest.mark.parametrize("width", [4, 60_000], ids=["on the socket", "in shared memory"])
def test_arrays_of_one_shape_are_one_writable_array(replica_of, width):
    remote = replica_of("stacked")
    rows = [np.full(width, i, "f4") for i in range(5)]
    for _ in range(3):
        found = remote.compute([{"x": row} for row in rows])
        assert [each.tolist() for each in found] == [(2 * row).tolist() for row in rows]
    assert [float(row[0]) for row in rows] == [0, 1, 2, 3, 4], "the arguments are not changed"


def test_shared_memory_is_used_again_unless_the_model_keeps_a_part_of_it(replica_of):
    for name, is_kept in (("stacked", False), ("keeper", True)):
        gc.collect()  # else what an earlier test has mapped may be freed meanwhile
        remote = replica_of(name)
        found = [shared_memories() for _ in range(3) if remote.compute([{"x": LARGE[0]}])]
        assert found[0]
        assert (found[0] != found[2]) is is_kept


def test_arrays_of_several_shapes_are_computed_in_groups(replica_of):
    rows = [np.ones(3, "f4"), np.ones(2, "f4"), np.ones(3, "f4")]
    found = replica_of("stacked").compute([{"x": row} for row in rows])
    assert [each.tolist() for each in found] == [[2, 2, 2], [2, 2], [2, 2, 2]]


def test_an_array_that_the_model_keeps_is_never_overwritten(replica_of):
    remote = replica_of("keeper")
    for i in range(5):
        found = remote.compute([{"x": LARGE[0] + i}, {"x": LARGE[0] + i}])
        assert all((each == LARGE[0]).all() for each in found), f"at batch {i}"


def test_an_array_without_dimensions_and_an_empty_one_arrive(replica_of):
    remote = replica_of("same-array")
    for shape in ((), (0,), (2, 0, 3), (1, 1)):
        (found,) = remote.compute([{"x": np.ones(shape, "f4")}])
        assert (found.shape, found.dtype) == (shape, np.float32)


def test_numbers_of_numpy_become_plain_and_other_objects_fail_alone(replica_of):
    remote = replica_of("undeclared")
    (found,) = remote.compute([{"x": 0.5}])
    assert (found, type(found)) == (0.5, float)
    with pytest.raises(TypeError, match=r"predict returned .*cannot be sent.*object"):
        remote.compute([{"x": 0.0}])


def test_integers_of_any_size_arrive(replica_of):
    assert replica_of("echo").compute([{"x": 2**80}, {"x": 1}]) == [2**80, 1]


def test_an_argument_that_cannot_be_sent_is_refused(replica_of):
    remote = replica_of("echo")
    with pytest.raises(TypeError, match=r"cannot be sent to another process.*object"):
        remote.compute([{"x": object()}])
    assert remote.compute([{"x": 1}]) == [1]


def test_an_argument_of_another_type_is_refused_by_name(replica_of):
    with pytest.raises(ValueError, match=r"argument 'x' does not fit its type.*`int`.*`str`"):
        replica_of("echo").compute([{"x": "text"}])


def test_an_exception_has_its_class_arguments_and_attributes(replica_of):
    remote = replica_of("echo")
    with pytest.raises(ValueError, match=r"^minus one") as caught:
        remote.compute([{"x": -1}])
    assert "in _act" in caught.value.__notes__[0]
    with pytest.raises(models.OwnError) as own:
        remote.compute([{"x": -5}])
    assert (own.value.args, own.value.hint) == ((5,), "five")
    with pytest.raises(models.InputError) as refused:
        remote.compute([{"x": -6}])
    assert refused.value.faults[0].path == "$.x"
    assert refused.value.below("$.y").faults[0].path == "$.y.x"


def test_items_of_a_stream_arrive_and_end(replica_of):
    remote = replica_of("counted")
    (items,) = remote.compute([{"n": 5}])
    assert list(items) == [0, 1, 2, 3, 4]
    (items,) = remote.compute([{"n": 0}])
    assert list(items) == []


@pytest.mark.parametrize("size", [1, 30_000, 100_000, 2_000_000])
def test_long_items_of_a_stream_arrive_as_they_were_sent(replica_of, size):
    """The replica sends some items before the first one is read."""
    (items,) = replica_of("chunks").compute([{"n": 20, "size": size}])
    for i, item in enumerate(items):
        assert (set(item), len(item)) == ({i}, size)
    assert i == 19


def test_a_failure_in_a_stream_comes_after_its_items(replica_of):
    (items,) = replica_of("counted").compute([{"n": 20}])
    for i in range(13):
        assert next(items) == i
    with pytest.raises(ValueError, match="thirteen"):
        next(items)


def test_a_stream_is_ahead_of_its_reader_by_a_few_items(replica_of, tmp_path):
    remote = replica_of("counted")
    path = tmp_path / "made"
    (items,) = remote.compute([{"n": 13, "path": str(path)}])
    assert next(items) == 0
    items.close()
    assert 1 <= int(path.read_text()) <= 18
    (again,) = remote.compute([{"n": 3}])
    assert list(again) == [0, 1, 2]
