from __future__ import annotations

import os
import threading

import pytest
from alone import measured_alone
from polling import PATIENCE_S

from carboy import Carboy
from carboy.errors import ModelLoadError


def what_the_child_of_a_fork_during_loading_computes():
    app = Carboy("app")
    loading, may_load = threading.Event(), threading.Event()

    @app.model("/m")
    class M:
        def __init__(self) -> None:
            loading.set()
            may_load.wait(PATIENCE_S)

        def predict(self, x: int) -> int:
            return x + 1

    threading.Thread(target=app.load_models, daemon=True).start()
    loading.wait(PATIENCE_S)
    child = os.fork()
    if child == 0:
        may_load.set()
        os._exit(app.models["m"].predict(6))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
def test_process_that_is_forked_while_a_thread_loads_the_model_loads_it_itself():
    assert measured_alone(what_the_child_of_a_fork_during_loading_computes) == 7


# --- a `close` that fails ------------------------------------------------------------------------


class Clinging:
    """A model whose `close` method fails."""

    failure: BaseException = RuntimeError("cannot close")

    def predict(self, x: int) -> int:
        return 1 // x

    def close(self) -> None:
        raise self.failure


class Leaving(Clinging):
    failure = SystemExit(3)


@pytest.mark.parametrize("target", [Clinging, Leaving])
def test_model_is_unloaded_although_its_close_fails(app, caplog, target):
    app.model("/m")(target)

    @app.model("/other")
    class Other:
        def predict(self, x: int) -> int:
            return x

    app.load_models()
    app.close_models()
    assert [model.loaded for model in app.models.values()] == [False, False]
    errors = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert errors == ["Model 'm': the model's `close` method failed"]
    assert app.models["m"].predict(1) == 1
    app.models["m"].unload()
    app.models["m"].load()
    assert app.test_client().post("/m", json=1).json == 1


def test_failure_of_an_example_is_not_hidden_by_a_close_that_fails(app):
    app.model("/m", example=0)(Clinging)
    with pytest.raises(ModelLoadError, match="failed on its example: ZeroDivisionError"):
        app.load_models()
