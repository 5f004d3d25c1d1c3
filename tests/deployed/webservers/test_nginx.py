"""The app behind nginx, by the configuration that `carboy nginx` writes."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal

import guides
import oddsites
import pytest
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
