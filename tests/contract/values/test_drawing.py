from __future__ import annotations

import io

import msgspec
import PIL.Image
import pytest

from carboy.contract.values.drawing import ANSWERS, data_url, write
from carboy.contract.values.image import open_text

MODES = ["1", "L", "LA", "I", "I;16", "F", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"]
MODES += ["LAB", "La", "RGBa"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("media_type", ANSWERS[:3])
def test_a_picture_of_any_mode_has_each_form(mode, media_type):
    data = write(PIL.Image.new(mode, (5, 3)), media_type)
    read = PIL.Image.open(io.BytesIO(data))
    assert (read.size, f"image/{read.format.lower()}") == ((5, 3), media_type)


def test_png_keeps_what_can_be_seen_through():
    picture = PIL.Image.new("RGBa", (1, 1), (10, 20, 30, 40))
    assert PIL.Image.open(io.BytesIO(write(picture, "image/png"))).mode == "RGBA"


def test_what_is_written_in_json_can_be_sent_back():
    picture = PIL.Image.linear_gradient("L")
    text = data_url(picture)
    assert msgspec.json.decode(write(picture, "application/json")) == text
    assert open_text(text).tobytes() == picture.tobytes()
