"""What an app says about itself to those who write the configuration of a web server."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator

import pytest
from werkzeug.middleware.proxy_fix import ProxyFix

from carboy import Blueprint, Carboy
from carboy.deployment.facts import Facts, StaticFolder
from carboy.deployment.specialroutes import SpecialRoute
from carboy.errors import ConfigError
from carboy.serving.settings import make_settings
from carboy.uploads.uploadfolder import absolute

MIB = 1024 * 1024


@pytest.fixture
def app(tmp_path):
    (tmp_path / "static").mkdir()
    return Carboy("shop", root_path=str(tmp_path))


def facts_of(app, **settings) -> Facts:
    return Facts(app, None, app.root_path, make_settings(settings, {}))


# ---------------------------------------------------------------------------------- static files


def test_static_folders_are_those_of_the_app_and_of_its_blueprints(app, tmp_path):
    (tmp_path / "pictures").mkdir()
    for name, folder in (("admin", "pictures"), ("gone", "not-there")):
        blueprint = Blueprint(name, "shop", root_path=str(tmp_path), static_folder=folder)
        app.register_blueprint(blueprint, url_prefix=f"/{name}")
    assert facts_of(app).static_folders == [
        StaticFolder("/static/", str(tmp_path / "static")),
        StaticFolder("/admin/pictures/", str(tmp_path / "pictures")),
    ]


def test_files_that_the_app_sends_in_its_own_way_are_left_to_it(app, tmp_path):
    app.view_functions["static"] = lambda filename: "only for members"
    assert facts_of(app).static_folders == []

    class Own(Carboy):
        def send_static_file(self, filename):
            return super().send_static_file(filename)

    assert facts_of(Own("shop", root_path=str(tmp_path))).static_folders == []


@pytest.mark.parametrize(
    ("rule", "is_left"),
    [
        ("/static/private/<path:name>", True),
        ("/static/private/plan.pdf", True),
        ("/static/<string(length=3):name>/<file>", False),
        ("/static/other/<path:name>", False),
        ("/<folder>/<path:name>", False),  # the rule of static files has more fixed parts
    ],
)
def test_folder_with_files_for_which_a_view_answers_is_left_to_the_app(
    app, tmp_path, rule, is_left
):
    (tmp_path / "static" / "private").mkdir()
    (tmp_path / "static" / "private" / "plan.pdf").touch()
    app.add_url_rule(rule, "private", lambda **names: "only for members")
    assert (facts_of(app).static_folders == []) == is_left
    with app.test_client().get("/static/private/plan.pdf") as response:
        assert (response.data == b"only for members") == is_left


@pytest.mark.parametrize(
    ("value", "seconds"), [(None, None), (0, 0), (60, 60), (dt.timedelta(hours=1), 3600)]
)
def test_time_in_caches_of_browsers_is_that_of_the_config(app, value, seconds):
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = value
    assert facts_of(app).static_max_age_s == seconds


# --------------------------------------------------------------------------------- sizes of bodies


@pytest.mark.parametrize(
    ("server", "of_app", "of_model", "limit"),
    [
        ("64M", None, None, 64 * MIB),
        ("64M", 1 * MIB, None, 1 * MIB),
        ("64M", 1 * MIB, 8 * MIB, 8 * MIB),
        ("4M", 1 * MIB, 8 * MIB, 4 * MIB),
        ("0", 1 * MIB, None, 1 * MIB),
        ("0", None, 8 * MIB, None),
    ],
)
def test_body_limit_is_the_largest_that_the_app_takes(app, server, of_app, of_model, limit):
    app.config["MAX_CONTENT_LENGTH"] = of_app
    app.model("/sum", max_body_bytes=of_model)(sum_of)
    assert facts_of(app, max_body=server).body_limit == limit


def test_there_is_no_limit_of_bodies_if_models_have_none(app):
    app.config.update(MAX_CONTENT_LENGTH=MIB, MODEL_MAX_BODY=None)
    app.model("/sum")(sum_of)
    assert facts_of(app, max_body="0").body_limit is None


@pytest.mark.parametrize(
    ("key", "value", "fact", "expected"),
    [
        ("MAX_CONTENT_LENGTH", -1, "body_limit", "int >= 0 or None, got int -1"),
        ("MAX_CONTENT_LENGTH", "16MB", "body_limit", "int or None, got text '16MB'"),
        (
            "SEND_FILE_MAX_AGE_DEFAULT",
            "1h",
            "static_max_age_s",
            "timedelta or int or float or None",
        ),
        ("TRUSTED_HOSTS", [5], "hosts", r"list\[str\] or str or None, got list"),
        ("UPLOAD_FOLDER", b"up", "written_folders", "str or None, got bytes"),
    ],
)
def test_value_of_a_wrong_type_is_refused(app, key, value, fact, expected):
    app.config[key] = value
    with pytest.raises(ConfigError, match=f"{key}: expected {expected}"):
        getattr(facts_of(app), fact)


def sum_of(x: list[float]) -> float:
    return sum(x)


# ---------------------------------------------------------------- routes that need more than others


def test_special_routes_are_streams_websockets_and_long_predictions(app):
    @app.get("/lines/<int:count>")
    def lines(count: int) -> Iterator[int]:
        yield from range(count)

    @app.get("/files/<path:name>.log")
    def log(name):
        yield "text"

    @app.route("/chat", websocket=True)
    def chat():
        return ""

    def echo(x: float) -> Iterator[float]:
        yield x

    app.model("/quick")(sum_of)
    app.model("/slow", name="slow", deadline_s=100)(sum_of)
    app.model("/endless", name="endless", deadline_s=None)(sum_of)
    app.model("/echo")(echo)
    app.add_url_rule("/", view_func=lambda: "page", endpoint="index")
    assert facts_of(app).special_routes(60) == [
        SpecialRoute("/chat", "/chat", False, False, True, 3605),
        SpecialRoute("/echo", "/echo", False, True, False, 60),
        SpecialRoute("/endless", "/endless", False, False, False, 3600),
        SpecialRoute("/files/<path:name>.log", r"/files/.+\.log", True, True, False, 3600),
        SpecialRoute("/lines/<int:count>", "/lines/[^/]+", True, True, False, 3600),
        SpecialRoute("/slow", "/slow", False, False, False, 105),
    ]
    assert "/quick" in [route.path for route in facts_of(app).special_routes(10)]


def test_wait_for_views_is_longer_than_their_time_limit(app):
    assert facts_of(app).wait_s == 60
    assert facts_of(app, view_timeout_s=20).wait_s == 60
    assert facts_of(app, view_timeout_s=90).wait_s == 95


# ------------------------------------------------------------------------------- written folders


def folder_of_uploads_by(app, folder) -> str:
    with app.app_context():
        return absolute(folder)


@pytest.mark.parametrize("exists", [False, True])
def test_folder_of_uploads_is_the_one_in_which_uploads_are_stored(tmp_path, exists):
    app = Carboy("shop", root_path=str(tmp_path / "src" / "shop"))
    app.config["UPLOAD_FOLDER"] = "uploads"
    stored = folder_of_uploads_by(app, "uploads")
    if exists:
        os.makedirs(stored)
    by_name = [] if exists else [str(tmp_path / "uploads")]  # for an app that opens files itself
    facts = Facts(app, None, str(tmp_path), make_settings({}, {}))
    assert facts.written_folders == sorted([stored, *by_name])


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        (["uploads"], ["shop/uploads", "uploads"]),
        (["uploads", "shop/uploads"], ["shop/uploads", "uploads"]),  # after a mkdir of both
        (["shop/uploads/__init__.py"], ["uploads"]),
        (["shop/uploads/views.py", "uploads"], ["uploads"]),
        (["shop/uploads/report.pdf"], ["shop/uploads"]),
    ],
)
def test_folder_of_uploads_below_the_current_one_is_kept_and_code_is_none(
    tmp_path, existing, expected
):
    app = Carboy("shop", root_path=str(tmp_path / "shop"))
    app.config["UPLOAD_FOLDER"] = "uploads"
    for path in map(tmp_path.joinpath, existing):
        folder = path.parent if path.suffix else path
        folder.mkdir(parents=True, exist_ok=True)
        if path.suffix:
            path.touch()
    facts = Facts(app, None, str(tmp_path), make_settings({}, {}))
    assert facts.written_folders == [str(tmp_path / each) for each in expected]


def test_folder_of_uploads_may_be_a_path(app, tmp_path):
    app.config["UPLOAD_FOLDER"] = tmp_path / "up"
    assert facts_of(app).written_folders == [str(tmp_path / "up")]


# ------------------------------------------------------------------------------------------ proxies


@pytest.mark.parametrize(
    ("settings", "names", "is_only_proxy"),
    [
        ({}, {"for", "proto"}, True),
        ({"proxy": "1", "proxy_headers": "for,host"}, {"for", "host"}, True),
        ({"proxy": "2"}, {"for", "proto"}, False),
        ({"proxy": "10.0.0.0/8", "proxy_headers": "forwarded"}, {"forwarded"}, False),
    ],
)
def test_trusted_headers_are_those_of_the_settings(app, settings, names, is_only_proxy):
    facts = facts_of(app, **settings)
    assert facts.trusted_headers == (names, is_only_proxy)
    assert facts.trusts_proxies is bool(settings)


def test_trusted_headers_are_those_of_proxyfix_if_the_app_has_it(app):
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=2, x_proto=0, x_host=1)
    facts = facts_of(app)
    assert facts.trusted_headers == ({"for", "host"}, False)
    assert facts.trusts_proxies


def test_hosts_are_the_trusted_ones_without_ports(app):
    assert facts_of(app).hosts == []
    app.config["TRUSTED_HOSTS"] = ["shop.example", "shop.example:8000", ".shops.example"]
    assert facts_of(app).hosts == ["shop.example", ".shops.example"]
    app.config["TRUSTED_HOSTS"] = "shop.example:8000"  # which works as a list of one
    assert facts_of(app).hosts == ["shop.example"]


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({}, "127.0.0.1:8000"),
        ({"host": "0.0.0.0", "port": 80}, "127.0.0.1:80"),
        ({"bind": ["[::]:8000"]}, "[::1]:8000"),
        ({"bind": ["192.0.2.1:8000", "unix:/run/shop.sock"]}, "unix:/run/shop.sock"),
    ],
)
def test_address_is_the_one_that_programs_on_the_same_machine_use(app, settings, address):
    assert str(facts_of(app, **settings).address) == address
