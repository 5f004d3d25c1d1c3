from __future__ import annotations

import base64
import io
import typing as t
import warnings

import msgspec
import numpy as np
import PIL.Image
import pytest

from carboy.contract.answers import encode
from carboy.contract.values import registry
from carboy.contract.values.image import ImageKind, describe, open_image, sniff
from carboy.contract.values.jpegscans import has_more_scans
from carboy.errors import InputError, InputTooLargeError, UnsupportedInputError
from carboy.models import Image, ImageOptions


@pytest.mark.parametrize(
    ("start", "part"),
    [
        (b"\xff\xd8\xff", b"\xe1\0\2\xff"),
        (b"\x89PNG\r\n\x1a\n", b"\0\0\0\0teSt\x4d\xfb\x5a\xae"),
    ],
    ids=["JPEG", "PNG"],
)
def test_image_of_very_many_empty_parts_is_refused_at_once(start, part):
    with pytest.raises(InputError, match="consists of too many parts"):
        open_image(start + part * 100_000)


def _progressive(size: int = 16) -> tuple[bytes, bytes]:
    """Return a JPEG file without the mark of its end, and its last scan."""
    file = io.BytesIO()
    PIL.Image.radial_gradient("L").resize((size, size)).save(file, "JPEG", progressive=True)
    data = file.getvalue().removesuffix(b"\xff\xd9")
    return data, data[data.rindex(b"\xff\xda") :]


def test_jpeg_of_very_many_scans_is_refused():
    data, scan = _progressive()
    first = data.count(b"\xff\xda")
    assert open_image(data + scan * (100 - first) + b"\xff\xd9").size == (16, 16)
    with pytest.raises(InputError, match="more than 100 scans"):
        open_image(data + scan * (101 - first) + b"\xff\xd9")


def test_only_scans_of_the_image_are_counted():
    data, scan = _progressive()
    preview = b"\xff\xe1" + (2 + 120 * len(scan)).to_bytes(2, "big") + scan * 120
    video = scan * 120
    whole = data[:2] + preview + data[2:] + b"\xff\xd9" + video
    count = data.count(b"\xff\xda")
    assert has_more_scans(whole, count - 1)
    assert not has_more_scans(whole, count)


@pytest.mark.parametrize("code", [0x01, 0x02, 0xBF, 0xD0, 0xD7, 0xD8])
def test_scans_after_a_marker_without_a_length_are_counted(code):
    data, scan = _progressive()
    hidden = scan * 120
    marker = bytes([0xFF, code]) + (2 + len(hidden)).to_bytes(2, "big")
    count = data.count(b"\xff\xda") + 120
    assert has_more_scans(data + marker + hidden, count - 1)
    assert not has_more_scans(data + marker + hidden, count)


def test_jpeg_that_hides_scans_behind_a_wrong_restart_is_refused():
    data, scan = _progressive(64)
    hidden = b"\xff\xdd\0\4\0\0" + scan * 120
    restarts = b"\xff\xdd\0\4\0\1"  # after each block
    length = (2 + len(hidden)).to_bytes(2, "big")
    with pytest.raises(InputError, match="more than 100 scans"):
        open_image(data + restarts + scan + b"\xff\x02" + length + hidden + b"\xff\xd9")


@pytest.mark.timeout(60)
def test_long_fill_between_the_scans_of_a_jpeg_is_skipped_in_linear_time():
    data, scan = _progressive()
    fill = b"\xff" * 2**22 + b"\0"
    assert has_more_scans(data + fill + scan * 120, 100)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_format_is_recognised_by_its_first_bytes(picture, kind):
    assert sniff(picture(kind)) == kind


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "an empty file"),
        (b"digit,7\n", "text"),
        ("ä".encode() * 300, "text"),
        (b"BMW 320d", "text"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"<!DOCTYPE html><p>", "XML or HTML"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x18ftypheic", "HEIC, AVIF or a video"),
        (b"\x00\x01\x02\xff\xfe", "an unknown kind of data"),
    ],
)
def test_file_that_is_not_an_image_is_refused_by_name(data, what):
    assert describe(data) == what
    with pytest.raises(UnsupportedInputError, match=f"got {what}"):
        open_image(data)


