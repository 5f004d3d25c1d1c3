"""Bodies of views: types of parameters, in each media type that can contain them."""

import dataclasses
import datetime as dt
import io
import math
import typing as t

import attrs
import msgspec
import pydantic
import pytest

from carboy import Body, File, Form, Image, Query, Upload

MULTIPART = "multipart/form-data"


class Sizes(msgspec.Struct):
    length: float
    width: float = 1.0


class Flower(msgspec.Struct):
    name: str
    sizes: Sizes | None = None
    tags: list[str] = []


@dataclasses.dataclass
class FlowerData:
    name: str
    petals: int = 5


@attrs.define
class FlowerAttrs:
    name: str
    petals: int = 5


class FlowerDict(t.TypedDict):
    name: str
    petals: t.NotRequired[int]


class FlowerModel(pydantic.BaseModel):
    name: str
    petals: int = 5


def echo(app, annotation, *default):
    """Add a view for POST / that returns the `repr` of its argument."""

    def view(x):
        return repr(x)

    view.__annotations__ = {"x": annotation}
    view.__defaults__ = default
    app.add_url_rule("/", view_func=view, methods=["POST"])


def errors_of(answer):
    assert answer.mimetype == "application/problem+json"
    return answer.get_json(force=True).get("errors", [])


RECORDS = [Flower, FlowerData, FlowerAttrs, FlowerDict, FlowerModel]
RECORD_IDS = [cls.__name__ for cls in RECORDS]


@pytest.mark.parametrize("cls", RECORDS, ids=RECORD_IDS)
@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b'{"name":"iris"}', "application/json"),
        (b'{"name":"iris"}', "application/json; charset=utf-8"),
        (b'{"name":"iris"}', "application/vnd.api+json"),
        (msgspec.msgpack.encode({"name": "iris"}), "application/msgpack"),
        (msgspec.msgpack.encode({"name": "iris"}), "application/x-msgpack"),
        ({"name": "iris"}, "application/x-www-form-urlencoded"),
        ({"name": "iris"}, MULTIPART),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_record_is_read_from_each_media_type(app, client, cls, data, content_type):
    echo(app, cls)
    answer = client.post("/", data=data, content_type=content_type)
    assert answer.status_code == 200, answer.text
    expected = {"name": "iris"} if cls is FlowerDict else cls(name="iris")
    assert answer.text == repr(expected)


@pytest.mark.parametrize("cls", RECORDS, ids=RECORD_IDS)
def test_invalid_record_is_refused_with_the_path(app, client, cls):
    echo(app, cls)
    for sent in (
        {"json": {"name": 3}},
        {"data": msgspec.msgpack.encode({"name": 3}), "content_type": "application/msgpack"},
    ):
        answer = client.post("/", **sent)
        assert answer.status_code == 422
        [fault] = errors_of(answer)
        assert (fault["in"], fault["path"], fault["got"]) == ("body", "$.name", "`int` 3")


@pytest.mark.parametrize("cls", RECORDS, ids=RECORD_IDS)
def test_a_missing_field_is_named(app, client, cls):
    echo(app, cls)
    answer = client.post("/", json={})
    assert answer.status_code == 422
    assert "name" in str(errors_of(answer))


def test_pydantic_reports_all_errors_at_once(app, client):
    echo(app, FlowerModel)
    answer = client.post("/", json={"name": 1, "petals": "x"})
    assert [fault["path"] for fault in errors_of(answer)] == ["$.name", "$.petals"]


def test_truncated_json_is_malformed_even_after_an_invalid_value(app, client):
    echo(app, RECORDS[0])
    answer = client.post("/", data=b'{"name": 1, "pet', content_type="application/json")
    assert answer.status_code == 400
    assert "not valid JSON" in answer.json["detail"]


def test_error_path_leads_into_nested_values(app, client):
    echo(app, list[Flower])
    answer = client.post("/", json=[{"name": "a"}, {"name": "b", "sizes": {"length": "long"}}])
    assert errors_of(answer) == [
        {"path": "$[1].sizes.length", "in": "body", "expected": "`float`", "got": "`str` 'long'"}
    ]


