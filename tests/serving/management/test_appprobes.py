"""Probes on the port of the app."""

from __future__ import annotations

import json

import pytest
from stage import Stage, head

from carboy import Carboy
from carboy.errors import ConfigError
from carboy.serving.http.limits import Limits
from carboy.serving.management.appprobes import ProbingGateway
from carboy.serving.management.probes import PATHS


def make_app():
    app = Carboy(__name__)

    @app.get("/")
    def index():
        return "hello"

    return app


class Broken:
    """A model whose check fails with a text that is not for clients."""

    def predict(self, x: int) -> int:
        return x

    def check(self):
        raise OSError("/srv/models/secret-customer.onnx is gone")


def double(x: int) -> int:
    return 2 * x


@pytest.fixture
def stage():
    with Stage() as stage:
        yield stage


def serve(stage, app, least_models=0):
    """Serve an app with probes."""
    gateway = ProbingGateway(app, least_models, limits=Limits(), threads=4, pool=stage.pool)
    stage.handler.on_admit = gateway.admit
    stage.handler.after_round = gateway.after_round


def ask(stage, path="/readyz", method="GET", body=b""):
    client = stage.connect()
    client.send(head(method, path, [("Content-Length", str(len(body)))]) + body)
    return client.answer(method)


@pytest.mark.parametrize("path", PATHS)
def test_app_without_models_is_ready(stage, path):
    serve(stage, make_app())
    answer = ask(stage, path)
    assert (answer.status, answer.body) == (200, b'{"status": "ok"}\n')
    assert answer.header("content-type") == "application/json"
    assert answer.header("cache-control") == "no-store"


def test_other_paths_are_answered_by_the_app(stage):
    serve(stage, make_app())
    assert ask(stage, "/").body == b"hello"
    assert ask(stage, "/readyz/more").status == 404


def test_head_request_has_no_body(stage):
    serve(stage, make_app())
    answer = ask(stage, method="HEAD")
    assert (answer.status, answer.body) == (200, b"")


def test_other_methods_are_refused(stage):
    serve(stage, make_app())
    answer = ask(stage, method="POST", body=b"x" * 1000)
    assert (answer.status, answer.header("allow")) == (405, "GET, HEAD")


def test_worker_that_drains_is_not_ready_and_alive(stage):
    serve(stage, make_app())
    stage.server.draining = True
    assert ask(stage, "/livez").status == 200
    answer = ask(stage)
    assert answer.status == 503
    assert json.loads(answer.body)["reasons"][0]["reason"].startswith("stopping")


def test_model_that_is_not_loaded_is_named(stage):
    app = make_app()
    app.model("/broken")(Broken)
    serve(stage, app)
    for path in ("/readyz", "/startupz"):
        assert json.loads(ask(stage, path).body) == {
            "status": "failing",
            "reasons": [{"model": "broken", "reason": "not loaded"}],
        }


def test_text_of_a_failed_check_is_not_told(stage):
    app = make_app()
    app.model("/broken")(Broken)
    app.load_models()
    serve(stage, app)
    stage.until(lambda: b"its check failed" in ask(stage).body)
    assert b"customer" not in ask(stage).body
    app.close_models()


def test_startup_that_was_successful_stays_so(stage):
    app = make_app()
    app.model("/double")(double)
    serve(stage, app)
    app.load_models()
    assert ask(stage, "/startupz").status == 200
    app.close_models()


def test_app_that_should_have_models_and_has_none_is_not_ready(stage):
    serve(stage, make_app(), least_models=1)
    answer = ask(stage)
    assert answer.status == 503
    assert (
        "at least 1 are expected (--min-models)" in json.loads(answer.body)["reasons"][0]["reason"]
    )


def test_other_wsgi_application_has_probes_too(stage):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"other"]

    serve(stage, application)
    assert ask(stage).status == 200
    assert ask(stage, "/").body == b"other"


def test_app_with_a_view_of_its_own_at_a_probe_is_refused(stage):
    app = make_app()
    app.add_url_rule("/readyz", "own_readiness", make_app)
    with pytest.raises(ConfigError, match=r"/readyz.*'own_readiness'.*set 'probes' to no"):
        serve(stage, app)
