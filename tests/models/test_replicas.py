from __future__ import annotations

import threading
import typing as t

import pytest
from polling import PATIENCE_S

from carboy.errors import ModelLoadError, SignatureError
from carboy.models.replicas.inprocess import InProcess
from carboy.models.replicas.source import ModelSource


def replica(target: t.Any) -> InProcess:
    return InProcess(ModelSource(target, owner="Model 'm'"), owner="Model 'm'")


class Doubles:
    built = 0

    def __init__(self) -> None:
        type(self).built += 1

    def predict(self, x: int) -> int:
        return 2 * x


def test_class_is_built_once_at_its_first_prediction():
    class Model(Doubles):
        built = 0

    held = replica(Model)
    assert (Model.built, held.loaded) == (0, False)
    assert [held.compute([{"x": 1}])[0], held.compute([{"x": 2}])[0]] == [2, 4]
    assert (Model.built, held.loaded) == (1, True)


def test_threads_that_compute_first_at_the_same_time_build_once():
    both_there, building = threading.Barrier(8), threading.Event()

    class Model(Doubles):
        built = 0

        def __init__(self) -> None:
            super().__init__()
            building.wait(PATIENCE_S)

    held = replica(Model)
    answers: list[int] = []

    def ask() -> None:
        both_there.wait(PATIENCE_S)
        answers.append(held.compute([{"x": 1}])[0])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    building.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert (answers, Model.built) == ([2] * 8, 1)


def test_function_needs_no_loading():
    def double(x: int) -> int:
        return 2 * x

    assert replica(double).loaded
    assert replica(double).compute([{"x": 3}])[0] == 6


def test_failing_init_names_model_reason_and_line_and_is_tried_again():
    class Model(Doubles):
        missing = True

        def __init__(self) -> None:
            if self.missing:
                raise FileNotFoundError("model.bin")

    held = replica(Model)
    with pytest.raises(ModelLoadError) as failed:
        held.load()
    assert str(failed.value).startswith(
        "Model 'm' could not be loaded: FileNotFoundError: model.bin"
    )
    assert "test_replicas.py, line " in str(failed.value)
    Model.missing = False
    assert held.compute([{"x": 1}])[0] == 2


class Door:
    """A lock that tells of those who come to it."""

    def __init__(self) -> None:
        self.reached = threading.Semaphore(0)
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self.reached.release()
        self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()


def test_threads_that_wait_for_a_failing_load_share_its_failure():
    entered, go_on = threading.Event(), threading.Event()

    class Model(Doubles):
        built = 0

        def __init__(self) -> None:
            super().__init__()
            entered.set()
            go_on.wait(PATIENCE_S)
            raise OSError("no weights")

    held, failures = replica(Model), []

    def ask() -> None:
        try:
            held.load()
        except ModelLoadError as failure:
            failures.append(failure)

    held._lock = door = Door()
    first = threading.Thread(target=ask)
    first.start()
    assert entered.wait(PATIENCE_S)
    late = [threading.Thread(target=ask) for _ in range(4)]
    for thread in late:
        thread.start()
    for _ in (first, *late):
        assert door.reached.acquire(timeout=PATIENCE_S)
    go_on.set()
    for thread in (first, *late):
        thread.join(PATIENCE_S)
    assert len(failures) == 5
    assert Model.built == 1


def test_close_unloads_and_calls_the_models_own_close():
    closed = []

    class Model(Doubles):
        def close(self) -> None:
            closed.append(self)

    held = replica(Model)
    held.load()
    held.close()
    held.close()
    assert (len(closed), held.loaded) == (1, False)
    assert held.compute([{"x": 1}])[0] == 2


class NoPredict: ...


class Needy:
    def __init__(self, path: str) -> None: ...
    def predict(self, x: int) -> int: ...


class Asynchronous:
    async def predict(self, x: int) -> int: ...


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (NoPredict, "NoPredict has no method `predict`"),
        (Needy, r"Needy\(\) needs path"),
        (Asynchronous, "async def"),
        ("a string", "expected a class .* got str"),
    ],
    ids=["no predict", "arguments", "async", "string"],
)
def test_target_that_is_no_model_is_refused_at_registration(target, says):
    with pytest.raises(SignatureError, match=says):
        ModelSource(target, owner="Model 'm'")


def positional(x: int, /) -> int:
    return 2 * x


def mixed(x: int, y: int = 5, /, z: int = 1) -> int:
    return 100 * x + 10 * y + z


@pytest.mark.parametrize(
    ("predict", "arguments", "answer"),
    [
        (positional, {"x": 1}, 2),
        (mixed, {"x": 1, "y": 2, "z": 3}, 123),
        (mixed, {"z": 3, "x": 1}, 153),
    ],
)
def test_positional_only_parameters_are_passed_by_position(predict, arguments, answer):
    class Model:
        def predict(self, x: int, /) -> int:
            return 2 * x

    assert replica(predict).compute([arguments])[0] == answer
    assert replica(Model).compute([{"x": 4}])[0] == 8
