from __future__ import annotations

import os
import threading

import pytest
from alone import measured_alone
from polling import PATIENCE_S

from carboy import Carboy


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
