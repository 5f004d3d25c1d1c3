"""A test adds a kind of value to carboy: audio, by one class and one registration.

WAV files become Python objects with a NumPy array and a sample rate.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import typing as t
import wave

import msgspec
import numpy as np
import openapi_spec_validator
import pytest

from carboy import Carboy, Form
from carboy.contract.values.kind import ValueKind
from carboy.contract.values.registry import register
from carboy.errors import InputError, SignatureError, UnsupportedInputError
from carboy.openapi.postman import build_collection

WAV = "audio/wav"


class Audio:
    def __init__(self, samples: t.Any, rate: int) -> None:
        self.samples, self.rate = samples, rate

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Audio)
            and self.rate == other.rate
            and np.array_equal(self.samples, other.samples)
        )


@register
class AudioKind(ValueKind):
    """16-bit audio with one channel."""

    name = "audio"
    classes = ((__name__.partition(".")[0], "Audio"),)
    packages = ("numpy",)
    media_types = (WAV, "audio/x-wav")

    def recognises(self, data: bytes, media_type: str) -> bool:
        return data[8:12] == b"WAVE" or media_type.startswith("audio/")

    def read(self, data: bytes, *, media_type: str = "", path: str = "$") -> Audio:
        if data[8:12] != b"WAVE":
            raise UnsupportedInputError.at(path, expected="sound as WAV", got="another file")
        try:
            with wave.open(io.BytesIO(data)) as file:
                samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
                return Audio(samples, file.getframerate())
        except (wave.Error, EOFError) as exc:
            raise InputError.at(path, expected="a whole WAV file", got=str(exc)) from exc

    @classmethod
    def write(cls, value: Audio, media_type: str) -> bytes:
        return wav(value.samples.tolist(), value.rate)

    @classmethod
    def sample_file(cls, media_type: str, value: t.Any, schema: dict[str, t.Any]) -> bytes:
        return wav([0, 100, 0, -100], 8000)


def wav(samples: list[int], rate: int) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.array(samples, "<i2").tobytes())
    return stream.getvalue()


class Clip(msgspec.Struct):
    title: str
    sound: Audio
    more: list[Audio] = []


LOUD = Audio(np.array([1, 2, 300], np.int16), 16000)
DATA = wav([1, 2, 300], 16000)
BASE64 = base64.b64encode(DATA).decode()


@pytest.fixture
def app() -> Carboy:
    app = Carboy("sounds", static_folder=None)

    @app.post("/view")
    def view(sound: Audio) -> Audio:
        return Audio(sound.samples * 2, sound.rate)

    @app.model("/model")
    def model(sound: Audio) -> Audio:
        return Audio(sound.samples * 2, sound.rate)

    @app.model("/batch", batch=4)
    class Batch:
        def predict(self, sound: list[Audio]) -> list[Audio]:
            return [Audio(each.samples * 2, each.rate) for each in sound]

    @app.post("/view/rate")
    def view_rate(sound: Audio, factor: t.Annotated[int, Form()] = 1) -> int:
        return sound.rate * factor

    @app.model("/model/rate")
    def model_rate(sound: Audio, factor: int = 1) -> int:
        return sound.rate * factor

    @app.post("/view/many")
    def view_many(sounds: list[Audio]) -> list[int]:
        return [each.rate for each in sounds]

    @app.model("/model/many")
    def model_many(sounds: list[Audio]) -> list[int]:
        return [each.rate for each in sounds]

    @app.post("/view/clip")
    def view_clip(clip: Clip) -> Clip:
        return clip

    @app.model("/model/clip")
    def model_clip(clip: Clip) -> Clip:
        return clip

    @app.get("/view/untyped")
    def view_untyped():
        return LOUD

    return app


def file(data: bytes = DATA, name: str = "a.wav") -> t.Any:
    return io.BytesIO(data), name


SENT = {
    "raw by media type": {"data": DATA, "content_type": WAV},
    "raw by content": {"data": DATA, "content_type": "application/octet-stream"},
    "base64": {"json": BASE64},
    "data URL": {"json": f"data:audio/wav;base64,{BASE64}"},
    "by name": {"json": {"sound": BASE64}},
    "file of a form": {"data": lambda: {"sound": file()}},
    "file of any name": {"data": lambda: {"upload": file()}},
    "base64 in a form": {"data": {"sound": BASE64}},
    "MessagePack": {
        "data": msgspec.msgpack.encode({"sound": DATA}),
        "content_type": "application/msgpack",
    },
}


@pytest.mark.parametrize("url", ["/view", "/model", "/batch"])
@pytest.mark.parametrize("sent", SENT.values(), ids=SENT)
def test_new_kind_is_read_and_written(client, url, sent):
    made = {key: value() if callable(value) else value for key, value in sent.items()}
    response = client.post(url, **made)
    assert (response.status_code, response.mimetype) == (200, WAV), response.text
    assert response.data == wav([2, 4, 600], 16000)
    assert response.headers["Vary"] == "Accept"


@pytest.mark.parametrize("url", ["/view", "/model", "/batch"])
def test_accept_chooses_json_of_a_new_kind(client, url):
    response = client.post(url, data=DATA, content_type=WAV, headers={"Accept": "application/json"})
    assert base64.b64decode(response.json) == wav([2, 4, 600], 16000)


@pytest.mark.parametrize("url", ["/view", "/model", "/batch"])
@pytest.mark.parametrize(
    ("sent", "status", "path"),
    [
        ({"data": DATA[:30], "content_type": WAV}, 422, "$"),
        ({"data": b"x", "content_type": WAV}, 415, "$"),
        ({"json": base64.b64encode(DATA[:30]).decode()}, 422, "$"),
        ({"json": {"sound": "!"}}, 422, "$.sound"),
        ({"data": {"other": "x"}}, 422, "$.sound"),
        ({"data": b"x", "content_type": "text/plain"}, 415, "$"),
    ],
    ids=["cut", "other file", "cut in base64", "no base64", "missing", "media type"],
)
def test_invalid_new_kind_is_refused_by_views_and_models(client, url, sent, status, path):
    response = client.post(url, **sent)
    assert response.status_code == status, response.text
    assert response.get_json(force=True)["errors"][0]["path"] == path


@pytest.mark.parametrize("kind", ["view", "model"])
def test_new_kind_works_beside_fields_in_lists_and_in_records(client, kind):
    form = {"sound": file(), "factor": "2"}
    assert client.post(f"/{kind}/rate", data=form).json == 32000
    form = {"sounds": [file(), file(wav([1], 8000))]}
    assert client.post(f"/{kind}/many", data=form).json == [16000, 8000]
    assert client.post(f"/{kind}/many", json=[BASE64]).json == [16000]
    clip = {"title": "t", "sound": BASE64, "more": []}
    assert client.post(f"/{kind}/clip", json=clip).json == clip
    form = {"title": "t", "sound": file(), "more": [file()]}
    assert client.post(f"/{kind}/clip", data=form).json == {**clip, "more": [BASE64]}


def test_new_kind_is_returned_without_an_annotation(client):
    response = client.get("/view/untyped")
    assert (response.mimetype, response.data) == (WAV, DATA)


@pytest.mark.parametrize("name", ["view", "model", "batch"])
def test_test_client_sends_and_returns_a_new_kind(app, client, name):
    assert client.call(name, sound=LOUD) == Audio(LOUD.samples * 2, 16000)
    app.config["OPENAPI_ALL_MEDIA_TYPES"] = True


@pytest.mark.parametrize("kind", ["view", "model"])
def test_test_client_sends_a_new_kind_beside_others(client, kind):
    assert client.call(f"{kind}_rate" if kind == "view" else "rate", sound=LOUD, factor=3) == 48000
    clip = Clip("t", LOUD, [LOUD])
    assert client.call(f"{kind}_clip" if kind == "view" else "clip", clip=clip) == clip


def test_document_and_collection_contain_a_new_kind(app):
    app.config["OPENAPI_ALL_MEDIA_TYPES"] = True
    document = app.openapi()
    openapi_spec_validator.validate(document)
    for path in ("/view", "/model", "/batch"):
        operation = document["paths"][path]["post"]
        body = operation["requestBody"]["content"]
        assert body["application/json"]["schema"]["contentMediaType"] == WAV
        assert body[WAV] == {"schema": {"type": "string", "format": "binary"}}
        form = body["multipart/form-data"]
        assert form["schema"]["properties"]["sound"]["format"] == "binary"
        assert form["encoding"] == {"sound": {"contentType": "audio/wav, audio/x-wav"}}
        assert [*operation["responses"]["200"]["content"]] == [WAV, "application/json"]
    made = build_collection(document, base_url="http://localhost")
    sounds = {name: data for name, data in made.files.items() if name.endswith(".wav")}
    assert len(sounds) >= 6
    assert set(sounds.values()) == {wav([0, 100, 0, -100], 8000)}
    json_bodies = [
        item["request"]["body"]["raw"]
        for folder in made.collection["item"]
        for item in folder.get("item", [folder])
        if item["name"].endswith("(application/json)") and "clip" not in item["name"].lower()
    ]
    assert base64.b64encode(wav([0, 100, 0, -100], 8000)).decode() in json_bodies[0]


def test_page_takes_a_new_kind_as_a_file(client):
    metadata = client.get("/model", headers={"Accept": "application/json"}).json
    # The page shows a file input for base64 in JSON: see schema.js.
    assert metadata["input"]["contentEncoding"] == "base64"
    assert metadata["answers"] == [WAV, "application/json"]
    assert WAV in metadata["accepts"]
    page = client.get("/model", headers={"Accept": "text/html"}).text
    assert json.dumps(WAV) in page


def test_dataclass_cannot_be_the_class_of_a_kind(app):
    @dataclasses.dataclass
    class Noise:
        level: float

    class NoiseKind(AudioKind):
        classes = ((__name__.partition(".")[0], Noise.__qualname__),)

    with pytest.raises(SignatureError, match=r"Noise.* msgspec reads .* Make it a plain class"):
        NoiseKind.of(Noise, ())
