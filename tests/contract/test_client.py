"""`client.call` sends the arguments of a view in a request, and returns its return value."""

import datetime as dt
import io
import typing as t

import msgspec
import pydantic
import pytest

from carboy import Body, Carboy, Cookie, Form, Header, Image, Query, Upload, abort, request
from carboy.testing import CallError
from carboy.views import MethodView


class Item(msgspec.Struct):
    name: str
    day: dt.date | None = None


class Model(pydantic.BaseModel):
    n: int


class Filter(msgspec.Struct):
    q: str = ""
    tags: list[str] = []


def test_record_is_sent_and_returned(app, client):
    @app.post("/<int:shop>")
    def add(shop: int, item: Item, factor: int = 1, flag: bool = False) -> Item:
        return Item(item.name * factor * shop + str(flag), item.day)

    item = Item("a", dt.date(2024, 1, 2))
    assert client.call(add, shop=2, item=item, flag=True) == Item("aaTrue", item.day)
    assert client.call("add", shop=1, item=item, factor=3).name == "aaaFalse"


def test_arguments_are_sent_in_each_place(app, client):
    @app.get("/")
    def view(
        by: t.Annotated[Filter, Query()],
        when: dt.datetime,
        ids: list[int],
        token: t.Annotated[str, Header("X-Token")],
        langs: t.Annotated[list[str], Header()],
        visit: t.Annotated[int, Cookie()] = 0,
        nothing: int | None = None,
    ) -> dict[str, t.Any]:
        return {"all": [by.q, by.tags, when.year, ids, token, langs, visit, nothing]}

    got = client.call(
        view,
        by=Filter("ä &=", ["x", "y"]),
        when=dt.datetime(2024, 1, 2, tzinfo=dt.UTC),
        ids=[1, 2],
        token="t",
        langs=["de", "en"],
        visit=7,
        nothing=None,
    )
    assert got == {"all": ["ä &=", ["x", "y"], 2024, [1, 2], "t", ["de", "en"], 7, None]}
    assert client.get_cookie("visit") is None


def test_files_images_and_fields_are_sent_in_a_form(app, client, picture):
    image = pytest.importorskip("PIL.Image")

    @app.post("/")
    def view(
        item: Item, doc: Upload, raw: list[bytes], pic: Image, note: t.Annotated[str, Form()] = ""
    ) -> list[str]:
        return [item.name, doc.name, doc.read().decode(), str(len(raw)), str(pic.size), note]

    got = client.call(
        view,
        item=Item("a"),
        doc=Upload(io.BytesIO(b"text"), name="d.txt"),
        raw=[b"1", b"2"],
        pic=image.new("RGB", (3, 2)),
        note="n",
    )
    assert got == ["a", "d.txt", "text", "2", "(3, 2)", "n"]


def test_other_bodies_are_sent(app, client):
    image = pytest.importorskip("PIL.Image")

    @app.post("/several")
    def several(a: t.Annotated[Item, Body()], b: t.Annotated[int, Body()] = 5) -> list[Item]:
        return [a] * b

    @app.post("/model")
    def model(m: Model) -> Model:
        return m

    @app.post("/form")
    def form(item: t.Annotated[Item, Form()]) -> Item:
        return item

    @app.post("/text")
    def text(x: t.Annotated[str, Body()]) -> str:
        return x

    @app.post("/raw")
    def raw(x: t.Annotated[bytes, Body()]):
        return x, {"Content-Type": "application/octet-stream"}

    @app.post("/pic")
    def pic(x: t.Annotated[Image, Body()]) -> Image:
        return x

    @app.post("/none")
    def none(item: Item | None = None) -> str:
        return str(item)

    assert client.call(several, a=Item("x"), b=2) == [Item("x"), Item("x")]
    assert client.call(model, m=Model(n=3)) == Model(n=3)
    assert client.call(form, item=Item("f")) == Item("f")
    assert client.call(text, x="ä") == "ä"
    assert client.call(raw, x=b"\0") == b"\0"
    assert client.call(pic, x=image.new("RGB", (2, 2))).size == (2, 2)
    assert client.call(none) == "None"


