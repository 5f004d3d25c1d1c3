"""Mistakes by which other sites can use the sessions of an app's users."""

from __future__ import annotations

import secrets
import textwrap
import typing as t

import msgspec
import pytest
from checkfindings import findings_of

from carboy import Body, Carboy, Form, request, session
from carboy.views import MethodView


class Order(msgspec.Struct):
    number: int


def read_session():
    return str(session.get("n"))


@pytest.fixture
def app(tmp_path):
    """An app with sessions, whose root is an empty folder."""
    app = Carboy("shop", root_path=str(tmp_path))
    app.secret_key = secrets.token_hex()
    app.add_url_rule("/", view_func=read_session)
    return app


# ------------------------------------------------------------------------------------------- CORS


def allow_all(response):
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Access-Control-Allow-Credentials"] = "true"
    return response


def allow_whoever_asks(response):
    response.headers.update(
        {
            "Access-Control-Allow-Origin": request.headers.get("Origin", ""),
            "Access-Control-Allow-Credentials": "true",
        }
    )
    return response


def allow_listed(response):
    origin = request.headers.get("Origin")
    if origin in {"https://shop.example"}:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Credentials"] = "true"
    return response


def allow_without_credentials(response):
    response.headers["Access-Control-Allow-Origin"] = "*"
    return response


@pytest.mark.parametrize(
    ("hook", "is_open"),
    [
        (allow_all, True),
        (allow_whoever_asks, True),
        (allow_listed, False),
        (allow_without_credentials, False),
    ],
)
def test_any_origin_with_credentials_is_found(app, tmp_path, hook, is_open):
    app.after_request(hook)
    found = findings_of("carboy.E006", app, tmp_path)
    assert [each.place.endswith(f":{hook.__code__.co_firstlineno}") for each in found] == (
        [True] * is_open
    )


def test_view_that_answers_any_origin_is_found(app, tmp_path):
    @app.get("/api")
    def api():
        return "", {"access-control-allow-origin": "*", "access-control-allow-credentials": "true"}

    assert len(findings_of("carboy.E006", app, tmp_path)) == 1


# ------------------------------------------------------------------------------------------ forms

FORM = '<form class="x"\n  action="/" method=POST>{}<input name="n"></form>'


def write(folder, name, text):
    (folder / "templates").mkdir(exist_ok=True)
    (folder / "templates" / name).write_text(text)


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        (FORM.format(""), True),
        (FORM.format("{{ form.hidden_tag() }}"), False),
        (FORM.format('<input name="csrf_token" value="{{ csrf_token() }}">'), False),
        ('<form method="get"><input name="q"></form>', False),
        (f"{FORM.format('{{ form.csrf_token }}')}\n{FORM.format('')}", True),
    ],
)
def test_form_without_a_token_is_found(app, tmp_path, text, is_found):
    write(tmp_path, "page.html", text)
    found = findings_of("carboy.W008", app, tmp_path)
    assert len(found) == is_found
    if is_found:
        line = 3 if "{{" in text else 1
        assert found[0].place.endswith(f"templates/page.html:{line}")


def test_form_in_python_code_is_found(app, tmp_path, monkeypatch):
    (tmp_path / "pages_of_shop.py").write_text(f"PAGE = '''\n{FORM.format('')}'''\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__("pages_of_shop")
    (found,) = findings_of("carboy.W008", app, tmp_path)
    assert found.place.endswith("pages_of_shop.py:2")


def check_origin():
    if request.headers.get("Sec-Fetch-Site") not in {"same-origin", "none"}:
        return "", 403
    return None


@pytest.mark.parametrize(
    "protect",
    [
        lambda app: app.config.update(SESSION_COOKIE_SAMESITE="Lax"),
        lambda app: app.extensions.update(csrf=object()),
        lambda app: app.before_request(check_origin),
    ],
    ids=["SameSite", "extension", "hook"],
)
def test_protected_app_has_no_findings(app, tmp_path, protect):
    write(tmp_path, "page.html", FORM.format(""))

    @app.post("/orders")
    def add(order: Order) -> int:
        return order.number

    assert len(findings_of("carboy.W008", app, tmp_path)) == 1
    assert len(findings_of("carboy.W009", app, tmp_path)) == 1
    protect(app)
    assert findings_of("carboy.W008", app, tmp_path) == []
    assert findings_of("carboy.W009", app, tmp_path) == []


def test_templates_of_an_environment_in_the_project_are_not_read(app, tmp_path):
    folder = tmp_path / ".venv" / "lib" / "site-packages" / "admin"
    folder.mkdir(parents=True)
    write(folder, "page.html", FORM.format(""))
    app.template_folder = str(folder / "templates")
    assert findings_of("carboy.W008", app, tmp_path) == []


# ---------------------------------------------------------------------------------- typed records


def add_by_json_or_form(order: Order) -> int:
    return order.number


def add_by_json(order: t.Annotated[Order, Body()]) -> int:
    return order.number


def add_by_form(order: t.Annotated[Order, Form()]) -> int:
    return order.number


@pytest.mark.parametrize(
    ("view", "is_found"),
    [(add_by_json_or_form, True), (add_by_json, False), (add_by_form, False)],
)
def test_record_that_takes_forms_too_is_found(app, tmp_path, view, is_found):
    app.add_url_rule("/orders", view_func=view, methods=["POST", "PUT"])
    found = findings_of("carboy.W009", app, tmp_path)
    assert [view.__name__ in each.message for each in found] == [True] * is_found


def test_finding_is_what_the_server_does(app):
    app.add_url_rule("/orders", view_func=add_by_json_or_form, methods=["POST"])
    app.add_url_rule("/json", view_func=add_by_json, methods=["POST"])
    client = app.test_client()
    assert client.post("/orders", data={"number": 5}).json == 5
    assert client.post("/json", data={"number": 5}).status_code == 415


def test_records_and_forms_of_an_app_without_sessions_are_no_mistake(tmp_path):
    source = textwrap.dedent("""
        import msgspec

        class Order(msgspec.Struct):
            number: int

        def add(order: Order) -> int:
            return order.number
    """)
    variables: dict[str, t.Any] = {"__name__": "orders"}
    exec(source, variables)
    app = Carboy("orders", root_path=str(tmp_path))
    app.add_url_rule("/orders", view_func=variables["add"], methods=["POST"])
    write(tmp_path, "page.html", FORM.format(""))
    assert findings_of("carboy.W008", app, tmp_path) == []
    assert findings_of("carboy.W009", app, tmp_path) == []


def test_methods_of_a_view_class_are_looked_at_one_by_one(app, tmp_path):
    class Orders(MethodView):
        def get(self) -> str:
            return "all"

        def post(self, order: Order) -> int:
            return order.number

        def put(self, order: t.Annotated[Order, Body()]) -> int:
            return order.number

        def delete(self):
            return ""

    app.add_url_rule("/orders", view_func=Orders.as_view("orders"))
    (found,) = findings_of("carboy.W009", app, tmp_path)
    assert found.message.startswith("post reads its record")


def test_checks_make_no_secret_key(tmp_path):
    app = Carboy("shop", root_path=str(tmp_path), instance_path=str(tmp_path / "instance"))
    app.config.from_project(tmp_path, environment="development")
    for code in ("carboy.W002", "carboy.W008", "carboy.W009", "carboy.E003", "carboy.E005"):
        findings_of(code, app, tmp_path)
    assert not (tmp_path / "instance").exists()