@pytest.mark.parametrize(
    ("annotation", "sent", "text"),
    [
        (list[Sizes], [{"length": 1}], "[Sizes(length=1.0, width=1.0)]"),
        (dict[str, int], {"a": 1}, "{'a': 1}"),
        (dict, {"a": [1]}, "{'a': [1]}"),
        (dict[str, Sizes], {"a": {"length": 1}}, "{'a': Sizes(length=1.0, width=1.0)}"),
        (list[FlowerModel], [{"name": "a"}], "[FlowerModel(name='a', petals=5)]"),
        (list[list[int]], [[1], [2]], "[[1], [2]]"),
        (FlowerModel | None, {"name": "a"}, "FlowerModel(name='a', petals=5)"),
    ],
    ids=str,
)
def test_json_of_other_types_is_read(app, client, annotation, sent, text):
    echo(app, annotation)
    assert client.post("/", json=sent).text == text


def test_tagged_union_is_chosen_by_its_tag(app, client):
    class Cat(msgspec.Struct, tag=True):
        lives: int

    class Dog(msgspec.Struct, tag=True):
        name: str

    echo(app, Cat | Dog)
    assert client.post("/", json={"type": "Dog", "name": "Rex"}).text == "Dog(name='Rex')"
    assert client.post("/", json={"type": "Cow"}).status_code == 422


def test_pydantic_model_inside_a_struct_is_read(app, client):
    class Bed(msgspec.Struct):
        flower: FlowerModel

    echo(app, Bed)
    assert "FlowerModel(name='a'" in client.post("/", json={"flower": {"name": "a"}}).text
    answer = client.post("/", json={"flower": {}})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"data": b"{", "content_type": "application/json"}, 400),
        ({"data": b"", "content_type": "application/json"}, 400),
        ({"data": b"\xff", "content_type": "application/json"}, 400),
        ({"data": b'{"more":' + b"[" * 100_000, "content_type": "application/json"}, 400),
        ({"data": b"\xc1", "content_type": "application/msgpack"}, 400),
        ({}, 400),
        ({"data": b"x", "content_type": "multipart/form-data"}, 400),
        ({"data": b"{}", "content_type": "text/plain"}, 415),
        ({"data": b"{}"}, 415),
        ({"json": {}, "headers": {"Content-Encoding": "gzip"}}, 415),
        ({"data": b'{"name": NaN}', "content_type": "application/json"}, 422),
        ({"data": b"x" * 3000, "content_type": "application/json"}, 413),
        ({"data": b"x" * 3000, "content_type": "application/x-www-form-urlencoded"}, 413),
    ],
    ids=[
        "truncated", "empty", "no UTF-8", "deep", "no msgpack", "nothing", "no boundary", "text",
        "untyped", "encoded", "NaN", "too large", "too large form",
    ],
)  # fmt: skip
def test_unreadable_body_is_refused(app, client, sent, status):
    app.config["MAX_CONTENT_LENGTH"] = 200_000 if status == 400 else 2000
    echo(app, Flower)
    answer = client.post("/", **sent)
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/problem+json"
    assert answer.get_json(force=True)["detail"]


@pytest.mark.parametrize("is_terminated", [True, False])
def test_body_shorter_than_its_content_length_is_refused(app, client, is_terminated):
    echo(app, Flower)
    environ = {
        "CONTENT_LENGTH": "90",
        "CONTENT_TYPE": "application/json",
        "wsgi.input": io.BytesIO(b'{"name": "a"'),
    }
    if is_terminated:
        environ["wsgi.input_terminated"] = True
    answer = client.post("/", environ_overrides=environ)
    assert answer.status_code == 400


def test_json_without_its_content_type_gets_a_hint(app, client):
    echo(app, Flower)
    assert (
        "application/json" in client.post("/", data=b'{"name": "a"}').get_json(force=True)["detail"]
    )
    curl = client.post("/", data=b'{"name": "a"}', content_type="application/x-www-form-urlencoded")
    assert curl.status_code == 415
    assert "application/json" in curl.get_json(force=True)["detail"]


