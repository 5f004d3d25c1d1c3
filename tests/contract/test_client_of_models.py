"""`client.call` sends the arguments of a model in a request, and returns the result."""

import dataclasses
import typing as t
from collections import abc as cabc

import msgspec
import PIL.Image
import pytest

from carboy import Carboy
from carboy.models import DataFrame, Image, Tensor
from carboy.testing import CallError

Pairs = Tensor["float32", 2, "n"]


class Point(msgspec.Struct):
    x: float
    y: float = 0


@dataclasses.dataclass
class Size:
    width: int
    height: int


def register(app: Carboy, predict: t.Any, **options: t.Any) -> t.Any:
    return app.model(f"/{predict.__name__}", **options)(predict)


def test_record_is_sent_and_a_number_returned(app, client):
    def norm(point: Point) -> float:
        return (point.x**2 + point.y**2) ** 0.5

    register(app, norm)
    assert client.call(norm, point=Point(3, 4)) == 5
    assert client.call("norm", point={"x": 3, "y": 4}) == 5
    assert client.call(app.models["norm"], point=Point(3, 4)) == 5


def test_model_is_called_by_its_class(app, client):
    @app.model("/v1/area", name="surface", batch=4)
    class Area:
        def predict(self, width: list[int], height: list[int]) -> list[Size]:
            return [Size(*sides) for sides in zip(width, height, strict=True)]

    assert client.call(Area, width=2, height=3) == Size(2, 3)
    assert client.call("surface", width=2, height=3) == Size(2, 3)


def test_argument_with_a_default_may_be_missing(app, client):
    def shout(text: str, times: int = 2) -> str:
        return text.upper() * times

    register(app, shout)
    assert client.call(shout, text="ab") == "ABAB"
    assert client.call(shout, text="ab", times=1) == "AB"


def test_image_is_sent_and_returned(app, client):
    def mirror(picture: Image) -> Image:
        return picture.rotate(90)

    register(app, mirror)
    back = client.call(mirror, picture=PIL.Image.new("RGB", (3, 3), "red"))
    assert (back.size, back.getpixel((1, 1))) == ((3, 3), (255, 0, 0))


def test_image_is_sent_beside_another_argument(app, client):
    def scaled(picture: Image, by: float, name: str = "") -> Size:
        return Size(round(picture.width * by), len(name))

    register(app, scaled)
    picture = PIL.Image.new("L", (10, 4))
    assert client.call(scaled, picture=picture, by=0.5) == Size(5, 0)
    assert client.call(scaled, picture=picture, by=2, name="äöü") == Size(20, 3)


def test_list_for_an_image_or_list_is_sent_as_json(app, client):
    def dots(picture: Image | list[int]) -> int:
        return len(picture) if isinstance(picture, list) else picture.width

    register(app, dots)
    assert client.call(dots, picture=[1, 2, 3]) == 3
    assert client.call(dots, picture=PIL.Image.new("L", (7, 1))) == 7


def test_bytes_are_sent_and_returned(app, client):
    def size(data: bytes) -> bytes:
        return str(len(data)).encode()

    register(app, size)
    assert client.call(size, data=b"\x00\xff") == b"2"


def test_array_is_sent_and_returned(app, client):
    np = pytest.importorskip("numpy")

    def double(x: Pairs) -> Pairs:
        return x * 2

    register(app, double)
    back = client.call(double, x=np.array([[1, 2], [3, 4]], dtype=np.float32))
    assert (back.dtype, back.tolist()) == (np.float32, [[2, 4], [6, 8]])
    assert client.call(double, x=[[1], [2]]).tolist() == [[2], [4]]


def test_table_is_sent_and_returned(app, client):
    pd = pytest.importorskip("pandas")

    def first(points: DataFrame[Point]) -> DataFrame:
        return points.head(1)

    register(app, first)
    back = client.call(first, points=pd.DataFrame({"x": [1.0, 2.0], "y": [0.0, 3.0]}))
    assert back.to_dict("records") == [{"x": 1, "y": 0}]


def test_stream_is_returned_as_a_list(app, client):
    def count(to: int) -> cabc.Iterator[Point]:
        for x in range(to):
            yield Point(x)

    register(app, count)
    assert client.call(count, to=2) == [Point(0), Point(1)]


def test_failed_stream_is_a_call_error(app, client):
    def count(to: int) -> cabc.Iterator[Point]:
        yield Point(0)
        if to > 1:
            raise ZeroDivisionError("nothing")

    register(app, count)
    assert client.call(count, to=1) == [Point(0)]
    with pytest.raises(CallError, match=r"call\('count'\) .* stream that ended in 500") as caught:
        client.call(count, to=2)
    assert caught.value.status == 500
    assert "request id" in caught.value.detail


def test_item_that_resembles_an_error_is_returned(app, client):
    def odd(n: int) -> cabc.Iterator[dict[str, dict[str, int]]]:
        yield from [{"error": {"status": 500}}] * n

    register(app, odd)
    assert client.call(odd, n=2) == [{"error": {"status": 500}}] * 2
    assert client.call(odd, n=0) == []


def test_result_without_a_type_is_plain_values(app, client):
    def plain(x: int):
        return {"x": x}

    register(app, plain)
    assert client.call(plain, x=1) == {"x": 1}


def test_result_of_a_class_that_json_lacks_is_plain_values(app, client):
    np = pytest.importorskip("numpy")

    def ones(n: int) -> np.ndarray:
        return np.ones(n)

    def thumbnails(n: int) -> list[Image]:
        return [PIL.Image.new("L", (1, 1))] * n

    register(app, ones)
    register(app, thumbnails)
    assert client.call(ones, n=2) == [1, 1]
    (picture,) = client.call(thumbnails, n=1)
    assert picture.size == (1, 1)


def test_refused_input_is_a_call_error_with_paths(app, client):
    def norm(point: Point) -> float:
        return point.x

    register(app, norm)
    with pytest.raises(CallError, match=r"call\('norm'\) was answered with 422") as caught:
        client.call(norm, point={"x": "three"})
    assert [error["path"] for error in caught.value.errors] == ["$.x"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [({}, "the argument 'x' is required"), ({"x": 1, "z": 2}, "takes no argument named 'z'")],
    ids=["missing", "unknown"],
)
def test_missing_argument_is_an_error_before_sending(app, client, arguments, says):
    def plain(x: int) -> int:
        return x

    register(app, plain)
    with pytest.raises(TypeError, match=says):
        client.call(plain, **arguments)


def test_error_for_an_unknown_model_lists_the_known_ones(app, client):
    def plain(x: int) -> int:
        return x

    register(app, plain)
    with pytest.raises(LookupError, match="plain"):
        client.call("plane", x=1)


def test_views_of_an_app_with_models_are_called(app, client):
    @app.get("/twice")
    def twice(n: int) -> dict[str, int]:
        return {"n": 2 * n}

    register(app, same)
    assert client.call(twice, n=2) == {"n": 4}


def same(x: int) -> int:
    return x
