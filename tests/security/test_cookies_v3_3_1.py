"""Cookies: the session's cookie is signed, hidden from scripts, and as narrow as the config says.

ASVS 5.0: 3.3.1, 3.3.2, 3.3.4, 3.3.5, 7.2.1, 9.1.1
Also tested in: tests/test_sessions.py, tests/deployment/checks/test_configchecks.py
"""

from __future__ import annotations

import os

import pytest

from carboy import Carboy, session
from carboy.starter import PARTS
from carboy.starter.sources import project_files


@pytest.fixture
def app(app: Carboy) -> Carboy:
    app.add_url_rule("/in", "login", lambda: str(session.update(user="ada")))
    app.add_url_rule("/who", "who", lambda: str(session.get("user")))
    return app


def _cookie(app: Carboy) -> str:
    return app.test_client().get("/in").headers["Set-Cookie"]


def test_scripts_do_not_read_the_session(app: Carboy):
    assert "HttpOnly" in _cookie(app)


def test_name_with_the_prefix_host_has_what_browsers_demand_of_it(app: Carboy):
    app.config.update(SESSION_COOKIE_NAME="__Host-session", SESSION_COOKIE_SECURE=True)
    cookie = _cookie(app)
    assert cookie.startswith("__Host-session=")
    assert {"Secure", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "Domain" not in cookie


@pytest.mark.parametrize(
    "change",
    [
        # Not the last character of the signature: two of its bits belong to no byte.
        lambda value: value[:-2] + ("A" if value[-2] != "A" else "B") + value[-1],
        lambda value: value.replace(".", "", 1),
        lambda value: "eyJ1c2VyIjoicm9vdCJ9" + value[value.index(".") :],
        lambda value: value.rpartition(".")[0],
        lambda value: value.rpartition(".")[0] + ".",
        lambda value: "",
        lambda value: "." * 1000,
    ],
)
def test_changed_cookie_is_no_session(app: Carboy, change):
    client = app.test_client()
    client.get("/in")
    value = client.get_cookie("session").value
    client.set_cookie("session", change(value))
    assert client.get("/who").text == "None"


def test_cookie_of_another_app_with_the_same_name_is_no_session(app: Carboy):
    other = Carboy("other")
    other.config["SECRET_KEY"] = "another key"
    other.add_url_rule("/in", "login", lambda: str(session.update(user="root")))
    stolen = other.test_client()
    stolen.get("/in")
    client = app.test_client()
    client.set_cookie("session", stolen.get_cookie("session").value)
    assert client.get("/who").text == "None"


def test_cookie_that_browsers_would_drop_is_warned_of(app: Carboy):
    app.add_url_rule("/much", "much", lambda: str(session.update(text=os.urandom(3000).hex())))
    with pytest.warns(UserWarning, match="too large"):
        app.test_client().get("/much")


def test_new_project_sends_no_session_with_forms_of_other_sites():
    settings: dict[str, type] = {}
    exec(project_files("shop", PARTS, "carboy.whl")["config.py"], settings)
    app = Carboy("shop")
    app.config.from_object(settings["ProductionConfig"])
    del app.config["LOG_FILE"]  # the log of this process would be written there
    app.config["SECRET_KEY"] = "test key"
    app.add_url_rule("/in", "login", lambda: str(session.update(user="ada")))
    assert "SameSite=Lax" in _cookie(app)
