"""compose.yaml of `carboy docker`: a new project with uploads, and nginx in front of it.

docker-compose reads the file. What it has read is then run as containers, because there is no
Docker engine: the image of the app, and Debian's nginx in place of the image that the file names.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import typing as t
import urllib.request

import containers
import digits
import pytest
import yaml
from deployedapp import Asked, ask, multipart
from imageprojects import CANARY, KEY, carboy
from polling import wait_until

if t.TYPE_CHECKING:
    import collections.abc as cabc

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

NGINX = """\
FROM nginx:stable
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends nginx-light \\
    && rm /etc/nginx/sites-enabled/default
CMD ["nginx", "-g", "daemon off; error_log stderr;"]
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("compose")
    carboy(folder, "new", "shop", "--with", "page", "--with", "upload")
    (folder / "shop" / "uploads" / "private.png").write_text(CANARY)
    carboy(folder / "shop", "docker")
    return folder / "shop"


def compose(folder: pathlib.Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker-compose", "--file", "compose.yaml", "config"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def services(shop: pathlib.Path) -> dict[str, t.Any]:
    done = compose(shop, SECRET_KEY=KEY)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)["services"]


@pytest.fixture(scope="module")
def website(
    shop: pathlib.Path, services: dict[str, t.Any], tmp_path_factory: pytest.TempPathFactory
) -> cabc.Iterator[tuple[containers.Container, containers.Container]]:
    """The containers of the app and of nginx, as compose.yaml says."""
    app, nginx = services["app"], services["nginx"]
    image = containers.build(shop, app["image"])
    folder = tmp_path_factory.mktemp("app")
    proxy_image = containers.build_text(NGINX, tmp_path_factory.mktemp("nginx"), "nginx-stable")
    assert app["read_only"]
    assert [each.split(":")[1] for each in app["volumes"]] == list(image.config["Volumes"])
    with containers.run(image, folder, environ=app["environment"], tmpfs=app["tmpfs"]) as running:
        running.wait_until_it_answers()
        mounts = dict(each.removesuffix(":ro").split(":")[::-1] for each in nginx["volumes"])
        with containers.run(
            proxy_image,
            tmp_path_factory.mktemp("proxy"),
            volumes={inside: pathlib.Path(outside) for inside, outside in mounts.items()},
            port=80,
            read_only=False,
            beside=running,
            hosts=f"{containers.ADDRESS} app\n",
        ) as proxy:
            proxy.wait_until_it_answers()
            yield running, proxy


def test_key_is_asked_for_by_the_command_that_makes_one(shop):
    done = compose(shop)
    assert done.returncode != 0
    assert "carboy secret new" in done.stderr


def test_containers_get_more_time_than_the_app_takes_to_stop(services):
    assert services["app"]["stop_grace_period"] == "36s"


def test_nginx_starts_when_the_app_is_healthy(services):
    assert services["nginx"]["depends_on"]["app"] == {"condition": "service_healthy"}
    assert "ports" not in services["app"]


def test_page_comes_through_nginx(website):
    answer = ask(website[1].url, Asked("", "GET", "/"))
    assert answer.status == 200
    assert "<title>" in answer.body


def test_static_files_are_sent_by_nginx_itself(website, shop):
    running, proxy = website
    style = shop / "static" / "css" / "style.css"
    assert ask(proxy.url, Asked("", "GET", "/static/css/style.css")).body == style.read_text()
    ask(proxy.url, Asked("", "GET", "/after"))
    wait_until(lambda: '"GET /after ' in running.output)
    assert "/static/css/style.css" not in running.output


def test_app_knows_the_client_that_nginx_has_seen(website):
    running, proxy = website
    # What a client says of itself counts for nothing: nginx names the address that it has seen.
    ask(proxy.url, Asked("", "GET", "/none", {"X-Forwarded-For": "203.0.113.66"}))
    wait_until(lambda: '"GET /none ' in running.output)
    (line,) = [line for line in running.output.splitlines() if '"GET /none ' in line]
    assert line.startswith(f"{containers.ADDRESS} ")


def test_upload_is_stored_in_the_volume_and_sent_again(website):
    running, proxy = website
    picture = digits.drawn(digits.SEVEN)
    form = multipart("a.png", picture, "image/png")
    form["body"] = form["body"].replace(b'name="file"', b'name="picture"')
    assert ask(proxy.url, Asked("", "POST", "/pictures", **form)).status == 302
    # The uploads of the developer's machine are not in the image, with which the volume began.
    stored = running.execute("ls", "/srv/shop/uploads").output.split()
    assert len(stored) == 1
    with urllib.request.urlopen(f"{proxy.url}/uploads/{stored[0]}", timeout=30) as response:
        assert response.read() == picture
