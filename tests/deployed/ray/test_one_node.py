"""`carboy serve --on ray` on one machine: what works as with replicas of the server's own, what
happens when replicas hang or die, and when Ray itself is gone.
"""

from __future__ import annotations

import functools
import io
import json
import pathlib
import shutil
import threading
import typing as t

import numpy as np
import pytest
import raynodes
import requests
import spawning
from modelversions import write_version
from polling import wait_until

if t.TYPE_CHECKING:
    from collections import abc as cabc

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

SHOP = pathlib.Path(__file__).with_name("shop.py")
SENT = """
import pathlib
from carboy import Carboy
from factors import FACTOR

app = Carboy(__name__)

@app.model("/scale", replicas=1)
def scale(x: int) -> tuple[int, str, list[str]]:
    folder = pathlib.Path(__file__).parent
    return x * FACTOR, str(folder), [each.name for each in folder.iterdir()]
"""
PORT = 8000
READY_S = 300.0
wait_long = functools.partial(wait_until, pause_s=0.1, within_s=200.0)


class Shop:
    """A machine with Ray and an app."""

    def __init__(self, node: raynodes.Node, project: pathlib.Path) -> None:
        self.node = node
        self.project = project
        self.starts = 0
        self.versions = 0

    def start_ray(self) -> None:
        self.node.start_ray("", "--num-cpus", "24")

    def carboy(self, *arguments: str, port: int = 0) -> raynodes.NodeProgram:
        self.starts += 1
        return self.node.spawn(
            *(spawning.script("carboy"), *arguments),
            log=self.project / f"carboy-{self.starts}.log",
            port=port,
            cwd=self.project,
        )

    def serve(self, *options: str, app: str = "shop:app", port: int = PORT) -> raynodes.NodeProgram:
        program = self.carboy(
            *("serve", app, "--bind", f"0.0.0.0:{port}", "--probes", "yes", "--on", "ray"),
            *options,
            port=port,
        )
        try:
            program.wait_until_it_prints(f"serving {app}", READY_S)
        except BaseException:
            program.stop()
            raise
        return program

    def replicas(self, model: str, port: int = PORT) -> list[dict[str, t.Any]]:
        """Return what `carboy ctl` shows of the replicas of a model."""
        shown = self.node.run(
            str(spawning.script("carboy")), "ctl", "models", "--json", "--port", str(port)
        )
        return [each for each in json.loads(shown)["replicas"] if each["model"] == model]

    def ready(self, model: str, port: int = PORT) -> list[int]:
        """Return the process ids of the replicas of a model that are ready."""
        return [each["pid"] for each in self.replicas(model, port) if each["phase"] == "ready"]

    def add_version(self, factor: float) -> str:
        """Add a version of the model `price`, and return its name."""
        self.versions += 1
        write_version(self.project / "versions", str(self.versions), factor=factor)
        return str(self.versions)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> cabc.Iterator[Shop]:
    if not raynodes.can_make_nodes():
        pytest.skip("this user may not make networks for nodes")
    folder = tmp_path_factory.mktemp("one")
    project = folder / "project"
    project.mkdir()
    shutil.copy(SHOP, project)
    with raynodes.network(folder, "one") as (node,):
        made = Shop(node, project)
        made.add_version(factor=3)
        made.start_ray()
        yield made


@pytest.fixture(scope="module")
def running(shop: Shop) -> cabc.Iterator[raynodes.NodeProgram]:
    program = shop.serve()
    try:
        yield program
    finally:
        program.stop()


@pytest.fixture
def server(running: raynodes.NodeProgram) -> raynodes.NodeProgram:
    """The server, with at least one replica of each model, although a test before has killed
    some.
    """
    wait_long(lambda: requests.get(f"{running.url}/readyz", timeout=9).ok)
    wait_long(lambda: predict(running, "double", 5).ok and predict(running, "once", 5).ok)
    return running


def predict(program: raynodes.NodeProgram, model: str, value: object) -> requests.Response:
    return requests.post(f"{program.url}/{model}", json=value, timeout=100)


def test_without_a_ray_node_the_server_does_not_start_and_says_what_to_do(shop: Shop) -> None:
    program = shop.carboy(
        *("serve", "shop:app", "--bind", "0.0.0.0:8001"),
        *("--on", "ray", "--ray-address", "127.0.0.1:9"),
    )
    assert program.process.wait(READY_S) != 0
    assert "connecting to Ray at 127.0.0.1:9" in program.output
    assert "The Ray cluster cannot be reached: nobody answers at 127.0.0.1:9" in program.output
    assert "ray start --head" in program.output


def test_predictions_are_those_of_the_model(server: raynodes.NodeProgram) -> None:
    assert predict(server, "double", 21).json() == 42
    assert predict(server, "price", 4).json() == 12


@pytest.mark.parametrize("sides", [(4, 5), (700, 400)], ids=["in the call", "in shared memory"])
def test_arrays_reach_the_replica_and_may_be_changed(
    server: raynodes.NodeProgram, sides: tuple[int, int]
) -> None:
    body = io.BytesIO()
    np.save(body, np.ones(sides, np.float32))
    answer = requests.post(
        f"{server.url}/sum",
        data=body.getvalue(),
        headers={"Content-Type": "application/x-npy"},
        timeout=100,
    )
    assert answer.json() == sides[0] * (sides[1] - 1)


def test_a_wrong_input_is_refused_as_without_ray(server: raynodes.NodeProgram) -> None:
    answer = predict(server, "double", "two")
    assert answer.status_code == 422


def test_a_stream_arrives_in_order(server: raynodes.NodeProgram) -> None:
    answer = predict(server, "count", 100)
    assert [json.loads(line) for line in answer.text.splitlines()] == list(range(100))


