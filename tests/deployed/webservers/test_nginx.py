"""The app behind nginx, by the configuration that `carboy nginx` writes."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess

import deployedapp
import guides
import pytest
import spawning
import website
import websitecases as cases
from authority import Authority
from websitecases import *  # noqa: F403  # each web server is asked the same

from carboy import Carboy
from carboy.deployment.facts import Facts
from carboy.deployment.nginxfiles import nginx_text
from carboy.deployment.website import make_website
from carboy.serving.settings import make_settings

MAIN = """
daemon off;
pid nginx.pid;
error_log stderr;
worker_processes 2;
events {{}}
http {{
    access_log off;
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include {file};
}}
"""


def nginx() -> str:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        pytest.skip("no nginx: `make test-webservers` as root installs it by apt")
    return found


def check(folder: pathlib.Path, file: pathlib.Path) -> list[str]:
    """Let nginx check the configuration, and return the command that starts nginx with it."""
    (folder / "nginx.conf").write_text(MAIN.format(file=file))
    command = [nginx(), "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
    assert "[warn]" not in tested.stderr, tested.stderr
    return command


def start(ports: website.Ports, folder: pathlib.Path, file: pathlib.Path) -> spawning.Program:
    command = check(folder, file)
    program = spawning.start(command, log=folder / "log", port=ports.http, cwd=folder)
    program.wait_until_it_listens()
    return program


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


def facts_of(app: Carboy, **settings: object) -> Facts:
    return Facts(app, "shop:app", app.root_path, make_settings(settings, {}))


def odd_app(root: pathlib.Path) -> Carboy:
    (root / "static").mkdir(parents=True)
    app = Carboy("shop", root_path=str(root))
    for number, rule in enumerate(ODD_RULES):
        app.add_url_rule(rule, f"view{number}", lambda **_: "", websocket=True)
    return app


ODD_RULES = [
    "/a b",
    "/grün/<x>",
    "/pay$/<int:x>.{y}",
    '/"quoted"/<path:x>',
    "/back\\slash/<x>",
    "/semi;colon",
    "/brace{}/<x>/#~^",
]


@pytest.mark.parametrize("folder", ["shop", "2nd shop", 'a "quoted" shop', "läden;{}"])
@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({}, {}),
        ({"proxy": "2", "max_body": "0"}, {"static": False}),
        (
            {"bind": ["unix:/run/my shop.sock"], "proxy": "1", "proxy_headers": "forwarded"},
            {"timeout": 600},
        ),
        ({"host": "::1", "keep_alive_s": 2}, {"names": ("a.example", ".b.example", "*.c.example")}),
        ({}, {"tls_cert": "site.pem", "tls_key": "site.key", "listen_tls": "[::1]:8443"}),
    ],
)
def test_nginx_accepts_the_configuration_of_any_app(tmp_path, folder, settings, options):
    app = odd_app(tmp_path / folder)
    Authority(tmp_path / folder).issue("site")
    file = tmp_path / "site.conf"
    file.write_text(nginx_text(make_website(facts_of(app, **settings), **options)))
    check(tmp_path, file)


def test_two_apps_are_served_by_one_nginx(tmp_path):
    for name in ("shop", "2nd-shop"):
        app = odd_app(tmp_path / name)
        website_of = make_website(facts_of(app), names=[f"{name}.example"])
        (tmp_path / name / "site.conf").write_text(nginx_text(website_of))
    check(tmp_path, tmp_path / "*" / "site.conf")


def test_static_folder_at_the_root_leaves_views_to_the_app(tmp_path):
    (tmp_path / "shop.py").write_text(AT_ROOT)
    public = tmp_path / "public"
    (public / "sub").mkdir(parents=True)
    (public / "robots.txt").write_text("of the folder")
    (public / ".env").write_text("secret")
    (public / "index.html").write_text("not the page")
    with website.shared_folder() as folder, contextlib.ExitStack() as stack:
        project = pathlib.Path(shutil.copytree(tmp_path, folder / "shop"))
        port, bind = spawning.free_port(), f"unix:{folder}/app.sock"
        listen = ("--listen", f"127.0.0.1:{port}")
        file = website.generate("nginx", project, "--upstream", bind, *listen)
        stack.callback(website.serve_app(project, bind).stop)
        stack.callback(start(website.Ports(port, 0), folder, file).stop)

        def body(path: str) -> str:
            return ask_at(port, path)

        assert body("/robots.txt") == "of the folder"
        assert body("/") == "page"
        assert body("/sub") == "view"
        assert body("/index.html") == "not the page"
        assert body("/lines") == "a"
        assert "secret" not in body("/.env")
        assert "Not Found" in body("/none")


AT_ROOT = """
from carboy import Carboy

app = Carboy(__name__, static_folder="public", static_url_path="")
app.get("/")(lambda: "page")
app.get("/sub", endpoint="sub")(lambda: "view")

@app.get("/lines")
def lines():
    yield "a"
"""


def ask_at(port: int, path: str) -> str:
    with contextlib.closing(deployedapp.connect(f"http://127.0.0.1:{port}")) as connection:
        connection.request("GET", path)
        return connection.getresponse().read().decode()


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
