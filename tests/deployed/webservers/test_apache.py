"""The app behind Apache, by the configuration that `carboy apache` writes."""

from __future__ import annotations

import pathlib

import apacheserver
import oddsites
import pytest
import spawning
import website
import websitecases as cases
from authority import Authority
from websitecases import *  # noqa: F403  # each web server is asked the same

from carboy.deployment.apachefiles import apache_text
from carboy.deployment.website import make_website


def start(ports: website.Ports, folder: pathlib.Path, file: pathlib.Path) -> spawning.Program:
    return apacheserver.start(folder, file, ports.http)


@pytest.fixture(scope="module")
def site(project):
    with website.website("apache", project, start) as running:
        yield running


@pytest.fixture(scope="module")
def secure_site(project):
    with website.website("apache", project, start, tls=True) as running:
        yield running


@pytest.fixture
def hasty_site(project):
    with website.website("apache", project, start, "--timeout", "1") as running:
        yield running


@pytest.fixture
def restarting_site(project):
    with website.website("apache", project, start) as running:
        yield running


@pytest.fixture(scope="module")
def differences() -> dict[str, str]:
    """Requests whose response differs from that of `carboy serve`, and why."""
    return {**cases.OF_STATIC_FILES, **OF_TEXTS, **cases.OF_THE_CLIENT, **cases.OF_BUFFERED_BODIES}


OF_TEXTS = dict.fromkeys(
    (
        *("page", "description of the model", "document", "large response", "empty body"),
        *("body of 2 MiB", "upload", "upload of 2 MiB", "stream", "stream that fails"),
    ),
    "Vary: Accept-Encoding, because texts of each length are compressed for clients that accept it",
)


def test_redirect_to_https_keeps_the_path_and_the_query(secure_site):
    answer = cases.ask(secure_site, "/hello/a%20b%3Fc%2Fd?x=%20&y")
    port = secure_site.ports.https
    assert answer.headers["Location"] == f"https://{cases.HOST}:{port}/hello/a%20b%3Fc%2Fd?x=%20&y"


# --------------------------------------------------------------------- configurations of other apps


@pytest.mark.parametrize("mod_wsgi", [False, True], ids=["proxy", "mod_wsgi"])
@pytest.mark.parametrize("folder", oddsites.FOLDERS)
@pytest.mark.parametrize(("settings", "options"), oddsites.SETTINGS_AND_OPTIONS)
def test_apache_accepts_the_configuration_of_any_app(tmp_path, folder, settings, options, mod_wsgi):
    app = oddsites.odd_app(tmp_path / folder)
    Authority(tmp_path / folder).issue("site")
    website_of = make_website(oddsites.facts_of(app, **settings), **options)
    apacheserver.check(tmp_path, apache_text(website_of, mod_wsgi=mod_wsgi))


def test_two_apps_are_served_by_one_apache(tmp_path):
    texts = []
    for name in ("shop", "2nd-shop"):
        app = oddsites.odd_app(tmp_path / name)
        website_of = make_website(oddsites.facts_of(app), names=[f"{name}.example"])
        texts.append(apache_text(website_of))
    apacheserver.check(tmp_path, "\n".join(texts))


def test_static_folder_at_the_root_leaves_views_to_the_app(tmp_path):
    oddsites.check_static_folder_at_the_root("apache", tmp_path, start)


def test_how_to_works_as_written():
    with website.shared_folder() as folder:
        apacheserver.follow_guide("apache.md", folder)
