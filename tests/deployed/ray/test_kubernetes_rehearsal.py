"""The pods of `carboy deploy --to k8s --on ray`, rehearsed with nodes in place of pods.

The containers of a pod share its network, its folders and, as the file says, its processes. The
commands and variables are those of the files.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import typing as t
import urllib.request

import pytest
import raynodes
import spawning
import yaml
from polling import wait_until
from steadyload import predict

if t.TYPE_CHECKING:
    from collections import abc as cabc

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

APP = pathlib.Path(__file__).with_name("app.py")
TOKEN = "a-token-of-this-test"
HEAD_PORT = 6379


def generated(project: pathlib.Path) -> tuple[t.Any, t.Any]:
    """Return the Ray cluster and the Deployment that `carboy deploy` writes."""
    command = ["deploy", "--to", "k8s", "--on", "ray", "--memory", "300M", "--name", "shop"]
    subprocess.run([spawning.script("carboy"), *command], cwd=project, check=True)
    files = [project / "deploy" / name for name in ("raycluster.yaml", "k8s.yaml")]
    cluster, deployment = (next(yaml.safe_load_all(file.read_text())) for file in files)
    return cluster, deployment


def ray_start(group: t.Any, *, address: str = "") -> list[str]:
    """Return the command that KubeRay makes of the parameters of a group of pods. Source:
    generateRayStartCommand in ray-operator/controllers/ray/common/pod.go
    """
    parameters = {**group["rayStartParams"], "metrics-export-port": "8080", "block": "true"}
    parameters.setdefault("num-cpus", "1")  # the limit of the container
    if address:
        parameters["address"] = address
    flags = ("block", "disable-usage-stats")
    options = [
        f"--{name}" if name in flags else f"--{name}={value}" for name, value in parameters.items()
    ]
    return ["ray", "start", *([] if address else ["--head"]), *options]


class Pod:
    """A pod: a node, on which each container is started separately."""

    def __init__(self, node: raynodes.Node, head: str, project: pathlib.Path) -> None:
        self.node = node
        self._names = {"shop-ray-head-svc": head}
        self._project = project

    def start(self, command: list[str], env: t.Any, name: str) -> raynodes.NodeProgram:
        """Start a container with the environment of a file, and what the cluster adds to it."""
        written = {each["name"]: each.get("value", TOKEN) for each in env}
        folder = os.path.dirname(spawning.script("ray"))
        # The services of the cluster have no names here.
        known = {key: self._address(value) for key, value in written.items()}
        return self.node.spawn(
            *map(self._address, command),
            log=self.node.folder / f"{name}.log", port=8000, cwd=self._project,
            env={"PATH": f"{folder}:{os.environ['PATH']}", "SERVER": self.node.name, **known},
        )  # fmt: skip

    def _address(self, text: str) -> str:
        for name, address in self._names.items():
            text = text.replace(name, address)
        return text


def listens(node: raynodes.Node, port: int) -> bool:
    """Whether the probe of a container succeeds, which opens a connection."""
    return spawning.can_connect(node.address, port)


def ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=30) as found:
            return found.status == 200
    except OSError:
        return False


@pytest.fixture
def pods(tmp_path: pathlib.Path) -> cabc.Iterator[tuple[Pod, Pod, Pod]]:
    """The pods of the head, of a replica, and of the app."""
    if not raynodes.can_make_nodes():
        pytest.skip("this user may not make networks for nodes")
    project = tmp_path / "project"
    project.mkdir()
    shutil.copy(APP, project)
    with raynodes.network(tmp_path, "head", "worker", "web") as nodes:
        head, worker, web = (Pod(node, nodes[0].address, project) for node in nodes)
        yield head, worker, web


def test_app_computes_on_the_cluster_from_a_container_of_its_own(pods, tmp_path):
    head, worker, web = pods
    cluster, deployment = generated(tmp_path / "project")
    groups = (cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"])
    head_env, worker_env = (group["template"]["spec"]["containers"][0]["env"] for group in groups)
    programs = [head.start(ray_start(groups[0]), head_env, "ray")]
    wait_until(lambda: listens(head.node, HEAD_PORT), pause_s=0.1, within_s=90)
    address = f"{head.node.address}:{HEAD_PORT}"
    programs.append(worker.start(ray_start(groups[1], address=address), worker_env, "ray"))

    pod = deployment["spec"]["template"]["spec"]
    assert pod["shareProcessNamespace"]
    (sidecar,), (app,) = pod["initContainers"], pod["containers"]
    programs.append(web.start(sidecar["command"], sidecar["env"], "ray"))
    port = sidecar["startupProbe"]["tcpSocket"]["port"]
    wait_until(lambda: listens(web.node, port), pause_s=0.1, within_s=90)
    server = web.start(["carboy", "serve", "app:app", "--bind", "0.0.0.0:8000"], app["env"], "app")
    programs.append(server)
    try:
        probes = f"http://{web.node.address}:9000"
        wait_until(lambda: ready(f"{probes}{app['startupProbe']['httpGet']['path']}"),
                   pause_s=0.2, within_s=120)  # fmt: skip
        assert ready(f"{probes}{app['readinessProbe']['httpGet']['path']}")
        answer = predict(server.url)
        # The head and the pod of the app have no CPU for replicas.
        assert answer.node == worker.node.address
    finally:
        for program in reversed(programs):
            program.process.kill()
            program.process.wait()
