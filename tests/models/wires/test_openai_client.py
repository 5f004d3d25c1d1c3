"""Embeddings by OpenAI's protocol, and OpenAI's client, unchanged, against `carboy serve`."""

from __future__ import annotations

import functools
import gzip
import pathlib
import typing as t

import msgspec
import openai
import pytest
import spawning
from polling import PATIENCE_S
from stage import Stage, post

from carboy import Carboy
from carboy.access.keytext import new_key
from carboy.errors import ConfigError
from carboy.serving import predictions

APP = """
from carboy import Carboy

app = Carboy("embeddings")
app.config["MODEL_PROTOCOLS"] = ["openai"]

@app.model("/lengths", batch=4)
def lengths(text: list[str]) -> list[list[float]]:
    return [[len(each), 0.5] for each in text]
"""


@pytest.fixture
def app():
    names: dict[str, t.Any] = {}
    exec(APP, names)  # the same program as the server's
    app = names["app"]
    app.config["PROPAGATE_EXCEPTIONS"] = False
    yield app
    app.models.close(PATIENCE_S)


def ask(app: Carboy, **body: t.Any):
    return app.test_client().post("/v1/embeddings", json={"model": "lengths", **body})


def test_each_text_has_an_embedding(app):
    assert ask(app, input=["a", "bcd"]).json == {
        "object": "list",
        "model": "lengths",
        "usage": {"prompt_tokens": 0, "total_tokens": 0},
        "data": [
            {"object": "embedding", "index": 0, "embedding": [1.0, 0.5]},
            {"object": "embedding", "index": 1, "embedding": [3.0, 0.5]},
        ],
    }


def test_embeddings_are_predicted_without_a_waiting_thread(app):
    with Stage() as stage:
        gateway = stage.serve(app, routes=functools.partial(predictions.routes, app))
        body = b'{"model": "lengths", "input": "ab", "encoding_format": "base64", "user": "u"}'
        answer = stage.connect().ask(post(body, "/v1/embeddings"))
        stage.until(lambda: not gateway.slots.busy)
    assert (answer.status, b'"embedding":"AAAAQAAAAD8="' in answer.body) == (200, True)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        pytest.param({"input": "a", "model": "gpt"}, 404, "no model 'gpt'", id="other model"),
        pytest.param({"input": [[1, 2]]}, 400, "$.input", id="tokens"),
        pytest.param({"input": []}, 400, "at least one", id="empty"),
        pytest.param({"input": "a", "dimensions": 2}, 400, "$.dimensions", id="dimensions"),
        pytest.param({"input": "a", "encoding_format": "hex"}, 400, "hex", id="format"),
        pytest.param({}, 400, "`input`", id="no input"),
    ],
)
def test_request_that_does_not_fit_is_refused_in_the_form_of_openai(app, body, status, says):
    response = ask(app, **body)
    error = response.json["error"]
    assert (response.status_code, error["type"]) == (status, "invalid_request_error")
    assert says in error["message"]


def test_text_that_does_not_fit_is_named_by_its_place():
    def lengths(text: t.Annotated[str, msgspec.Meta(max_length=3)]) -> list[float]:
        return [len(text)]

    app = Carboy("embeddings")
    app.config["MODEL_PROTOCOLS"] = ["openai"]
    app.model("/lengths")(lengths)
    for given, path in ((["a", "long"], "$.input[1]"), ("long", "$.input")):
        answer = ask(app, input=given)
        assert answer.status_code == 400
        assert f"at `{path}`" in answer.json["error"]["message"]


def test_key_of_the_client_is_one_of_the_app(app):
    key = new_key()
    app.config["ACCESS_KEYS"] = f"client={key}"
    client, asked = app.test_client(), {"model": "lengths", "input": "ab"}
    for sent, status in ((key, 200), ("none", 401)):
        headers = {"Authorization": f"Bearer {sent}"}
        assert client.post("/v1/embeddings", json=asked, headers=headers).status_code == status


@pytest.mark.parametrize(("encoding", "status"), [("gzip", 200), ("br", 415)])
def test_compressed_body_is_read_or_refused(app, encoding, status):
    body = gzip.compress(b'{"model": "lengths", "input": "ab"}')
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    response = app.test_client().post("/v1/embeddings", data=body, headers=headers)
    assert response.status_code == status


def test_result_that_is_no_embedding_is_a_failure_inside(app):
    app.config["MODEL_DEFAULT"] = "upper"
    app.model("/upper")(_upper)
    response = app.test_client().post("/v1/embeddings", json={"model": "upper", "input": "a"})
    assert (response.status_code, response.json["error"]["type"]) == (500, "server_error")


def _upper(text: str) -> str:
    return text.upper()


def test_model_that_takes_no_text_is_refused(app):
    app.config["MODEL_DEFAULT"] = "double"

    @app.model("/double")
    def double(x: int) -> int:
        return 2 * x

    with pytest.raises(ConfigError, match="does not take one text"):
        app.test_client().get("/")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[openai.OpenAI]:
    folder: pathlib.Path = tmp_path_factory.mktemp("embeddings")
    (folder / "app.py").write_text(APP)
    port = spawning.free_port()
    program = spawning.start(
        [
            *(spawning.script("carboy"), "--app", folder / "app.py"),
            *("serve", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        ],
        log=folder / "log",
        port=port,
        cwd=folder,
        env=None,
    )
    program.wait_until_it_listens()
    url = f"http://127.0.0.1:{port}/v1"
    with openai.OpenAI(api_key="none", base_url=url, timeout=PATIENCE_S, max_retries=0) as client:
        yield client
    program.stop()


@pytest.mark.integration
@pytest.mark.parametrize("encoding", ["float", "base64", openai.omit])
def test_openai_client_gets_embeddings(client, encoding):
    found = client.embeddings.create(model="lengths", input=["a", "bcd"], encoding_format=encoding)
    if encoding == "base64":  # the client decodes only what it has asked for itself
        assert found.data[1].embedding == "AABAQAAAAD8="
    else:
        assert [each.embedding for each in found.data] == [[1.0, 0.5], [3.0, 0.5]]


@pytest.mark.integration
def test_openai_client_raises_its_own_errors(client):
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'"):
        client.embeddings.create(model="gpt", input="a")
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="lengths", input=[[1, 2]])
