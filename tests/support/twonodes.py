"""An app on a Ray cluster of two machines, which `raynodes` makes."""

from __future__ import annotations

import pathlib
import typing as t

import raynodes
import spawning

PORT, PROBES = 8000, 9000
# From the start of a server until its replicas are ready, on a busy machine.
READY_S = 120.0


class ServedNode(raynodes.NodeProgram):
    """`carboy serve` on a node."""

    @property
    def management_url(self) -> str:
        return f"http://{self.host}:{PROBES}"


class Cluster(t.NamedTuple):
    """Two machines in one Ray cluster, with room for one replica on each, and an app.

    Attributes:
        head: the node with Ray's own services.
        other: another node.
        project: the folder of the app, which both nodes see.
    """

    head: raynodes.Node
    other: raynodes.Node
    project: pathlib.Path

    def start_ray(self, node: raynodes.Node) -> None:
        node.start_ray("" if node is self.head else self.head.address, "--num-cpus", "1")

    def serve(self, node: raynodes.Node, *options: str) -> ServedNode:
        """Serve the app on a node, and wait until its replicas are ready."""
        address = f"{self.head.address}:{raynodes.PORT}"
        program = node.spawn(
            *(spawning.script("carboy"), "serve", "app:app", "--bind", f"0.0.0.0:{PORT}"),
            *("--workers", "2", "--management", f"0.0.0.0:{PROBES}"),
            *("--on", "ray", "--ray-address", address, "--ray-allow-plaintext", "yes", *options),
            log=node.folder / "carboy.log",
            port=PORT,
            cwd=self.project,
            env={"SERVER": node.name},
        )  # fmt: skip
        served = ServedNode(program.process, program.port, program.log, program.host)
        try:
            served.wait_until_it_prints("serving app:app", READY_S)
        except BaseException:
            served.stop()
            raise
        return served