def test_optional_body_may_be_missing(app, client):
    echo(app, Flower | None, None)
    assert client.post("/").text == "None"
    assert client.post("/", data=b"", content_type="application/json").text == "None"
    assert client.post("/", json={"name": "a"}).text.startswith("Flower(name='a'")
    assert client.post("/", json=3).status_code == 422


class Visit(msgspec.Struct):
    name: str
    age: int | None = None
    tags: list[str] = []
    news: bool = False
    height: float = 0.0


def test_forms_write_records_as_browsers_do(app, client):
    echo(app, Visit)
    data = {"name": "", "age": "", "tags": ["a", "b"], "news": "on", "height": "1.5"}
    assert client.post("/", data=data).text == repr(Visit("", None, ["a", "b"], True, 1.5))
    assert client.post("/", data={"name": "x", "tags": "a"}).text == repr(Visit("x", None, ["a"]))
    assert client.post("/", data={"name": "x", "height": "nan"}).status_code == 422
    wrong = client.post("/", data={"name": "x", "age": "old"})
    assert errors_of(wrong)[0]["path"] == "$.age"


class Strict(pydantic.BaseModel):
    model_config = {"strict": True}
    day: dt.date
    n: int = 1
    inner: dict[str, float] = {}


class Holding(msgspec.Struct):
    strict: Strict


@pytest.mark.parametrize("kind", [Strict, Holding, list[Strict], dict[str, Strict]])
@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_strict_models_of_pydantic_read_what_they_read_from_json(app, client, kind, encoding):
    def around(value):
        wrap = {Holding: {"strict": value}, list[Strict]: [value], dict[str, Strict]: {"a": value}}
        return wrap.get(kind, value)

    def send(value):
        encode = msgspec.json.encode if encoding == "json" else msgspec.msgpack.encode
        data = encode(around(value))
        return client.post("/", data=data, content_type=f"application/{encoding}")

    echo(app, kind)
    good = send({"day": "2024-02-29", "n": 2, "inner": {"a": 1}})
    assert good.status_code == 200
    assert "datetime.date(2024, 2, 29)" in good.text
    bad = send({"day": "2024-02-29", "n": "2"})
    assert bad.status_code == 422
    assert [each["path"][-2:] for each in errors_of(bad)] == [".n"]


def test_strict_models_of_pydantic_read_texts_of_forms_and_queries(app, client):
    @app.get("/")
    def query(x: t.Annotated[Strict, Query()]):
        return repr(x)

    echo(app, Strict)
    expected = repr(Strict(day=dt.date(2024, 2, 29), n=2))
    assert client.post("/", data={"day": "2024-02-29", "n": "2"}).text == expected
    assert client.get("/?day=2024-02-29&n=2").text == expected
    wrong = client.get("/?day=2024-02-29&n=x")
    assert [each["path"] for each in errors_of(wrong)] == ["$.n"]


class StrictLists(pydantic.BaseModel):
    model_config = {"strict": True}
    n: int = 0
    tags: t.Annotated[list[int], pydantic.Field(max_length=2)] = []
    pair: tuple[int, float] | None = None
    days: set[dt.date] = set()


class Lists(StrictLists):
    model_config = {"strict": False}


@pytest.mark.parametrize("kind", [StrictLists, Lists])
def test_models_of_pydantic_read_lists_of_texts_and_list_what_is_wrong(app, client, kind):
    @app.get("/")
    def query(x: t.Annotated[kind, Query()]):
        return repr(x)

    @app.post("/")
    def form(x: t.Annotated[kind, Form()]):
        return repr(x)

    for send in (
        lambda fields: client.post("/", data=fields),
        lambda fields: client.get("/", query_string=fields),
    ):
        fields = {"n": "1", "tags": ["2", "3"], "pair": ["4", "5.5"], "days": "2024-02-29"}
        expected = kind(n=1, tags=[2, 3], pair=(4, 5.5), days={dt.date(2024, 2, 29)})
        assert send(fields).text == repr(expected)
        wrong = errors_of(send({"n": "1", "tags": ["y", "x"]}))
        assert [each["path"] for each in wrong] == ["$.tags[0]", "$.tags[1]"]
        assert "valid integer" in wrong[0]["expected"]
        wrong = errors_of(send({"n": "x", "tags": ["1", "2", "3"]}))
        assert [each["path"] for each in wrong] == ["$.n", "$.tags"]
        assert "at most 2 items" in wrong[1]["expected"]


