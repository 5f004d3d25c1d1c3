from __future__ import annotations

import subprocess
import sys
import typing as t

import msgspec
import numpy as np
import pytest
from naming import stable_repr

from carboy.contract.values import registry
from carboy.contract.values.file import Upload
from carboy.contract.values.registry import ImageKind, kind_of, kinds_in, part, require
from carboy.errors import SignatureError
from carboy.models import DataFrame, Image, ImageOptions, Tensor

Vector = Tensor["float32", 3]
Small = t.Annotated[Image, ImageOptions(max_pixels=9)]


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (Image, "image"),
        (Small, "image"),
        (t.NewType("Face", Image), "image"),
        (Vector, "tensor"),
        (t.Annotated[np.ndarray, Vector], "tensor"),
        (DataFrame, "table"),
        (str, "text"),
        (t.Annotated[str, msgspec.Meta(max_length=3)], "text"),
        (bytes, "bytes"),
        (Upload, "bytes"),
    ],
    ids=stable_repr,
)
def test_type_has_its_kind(annotation, name):
    reader = kind_of(annotation)
    assert reader.name == name
    assert reader.media_types
    assert reader.answers()
    assert "type" in reader.schema()
    msgspec.json.Decoder(reader.json_type)


@pytest.mark.parametrize(
    "annotation",
    [int, list[float], dict[str, int], t.Any, None, list[Image], Image | None],
    ids=str,
)
def test_plain_json_has_no_kind(annotation):
    assert kind_of(annotation) is None


@pytest.mark.parametrize(
    ("annotation", "names", "rest"),
    [
        (Image, ["image"], None),
        (Image | None, ["image"], type(None)),
        (Image | list[float], ["image"], list[float]),
        (Image | list[float] | None, ["image"], list[float] | None),
        (Image | Vector, ["image", "tensor"], None),
        (str | Image, ["image", "text"], None),
        (bytes | Vector | None, ["tensor", "bytes"], type(None)),
        (list[float] | None, [], list[float] | None),
        (int, [], int),
    ],
    ids=str,
)
def test_union_is_split_with_text_and_bytes_last(annotation, names, rest):
    found = part(annotation)
    assert [reader.name for reader in found.kinds] == names
    assert found.rest == rest


def test_options_are_found_within_a_union():
    (reader,) = part(Small | None).kinds
    assert t.cast("ImageKind", reader).options.max_pixels == 9


def test_kinds_are_found_inside_other_types():
    kind = dict[str, list[Image | None]] | Vector
    assert sorted(reader.name for reader in kinds_in(kind) if reader.packages) == [
        "image",
        "tensor",
    ]


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        (Image, "Model 'm' uses the type image, but Pillow is not installed: pip install Pillow"),
        (Vector, "tensor, but numpy is not installed: pip install numpy"),
    ],
)
def test_missing_package_is_named_in_the_error(monkeypatch, annotation, says):
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    with pytest.raises(SignatureError, match=says):
        require(kind_of(annotation), "Model 'm'")


def test_text_and_bytes_need_no_package(monkeypatch):
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    require(kind_of(str), "Model 'm'")


def test_image_is_written_in_the_requested_media_type(picture):
    reader = kind_of(Image)
    image = reader.read(picture())
    for media_type in ("image/png", "image/jpeg", "image/webp"):
        again = reader.read(reader.write(image.convert("RGBA"), media_type))
        assert (again.size, f"image/{again.format or ''}".lower()) in [
            (image.size, media_type),
            # Pillow returns a new image without a format after applying the orientation.
            (image.size, "image/"),
        ]


_LIGHT = """
import sys
from carboy import Carboy
app = Carboy("light")
@app.model("/m")
def m(x: list[float], name: str = "") -> float: return sum(x)
assert app.test_client().post("/m", json={"x": [1, 2]}).json == 3
heavy = {"numpy", "PIL", "pandas", "pyarrow"} & set(sys.modules)
sys.exit(f"loaded {heavy}" if heavy else 0)
"""


def test_an_app_without_such_types_loads_no_heavy_package():
    subprocess.run([sys.executable, "-c", _LIGHT], check=True)