def test_a_client_that_leaves_ends_its_stream(server: raynodes.NodeProgram, shop: Shop) -> None:
    asked = requests.post(f"{server.url}/count", json=10**7, stream=True, timeout=100)
    next(asked.iter_content(8))
    asked.close()
    closed = shop.project / "closed.txt"
    wait_long(lambda: closed.exists() and "10000000" in closed.read_text())
    assert predict(server, "count", 2).text.split() == ["0", "1"]


def test_the_replicas_are_shown_with_their_node(server: raynodes.NodeProgram, shop: Shop) -> None:
    (replica,) = shop.replicas("once")
    assert replica["pid"] == predict(server, "once", 1.0).json()
    assert replica["node"] == shop.node.address
    assert replica["resident_bytes"] > 0


def test_more_replicas_start_while_predictions_wait(
    server: raynodes.NodeProgram, shop: Shop
) -> None:
    is_enough = threading.Event()
    failed = []

    def ask() -> None:
        with requests.Session() as session:
            while not is_enough.is_set():
                answer = session.post(f"{server.url}/double", json=1.5, timeout=100)
                if answer.text != "3.0":
                    failed.append(answer.text)

    clients = [threading.Thread(target=ask) for _ in range(60)]
    for each in clients:
        each.start()
    try:
        wait_long(lambda: len(shop.ready("double")) == 3)
    finally:
        is_enough.set()
        for each in clients:
            each.join()
    assert not failed


def test_a_replica_that_hangs_is_replaced(server: raynodes.NodeProgram, shop: Shop) -> None:
    wait_long(lambda: len(shop.ready("twice")) == 2)
    before = set(shop.ready("twice"))
    assert predict(server, "twice", 66).status_code == 504
    wait_long(lambda: len(before - set(shop.ready("twice"))) == 1)
    assert predict(server, "twice", 5).json() == 10
    assert "longer than its deadline allows" in server.output


def test_an_input_that_kills_replicas_is_given_up(server: raynodes.NodeProgram) -> None:
    answer = predict(server, "twice", 77)
    assert (answer.status_code, answer.json()["code"]) == (503, "replica-lost")
    assert predict(server, "twice", 5).json() == 10


def test_a_prediction_is_not_repeated_if_the_model_forbids_it(
    server: raynodes.NodeProgram, shop: Shop
) -> None:
    (restarts,) = {each["restarts"] for each in shop.replicas("once")}
    answer = predict(server, "once", 77.0)
    assert (answer.status_code, answer.json()["code"]) == (503, "replica-lost")
    wait_long(lambda: predict(server, "once", 1.0).status_code == 200)
    assert {each["restarts"] for each in shop.replicas("once")} == {restarts + 1}


def test_a_new_version_takes_the_place_of_the_old_one(
    server: raynodes.NodeProgram, shop: Shop
) -> None:
    (before,) = shop.ready("price")
    name = shop.add_version(factor=3.0)
    wait_long(lambda: {each["version"] for each in shop.replicas("price")} == {name})
    assert before not in shop.ready("price")
    assert predict(server, "price", 5).json() == 15


def test_a_version_with_a_wrong_golden_answer_is_not_served(
    server: raynodes.NodeProgram, shop: Shop
) -> None:
    before = shop.ready("price")
    name = shop.add_version(factor=4)
    server.wait_until_it_prints(f"does not serve version {name!r}", READY_S)
    assert predict(server, "price", 5).json() == 15
    assert shop.ready("price") == before


def test_the_code_is_sent_with_what_git_ignores(shop: Shop, tmp_path: pathlib.Path) -> None:
    (tmp_path / "sent.py").write_text(SENT)
    (tmp_path / "factors.py").write_text("FACTOR = 7")
    (tmp_path / ".gitignore").write_text("*")
    (tmp_path / ".env").write_text("COLOUR=red")
    for name in ("node_modules", "venv", ".mypy_cache"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "large.py").write_text("not sent, nor compared")
    sender = Shop(shop.node, tmp_path)
    server = sender.serve("--ray-code", "upload", app="sent:app", port=8003)
    try:
        factor, folder, names = predict(server, "scale", 5).json()
    finally:
        assert server.stop() == 0
    assert factor == 35
    assert folder != str(tmp_path)
    assert {"factors.py", ".env"} <= {*names}
    assert not {"node_modules", "venv", ".mypy_cache"} & {*names}


def test_without_ray_the_server_answers_503_and_goes_on_when_ray_is_back(
    server: raynodes.NodeProgram, shop: Shop
) -> None:
    shop.node.kill_ray()
    wait_long(lambda: b"The Ray cluster" in requests.get(f"{server.url}/readyz", timeout=9).content)
    answer = predict(server, "double", 5)
    assert (answer.status_code, answer.json()["code"]) == (503, "model-unavailable")
    assert requests.get(server.url, timeout=9).text == "open"
    shop.start_ray()
    wait_long(lambda: predict(server, "double", 5).status_code == 200)


def test_replicas_outlive_the_server_until_they_are_ended(shop: Shop) -> None:
    def serve() -> raynodes.NodeProgram:
        return shop.serve("--ray-namespace", "other", app="shop:small", port=8002)

    first = serve()
    before = shop.ready("once", 8002)
    assert first.stop() == 0
    again = serve()
    try:
        assert shop.ready("once", 8002) == before
    finally:
        again.stop()
    stop = (str(spawning.script("carboy")), "ray", "stop", "--ray-namespace", "other")
    assert "The replicas have been ended" in shop.node.run(*stop)
    assert "There are no replicas of this app" in shop.node.run(*stop)
