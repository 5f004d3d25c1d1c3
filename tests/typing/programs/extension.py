"""An extension and a customised application: subclasses, registries, signals, providers."""

from __future__ import annotations

import typing as t

from carboy import Carboy, Request, Response, request_finished
from carboy.globals import app_ctx, request_ctx
from carboy.json.provider import DefaultJSONProvider, JSONProvider
from carboy.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from carboy.typing import ResponseReturnValue


class ShopRequest(Request):
    @property
    def tenant(self) -> str:
        return self.headers.get("X-Tenant", "none")


class ShopJSON(DefaultJSONProvider):
    sort_keys = False

    def dumps(self, obj: t.Any, **kwargs: t.Any) -> str:
        return super().dumps(obj, **kwargs)


class ShopSessions(SecureCookieSessionInterface):
    session_class = SecureCookieSession

    def open_session(self, app: Carboy, request: Request) -> SecureCookieSession | None:
        return super().open_session(app, request)

    def save_session(self, app: Carboy, session: SessionMixin, response: Response) -> None:
        super().save_session(app, session, response)


class Shop(Carboy):
    request_class = ShopRequest
    json_provider_class: type[JSONProvider] = ShopJSON
    session_interface = ShopSessions()

    def dispatch_request(self) -> ResponseReturnValue:
        return super().dispatch_request()

    def process_response(self, response: Response) -> Response:
        response.headers["X-Shop"] = self.name
        return super().process_response(response)


class Counter:
    """Counts the requests of the applications that it is given."""

    def __init__(self, app: Carboy | None = None) -> None:
        self.count = 0
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Carboy) -> None:
        app.extensions["counter"] = self
        app.before_request_funcs.setdefault(None, []).append(self.add)
        app.teardown_appcontext(lambda exc: None)
        request_finished.connect(self.finished, app)

    def add(self) -> None:
        self.count += 1

    def finished(self, sender: Carboy, response: Response, **extra: t.Any) -> None:
        t.assert_type(app_ctx.app, Carboy)
        t.assert_type(request_ctx.request, Request)


app = Shop(__name__)
counter = Counter(app)
t.assert_type(app.json.loads("{}"), t.Any)
app.jinja_env.globals["shop"] = app.name
