"""The functions that views call."""

from __future__ import annotations

import importlib
import io
import os
import pathlib
import sys
import types
import typing as t
from unittest import mock

import pytest
import werkzeug.exceptions

import carboy
from carboy import (
    Carboy,
    Response,
    abort,
    flash,
    get_flashed_messages,
    make_response,
    message_flashed,
    redirect,
    request,
    send_file,
    send_from_directory,
    session,
    stream_with_context,
    url_for,
)
from carboy.helpers import (
    _split_blueprint_path,
    get_debug_flag,
    get_load_dotenv,
    get_root_path,
)
from carboy.testing import FlaskClient

# ------------------------------------------------------------------------------ the environment


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, False),
        ({"FLASK_DEBUG": ""}, False),
        ({"FLASK_DEBUG": "0"}, False),
        ({"FLASK_DEBUG": "False"}, False),
        ({"FLASK_DEBUG": "NO"}, False),
        ({"FLASK_DEBUG": "1"}, True),
        ({"FLASK_DEBUG": "anything"}, True),
        ({"CARBOY_DEBUG": "1"}, True),
        ({"CARBOY_DEBUG": "0", "FLASK_DEBUG": "1"}, False),
        ({"FLASK_ENV": "development"}, True),
        ({"CARBOY_ENV": "development"}, True),
        ({"FLASK_ENV": "production"}, False),
        ({"FLASK_ENV": "development", "FLASK_DEBUG": "0"}, False),
        ({"FLASK_ENV": "development", "FLASK_DEBUG": ""}, True),
        ({"FLASK_ENV": "production", "FLASK_DEBUG": "1"}, True),
    ],
    ids=str,
)
def test_debug_flag_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], expected: bool
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert get_debug_flag() is expected


@pytest.mark.parametrize(
    ("env", "default", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"FLASK_SKIP_DOTENV": "1"}, True, False),
        ({"FLASK_SKIP_DOTENV": "no"}, False, True),
        ({"CARBOY_SKIP_DOTENV": "true"}, True, False),
    ],
    ids=str,
)
def test_load_dotenv_flag_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], default: bool, expected: bool
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert get_load_dotenv(default) is expected


# --------------------------------------------------------------------------------------- streams


class Upper:
    """An iterator that is not a generator and counts how often it was closed."""

    def __init__(self, items: t.Iterable[str]) -> None:
        self._items = iter(items)
        self.closed = 0

    def __iter__(self) -> Upper:
        return self

    def __next__(self) -> str:
        return next(self._items).upper()

    def close(self) -> None:
        self.closed += 1


def test_streamed_generator_can_use_the_request_after_the_view(
    app: Carboy, client: FlaskClient
) -> None:
    @app.get("/")
    def index() -> Response:
        def generate() -> t.Iterator[str]:
            yield "Hello "
            yield request.args["name"]

        return Response(stream_with_context(generate()))

    assert client.get("/?name=ada").text == "Hello ada"


def test_decorated_generator_function_gets_its_arguments(app: Carboy, client: FlaskClient) -> None:
    @app.get("/")
    def index() -> Response:
        @stream_with_context
        def generate(word: str, *, end: str) -> t.Iterator[str]:
            """Say it."""
            yield word + request.path + end

        assert generate.__doc__ == "Say it."
        return Response(generate("a", end="b"))

    assert client.get("/").text == "a/b"


def test_callable_class_of_an_iterator_is_called(app: Carboy) -> None:
    with app.test_request_context():
        assert list(stream_with_context(Upper)("abc")) == ["A", "B", "C"]  # type: ignore[arg-type]


@pytest.mark.parametrize("read", [True, False], ids=["read to the end", "closed half way"])
def test_wrapped_iterator_is_closed(app: Carboy, read: bool) -> None:
    source = Upper("abc")
    with app.test_request_context():
        stream: t.Any = stream_with_context(source)
        assert next(stream) == "A"
        if read:
            assert list(stream) == ["B", "C"]
        stream.close()
    assert source.closed >= 1


def test_session_changed_by_the_view_is_visible_in_the_stream(
    app: Carboy, client: FlaskClient
) -> None:
    @app.get("/")
    def index() -> Response:
        session["name"] = "ada"
        return Response(stream_with_context(session["name"] for _ in "ab"))

    assert client.get("/").text == "adaada"


def test_async_view_can_return_a_stream(app: Carboy, client: FlaskClient) -> None:
    @app.get("/")
    async def index() -> Response:
        return Response(stream_with_context(request.path for _ in "ab"))

    client.get("/").close()
    assert client.get("/").text == "//"
    with client:
        assert client.get("/").text == "//"


def test_stream_with_context_without_a_request_raises(app: Carboy) -> None:
    with pytest.raises(RuntimeError, match="only be used when a request context is active"):
        stream_with_context(iter("a"))
    with app.app_context(), pytest.raises(RuntimeError, match="test_request_context"):
        stream_with_context(iter("a"))


