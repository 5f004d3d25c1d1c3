"""The digits example in process: its predictions, its errors, and its accuracy."""

from __future__ import annotations

import json

import digits
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

pytestmark = pytest.mark.timeout(300)  # the first test may have to train


@pytest.fixture
def client(digits_app):
    return digits_app.test_client()


def post(client, **arguments):
    request = digits.sent(**arguments)
    return client.post("/digits", data=request.body or b"", headers=dict(request.headers))


@pytest.mark.parametrize(
    ("arguments", "digit"),
    [
        (digits.file(digits.drawn(digits.SEVEN)), 7),
        (digits.text(digits.drawn(digits.SEVEN), "image/png"), 7),
        (digits.text(json.dumps(digits.ZERO)), 0),
        (digits.text(json.dumps({"image": digits.ZERO})), 0),
    ],
    ids=["a form's file", "a raw picture", "64 numbers", "64 numbers by name"],
)
def test_digit_is_accepted_in_every_supported_form(client, arguments, digit):
    answer = post(client, **arguments)
    assert answer.status_code == 200, answer.text
    assert answer.json["digit"] == digit
    assert answer.json["probability"] == max(answer.json["probabilities"])
    assert sum(answer.json["probabilities"]) == pytest.approx(1, abs=0.001)
    assert len(answer.json["seen"]) == 64


@pytest.mark.parametrize("name", digits.BAD)
def test_bad_input_is_explained(client, name):
    arguments, status, says = digits.BAD[name]
    answer = post(client, **arguments)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert says in json.loads(answer.data)["detail"]


def test_drawings_in_many_hands_are_recognised(digits_app):
    """The strokes are drawn anew, so none of them was in the training set."""
    strokes, random = digits.load("strokes"), np.random.default_rng(2026)
    model = digits_app.models["digits"]
    drawings = [(digit, strokes.write(digit, random)) for digit in list(range(10)) * 20]
    right = [model.predict(image=image).digit == digit for digit, image in drawings]
    assert np.mean(right) > 0.96


def test_scans_are_recognised(digits_app):
    from sklearn.datasets import load_digits

    bundle = load_digits()
    model = digits_app.models["digits"]
    some = range(0, 1797, 9)
    right = [model.predict(bundle.data[i].tolist()).digit == bundle.target[i] for i in some]
    assert np.mean(right) > 0.96


def test_page_is_served_with_a_strict_policy(client):
    page = client.get("/")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<script>" not in page.text
    assert 'style="' not in page.text
    for asset in ("css/style.css", "js/page.js", "img/icon.svg"):
        assert f"/static/{asset}" in page.text
        with client.get(f"/static/{asset}") as answer:
            assert answer.status_code == 200


def test_model_describes_itself(client):
    described = client.get("/digits").json
    assert described["name"] == "digits"
    assert described["input"]["anyOf"][1]["minItems"] == 64
    assert "image/png" in described["accepts"]


# --- picture.py --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def see():
    return digits.load("picture").see


@pytest.fixture
def seven():
    import io

    return PIL.Image.open(io.BytesIO(digits.drawn(digits.SEVEN)))


def alike(one, other, within=2.5):
    return np.abs(one - other).max() <= within


def on_transparent(image, ink):
    layer = PIL.Image.new("RGBA", image.size, (*ink, 0))
    layer.putalpha(PIL.ImageOps.invert(image))
    return layer


def moved(image, by, size):
    canvas = PIL.Image.new("L", size, 255)
    canvas.paste(image, by)
    return canvas


@pytest.mark.parametrize(
    "change",
    [
        PIL.ImageOps.invert,
        lambda image: on_transparent(image, (0, 0, 0)),
        lambda image: on_transparent(image, (255, 255, 255)),
        lambda image: moved(image, (150, 40), (400, 300)),
        lambda image: image.resize((1600, 1600)),
        lambda image: image.point(lambda value: value * 0.3 + 120),
        lambda image: image.convert("P"),
        lambda image: image.convert("1"),
        lambda image: image.convert("CMYK"),
        lambda image: PIL.Image.fromarray(np.asarray(image, dtype=np.uint16) * 257),
    ],
    ids=[
        "inverted",
        "black ink",
        "white ink",
        "moved",
        "large",
        "pale",
        "palette",
        "1 bit",
        "CMYK",
        "16 bit",
    ],
)
def test_same_digit_gives_the_same_features(see, seven, change):
    assert alike(see(seven), see(change(seven)))


def test_features_are_counts_of_ink(see, seven):
    seen = see(seven)
    assert seen.shape == (8, 8)
    assert seen.min() >= 0
    assert 10 < seen.max() <= 16


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (2, 2)])
def test_unusual_shapes_are_accepted_or_refused(see, size):
    no_ink = digits.load("picture").NoInkError
    noise = PIL.Image.effect_noise(size, 200)
    try:
        assert np.isfinite(see(noise)).all()
    except ValueError as refused:
        assert "no digit" in str(refused)  # noqa: PT017 - either is right
    with pytest.raises(Exception, match="all one colour") as empty:
        see(PIL.Image.new("L", size, 200))
    assert type(empty.value).__name__ == no_ink.__name__


def test_dust_does_not_widen_the_cropped_area(see, seven):
    dusty = seven.copy()
    for place in [(2, 2), (190, 5), (100, 195)]:
        dusty.putpixel(place, 0)
    assert alike(see(seven), see(dusty))
