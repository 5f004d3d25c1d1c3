"""Error texts: what fails inside the server reaches the log, and clients get its request id.

ASVS 5.0: 16.5.1, 13.4.2, 13.4.6
Also tested in: tests/models/test_faults_over_http.py, tests/serving/management/test_appprobes.py,
tests/models/test_page_answers_browser.py, tests/cli/test_development.py
"""

from __future__ import annotations

import typing as t

import pytest

from carboy import Carboy

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from carboy.wrappers import Response

INSIDE = "/srv/shop/inside.joblib"


def fails(x: float) -> float:
    raise RuntimeError(INSIDE)


def answers_wrongly(x: float) -> int:
    return t.cast("int", INSIDE)


def fails_later(x: float) -> t.Iterator[float]:
    yield x
    raise RuntimeError(INSIDE)


class CannotLoad:
    def __init__(self) -> None:
        with open(INSIDE):
            pass

    def predict(self, x: float) -> float:
        return x


class Unhealthy:
    def predict(self, x: float) -> float:
        return x

    def check(self) -> None:
        raise RuntimeError(INSIDE)


@pytest.fixture
def app() -> Carboy:
    app = Carboy("shop")
    app.config.update(MODEL_PROTOCOLS=["v2", "kserve", "mlflow"], MODEL_DEFAULT="fails")
    for function in (fails, answers_wrongly, fails_later):
        app.model(f"/{function.__name__}")(function)
    app.model("/cannot_load")(CannotLoad)
    app.model("/unhealthy")(Unhealthy)

    @app.get("/view")
    def view():
        raise RuntimeError(INSIDE)

    @app.get("/typed")
    def typed(n: int) -> int:
        raise RuntimeError(INSIDE)

    return app


def _v2(name: str) -> dict[str, t.Any]:
    tensor = {"name": "x", "shape": [1], "datatype": "FP64", "data": [1]}
    return {"method": "POST", "path": f"/v2/models/{name}/infer", "json": {"inputs": [tensor]}}


NAMES = ["fails", "answers_wrongly", "fails_later", "cannot_load"]
REQUESTS = [
    *({"method": "POST", "path": f"/{name}", "json": 1.0} for name in NAMES),
    *({"path": f"/{name}"} for name in NAMES),
    *({"path": f"/{name}", "headers": {"Accept": "text/html"}} for name in NAMES),
    *(_v2(name) for name in NAMES if name != "fails_later"),
    *({"path": f"/v2/models/{name}/{what}"} for name in NAMES for what in ("ready", "stats")),
    *({"path": f"/v1/models/{name}"} for name in NAMES),
    {"method": "POST", "path": "/v1/models/fails:predict", "json": {"instances": [1.0]}},
    {"method": "POST", "path": "/v1/models/cannot_load:predict", "json": {"instances": [1.0]}},
    {"method": "POST", "path": "/invocations", "json": {"inputs": {"x": [1.0]}}},
    {"method": "POST", "path": "/v2/repository/index", "json": {}},
    *({"path": path} for path in ("/v2/health/ready", "/ping", "/view", "/typed?n=1")),
    *({"path": path} for path in ("/docs", "/redoc", "/openapi.json", "/openapi.yaml")),
]


def _ask(app: Carboy) -> cabc.Iterator[tuple[dict[str, t.Any], Response]]:
    client = app.test_client()
    for request in REQUESTS:
        yield request, client.open(**request)


def test_no_response_tells_what_failed_inside(app: Carboy):
    failed = 0
    for request, response in _ask(app):
        assert INSIDE not in response.text, request
        assert "Traceback" not in response.text, request
        failed += response.status_code >= 500 or '"error"' in response.text
    assert failed >= 15


def test_failure_of_a_model_names_the_request_id_under_which_the_log_has_the_reason(
    app: Carboy, caplog: pytest.LogCaptureFixture
):
    for name in ("fails", "answers_wrongly", "cannot_load"):
        answer = app.test_client().post(f"/{name}", json=1.0).json
        assert answer["request_id"] in caplog.text
    assert INSIDE in caplog.text


def test_no_header_names_a_version(app: Carboy):
    for request, response in _ask(app):
        assert not {"Server", "X-Powered-By"} & set(response.headers.keys()), request
