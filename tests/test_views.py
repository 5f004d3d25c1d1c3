"""Class-based views."""

from __future__ import annotations

import typing as t

import pytest

from carboy import Carboy, g, make_response, request
from carboy.testing import FlaskClient
from carboy.typing import ResponseReturnValue
from carboy.views import MethodView, View, http_method_funcs


def allowed(client: FlaskClient, path: str) -> set[str]:
    return set(client.options(path).allow)


def test_view_gets_arguments_from_the_url_and_from_as_view(
    app: Carboy, client: FlaskClient
) -> None:
    class Greet(View):
        def __init__(self, word: str, *, end: str) -> None:
            self.word, self.end = word, end

        def dispatch_request(self, name: str) -> str:  # type: ignore[override]
            return f"{self.word} {name}{self.end}"

    app.add_url_rule("/<name>", view_func=Greet.as_view("greet", "Hello", end="!"))
    assert client.get("/ada").text == "Hello ada!"


@pytest.mark.parametrize(("every", "count"), [(True, 3), (False, 1)], ids=["each", "shared"])
def test_init_every_request_decides_about_instances(
    app: Carboy, client: FlaskClient, every: bool, count: int
) -> None:
    made = []

    class Page(View):
        init_every_request = every

        def __init__(self) -> None:
            made.append(self)

        def dispatch_request(self) -> str:
            return "ok"

    app.add_url_rule("/", view_func=Page.as_view("page"))
    for _ in range(3):
        assert client.get("/").text == "ok"
    assert len(made) == count


def test_class_replaced_on_the_function_is_used(app: Carboy, client: FlaskClient) -> None:
    class Real(View):
        def dispatch_request(self) -> str:
            return "real"

    class Fake(View):
        def dispatch_request(self) -> str:
            return "fake"

    view: t.Any = Real.as_view("page")
    app.add_url_rule("/", view_func=view)
    assert client.get("/").text == "real"
    view.view_class = Fake
    assert client.get("/").text == "fake"


def test_view_function_has_the_name_and_docstring_of_its_class() -> None:
    class Page(View):
        """What the page does."""

        methods = ("POST",)
        provide_automatic_options = False

    view: t.Any = Page.as_view("page")
    assert (view.__name__, view.__doc__, view.__module__) == ("page", Page.__doc__, __name__)
    assert (view.view_class, view.methods) == (Page, ("POST",))
    assert view.provide_automatic_options is False


def test_decorators_are_applied_innermost_first_and_see_the_name(
    app: Carboy, client: FlaskClient
) -> None:
    names = []

    def mark(letter: str) -> t.Callable[[t.Any], t.Any]:
        def decorate(view: t.Any) -> t.Any:
            names.append(view.__name__)

            def decorated(**kwargs: t.Any) -> t.Any:
                response = make_response(view(**kwargs))
                response.set_data(response.get_data(as_text=True) + letter)
                return response

            return decorated

        return decorate

    class Page(View):
        decorators: t.ClassVar = [mark("a"), mark("b")]

        def dispatch_request(self) -> str:
            return "-"

    view = Page.as_view("page")
    app.add_url_rule("/", view_func=view)
    assert client.get("/").text == "-ab"
    assert names[0] == "page"
    assert view.__name__ == "page"


def test_error_of_a_view_without_dispatch_request_explains_what_to_define(app: Carboy) -> None:
    class Empty(View):
        pass

    with (
        app.test_request_context(),
        pytest.raises(NotImplementedError, match="Empty has no 'dispatch_request'"),
    ):
        Empty.as_view("empty")()


@pytest.mark.parametrize("method", sorted(http_method_funcs))
def test_method_view_calls_the_method_of_the_http_methods_name(
    app: Carboy, client: FlaskClient, method: str
) -> None:
    def handle(self: MethodView) -> ResponseReturnValue:
        return "", 200, {"X-Method": request.method}

    page = type("Page", (MethodView,), {method: handle})
    app.add_url_rule("/", view_func=page.as_view("page"))
    assert client.open("/", method=method.upper()).headers["X-Method"] == method.upper()
    assert page.methods == {method.upper()}


def test_head_is_handled_by_get_if_there_is_no_head(app: Carboy, client: FlaskClient) -> None:
    class Get(MethodView):
        def get(self) -> ResponseReturnValue:
            return "body", {"X-By": "get"}

    class Head(Get):
        def head(self) -> ResponseReturnValue:
            return "", {"X-By": "head"}

    app.add_url_rule("/get", view_func=Get.as_view("get"))
    app.add_url_rule("/head", view_func=Head.as_view("head"))
    assert client.head("/get").headers["X-By"] == "get"
    assert client.head("/get").data == b""
    assert client.head("/head").headers["X-By"] == "head"


def test_methods_of_bases_are_added_unless_set(app: Carboy, client: FlaskClient) -> None:
    class Get(MethodView):
        def get(self) -> str:
            return "get"

    class Odd(MethodView):
        methods = frozenset(("PROPFIND",))

        def propfind(self) -> str:
            return "found"

    class Both(Get, Odd):
        def delete(self) -> str:
            return "gone"

    class Only(Both):
        methods = frozenset(("GET",))

    assert Both.methods == {"GET", "PROPFIND", "DELETE"}
    assert Only.methods == {"GET"}
    app.add_url_rule("/both", view_func=Both.as_view("both"))
    app.add_url_rule("/only", view_func=Only.as_view("only"))
    assert client.open("/both", method="PROPFIND").text == "found"
    assert allowed(client, "/both") == {"GET", "HEAD", "OPTIONS", "PROPFIND", "DELETE"}
    assert client.delete("/only").status_code == 405


def test_base_class_has_no_methods() -> None:
    class Nothing(MethodView):
        pass

    assert Nothing.methods is None


def test_registered_method_without_a_handler_is_named_in_the_error(
    app: Carboy, client: FlaskClient
) -> None:
    class Page(MethodView):
        methods = frozenset(("PATCH",))

    app.add_url_rule("/", view_func=Page.as_view("page"))
    with pytest.raises(AssertionError, match=r"Unimplemented method 'PATCH': Page .* 'patch'"):
        client.patch("/")


@pytest.mark.parametrize("base", [View, MethodView], ids=["View", "MethodView"])
def test_async_methods_are_awaited(app: Carboy, client: FlaskClient, base: type[View]) -> None:
    async def answer(self: View) -> str:
        g.seen = True
        return request.path

    name = "dispatch_request" if base is View else "get"
    page = type("Page", (base,), {name: answer})
    app.add_url_rule("/p", view_func=page.as_view("page"))
    assert client.get("/p").text == "/p"


def test_automatic_options_can_be_disabled(app: Carboy, client: FlaskClient) -> None:
    class Page(View):
        provide_automatic_options = False

        def dispatch_request(self) -> str:
            return "ok"

    app.add_url_rule("/", view_func=Page.as_view("page"))
    assert client.options("/").status_code == 405
