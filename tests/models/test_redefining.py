"""A notebook's cell that runs again registers its model again; in a program that is a mistake."""

from __future__ import annotations

import sys

import pytest

from carboy import Carboy


def model(module: str = "__main__", name: str = "Length", factor: int = 1) -> type:
    class Length:
        closed = 0

        def predict(self, text: str) -> int:
            return factor * len(text)

        def close(self) -> None:
            Length.closed += 1

    Length.__module__, Length.__qualname__ = module, name
    return Length


@pytest.fixture
def notebook(monkeypatch):
    """A person at a prompt, with an app that has answered already."""
    monkeypatch.setattr(sys, "ps1", "In : ", raising=False)
    app = Carboy("notebook")
    app.model("/length")(model())
    assert app.test_client().call("length", text="abc") == 3
    return app


def test_redefined_model_replaces_the_old_one(notebook):
    before = notebook.models["length"].target
    notebook.model("/length")(model(factor=10))
    assert notebook.models["length"].predict("abc") == 30
    assert notebook.test_client().call("length", text="abc") == 30
    assert before.closed == 1
    assert len(notebook.models) == 1


def test_health_page_of_a_protocol_is_about_the_new_model(monkeypatch):
    monkeypatch.setattr(sys, "ps1", "In : ", raising=False)
    app = Carboy("notebook")
    app.config["MODEL_PROTOCOLS"] = ["sagemaker"]
    client = app.test_client()
    for _ in range(2):
        app.model("/length")(model())
        assert client.get("/ping").status_code == 503
        app.models["length"].load()
        assert client.get("/ping").status_code == 200
    app.models.close()


def test_model_may_be_added_after_the_first_request(notebook):
    notebook.model("/twice")(model(name="Twice", factor=2))
    assert notebook.test_client().call("twice", text="abc") == 6


@pytest.mark.parametrize(
    ("rule", "options", "target"),
    [
        ("/other", {"name": "length"}, model()),
        ("/length", {}, model(name="Other")),
        ("/length", {}, model(module="mine")),
    ],
    ids=["at another URL", "of another class", "from an imported module"],
)
def test_other_model_of_the_same_name_is_refused_in_a_notebook(notebook, rule, options, target):
    with pytest.raises(ValueError, match="There is a model 'length' already"):
        notebook.model(rule, **options)(target)


def test_program_that_registers_twice_is_refused(app):
    app.model("/length")(model())
    with pytest.raises(ValueError, match="There is a model 'length' already"):
        app.model("/length")(model())


def view(text, module="__main__"):
    def hello() -> str:
        return text

    hello.__module__, hello.__qualname__ = module, "hello"
    return hello


def test_redefined_view_replaces_the_old_one(notebook):
    notebook.get("/hello")(view("before"))
    assert notebook.test_client().get("/hello").text == "before"
    notebook.get("/hello")(view("after"))
    assert notebook.test_client().get("/hello").text == "after"


def test_view_of_the_same_name_from_elsewhere_is_refused_in_a_notebook(notebook):
    notebook.get("/hello")(view("before"))
    with pytest.raises(AssertionError, match="overwriting"):
        notebook.get("/hello")(view("after", module="mine"))
