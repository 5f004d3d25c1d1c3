"""What goes wrong between a client and a model: its status, and that the neighbours are served."""

from __future__ import annotations

import json
import pathlib
import signal
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from overdue import let_computing_pass
from polling import PATIENCE_S, wait_until

from carboy.models import InputError

SOON_S = 0.05


@pytest.fixture
def served(app):
    """As in production: what fails inside is a 500, not an exception in the test."""
    app.config["PROPAGATE_EXCEPTIONS"] = False
    yield app
    app.models.close(PATIENCE_S)


def post(app, rule: str, value: object):
    return app.test_client().post(rule, json=value)


def post_all(app, rule: str, values: list[object]):
    """At the same time: each from a thread of its own."""
    together = threading.Barrier(len(values))

    def one(value):
        client = app.test_client()
        together.wait(PATIENCE_S)
        return client.post(rule, json=value)

    with ThreadPoolExecutor(len(values)) as threads:
        return list(threads.map(one, values))


def batched(app, predict, **options) -> None:
    """Sixteen at a time; nothing leaves before sixteen are there."""
    full = {"batch": 16, "wait_ms": PATIENCE_S * 1000, "deadline_s": None}
    app.model("/m", name="m", **full, **options)(predict)


# --- one of sixteen ----------------------------------------------------------------------------


def poisoned_raise(xs: list[int]) -> list[int]:
    if 7 in xs:
        raise RuntimeError("seven")
    return xs


def poisoned_input(xs: list[int]) -> list[int]:
    if 7 in xs:
        raise InputError("7 has no ink on it.")
    return xs


def poisoned_result(xs: list[int]) -> list[int]:
    return [ValueError("seven") if x == 7 else x for x in xs]


def poisoned_few(xs: list[int]) -> list[int]:
    return [x for x in xs if x != 7]


def poisoned_type(xs: list[int]) -> list[int]:
    return [object() if x == 7 else x for x in xs]


@pytest.mark.parametrize(
    ("predict", "status"),
    [
        (poisoned_raise, 500),
        (poisoned_input, 422),
        (poisoned_result, 500),
        (poisoned_few, 500),
        (poisoned_type, 500),
    ],
    ids=["raises", "refuses its input", "returns an exception", "returns too few", "wrong type"],
)
def test_one_poisoned_row_of_16_fails_alone(served, predict, status):
    batched(served, predict)
    answers = post_all(served, "/m", list(range(16)))
    assert [answer.status_code for answer in answers] == [200] * 7 + [status] + [200] * 8
    assert [a.json for i, a in enumerate(answers) if i != 7] == [i for i in range(16) if i != 7]
    if status == 422:
        assert answers[7].json["detail"] == "7 has no ink on it."
    else:
        assert "seven" not in answers[7].text


@pytest.mark.parametrize("bad", ["7", None, [7], {}], ids=["text", "null", "list", "object"])
def test_row_that_does_not_fit_is_refused_before_it_is_batched(served, bad):
    seen = []

    def predict(xs: list[int]) -> list[int]:
        seen.extend(xs)
        return xs

    batched(served, predict)
    refused = served.test_client().post("/m", data=json.dumps(bad), content_type="application/json")
    answers = post_all(served, "/m", list(range(16)))
    assert refused.status_code == 422
    assert [answer.status_code for answer in answers] == [200] * 16
    assert sorted(seen) == list(range(16))


def whole_none(xs: list[int]) -> list[int]:
    return None


def whole_dict(xs: list[int]) -> list[int]:
    return dict.fromkeys(xs)


def whole_raises(xs: list[int]) -> list[int]:
    raise RuntimeError("secret")


@pytest.mark.parametrize("predict", [whole_none, whole_dict, whole_raises])
def test_broken_model_is_500_for_all_without_its_inside(served, predict):
    batched(served, predict)
    answers = post_all(served, "/m", list(range(16)))
    assert {answer.status_code for answer in answers} == {500}
    assert all("secret" not in answer.text and answer.json["request_id"] for answer in answers)


# --- too slow, too many, gone ------------------------------------------------------------------


def test_model_that_hangs_is_504_in_time_and_503_for_the_next_at_once(served, blocked):
    @served.model("/m", deadline_s=PATIENCE_S)
    def m(x: int) -> int:
        blocked.pass_through()
        return x

    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(post, served, "/m", 1)
        assert blocked.entered.wait(PATIENCE_S)
        let_computing_pass(served.models["m"].queue)
        slow = asked.result()
    assert (slow.status_code, slow.json["code"]) == (504, "deadline")
    assert slow.json["detail"].startswith("Model 'm' did not answer within ")
    wait_until(lambda: served.models["m"].stuck)
    refused = post(served, "/m", 2)
    assert (refused.status_code, refused.json["code"]) == (503, "model-stuck")
    assert int(refused.headers["Retry-After"]) >= 1
    blocked.opened.set()
    wait_until(lambda: not served.models["m"].stuck)
    assert post(served, "/m", 3).json == 3


def test_prediction_that_waits_too_long_is_503_and_not_computed(served, blocked):
    seen = []

    @served.model("/m", deadline_s=SOON_S)
    def m(x: int) -> int:
        seen.append(x)
        blocked.pass_through()
        return x

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(served.models["m"].predict, 1)  # without a deadline
        assert blocked.entered.wait(PATIENCE_S)
        late = post(served, "/m", 2)
        blocked.opened.set()
        assert first.result() == 1
    assert (late.status_code, late.json["code"]) == (503, "queued-too-long")
    assert "Retry-After" in late.headers
    assert seen == [1]