def test_stream_with_context_of_another_object_raises() -> None:
    with pytest.raises(TypeError, match="expects an iterator or a generator function, got 5"):
        stream_with_context(5)  # type: ignore[call-overload]


# --------------------------------------------------------------------- responses, redirects, URLs


@pytest.mark.parametrize(
    ("args", "status", "body"),
    [
        ((), 200, b""),
        (("text",), 200, b"text"),
        (("gone", 404), 404, b"gone"),
        ((("gone", 404),), 404, b"gone"),
        (({"a": 1}, 201, {"X-A": "b"}), 201, b'{"a":1}\n'),
    ],
    ids=["nothing", "text", "status", "tuple", "headers"],
)
def test_make_response_accepts_what_a_view_may_return(
    app: Carboy, args: t.Any, status: int, body: bytes
) -> None:
    with app.test_request_context():
        response = make_response(*args)
    assert isinstance(response, app.response_class)
    assert (response.status_code, response.data) == (status, body)
    assert ("X-A" in response.headers) is (len(args) == 3)


def test_make_response_calls_the_apps_method(app: Carboy) -> None:
    with app.app_context(), mock.patch.object(app, "make_response") as made:
        make_response("a", 1)
    made.assert_called_once_with(("a", 1))


def test_url_for_passes_all_arguments_to_the_app(app: Carboy) -> None:
    with app.app_context(), mock.patch.object(app, "url_for", return_value="/x") as built:
        assert url_for("page", _anchor="a", _external=False, endpoint_=1) == "/x"
    built.assert_called_once_with(
        "page", _anchor="a", _method=None, _scheme=None, _external=False, endpoint_=1
    )


def test_url_for_builds(app: Carboy) -> None:
    app.add_url_rule("/user/<self>", "user", lambda self: "")
    with app.test_request_context():
        assert url_for("user", self="a b", q="1", _anchor="x y") == "/user/a%20b?q=1#x%20y"
        assert url_for("user", self=1, _scheme="https") == "https://localhost/user/1"
        with pytest.raises(ValueError, match="_external"):
            url_for("user", self=1, _scheme="https", _external=False)


def test_url_for_without_a_context_explains_how_to_push_one() -> None:
    with pytest.raises(RuntimeError, match="outside of application context"):
        url_for("page")


def test_redirect_calls_the_apps_method_if_an_app_is_active(app: Carboy) -> None:
    class Own(Response):
        pass

    response = redirect("/there", 307, Response=Own)
    assert isinstance(response, Own)
    assert (response.status_code, response.location) == (307, "/there")
    with app.app_context(), mock.patch.object(app, "redirect") as asked:
        redirect("/there", 301)
    asked.assert_called_once_with("/there", code=301)


def test_abort_raises_the_exception_of_the_apps_aborter(app: Carboy) -> None:
    class Full(werkzeug.exceptions.HTTPException):
        code = 900

    app.aborter.mapping[900] = Full
    with app.app_context(), pytest.raises(Full):
        abort(900)
    with pytest.raises(LookupError):
        abort(900)
    with pytest.raises(werkzeug.exceptions.NotFound, match="nothing here"):
        abort(404, "nothing here")


def test_abort_with_a_response_sends_it(app: Carboy, client: FlaskClient) -> None:
    app.add_url_rule("/", "index", lambda: abort(Response("own", 418)))
    assert (client.get("/").status_code, client.get("/").text) == (418, "own")


# ------------------------------------------------------------------------------ flashed messages


def test_flashed_messages_are_removed_after_the_request_that_reads_them(
    app: Carboy, client: FlaskClient
) -> None:
    app.add_url_rule("/put", "put", lambda: flash("one") or flash("two", "error") or "")

    @app.get("/show")
    def show() -> dict[str, t.Any]:
        return {
            "all": get_flashed_messages(),
            "pairs": get_flashed_messages(with_categories=True),
            "errors": get_flashed_messages(category_filter=["error"]),
            "both": get_flashed_messages(True, ["error"]),
        }

    client.get("/put")
    assert client.get("/show").json == {
        "all": ["one", "two"],
        "pairs": [["message", "one"], ["error", "two"]],
        "errors": ["two"],
        "both": [["error", "two"]],
    }
    assert client.get("/show").json["all"] == []  # type: ignore[index]


def test_flash_assigns_to_the_session() -> None:
    """A session stored elsewhere notices assignments only, not an appended item."""
    app = Carboy("x")
    app.secret_key = "test key"
    with app.test_request_context():
        for word in "ab":
            session.modified = False
            flash(word)
            assert session.modified


def test_flash_sends_its_signal(app: Carboy) -> None:
    received = []

    def note(sender: Carboy, message: str, category: str, **extra: t.Any) -> None:
        received.append((sender, message, category))

    with message_flashed.connected_to(note, app), app.test_request_context():
        flash("hot", "warning")
    assert received == [(app, "hot", "warning")]


