"""Programs that read the headers of proxies by themselves, and what the server says of them."""

from __future__ import annotations

import logging

import pytest
from stage import Stage, head
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.profiler import ProfilerMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from carboy import Carboy, request
from carboy.serving.http.forwarded import TrustedProxies
from carboy.serving.process.worker import server_of
from carboy.serving.settings import make_settings
from carboy.serving.wsgi.proxyfix import INSTEAD, TWICE, has_proxy_fix


class Own(ProxyFix):
    pass


def next_number(x: int) -> int:
    return x + 1


def fixed(app, wrap=ProxyFix):
    app.wsgi_app = wrap(app.wsgi_app)
    return app


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(lambda app: app, False, id="plain"),
        pytest.param(fixed, True, id="app.wsgi_app"),
        pytest.param(ProxyFix, True, id="app"),
        pytest.param(lambda app: fixed(app, Own), True, id="subclass"),
        pytest.param(lambda app: ProfilerMiddleware(fixed(app)), True, id="outer middleware"),
        pytest.param(lambda app: fixed(fixed(app), ProfilerMiddleware), True, id="middleware"),
        pytest.param(lambda app: DispatcherMiddleware(ProxyFix(app)), True, id="dispatcher"),
        pytest.param(ProfilerMiddleware, False, id="other middleware"),
        pytest.param(lambda app: lambda environ, start: app(environ, start), False, id="function"),
        pytest.param(lambda app: None, False, id="nothing"),
    ],
)
def test_proxy_fix_is_found_in_middleware(app, make, expected):
    assert has_proxy_fix(make(app)) is expected


def test_middleware_that_refers_to_itself_is_searched_once(app):
    app.wsgi_app = app
    assert not has_proxy_fix(app)


@pytest.mark.parametrize(
    ("has_fix", "has_model", "proxy", "expected"),
    [
        (True, False, 1, [("WARNING", TWICE)]),
        (True, True, 1, [("WARNING", TWICE)]),
        (True, True, 0, [("INFO", INSTEAD)]),
        (True, False, 0, []),
        (False, True, 1, []),
        (False, True, 0, []),
    ],
)
def test_start_says_what_becomes_of_proxy_fix(
    app, caplog, monkeypatch, has_fix, has_model, proxy, expected
):
    monkeypatch.setattr(logging.getLogger("carboy.serving"), "propagate", True)
    caplog.set_level(logging.INFO, "carboy.serving")
    if has_model:
        app.model("/next")(next_number)
    server_of(fixed(app) if has_fix else app, make_settings({"proxy": proxy}, {})).close()
    records = [(each.levelname, each.getMessage()) for each in caplog.records]
    assert [each for each in records if "ProxyFix" in each[1]] == expected


@pytest.mark.parametrize("proxies", [None, TrustedProxies("1", "for")], ids=["alone", "twice"])
def test_proxy_fix_works_as_under_any_server(proxies):
    app = fixed(Carboy("fixed"), lambda inner: ProxyFix(inner, x_for=2, x_prefix=1))
    app.add_url_rule("/", view_func=lambda: f"{request.remote_addr} {request.script_root}")
    sent = [("X-Forwarded-For", "1.1.1.1, 2.2.2.2"), ("X-Forwarded-Prefix", "/p")]
    with Stage(proxies=proxies) as stage:
        stage.serve(app)
        assert stage.connect().ask(head(headers=sent)).body == b"1.1.1.1 /p"