def test_stream_is_returned_as_a_list(app, client):
    @app.get("/")
    def view(n: int) -> t.Iterator[Item]:
        for i in range(n):
            yield Item(str(i))

    assert client.call(view, n=2) == [Item("0"), Item("1")]


def test_method_of_a_class_is_called(app, client):
    class Items(MethodView):
        def get(self, n: int = 1) -> list[Item]:
            return [Item("g")] * n

        def post(self, item: Item) -> tuple[Item, int]:
            return item, 201

    app.add_url_rule("/items", view_func=Items.as_view("items"))
    assert client.call("items", item=Item("a")) == Item("a")
    assert client.call("items", _method="GET", n=2) == [Item("g"), Item("g")]


def test_untyped_view_is_called(app, client):
    @app.get("/<name>")
    def view(name):
        return f"hello {name}"

    assert client.call(view, name="ä b?") == "hello ä b?"


def test_problem_is_raised_as_a_call_error(app, client):
    @app.post("/")
    def view(item: Item, n: int = 1) -> Item:
        if n == 2:
            abort(409, "Taken.")
        if n == 3:
            return "plain", 500
        return item

    with pytest.raises(CallError, match=r"call\('view'\) was answered with 422.*`str`") as caught:
        client.call(view, item={"name": 3})
    assert caught.value.status == 422
    assert caught.value.errors[0]["path"] == "$.name"
    with pytest.raises(CallError) as caught:
        client.call(view, item=Item("a"), n=2)
    assert (caught.value.status, caught.value.detail) == (409, "Taken.")
    with pytest.raises(CallError) as caught:
        client.call(view, item=Item("a"), n=3)
    assert (caught.value.detail, caught.value.response.text) == ("plain", "plain")


def test_invalid_call_is_explained(app, client):
    @app.post("/<int:shop>")
    def view(shop: int, item: Item) -> Item:
        return item

    with pytest.raises(TypeError, match="'item' is required"):
        client.call(view, shop=1)
    with pytest.raises(TypeError, match="takes no argument named 'itme'"):
        client.call(view, shop=1, itme=Item("a"), item=Item("a"))
    with pytest.raises(LookupError, match="no view"):
        client.call(print)
    with pytest.raises(LookupError, match="no view 'gone'"):
        client.call("gone")
    with pytest.raises(LookupError, match=r"no view 'veiw'\. Did you mean 'view'\?"):
        client.call("veiw")


def test_view_is_called_under_an_application_root(app, client):
    app.config["APPLICATION_ROOT"] = "/shop"

    @app.get("/<int:n>")
    def view(n: int, q: str) -> list[Item]:
        return [Item(f"{n}{q}")]

    assert client.call(view, n=1, q="x") == [Item("1x")]


class Nested(msgspec.Struct):
    by: dict[str, int]
    pairs: list[list[int]] = []


def test_dicts_and_lists_in_a_record_of_the_query_are_sent_as_json(app, client):
    @app.get("/")
    def find(x: t.Annotated[Nested, Query()]) -> Nested:
        return x

    for value in (Nested({"a": 1}, [[1, 2], [3]]), Nested({}, [[1]])):
        assert client.call(find, x=value) == value


class Aliased(pydantic.BaseModel):
    n: int = pydantic.Field(alias="number")

    @pydantic.computed_field
    @property
    def twice(self) -> int:
        return 2 * self.n


def test_model_with_aliases_and_computed_fields_is_sent_and_returned(app, client):
    @app.post("/")
    def view(model: Aliased) -> Aliased:
        return model

    @app.get("/query")
    def query(model: t.Annotated[Aliased, Query()]) -> list[Aliased]:
        return [model]

    model = Aliased(number=3)
    assert client.post("/", json={"number": 3}).json == {"number": 3, "twice": 6}
    assert client.call(view, model=model) == model
    assert client.call(query, model=model) == [model]


class Document(msgspec.Struct):
    title: str
    file: Upload
    pages: list[Image] = []


