"""A real `carboy serve` behind a real nginx, of which tutorials show the configuration."""

from __future__ import annotations

import http.client
import itertools
import json
import pathlib
import shutil
import sys
import typing as t
from concurrent.futures import ThreadPoolExecutor

import guides
import pytest
import spawning
from polling import PATIENCE_S, wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="connects from 127.0.0.2 and others"),
]

APP = """
import pathlib, time
from carboy import Carboy, request, url_for

app = Carboy(__name__)
app.config["TRUSTED_HOSTS"] = ["shop.example", "127.0.0.1"]
here = pathlib.Path(__file__).parent

@app.errorhandler(400)
def refused(error):
    return f"refused: {error.description}", 400

@app.get("/seen")
def seen():
    return {"client": request.remote_addr, "link": url_for("seen", _external=True)}

@app.model("/seen-by-model", batch=1)
def by_model(x: int) -> dict[str, str]:
    return seen()

@app.model("/sum", batch=8)
def sum_(xs: list[list[float]]) -> list[float]:
    return [sum(x) for x in xs]

@app.get("/hold")
def hold():
    (here / "held").touch()
    while not (here / "go").exists():
        time.sleep(0.005)
    return "held"
"""

CLIENT, INNER, OUTER = "127.0.0.9", "127.0.0.2", "127.0.0.3"
MADE_UP = "198.51.100.1"
NETWORK = f"{INNER},{OUTER}"

# The lines that nginx's documentation gives for X-Forwarded-* and for Forwarded.
X_FORWARDED = """
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
"""
FORWARDED = """
    proxy_set_header Forwarded "$http_forwarded, for=$remote_addr;proto=$scheme;host=$http_host";
"""
# How each server of nginx passes on requests; `shop` is a further location.
LOCATION = """
location {path} {{
    proxy_pass http://127.0.0.1:{port}/;
    proxy_bind {address};
    proxy_set_header Host $http_host;
    {lines}
}}
"""
CONFIGURATION = """
daemon off;
pid nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    {servers}
}}
"""


def location(port: int, address: str, lines: str, path: str = "/") -> str:
    return LOCATION.format(path=path, port=port, address=address, lines=lines)


def documented_server(carboy: int, port: int) -> str:
    """The server of nginx in the how-to, with other ports."""
    page = guides.DOCS / "howto" / "behind-a-proxy.md"
    text = next(each.text for each in guides.blocks(page) if each.language == "nginx")
    ports = {"listen 80;": f"listen 127.0.0.1:{port};", "127.0.0.1:8000": f"127.0.0.1:{carboy}"}
    for written, real in ports.items():
        assert written in text
        text = text.replace(written, real)
    return text


class Site(t.NamedTuple):
    """Ports: of a server of carboy, of nginx before it, and of a further nginx before that."""

    folder: pathlib.Path
    carboy: int
    inner: int
    outer: int


# The options of each server, and what the two servers of nginx before it set.
SITES = {
    "count": (["--proxy", "1"], X_FORWARDED, X_FORWARDED),
    "network": (
        ["--proxy", NETWORK, "--proxy-headers", "for,proto,host,prefix"],
        f"{X_FORWARDED} proxy_set_header X-Forwarded-Host $http_host;",
        # The outer server terminates TLS, and the inner one would overwrite its headers.
        X_FORWARDED.replace("$scheme", "https")
        + "proxy_set_header X-Forwarded-Host shop.example:8443;",
    ),
    "forwarded": (
        ["--proxy", NETWORK, "--proxy-headers", "forwarded"],
        FORWARDED,
        FORWARDED.replace("$scheme", "https"),
    ),
    "none": ([], X_FORWARDED, X_FORWARDED),
}


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("no nginx: `make test` as root installs it by apt")
    home = tmp_path_factory.mktemp("nginx")
    running, sites, servers = [], {}, []

    def listen(*locations: str) -> int:
        port = spawning.free_port()
        servers.append(f"server {{ listen 127.0.0.1:{port}; {''.join(locations)} }}")
        return port

    def start(name: str) -> spawning.Program:
        folder = tmp_path_factory.mktemp(name)
        options, _, _ = SITES[name]
        return spawning.serve(folder, "shop", APP, "--threads", "1", *options)

    try:
        with ThreadPoolExecutor(len(SITES)) as threads:
            programs = list(threads.map(start, SITES))
        running += programs
        for (name, (_, inner, outer)), program in zip(SITES.items(), programs, strict=True):
            prefix = "proxy_set_header X-Forwarded-Prefix /shop;"
            near = listen(
                location(program.port, INNER, inner),
                location(program.port, INNER, inner + prefix, "/shop/"),
            )
            appends = FORWARDED if name == "forwarded" else X_FORWARDED.splitlines()[1]
            between = listen(location(program.port, INNER, appends))
            far = listen(location(between, OUTER, outer))
            sites[name] = Site(program.log.parent, program.port, near, far)
        count = sites["count"]
        port = spawning.free_port()
        servers.append(documented_server(count.carboy, port))
        sites["documented"] = Site(count.folder, count.carboy, port, port)
        (home / "nginx.conf").write_text(CONFIGURATION.format(servers="\n".join(servers)))
        command = [nginx, "-p", str(home), "-c", "nginx.conf", "-e", "stderr"]
        running.append(spawning.start(command, log=home / "log", port=far, cwd=home))
        running[-1].wait_until_it_listens()
        yield sites
    finally:
        for program in reversed(running):
            program.stop()


