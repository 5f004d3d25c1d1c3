"""Views that are mocks, stubs and proxies: they answer every attribute, also those of carboy."""

from __future__ import annotations

import functools
import typing as t
from unittest import mock

import pytest
from werkzeug.local import LocalProxy

from carboy import Blueprint, Carboy
from carboy.core import annotations
from carboy.testing import FlaskClient


class RemoteStub:
    """A stub of remote procedures: each attribute is another stub."""

    def __getattr__(self, name: str) -> t.Any:
        return RemoteStub()

    def __call__(self, *args: t.Any, **kwargs: t.Any) -> str:
        return "hello"


class LazyView:
    """A proxy that makes its object on first use."""

    def __init__(self, make: t.Callable[[], t.Any]) -> None:
        self.__dict__["make"] = make

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self.make(), name)

    def __call__(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
        return self.make()(*args, **kwargs)


def plain_view() -> str:
    return "hello"


def wraps_itself() -> t.Any:
    def view(page: int = 1) -> str:
        return "hello"

    view.__wrapped__ = view  # type: ignore[attr-defined]
    return view


def wrap_each_other() -> t.Any:
    first, second = wraps_itself(), wraps_itself()
    first.__wrapped__, second.__wrapped__ = second, first
    return first


ODD_VIEWS: dict[str, t.Callable[[], t.Any]] = {
    "mock": lambda: mock.MagicMock(return_value="hello"),
    "stub": RemoteStub,
    "lazy": lambda: LazyView(lambda: plain_view),
    "partial of a stub": lambda: functools.partial(RemoteStub(), 1),
    "proxy": lambda: LocalProxy(lambda: plain_view),
    "wraps itself": wraps_itself,
    "wrap each other": wrap_each_other,
    "wrapped mock": lambda: functools.wraps(plain_view)(mock.MagicMock(return_value="hello")),
    "wraps a mock": lambda: functools.update_wrapper(lambda: "hello", mock.MagicMock()),
}


@pytest.mark.parametrize("make", ODD_VIEWS.values(), ids=ODD_VIEWS)
@pytest.mark.parametrize("through", ["app", "blueprint"])
def test_view_that_answers_every_attribute_is_registered_called_and_documented(
    app: Carboy, client: FlaskClient, make: t.Callable[[], t.Any], through: str
) -> None:
    app.get("/other")(plain_view)
    target: t.Any = app if through == "app" else Blueprint("odd", __name__)
    target.add_url_rule("/odd", "odd_view", make())
    if through == "blueprint":
        app.register_blueprint(target)
    assert client.get("/odd").text == "hello"
    assert {"/odd", "/other"} <= set(app.openapi()["paths"])


def test_innermost_function_is_found_through_every_layer() -> None:
    class Views:
        def page(self) -> str:
            return "page"

    assert annotations.innermost(Views().page) is Views.page
    assert annotations.innermost(functools.partial(Views().page)) is Views.page
    assert annotations.innermost(functools.lru_cache(plain_view)) is plain_view
    assert annotations.innermost(RemoteStub()) is RemoteStub.__call__
