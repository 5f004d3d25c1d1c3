"""Websites with odd names, paths and settings, whose configuration each web server must accept."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import typing as t

import deployedapp
import spawning
import website

from carboy import Carboy
from carboy.deployment.facts import Facts
from carboy.serving.settings import make_settings

FOLDERS = ["shop", "2nd shop", "läden;{}"]
_RULES = [
    "/a b",
    "/grün/<x>",
    "/pay$/<int:x>.{y}",
    '/"quoted"/<path:x>',
    "/back\\slash/<x>",
    "/semi;colon",
    "/brace{}/<x>/#~^",
]
# Settings of the server, and options of the web server's command.
SETTINGS_AND_OPTIONS: list[tuple[dict[str, t.Any], dict[str, t.Any]]] = [
    ({}, {}),
    ({"proxy": "2", "max_body": "0"}, {"static": False}),
    (
        {"bind": ["unix:/run/my shop.sock"], "proxy": "1", "proxy_headers": "forwarded"},
        {"timeout": 600},
    ),
    ({"host": "::1", "keep_alive_s": 2}, {"names": ("a.example", ".b.example", "*.c.example")}),
    ({}, {"tls_cert": "site.pem", "tls_key": "site.key", "listen_tls": "[::1]:8443"}),
]


def odd_app(root: pathlib.Path) -> Carboy:
    (root / "static").mkdir(parents=True)
    app = Carboy("shop", root_path=str(root))
    for number, rule in enumerate(_RULES):
        app.add_url_rule(rule, f"view{number}", lambda **_: "", websocket=True)
    return app


def facts_of(app: Carboy, **settings: object) -> Facts:
    return Facts(app, "shop:app", app.root_path, make_settings(settings, {}))


_AT_ROOT = """
from carboy import Carboy

app = Carboy(__name__, static_folder="public", static_url_path="")
app.get("/")(lambda: "page")
app.get("/sub", endpoint="sub")(lambda: "view")

@app.get("/lines")
def lines():
    yield "a"
"""


def check_static_folder_at_the_root(name: str, folder: pathlib.Path, start: website.Start) -> None:
    """Assert that the files of a static folder at the root of a website hide no view.

    Args:
        name: the command that writes the configuration.
        folder: an empty folder.
        start: starts the web server.
    """
    (folder / "shop.py").write_text(_AT_ROOT)
    public = folder / "public"
    (public / "sub").mkdir(parents=True)
    (public / "robots.txt").write_text("of the folder")
    (public / ".env").write_text("secret")
    (public / "index.html").write_text("not the page")
    with website.shared_folder() as shared, contextlib.ExitStack() as stack:
        project = pathlib.Path(shutil.copytree(folder, shared / "shop"))
        port, bind = spawning.free_port(), f"unix:{shared}/app.sock"
        listen = ("--listen", f"127.0.0.1:{port}")
        file = website.generate(name, project, "--upstream", bind, *listen)
        stack.callback(website.serve_app(project, bind).stop)
        own = shared / name
        own.mkdir()
        stack.callback(start(website.Ports(port, 0), own, file).stop)
        bodies = {path: _body(port, path) for path in (*_BODIES, "/.env", "/none")}
    assert "secret" not in bodies.pop("/.env")
    assert "Not Found" in bodies.pop("/none")
    assert bodies == _BODIES


_BODIES = {
    "/robots.txt": "of the folder",
    "/": "page",
    "/sub": "view",
    "/index.html": "not the page",
    "/lines": "a",
}


def _body(port: int, path: str) -> str:
    with contextlib.closing(deployedapp.connect(f"http://127.0.0.1:{port}")) as connection:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