def test_full_queue_is_503_at_once(served, blocked):
    @served.model("/m", queue=2)
    def m(x: int) -> int:
        blocked.pass_through()
        return x

    model = served.models["m"]
    waiting = [model.submit(0)]
    assert blocked.entered.wait(PATIENCE_S)
    waiting += [model.submit(1), model.submit(2)]
    refused = post(served, "/m", 3)
    assert (refused.status_code, refused.json["code"]) == (503, "queue-full")
    assert refused.headers["Retry-After"] == "1"
    blocked.opened.set()
    assert [future.result(PATIENCE_S) for future in waiting] == [0, 1, 2]
    assert post(served, "/m", 3).json == 3


def test_error_handler_for_503_sees_the_refusal(served, blocked):
    @served.model("/m", queue=1)
    def m(x: int) -> int:
        blocked.pass_through()
        return x

    @served.errorhandler(503)
    def busy(error):
        return {"please": "wait"}, 503

    waiting = [served.models["m"].submit(0)]
    assert blocked.entered.wait(PATIENCE_S)
    waiting.append(served.models["m"].submit(1))
    assert post(served, "/m", 2).json == {"please": "wait"}


def test_cancelled_future_is_not_computed(served, blocked):
    seen = []

    @served.model("/m", batch=4)
    def m(xs: list[int]) -> list[int]:
        seen.extend(xs)
        blocked.pass_through()
        return xs

    model = served.models["m"]
    first = model.submit(0)
    assert blocked.entered.wait(PATIENCE_S)
    leaving, staying = [model.submit(i) for i in range(10, 20)], model.submit(1)
    assert all(future.cancel() and future.cancelled() for future in leaving)
    assert not first.cancel()
    assert len(wait(leaving, PATIENCE_S).done) == 10
    blocked.opened.set()
    assert (first.result(PATIENCE_S), staying.result(PATIENCE_S)) == (0, 1)
    assert seen == [0, 1]


def test_huge_body_is_413_and_other_clients_are_served(served):
    @served.model("/m", max_body_bytes=1000)
    def m(xs: list[float]) -> float:
        return sum(xs)

    huge = served.test_client().post(
        "/m", data=b"[" + b"1," * 1000 + b"1]", content_type="application/json"
    )
    assert huge.status_code == 413
    assert post(served, "/m", [1.5]).json == 1.5
    assert served.models["m"].statistics().answered == 1


# --- a model that cannot be loaded ---------------------------------------------------------------


def test_model_that_cannot_be_loaded_is_503_with_its_reason_in_the_log_only(served, caplog):
    @served.model("/m")
    class Lost:
        def __init__(self) -> None:
            self.net = pathlib.Path("/nowhere/secret.bin").read_bytes()

        def predict(self, x: int) -> int:
            return x

    answer = post(served, "/m", 1)
    assert (answer.status_code, answer.json["code"]) == (503, "model-load")
    assert answer.json["detail"] == (
        "The model could not be loaded. The log has the reason under the request id."
    )
    assert "secret" not in answer.text
    assert f"failed on request {answer.json['request_id']}" in caplog.text
    assert "Model 'm' could not be loaded: FileNotFoundError" in caplog.text
    assert "/nowhere/secret.bin" in caplog.text


@pytest.mark.parametrize(
    ("options", "says"), [({"bacth": 2}, "has no option 'bacth'"), ({"rule": "/m"}, "got multiple")]
)
def test_wrong_option_is_reported_under_the_public_name(app, options, says):
    with pytest.raises(TypeError, match=rf"^app\.model\(\) {says}"):
        app.model("/m", **options)


# --- the end -----------------------------------------------------------------------------------

APP = """
import pathlib, time
from carboy import Carboy

app = Carboy(__name__)
here = pathlib.Path(__file__).parent

@app.model("/slow", batch=4)
class Slow:
    def predict(self, xs: list[int]) -> list[int]:
        (here / "computing").touch()
        while not (here / "go").exists():
            time.sleep(0.01)
        return [x * 10 for x in xs]

@app.get("/waiting")
def waiting():
    now = app.models["slow"].statistics()
    return {"there": now.waiting + now.computing}
"""


@pytest.mark.integration
def test_predictions_in_flight_at_sigterm_are_answered(spawn, carboy_command, free_port, tmp_path):
    (tmp_path / "slow.py").write_text(APP)
    program = spawn(
        *(carboy_command, "--app", "slow:app", "serve", "--port", "{port}"),
        *("--workers", "1", "--threads", "32"),
    )
    base = f"http://127.0.0.1:{free_port}"

    def ask(x: int) -> int:
        request = urllib.request.Request(
            f"{base}/slow", json.dumps(x).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    with ThreadPoolExecutor(20) as threads:
        asked = [threads.submit(ask, x) for x in range(20)]
        there = 0
        while there < 20:
            with urllib.request.urlopen(f"{base}/waiting", timeout=PATIENCE_S) as answer:
                there = json.load(answer)["there"]
        program.process.send_signal(signal.SIGTERM)
        (tmp_path / "go").touch()
        assert [future.result(PATIENCE_S) for future in asked] == [10 * x for x in range(20)]
    assert program.process.wait(PATIENCE_S) == 0
