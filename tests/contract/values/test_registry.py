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
from carboy.contract.values.registry import PictureWire, part, require, wire_of, wires_in
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
def test_each_kind_of_value_has_its_wire(annotation, name):
    wire = wire_of(annotation)
    assert wire.name == name
    assert wire.media_types
    assert wire.answers
    assert "type" in wire.schema()
    msgspec.json.Decoder(wire.json_type)


@pytest.mark.parametrize(
    "annotation",
    [int, list[float], dict[str, int], t.Any, None, list[Image], Image | None],
    ids=str,
)
def test_what_json_says_has_none(annotation):
    assert wire_of(annotation) is None


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
def test_a_union_is_parted_and_what_takes_anything_is_asked_last(annotation, names, rest):
    found = part(annotation)
    assert [wire.name for wire in found.wires] == names
    assert found.rest == rest


def test_options_are_found_within_a_union():
    (wire,) = part(Small | None).wires
    assert t.cast("PictureWire", wire).options.max_pixels == 9


def test_wires_are_found_inside_other_types():
    kind = dict[str, list[Image | None]] | Vector
    assert sorted(wire.name for wire in wires_in(kind) if wire.packages) == ["image", "tensor"]


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        (Image, "Model 'm' takes or gives images, and Pillow is not installed: pip install Pillow"),
        (Vector, "tensors, and numpy is not installed: pip install numpy"),
    ],
)
def test_a_package_that_is_missing_is_named(monkeypatch, annotation, says):
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    with pytest.raises(SignatureError, match=says):
        require(wire_of(annotation), "Model 'm'")


def test_text_and_bytes_need_no_package(monkeypatch):
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    require(wire_of(str), "Model 'm'")


def test_a_picture_is_written_as_what_is_asked_for(picture):
    wire = wire_of(Image)
    image = wire.read(picture())
    for media_type in ("image/png", "image/jpeg", "image/webp"):
        again = wire.read(wire.write(image.convert("RGBA"), media_type))
        assert (again.size, f"image/{again.format or ''}".lower()) in [
            (image.size, media_type),
            (image.size, "image/"),  # turned upright, it is a new picture
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