class StrictFile(pydantic.BaseModel):
    model_config = {"strict": True, "arbitrary_types_allowed": True}
    n: int
    file: Upload


def test_strict_models_of_pydantic_read_files_of_forms(app, client):
    @app.post("/")
    def view(x: t.Annotated[StrictFile, Form()]):
        return f"{x.n} {x.file.name}"

    sent = client.post("/", data={"n": "1", "file": (io.BytesIO(b"x"), "a.txt")})
    assert sent.text == "1 a.txt"


def test_strict_scalar_of_pydantic_reads_the_text_of_a_query(app, client):
    @app.get("/")
    def view(n: t.Annotated[int, pydantic.Field(strict=True, ge=1)]):
        return repr(n)

    assert client.get("/?n=2").text == "2"
    assert client.get("/?n=0").status_code == 422
    assert client.get("/?n=x").status_code == 422


class Loose(pydantic.BaseModel):
    data: dict = {}
    values: list = []
    anything: t.Any = None
    thing: object = None


class Open(pydantic.BaseModel):
    model_config = {"extra": "allow"}
    name: str = ""


class Parcel(msgspec.Struct):
    content: Open


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
@pytest.mark.parametrize(
    ("kind", "body", "path"),
    [
        (Loose, '{"data": {"a": [%s]}}', "$.data.a[0]"),
        (Loose, '{"values": [%s]}', "$.values[0]"),
        (Loose, '{"anything": %s}', "$.anything"),
        (Loose, '{"thing": %s}', "$.thing"),
        (list[Loose], '[{"anything": %s}]', "$[0].anything"),
        (Open, '{"other": %s}', "$.other"),
        (dict[str, Open], '{"a": {"other": %s}}', "$.a.other"),
    ],
)
def test_pydantic_passes_no_number_that_is_not_finite(app, client, kind, body, path, number):
    echo(app, kind)
    response = client.post("/", data=body % number, content_type="application/json")
    assert response.status_code == 422
    assert errors_of(response)[0]["path"] == path
    assert client.post("/", data=body % 1, content_type="application/json").status_code == 200


@pytest.mark.parametrize(("kind", "inner"), [(Open, None), (Parcel, "content")])
def test_messagepack_for_pydantic_passes_no_number_that_is_not_finite(app, client, kind, inner):
    echo(app, kind)
    value = {"other": math.nan}
    data = msgspec.msgpack.encode({inner: value} if inner else value)
    response = client.post("/", data=data, content_type="application/msgpack")
    assert response.status_code == 422


def test_body_marker_refuses_forms_and_form_marker_refuses_json(app, client):
    @app.post("/body")
    def body(x: t.Annotated[Flower, Body()]):
        return x.name

    @app.post("/form")
    def form(x: t.Annotated[Visit, Form()]):
        return x.name

    assert client.post("/body", json={"name": "a"}).text == "a"
    assert client.post("/body", data={"name": "a"}).status_code == 415
    assert client.post("/form", data={"name": "a"}).text == "a"
    assert client.post("/form", json={"name": "a"}).status_code == 415


def test_form_fields_are_read_by_type(app, client):
    @app.post("/")
    def view(
        name: t.Annotated[str, Form()],
        ages: t.Annotated[list[int], Form("age")] = (),
        height: t.Annotated[float | None, Form()] = None,
    ):
        return [name, ages, height]

    assert client.post("/", data={"name": "a", "age": ["1", "2"], "height": ""}).json == [
        "a",
        [1, 2],
        None,
    ]
    wrong = client.post("/", data={"age": "x", "height": "y"})
    assert wrong.status_code == 422
    assert [fault["path"] for fault in errors_of(wrong)] == ["$.name", "$.age[0]", "$.height"]