@pytest.mark.parametrize("marked", [True, False], ids=["form", "any body"])
def test_files_in_the_fields_of_a_record_are_sent_in_a_form(app, client, marked):
    import PIL.Image

    def view(x):
        return {"title": x.title, "file": x.file.read().decode(), "pages": len(x.pages)}

    view.__annotations__ = {"x": t.Annotated[Document, Form()] if marked else Document}
    app.post("/")(view)
    pages = [PIL.Image.new("L", (1, 1))] * 2
    file = Upload(io.BytesIO(b"abc"), name="a.txt")
    found = client.call("view", x=Document("t", file, pages))
    assert found == {"title": "t", "file": "abc", "pages": 2}


class Renamed(pydantic.BaseModel):
    name: str = pydantic.Field(validation_alias="q")
    count: int = pydantic.Field(validation_alias=pydantic.AliasChoices("num", "n"))
    sent: str = pydantic.Field(alias="in", serialization_alias="out")


def test_fields_of_a_pydantic_model_are_sent_by_the_names_that_it_reads(app, client):
    @app.get("/")
    def query(x: t.Annotated[Renamed, Query()]) -> str:
        return f"{x.name} {x.count} {x.sent}"

    @app.post("/")
    def form(x: t.Annotated[Renamed, Form()]) -> str:
        return f"{x.name} {x.count} {x.sent}"

    model = Renamed.model_validate({"q": "a", "n": 2, "in": "b"})
    assert client.call("query", x=model) == client.call("form", x=model) == "a 2 b"
    paths = app.openapi()["paths"]["/"]
    assert [each["name"] for each in paths["get"]["parameters"]] == ["q", "num", "in"]
    (media,) = paths["post"]["requestBody"]["content"].values()
    assert media["schema"]["required"] == ["q", "num", "in"]


def cookies_of(app) -> None:
    @app.get("/cookies")
    def cookies(lang: t.Annotated[str, Cookie()] = "none") -> dict[str, str]:
        return {**request.cookies, "lang": lang}


@pytest.mark.parametrize("server_name", [None, "shop.example", "shop.example:8000"])
@pytest.mark.parametrize("text", ["fr", 'a "b"; c=d, ä'])
def test_cookie_is_sent_to_the_host_of_the_app_with_one_request(app, server_name, text):
    app.config["SERVER_NAME"] = server_name
    cookies_of(app)
    for client in (app.test_client(), app.test_client(use_cookies=False)):
        assert client.call("cookies", lang=text) == {"lang": text}
        assert client.get("/cookies").json == {"lang": "none"}


def test_cookies_of_the_client_stay_and_are_sent_with_those_of_a_call(app, client):
    cookies_of(app)
    client.set_cookie("lang", "de")
    client.set_cookie("theme", "dark")
    assert client.call("cookies", lang="fr") == {"lang": "fr", "theme": "dark"}
    assert client.call("cookies") == {"lang": "de", "theme": "dark"}


def where(user: str = "nobody") -> str:
    return f"{user} {request.url}"


@pytest.mark.parametrize("root", ["/", "/shop"])
def test_view_with_a_subdomain_is_called_at_its_host(root):
    app = Carboy("shop", subdomain_matching=True)
    app.config.update(
        SERVER_NAME="shop.example", APPLICATION_ROOT=root, PREFERRED_URL_SCHEME="https"
    )
    app.add_url_rule("/here", "here", where)
    app.add_url_rule("/there", "there", where, subdomain="api")
    app.add_url_rule("/to", "of_user", where, subdomain="<user>")
    client, folder = app.test_client(), root.rstrip("/")
    assert client.call("here") == f"nobody https://shop.example{folder}/here"
    assert client.call("there") == f"nobody https://api.shop.example{folder}/there"
    assert client.call("of_user", user="ada") == f"ada https://ada.shop.example{folder}/to"


def test_view_with_a_host_is_called_at_its_host():
    app = Carboy("shop", host_matching=True, static_host="static.example")
    app.add_url_rule("/", "api", where, host="api.example")
    assert app.test_client().call("api") == "nobody http://api.example/"
