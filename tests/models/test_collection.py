from __future__ import annotations

import threading

import pytest

from carboy.models.collection import Model, Models


class Adds:
    """Adds two numbers.

    Slowly.
    """

    def predict(self, a: int, b: int = 1) -> int:
        return a + b


@pytest.fixture
def model() -> Model:
    return Model("adds", "/adds", Adds)


def test_model_predicts_in_process(model):
    assert [model.predict(1), model.predict(1, 2), model.predict(b=3, a=1)] == [2, 3, 4]


@pytest.mark.parametrize(
    ("values", "named", "says"),
    [
        ((1, 2, 3), {}, "takes 2"),
        ((1,), {"a": 2}, "two values for 'a'"),
        ((), {}, "missing: a"),
        ((1,), {"c": 2}, "unknown: c"),
    ],
)
def test_wrong_arguments_are_refused(model, values, named, says):
    with pytest.raises(TypeError, match=says):
        model.predict(*values, **named)


def test_exception_of_predict_reaches_the_caller():
    def fail(x: int) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Model("fail", "/fail", fail).predict(1)


def test_metadata_describes_input_and_output(model):
    assert model.metadata() == {
        "name": "adds",
        "doc": "Adds two numbers.\n\nSlowly.",
        "accepts": [
            "application/json",
            "multipart/form-data",
            "application/x-www-form-urlencoded",
            "application/msgpack",
        ],
        "parameters": ["a", "b"],
        "batch": 1,
        "input": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a"],
            "additionalProperties": False,
        },
        "output": {"type": "integer"},
        "answers": ["application/json"],
        "streams": False,
    }


def test_docstring_of_predict_is_used_if_the_class_has_none():
    class Bare:
        def predict(self, x: int) -> int:
            """From predict."""

    assert Model("bare", "/bare", Bare).doc == "From predict."


def test_models_are_a_mapping_in_order(model):
    models = Models()
    models.add(model)
    models.add(Model("more", "/more", Adds))
    assert list(models) == ["adds", "more"]
    assert (models["adds"], len(models), "x" in models) == (model, 2, False)
    assert repr(models) == "<Models adds, more>"
    assert repr(model) == "<Model 'adds' at '/adds', not loaded>"


def test_load_and_close_reach_every_model(model):
    models = Models()
    models.add(model)
    models.load()
    assert model.loaded
    models.close()
    assert not model.loaded


def test_second_model_of_a_name_is_refused(model):
    models = Models()
    models.add(model)
    with pytest.raises(ValueError, match=r"a model 'adds' already, at '/adds'.*name="):
        models.add(Model("adds", "/v2/adds", Adds))


def test_unknown_name_suggests_the_nearest(model):
    models = Models()
    with pytest.raises(KeyError, match="this app has none"):
        models["add"]
    models.add(model)
    with pytest.raises(KeyError, match="Did you mean 'adds'"):
        models["add"]


def test_ticket_has_the_times_of_waiting_and_computing():
    model = Model("adds", "/adds", Adds)
    ticket = model.queue.submit_and_wait({"a": 1, "b": 2})
    assert (ticket.settled, ticket.result(), ticket.batch_size) == (True, 3, 1)
    assert ticket.arrived_s <= ticket.began_s <= ticket.ended_s <= ticket.deadline_s


def test_ticket_cancelled_before_its_turn_is_delivered_without_times():
    entered, go = threading.Event(), threading.Event()

    def wait(x: int) -> int:
        entered.set()
        go.wait(10)
        return x

    model, delivered = Model("wait", "/wait", wait), []
    first = model.submit(1)
    assert entered.wait(10)
    ticket = model.queue.submit({"x": 2}, deliver=delivered.extend)
    assert (ticket.began_s, ticket.ended_s) == (0.0, 0.0)
    assert model.queue.cancel(ticket)
    assert not model.queue.cancel(ticket)
    assert (delivered, ticket.began_s) == ([ticket], 0.0)
    assert ticket.ended_s >= ticket.arrived_s
    go.set()
    assert first.result(10) == 1


def test_result_of_a_failed_ticket_raises():
    def fail(x: int) -> int:
        raise ZeroDivisionError

    ticket = Model("fail", "/fail", fail).queue.submit_and_wait({"x": 1})
    with pytest.raises(ZeroDivisionError):
        ticket.result()
