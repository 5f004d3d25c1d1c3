"""The app behind nginx, by the configuration that `carboy nginx` writes."""

from __future__ import annotations

import contextlib
import http.client
import os
import pathlib
import signal

import guides
import oddsites
import pytest
import severalservers
import spawning
import website
import websitecases as cases
from authority import Authority
from nginxserver import check, nginx, start
from websitecases import *  # noqa: F403  # each web server is asked the same

from carboy.deployment.nginxfiles import nginx_text
from carboy.deployment.website import make_website


@pytest.fixture(scope="module")
def site(project):
    with website.website("nginx", project, start) as running:
        yield running


@pytest.fixture(scope="module")
def secure_site(project):
    with website.website("nginx", project, start, tls=True) as running:
        yield running


@pytest.fixture(scope="module")
def hasty_site(project):
    with website.website("nginx", project, start, "--timeout", "1") as running:
        yield running


@pytest.fixture(scope="module")
def differences() -> dict[str, str]:
    """Requests whose response differs from that of `carboy serve`, and why."""
    return {
        **cases.OF_STATIC_FILES,
        **cases.OF_LONG_TEXTS,
        **cases.OF_THE_CLIENT,
        **cases.OF_BUFFERED_BODIES,
    }


# --------------------------------------------------------------------- configurations of other apps


@pytest.mark.parametrize("folder", [*oddsites.FOLDERS, 'a "quoted" shop'])
@pytest.mark.parametrize(("settings", "options"), oddsites.SETTINGS_AND_OPTIONS)
def test_nginx_accepts_the_configuration_of_any_app(tmp_path, folder, settings, options):
    app = oddsites.odd_app(tmp_path / folder)
    Authority(tmp_path / folder).issue("site")
    file = tmp_path / "site.conf"
    file.write_text(nginx_text(make_website(oddsites.facts_of(app, **settings), **options)))
    check(tmp_path, file)


def test_two_apps_are_served_by_one_nginx(tmp_path):
    for name in ("shop", "2nd-shop"):
        app = oddsites.odd_app(tmp_path / name)
        website_of = make_website(oddsites.facts_of(app), names=[f"{name}.example"])
        (tmp_path / name / "site.conf").write_text(nginx_text(website_of))
    check(tmp_path, tmp_path / "*" / "site.conf")


def test_static_folder_at_the_root_leaves_views_to_the_app(tmp_path):
    oddsites.check_static_folder_at_the_root("nginx", tmp_path, start)


def test_several_servers_share_the_requests(tmp_path):
    severalservers.check_several_servers("nginx", tmp_path, start)


# --------------------------------------------------------------------- nginx by somebody's tutorial

FORM = """
from carboy import Carboy

app = Carboy(__name__)
app.post("/form")(lambda: "done")
"""
# What configurations have beside `proxy_pass`. nginx from 1.29.7 on speaks HTTP/1.1 by default.
TUTORIALS = [
    "proxy_http_version 1.0;",
    "proxy_http_version 1.1;",
    'proxy_http_version 1.1; proxy_set_header Connection "";',
    'proxy_http_version 1.1; proxy_set_header Connection "upgrade";',
]
OF_A_BROWSER = {"Host": "shop.example", "Origin": "http://shop.example", "Connection": "keep-alive"}


def _post(port: int, **headers: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", "/form", b"a=1", {**OF_A_BROWSER, **headers})
        return connection.getresponse().read().decode()


def test_pages_of_a_site_may_post_behind_nginx_that_passes_on_its_own_host(tmp_path):
    (tmp_path / "app.py").write_text(FORM)
    app_port, *ports = (spawning.free_port() for _ in range(len(TUTORIALS) + 1))
    command = [spawning.script("carboy"), "serve", "app:app", "--port", str(app_port)]
    app = spawning.start(command, log=tmp_path / "app.log", port=app_port, cwd=tmp_path)
    passed = f"proxy_pass http://127.0.0.1:{app_port};"
    servers = (
        f"server {{ listen 127.0.0.1:{port}; location / {{ {passed} {lines} }} }}\n"
        for port, lines in zip(ports, TUTORIALS, strict=True)
    )
    (tmp_path / "sites.conf").write_text("".join(servers))
    try:
        app.wait_until_it_listens()
        nginx = start(website.Ports(ports[0], 0), tmp_path, tmp_path / "sites.conf")
        try:
            assert [_post(port) for port in ports] == ["done"] * len(TUTORIALS)
        finally:
            nginx.stop()
        assert "cross-site-request" in _post(app_port, Host=f"localhost:{app_port}")
    finally:
        app.stop()


# -------------------------------------------------------------------------------------- the how-to


class ReaderWithNginx(guides.Reader):
    """Lets nginx listen on a free port in place of 8080, and carboy find the port of the guide."""

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__(guides.DOCS / "howto" / "nginx.md", folder)
        self.nginx_port = spawning.free_port()
        self.env["CARBOY_SERVE_PORT"] = str(self.port)
        self.env["PATH"] += f"{os.pathsep}{os.path.dirname(nginx())}"

    def _here(self, text: str) -> str:
        return super()._here(text).replace("127.0.0.1:8080", f"127.0.0.1:{self.nginx_port}")


def test_how_to_works_as_written():
    with website.shared_folder() as folder:
        reader = ReaderWithNginx(folder)
        try:
            reader.follow()
        finally:
            pid = folder / "nginx.pid"
            if pid.exists():  # the guide has failed before it stopped nginx
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid.read_text()), signal.SIGTERM)
            reader.close()
