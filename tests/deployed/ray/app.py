"""The app of the tests: its answers say where they were computed."""

import os
import time

import msgspec

from carboy import Carboy

app = Carboy(__name__)


class Answer(msgspec.Struct):
    value: float
    node: str
    pid: int


@app.get("/server")
def server() -> str:
    """Return which server answers."""
    return os.environ["SERVER"]


@app.model("/double", batch=4, replicas=2, deadline_s=80)
class Double:
    def __init__(self) -> None:
        import ray.util

        self.node = ray.util.get_node_ip_address()

    def predict(self, x: list[float]) -> list[Answer]:
        time.sleep(0.02)
        return [Answer(2 * each, self.node, os.getpid()) for each in x]