def test_a_format_outside_the_list_is_refused(picture):
    with pytest.raises(UnsupportedInputError, match="got TIFF"):
        open_image(picture("TIFF"))
    options = ImageOptions(formats=["TIFF"])
    assert open_image(picture("TIFF"), options=options).size == (8, 4)


@pytest.mark.parametrize("side", [6_000, 10_000, 30_000, 2**31 - 1])
def test_too_many_pixels_are_refused_by_the_header(claimed_png, side):
    with (
        warnings.catch_warnings(),
        pytest.raises((InputTooLargeError, InputError), match=r"pixels|damaged"),
    ):
        warnings.simplefilter("ignore")
        open_image(claimed_png(side, side))


def test_limit_of_pixels_can_be_set(picture):
    with pytest.raises(InputTooLargeError, match="at most 31 pixels, got 8 x 4"):
        open_image(picture(), options=ImageOptions(max_pixels=31))
    assert open_image(picture(), options=ImageOptions(max_pixels=32)).size == (8, 4)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_truncated_file_is_refused(picture, kind):
    data = picture(kind, size=(200, 200))
    with pytest.raises(InputError, match="damaged") as refused:
        open_image(data[: len(data) // 2])
    assert refused.value.status == 422


def test_pixels_are_decoded_before_predict_sees_them(picture):
    assert open_image(picture()).getbbox() is not None


def test_exif_orientation_is_applied(picture):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    assert open_image(picture("JPEG", exif=exif)).size == (4, 8)


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"], ids=["bare", "data URL"])
def test_image_may_be_base64_text(picture, prefix):
    text = prefix + base64.b64encode(picture()).decode()
    assert ImageKind().from_json(text).size == (8, 4)


@pytest.mark.parametrize("text", ["no base64!", "data:image/png,abc", "data:", 7, None, ["x"]])
def test_other_text_is_refused(text):
    with pytest.raises(InputError, match="base64"):
        ImageKind().from_json(text)


def test_pillow_images_are_instances_of_image(picture):
    assert isinstance(open_image(picture()), Image)
    assert not isinstance("a picture", Image)


@pytest.mark.parametrize("pixels", [0, -1, 10**12])
def test_limit_above_pillows_own_is_refused(pixels):
    with pytest.raises(ValueError, match="max_pixels"):
        ImageOptions(max_pixels=pixels)


def test_format_without_a_signature_is_refused():
    with pytest.raises(ValueError, match="SVG cannot be recognised"):
        ImageOptions(formats=["PNG", "SVG"])


# --- the mode of pixels ---------------------------------------------------------------------------

RED = (255, 0, 0)
RAMP = np.linspace(0, 65535, 256).reshape(16, 16).astype("uint16")
BYTES = list(range(256))


def _saved(picture: t.Any, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


FILES = {
    "palette": _saved(PIL.Image.new("RGB", (2, 2), RED).quantize(4)),
    "gif": _saved(PIL.Image.new("RGB", (2, 2), RED).quantize(4), "GIF"),
    "cmyk": _saved(PIL.Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"),
    "rgb": _saved(PIL.Image.new("RGB", (2, 2), RED)),
    "rgba": _saved(PIL.Image.new("RGBA", (2, 2), (*RED, 128))),
}
SENT_MODES = {"palette": "P", "gif": "P", "cmyk": "CMYK", "rgb": "RGB", "rgba": "RGBA"}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "as-sent"])
def test_image_arrives_in_the_declared_mode(name, mode):
    picture = open_image(FILES[name], options=ImageOptions(mode=mode))
    assert picture.mode == (SENT_MODES[name] if mode == "as-sent" else mode)
    red = picture.convert("RGB").getpixel((0, 0))
    grey = PIL.Image.new("RGB", (1, 1), RED).convert("L").convert("RGB").getpixel((0, 0))
    expected = grey if mode == "L" else RED
    assert max(abs(a - b) for a, b in zip(red, expected, strict=True)) <= 2


def test_image_is_rgb_unless_declared():
    for data in FILES.values():
        assert open_image(data).mode == "RGB"
        assert ImageKind().read(data).mode == "RGB"
    declared = registry.kind_of(t.Annotated[Image, ImageOptions(mode="L")])
    assert declared.read(FILES["rgb"]).mode == "L"
    assert declared.from_json(base64.b64encode(FILES["rgb"]).decode()).mode == "L"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_image_of_16_bits_is_scaled_and_not_clipped(mode, kind):
    options = ImageOptions(mode=mode, formats=[kind])
    data = _saved(PIL.Image.fromarray(RAMP), kind)
    assert np.asarray(open_image(data, options=options)).reshape(256, -1)[:, 0].tolist() == BYTES
    as_sent = open_image(data, options=ImageOptions(mode="as-sent", formats=[kind]))
    assert np.asarray(as_sent).tolist() == RAMP.tolist()


def test_image_of_floats_is_refused_unless_declared():
    data = _saved(PIL.Image.fromarray(RAMP.astype("float32")), "TIFF")
    with pytest.raises(InputError, match="8 or 16 bits per channel, got one of mode F") as refused:
        open_image(data, options=ImageOptions(formats=["TIFF"]))
    assert refused.value.status == 422
    as_sent = open_image(data, options=ImageOptions(mode="as-sent", formats=["TIFF"]))
    assert np.asarray(as_sent).tolist() == RAMP.tolist()


def test_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="expected one of 'RGB', 'RGBA', 'L', 'as-sent'"):
        ImageOptions(mode="rgb")


# --- written ------------------------------------------------------------------------------------

MODES = ["1", "L", "LA", "I", "I;16", "I;16B", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"]
MODES += ["HSV", "LAB", "La", "RGBa"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("media_type", ImageKind.answers()[:3])
def test_image_of_any_mode_is_written_in_each_format(mode, media_type):
    data = ImageKind.write(PIL.Image.new(mode, (5, 3)), media_type)
    read = PIL.Image.open(io.BytesIO(data))
    assert (read.size, f"image/{read.format.lower()}") == ((5, 3), media_type)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
@pytest.mark.parametrize(
    ("media_type", "read_mode"), [("image/png", "I;16"), ("image/jpeg", "L"), ("image/webp", "RGB")]
)
def test_written_image_of_16_bits_keeps_its_depth_or_is_scaled(mode, media_type, read_mode):
    ramp = {"I": RAMP.astype("int32"), "I;16B": RAMP.astype(">u2")}.get(mode, RAMP)
    picture = PIL.Image.fromarray(ramp)
    assert picture.mode == mode
    read = PIL.Image.open(io.BytesIO(ImageKind.write(picture, media_type)))
    assert read.mode == read_mode
    if media_type == "image/png":
        assert np.asarray(read).tolist() == RAMP.tolist()
    else:  # both formats lose details, but no value is cut off
        seen = np.asarray(read.convert("L"), dtype="int64").reshape(-1)
        assert np.abs(seen - BYTES).max() <= 16


@pytest.mark.parametrize(
    "array", [RAMP.astype("float32"), RAMP.astype("int32") * 2, RAMP.astype("int32") - 1]
)
@pytest.mark.parametrize("media_type", ImageKind.answers()[:3])
def test_image_of_unknown_range_is_not_written(array, media_type):
    with pytest.raises(ValueError, match="Scale it to 8 or 16 bits"):
        ImageKind.write(PIL.Image.fromarray(array), media_type)


def test_png_keeps_transparency():
    picture = PIL.Image.new("RGBa", (1, 1), (10, 20, 30, 40))
    assert PIL.Image.open(io.BytesIO(ImageKind.write(picture, "image/png"))).mode == "RGBA"


def test_picture_written_in_json_can_be_sent_back():
    picture = PIL.Image.linear_gradient("L")
    text = ImageKind.plain(picture)
    assert msgspec.json.decode(encode(picture)) == text
    assert ImageKind().from_json(text).tobytes() == picture.convert("RGB").tobytes()