def ask(port: int, path: str = "/seen", body: object = None, **sent: str) -> tuple[int, t.Any]:
    """Ask a server from the address of the client; return status and body."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", port, PATIENCE_S, source_address=(CLIENT, 0)
    )
    headers = {"Host": "shop.example", "Content-Type": "application/json"}
    headers |= {name.replace("_", "-"): value for name, value in sent.items()}
    method, data = ("GET", None) if body is None else ("POST", json.dumps(body))
    try:
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    is_json = answer.getheader("Content-Type", "").startswith("application/json")
    return answer.status, json.loads(text) if is_json else text


SPOOFED = {
    "X_Forwarded_For": MADE_UP,
    "X_Forwarded_Proto": "https",
    "X_Forwarded_Host": "evil.example",
    "X_Forwarded_Port": "1",
    "X_Forwarded_Prefix": "/evil",
    "Forwarded": f"for={MADE_UP};proto=https;host=evil.example",
}
LINK = "http://shop.example/seen"


@pytest.mark.parametrize(
    ("name", "way", "path", "client", "link"),
    [
        ("count", "inner", "/seen", CLIENT, LINK),
        ("documented", "inner", "/seen", CLIENT, LINK),
        ("network", "inner", "/seen", CLIENT, LINK),
        ("network", "inner", "/shop/seen", CLIENT, "http://shop.example/shop/seen"),
        ("network", "outer", "/seen", CLIENT, "https://shop.example:8443/seen"),
        ("forwarded", "inner", "/seen", CLIENT, LINK),
        ("forwarded", "outer", "/seen", CLIENT, "https://shop.example/seen"),
        # Nobody has named a proxy, or the client has not come through it.
        ("none", "inner", "/seen", INNER, LINK),
        ("none", "outer", "/seen", INNER, LINK),
        ("none", "carboy", "/seen", CLIENT, LINK),
        ("network", "carboy", "/seen", CLIENT, LINK),
        ("forwarded", "carboy", "/seen", CLIENT, LINK),
    ],
)
@pytest.mark.parametrize("sent", [{}, SPOOFED], ids=["honest", "spoofed"])
def test_view_and_model_see_the_client_behind_nginx(sites, name, way, path, client, link, sent):
    port = getattr(sites[name], way)
    # nginx passes on a prefix that it does not set itself, and this server trusts it.
    if sent and name == "network" and way != "carboy" and "shop" not in path:
        sent = {key: sent[key] for key in sent if key != "X_Forwarded_Prefix"}
    expected = 200, {"client": client, "link": link}
    assert ask(port, path, **sent) == expected
    assert ask(port, path.replace("seen", "seen-by-model"), 1, **sent) == expected


@pytest.mark.parametrize(
    ("name", "way"),
    [
        *itertools.product(["count", "network", "forwarded", "none"], ["inner", "carboy"]),
        *itertools.product(["count", "forwarded", "none"], ["outer"]),
    ],
)
def test_host_that_is_not_trusted_is_refused_by_the_app(sites, name, way):
    port = getattr(sites[name], way)
    for path, body in (("/seen", None), ("/sum", [1, 2]), ("/seen-by-model", 1)):
        assert ask(port, path, body, Host="evil.example") == (
            400,
            "refused: Host 'evil.example' is not trusted.",
        )


@pytest.mark.parametrize("name", ["count", "network", "forwarded"])
def test_predictions_behind_a_proxy_occupy_no_thread(sites, name):
    """The only thread for views is held by a view; hosts and proxies are checked nevertheless."""
    folder, _, port, _ = sites[name]
    with ThreadPoolExecutor(1) as threads:
        holding = threads.submit(ask, port, "/hold")
        try:
            wait_until((folder / "held").exists)
            assert [ask(port, "/sum", [i, 1]) for i in range(5)] == [
                (200, i + 1.0) for i in range(5)
            ]
        finally:
            (folder / "go").touch()
        assert holding.result() == (200, "held")


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ({"X_Forwarded_Prefix": "//evil.example"}, "the forwarded prefix is not a path"),
        ({"X_Forwarded_Prefix": "/../x"}, "the forwarded prefix is not a path"),
    ],
)
def test_value_that_nginx_passes_on_is_refused_if_it_cannot_be_used(sites, sent, reason):
    assert ask(sites["network"].inner, **sent) == (400, f"400 Bad Request: {reason}\n")
    assert ask(sites["network"].carboy, **sent) == (200, {"client": CLIENT, "link": LINK})
