"""The ONNX networks, served, with pictures that they were not trained on."""

from __future__ import annotations

import concurrent.futures
import io

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
import requests
import showcase

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

EXAMPLE = "shapes"


def encoded(picture, kind="PNG"):
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def ask(served, path, data, media_type="image/png", **headers):
    headers["Content-Type"] = media_type
    return requests.post(f"{served.url}{path}", data=data, headers=headers, timeout=60)


def test_new_drawings_are_classified_correctly_in_batches(served):
    drawing, chance = showcase.module(EXAMPLE, "drawing"), np.random.default_rng(2026)
    labels = list(drawing.SHAPES) * 20
    pictures = [encoded(drawing.draw(label, chance)) for label in labels]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda data: ask(served, "/shapes", data).json(), pictures))
    right = [answer["label"] == label for answer, label in zip(answers, labels, strict=True)]
    assert np.mean(right) > 0.93
    for answer in answers:
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=0.001)
        assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_circle_is_recognised_in_any_format(served, kind):
    picture = PIL.Image.new("RGB", (300, 240), "white")
    PIL.ImageDraw.Draw(picture).ellipse((80, 50, 220, 190), outline="navy", width=9)
    answer = requests.post(
        f"{served.url}/shapes", files={"picture": encoded(picture, kind)}, timeout=60
    )
    assert answer.json()["label"] == "circle", answer.text


def test_edges_are_a_picture_of_the_same_size(served):
    from sklearn.datasets import load_sample_image

    flower = PIL.Image.fromarray(load_sample_image("flower.jpg"))
    answer = ask(served, "/edges", encoded(flower, "JPEG"), "image/jpeg", Accept="image/*")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "image/png"
    edges = np.asarray(PIL.Image.open(io.BytesIO(answer.content)))
    assert edges.shape == (427, 640)
    assert edges[:50, 250:400].mean() > 240  # the background is smooth
    assert edges[150:300, 230:400].mean() < 232  # the petals are not


def test_file_that_is_no_picture_is_refused(served):
    answer = ask(served, "/shapes", b"hello", "text/plain")
    assert answer.status_code == 415, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