# ----------------------------------------------------------------------------------------- files


@pytest.fixture
def folder(app: Carboy, tmp_path: pathlib.Path) -> pathlib.Path:
    app.root_path = str(tmp_path)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_bytes(b"0123456789")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    return tmp_path / "files"


def test_relative_file_is_found_below_the_apps_root(app: Carboy, folder: pathlib.Path) -> None:
    with app.test_request_context():
        response = send_file("files/a.txt", as_attachment=True)
        response.direct_passthrough = False
    assert response.data == b"0123456789"
    assert isinstance(response, app.response_class)
    assert response.mimetype == "text/plain"
    assert response.headers["Content-Disposition"] == "attachment; filename=a.txt"
    assert response.headers["ETag"]
    assert response.cache_control.no_cache
    response.close()


def test_range_request_is_answered_with_part_of_the_file(app: Carboy, folder: pathlib.Path) -> None:
    app.add_url_rule("/f", "f", lambda: send_file("files/a.txt"))
    client = app.test_client()
    with client.get("/f", headers={"Range": "bytes=2-4"}) as response:
        assert (response.status_code, response.data) == (206, b"234")
    with client.get("/f", headers={"If-None-Match": response.headers["ETag"]}) as response:
        assert response.status_code == 304


@pytest.mark.parametrize(
    ("default", "given", "expected"),
    [(None, None, None), (60, None, 60), (60, 5, 5), (60, lambda name: len(name), 11)],
    ids=["none", "config", "argument", "function"],
)
def test_max_age_of_a_file_comes_from_the_argument_or_the_config(
    app: Carboy, folder: pathlib.Path, default: int | None, given: t.Any, expected: int | None
) -> None:
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = default
    with app.test_request_context():
        response = send_file("files/a.txt", max_age=given)
        response.close()
    if callable(given):
        expected = len(os.path.join(app.root_path, "files/a.txt"))
    assert response.cache_control.max_age == expected


def test_max_age_is_read_from_the_app(app: Carboy, folder: pathlib.Path) -> None:
    app.get_send_file_max_age = lambda name: 7  # type: ignore[method-assign]
    with app.test_request_context():
        response = send_file("files/a.txt")
        response.close()
    assert response.cache_control.max_age == 7


def test_x_sendfile_header_lets_the_server_send_the_file(app: Carboy, folder: pathlib.Path) -> None:
    app.config["USE_X_SENDFILE"] = True
    with app.test_request_context():
        response = send_file("files/a.txt")
        response.close()
    assert response.headers["X-Sendfile"] == str(folder / "a.txt")


def test_file_object_is_sent_under_its_download_name(app: Carboy) -> None:
    with app.test_request_context():
        response = send_file(io.BytesIO(b"x"), download_name="b.csv")
        response.direct_passthrough = False
    assert (response.data, response.mimetype) == (b"x", "text/csv")


def test_path_outside_of_the_directory_is_404(app: Carboy, folder: pathlib.Path) -> None:
    with app.test_request_context():
        response = send_from_directory("files", "a.txt", mimetype="text/x-own")
        response.close()
        assert response.mimetype == "text/x-own"
        for path in ("../secret.txt", "/etc/passwd", "b.txt", "", "a.txt/x", "a\0.txt"):
            with pytest.raises(werkzeug.exceptions.NotFound):
                send_from_directory("files", path)


def test_send_file_without_a_request_raises(app: Carboy, folder: pathlib.Path) -> None:
    with app.app_context(), pytest.raises(RuntimeError, match="outside of request context"):
        send_file("files/a.txt")


# ------------------------------------------------------------------------------------ root paths


def test_root_path_of_a_package_and_of_a_module_in_it() -> None:
    home = os.path.dirname(carboy.__file__)
    assert get_root_path("carboy") == home
    assert get_root_path("carboy.helpers") == home


@pytest.mark.parametrize("name", ["no_such_module", "no_such_package.module", "__main__"])
def test_root_path_of_an_unknown_module_is_the_current_directory(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name == "__main__":
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    assert get_root_path(name) == os.getcwd()


def test_module_is_not_imported_to_find_its_root_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "fails_at_import.py").write_text("raise NotImplementedError")
    monkeypatch.syspath_prepend(tmp_path)
    assert get_root_path("fails_at_import") == str(tmp_path)


def test_namespace_package_has_no_root_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "space_without_init").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("space_without_init")
    with pytest.raises(RuntimeError, match=r"'space_without_init'.*root_path='\.\.\.'"):
        get_root_path("space_without_init")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a", ["a"]), ("a.b", ["a.b", "a"]), ("a.b.c", ["a.b.c", "a.b", "a"])],
    ids=["one", "two", "three"],
)
def test_blueprint_path_is_split_into_parents(name: str, expected: list[str]) -> None:
    assert _split_blueprint_path(name) == expected
