"""Flask-Limiter: a limit of two requests refuses the third."""

from __future__ import annotations

import flask
import pytest
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address


@pytest.fixture
def limiter(app):
    limiter = Limiter(
        get_remote_address,
        app=app,
        default_limits=["2 per hour"],
        headers_enabled=True,
        storage_uri="memory://",
    )

    @app.get("/rare")
    def rare():
        return "rare"

    @app.get("/free")
    @limiter.exempt
    def free():
        return "free"

    @app.get("/once")
    @limiter.limit("1 per day", error_message="one a day")
    def once():
        return "once"

    api = flask.Blueprint("api", __name__)
    limiter.limit("1 per hour")(api)

    @api.get("/api")
    def api_view():
        return "api"

    app.register_blueprint(api)
    return limiter


@pytest.mark.usefixtures("limiter")
@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("/rare", [200, 200, 429]),
        ("/free", [200, 200, 200]),
        ("/once", [200, 429, 429]),
        ("/api", [200, 429, 429]),
    ],
    ids=["default", "exempt", "own limit", "blueprint"],
)
def test_limit_is_enforced(client, path, statuses):
    assert [client.get(path).status_code for _ in range(3)] == statuses


@pytest.mark.usefixtures("limiter")
def test_each_address_is_counted_separately(client):
    statuses = [
        client.get("/once", environ_base={"REMOTE_ADDR": address}).status_code
        for address in ("10.0.0.1", "10.0.0.2", "10.0.0.1")
    ]
    assert statuses == [200, 200, 429]


@pytest.mark.usefixtures("limiter")
def test_error_response_has_the_reason_and_the_time_to_wait(client):
    client.get("/once")
    answer = client.get("/once")
    assert "one a day" in answer.text
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["X-RateLimit-Remaining"] == "0"
