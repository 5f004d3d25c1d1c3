"""Open redirects: a redirect that carboy makes leads to the host that the client has asked.

ASVS 5.0: 3.7.2
Also tested in: tests/core/test_ownpages.py, tests/deployed/webservers/test_nginx.py,
tests/deployed/webservers/test_apache.py
"""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from carboy import Carboy

HOST = "shop.example"
PATHS = [
    "/folder",
    "//folder",
    "//evil.example/folder",
    "/%2f%2fevil.example/folder",
    "/\\evil.example/folder",
    "/%5cevil.example/folder",
    "/files//evil.example",
    "/files/%2f%2fevil.example",
    "//files/evil.example",
    "/files/\\\\evil.example",
    "/files/..//evil.example",
    "/files/https:%2f%2fevil.example",
    "/files/x@evil.example",
    "/files/x?next=//evil.example",
    "/v2/repository",
]


@pytest.fixture
def app() -> Carboy:
    app = Carboy("shop")
    app.config["MODEL_PROTOCOLS"] = ["v2"]
    app.add_url_rule("/folder/", "folder", lambda: "folder")
    app.add_url_rule("/files/<path:name>/", "files", lambda name: name)
    app.model("/double")(double)
    return app


def double(x: float) -> float:
    return 2 * x


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_redirect_stays_on_the_host(app: Carboy, path: str, method: str):
    # Not `client.get(path)`, which reads a path with two slashes as a host.
    path, _, query = path.partition("?")
    environ = {"PATH_INFO": _decoded(path), "QUERY_STRING": query, "REQUEST_METHOD": method}
    response = app.test_client().open(environ_overrides={**environ, "HTTP_HOST": HOST})
    location = response.headers.get("Location")
    if location is None:
        assert response.status_code in (200, 404, 405)
        return
    assert urlsplit(location).netloc == HOST
    assert not urlsplit(location).path.startswith(("//", "/\\"))


def _decoded(path: str) -> str:
    from urllib.parse import unquote

    return unquote(path)


def test_foreign_host_is_refused_before_a_redirect_names_it(app: Carboy):
    app.config["TRUSTED_HOSTS"] = [HOST]
    response = app.test_client().get("/folder", headers={"Host": "evil.example"})
    assert response.status_code == 400
    assert "Location" not in response.headers
