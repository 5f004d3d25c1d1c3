"""`carboy routes` shows whether a waiting prediction of a model occupies a thread."""

from __future__ import annotations

from carboy.cli.routes import routes_command


def predict(x: int) -> int:
    return x


def show(app, runner):
    with app.app_context():
        return runner.invoke(routes_command).output


def test_reason_for_occupying_a_thread_is_shown(app, runner):
    app.model("/m", name="m")(predict)
    shown = show(app, runner)
    assert "Predictions wait" in shown
    assert "without a thread" in shown
    app.before_request(lambda: None)
    shown = show(app, runner)
    assert "on a thread each: before_request functions must run first" in shown
    assert "without a thread" not in shown


def test_column_of_predictions_is_left_out_without_models(app, runner):
    app.add_url_rule("/", view_func=lambda: "")
    shown = show(app, runner)
    assert "Rule" in shown
    assert "Predictions wait" not in shown