def test_several_bodies_are_keys_of_one_object(app, client):
    @app.post("/")
    def view(
        flower: t.Annotated[Flower, Body()],
        sizes: t.Annotated[Sizes, Body()],
        note: t.Annotated[str, Body()] = "",
    ):
        return [flower.name, sizes.length, note]

    good = {"flower": {"name": "a"}, "sizes": {"length": 2}}
    assert client.post("/", json=good).json == ["a", 2.0, ""]
    wrong = client.post("/", json={**good, "flower": {"name": 1}})
    assert errors_of(wrong)[0]["path"] == "$.flower.name"


def file(data=b"abc", name="a.txt"):
    return io.BytesIO(data), name


def test_uploaded_file_is_read(app, client):
    @app.post("/")
    def view(one: Upload, many: list[Upload] = (), raw: bytes = b""):
        return [one.name, one.size, one.read().decode(), [each.name for each in many], len(raw)]

    data = {"one": file(name="dir/é.txt"), "many": [file(name="x"), file(name="y")], "raw": file()}
    assert client.post("/", data=data).json == ["é.txt", 3, "abc", ["x", "y"], 3]
    missing = client.post("/", data={"many": [file()]})
    assert missing.status_code == 422
    assert errors_of(missing)[0]["expected"] == "a file named 'one'"
    two = client.post("/", data={"one": [file(), file()]})
    assert errors_of(two)[0]["got"] == "2 files"


def test_file_is_read_beside_a_record_and_fields(app, client):
    @app.post("/")
    def view(
        visit: Visit, photo: t.Annotated[bytes, File("pic")], note: t.Annotated[str, Form()] = ""
    ):
        return [visit.name, len(photo), note]

    data = {"name": "a", "pic": file(), "note": "n", "age": "3"}
    assert client.post("/", data=data).json == ["a", 3, "n"]
    wrong = client.post("/", data={"name": "a", "age": "x"}, content_type=MULTIPART)
    assert [fault["path"] for fault in errors_of(wrong)] == ["$.age", "$.pic"]


def test_image_is_read_from_a_file(app, client, picture):
    @app.post("/")
    def view(photo: Image):
        return f"{photo.size}"

    png = picture("PNG", size=(5, 4))
    assert client.post("/", data={"photo": file(png, "a.png")}).text == "(5, 4)"
    assert client.post("/", data=png, content_type="image/png").text == "(5, 4)"
    assert client.post("/", data=png, content_type="application/octet-stream").text == "(5, 4)"
    bad = client.post("/", data={"photo": file(b"no picture", "a.png")})
    assert bad.status_code == 415
    assert errors_of(bad)[0]["path"] == "$.photo"


def test_several_images_are_a_list(app, client, picture):
    @app.post("/")
    def view(photos: list[Image]):
        return [photo.width for photo in photos]

    sent = [file(picture("PNG", size=(n, 1)), f"{n}.png") for n in (2, 3)]
    assert client.post("/", data={"photos": sent}).json == [2, 3]
    bad = client.post("/", data={"photos": [file(picture("PNG"), "a"), file(b"x", "b")]})
    assert errors_of(bad)[0]["path"] == "$.photos[1]"


def test_files_are_fields_of_a_record(app, client, picture):
    class Post(msgspec.Struct):
        title: str
        photo: Image
        papers: list[Upload] = []

    @app.post("/")
    def view(post: Post):
        return [post.title, post.photo.width, [each.name for each in post.papers]]

    data = {
        "title": "t",
        "photo": file(picture("PNG", size=(7, 1)), "p.png"),
        "papers": file(name="x"),
    }
    assert client.post("/", data=data).json == ["t", 7, ["x"]]
    assert client.post("/", data={"title": "t", "photo": file()}).status_code == 415


@pytest.mark.parametrize("annotation", [bytes, Upload], ids=["bytes", "Upload"])
def test_single_file_may_be_the_whole_body(app, client, annotation):
    @app.put("/<name>")
    def view(name: str, content: annotation):
        data = content if isinstance(content, bytes) else content.read()
        return f"{name} {len(data)}"

    assert client.put("/a", data=b"\0\1\2", content_type="application/octet-stream").text == "a 3"
    assert client.put("/a", data=b"%PDF", content_type="application/pdf").text == "a 4"


def test_body_marker_gives_the_unchanged_body(app, client):
    @app.post("/bytes")
    def raw(x: t.Annotated[bytes, Body()]):
        return repr(x)

    @app.post("/text")
    def text(x: t.Annotated[str, Body()]):
        return x

    assert (
        client.post("/bytes", data=b"\0", content_type="application/octet-stream").text
        == r"b'\x00'"
    )
    assert client.post("/text", data="ä", content_type="text/plain").text == "ä"
    assert client.post("/text", data=b"\xff", content_type="text/plain").status_code == 400
    assert client.post("/text", json="a").text == "a"


def test_view_can_read_the_body_again(app, client):
    from carboy import request

    @app.post("/")
    def view(x: Flower):
        return f"{x.name} {request.get_json()['name']} {len(request.get_data())}"

    assert client.post("/", json={"name": "a"}).text == "a a 13"


def test_error_of_a_users_post_init_is_422(app, client):
    class Even(msgspec.Struct):
        n: int

        def __post_init__(self):
            if self.n % 2:
                raise ValueError("odd numbers are not wanted")

    echo(app, Even)
    answer = client.post("/", json={"n": 1})
    assert answer.status_code == 422
    assert "odd numbers are not wanted" in answer.get_json(force=True)["detail"]


def test_other_error_of_a_users_type_propagates(app, client):
    class Broken(msgspec.Struct):
        n: int

        def __post_init__(self):
            raise KeyError("bug")

    echo(app, Broken)
    with pytest.raises(KeyError, match="bug"):
        client.post("/", json={"n": 1})


@pytest.mark.parametrize("kind", ["", "application/x-www-form-urlencoded", "text/plain"])
def test_json_with_another_media_type_gets_a_hint(app, client, kind):
    @app.post("/")
    def view(flowers: list[Flower]) -> list[Flower]:
        return flowers

    answer = client.post("/", data=b' [{"name": "a"}]', content_type=kind)
    assert answer.status_code == 415
    assert "send `Content-Type: application/json`" in answer.get_json(force=True)["detail"]


def test_file_inside_a_record_is_base64_in_json_and_has_its_name_in_a_form(app, client):
    class Paper(msgspec.Struct):
        file: Upload

    @app.post("/")
    def view(paper: Paper) -> str:
        return paper.file.name or paper.file.read().decode()

    assert client.post("/", json={"file": "eHl6"}).text == "xyz"
    [fault] = client.post("/", json={"file": "x"}).get_json(force=True)["errors"]
    assert fault == {
        "path": "$.file",
        "in": "body",
        "expected": "text in base64",
        "got": "`str` 'x'",
    }
    assert client.post("/", data={"file": (io.BytesIO(b"x"), "a.txt")}).text == "a.txt"


def test_several_optional_parameters_may_be_missing(app, client):
    @app.post("/")
    def view(a: t.Annotated[int, Body()] = 1, b: t.Annotated[list[int], Body()] = [2]) -> dict:  # noqa: B006
        b.append(a)
        return {"b": b}

    assert client.post("/").json == {"b": [2, 1]}
    assert client.post("/", json={"a": 5}).json == {"b": [2, 5]}, "a default is nobody's to change"
    assert client.post("/", json={"b": []}).json == {"b": [1]}


def test_empty_form_gives_the_default_of_a_record(app, client):
    default = Flower("default")

    @app.post("/")
    def view(flower: Flower = default) -> str:
        return flower.name

    form = "application/x-www-form-urlencoded"
    assert client.post("/", data=b"", content_type=form).text == "default"
    assert client.post("/", data=b"name=a", content_type=form).text == "a"


def test_other_error_of_a_record_propagates_from_json_and_forms(app, client):
    class Broken(msgspec.Struct):
        name: str

        def __post_init__(self):
            raise KeyError(self.name)

    @app.post("/")
    def view(broken: Broken) -> Broken:
        return broken

    with pytest.raises(KeyError, match="x"):
        client.post("/", json={"name": "x"})
    with pytest.raises(KeyError, match="x"):
        client.post("/", data={"name": "x"})
