"""Kubernetes: `deploy/k8s.yaml`, with a Deployment, a Service, a HorizontalPodAutoscaler and a
PodDisruptionBudget; and, for models that compute on a Ray cluster, `deploy/raycluster.yaml` for
KubeRay.

Its contract: probes by HTTP; when a pod ends, the `preStop` hook, then SIGTERM, and SIGKILL when
`terminationGracePeriodSeconds` have passed since the beginning of the hook.
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from __future__ import annotations

import os
import re
import typing as t

from ...core.processmemory import MIB
from ...errors import DeploymentError
from ...serving.metrics.families import QUEUE_DEPTH
from ..dockerfiles import PROBES, written_in_image
from ..generatedfiles import GeneratedFile
from ..generators import Generated
from ..projectfiles import read_text
from ..serversettings import environment
from .hosting import PORT, NameRule, Platform
from .sizing import round_up

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .hosting import Release

# How long a pod that ends still takes requests, because all nodes must hear that it ends, before
# they send it none.
_PRE_STOP_S = 5
# How long the app and its models may take to load.
_LOADING_S = 300
_PROBE_PERIOD_S = 2
_TMP = "/tmp"  # noqa: S108 - of the pod alone
# The longest name of a Ray cluster that KubeRay uses as it is.
_MOST_OF_A_CLUSTER = 50


# What a node of Ray needs besides the models, with its memory for arrays.
_RAY_NODE_MIB = 1024
_RAY_STORE_MIB = 256
_TMP = "/tmp"  # noqa: S108 - that of the pod alone


class _RayCluster(t.NamedTuple):
    """A Ray cluster of KubeRay.

    Attributes:
        cluster: its name, which is also that of the secret with the token of the cluster.
        worker_mib: the memory of a pod that computes.
        node_port: where a node listens.
    """

    cluster: str
    worker_mib: int
    head_port: int = 6379
    node_port: int = 6380
    head_mib: int = 2 * _RAY_NODE_MIB
    node_mib: int = _RAY_NODE_MIB
    memory_mib: int = _RAY_STORE_MIB

    @property
    def head(self) -> str:
        """Where the head listens: at the service that KubeRay makes."""
        return f"{self.cluster}-head-svc:{self.head_port}"

    @property
    def store_bytes(self) -> int:
        return self.memory_mib * MIB


def _generate(release: Release) -> Generated:
    times = release.stop_times()
    ray = _ray_cluster(release) if release.on_ray else None
    more = {"management": f"0.0.0.0:{PROBES}"}
    if ray:
        # The NetworkPolicies say who may connect.
        more |= {"on": "ray", "ray_address": ray.head, "ray_allow_plaintext": "yes"}
    image = release.image or f"{release.name}:1"
    variables: dict[str, t.Any] = {
        "image": image,
        "ray": ray,
        "environment": {"PORT": PORT, **environment(release.settings(1, times, **more))},
        "port": PORT,
        "management_port": PROBES,
        "memory_mib": round_up(release.room.mib, 64, 128),
        "pre_stop_s": _PRE_STOP_S,
        "termination_s": _PRE_STOP_S + times.platform_s,
        "startup_attempts": _LOADING_S // _PROBE_PERIOD_S,
        "startup_period_s": _PROBE_PERIOD_S,
        "written_folders": [_TMP, *written_in_image(release.facts)],
        "gpus": len(release.facts.accelerators),
        "queue_depth_metric": QUEUE_DEPTH.name,
    }
    templates = ["raycluster.yaml", "k8s.yaml"] if ray else ["k8s.yaml"]
    files = [
        GeneratedFile(f"deploy/{name}", release.write(name, **variables)) for name in templates
    ]
    return Generated(files, _next_step(release, image, files, ray))


def _ray_cluster(release: Release) -> _RayCluster:
    cluster = f"{release.name}-ray"
    # KubeRay shortens longer ones in the names of what it makes.
    if len(cluster) > _MOST_OF_A_CLUSTER:
        raise DeploymentError(
            f"The name {release.name!r} is too long: with --on ray, a name has at most"
            f" {_MOST_OF_A_CLUSTER - len('-ray')} characters. Choose another one by --name."
        )
    room_mib = round_up(release.room.mib, 64, 128)
    return _RayCluster(cluster, worker_mib=room_mib + _RAY_NODE_MIB)


def _next_step(
    release: Release, image: str, files: list[GeneratedFile], ray: _RayCluster | None
) -> str:
    push = f"docker push {image} && " if release.image else ""
    secrets = [f"{release.name} --from-literal=SECRET_KEY="] if release.reads_secrets else []
    if ray:
        secrets.append(f"{ray.cluster} --from-literal=auth_token=")
    paths = " ".join(f"-f {file.path}" for file in files)
    return release.next_step(
        f"{release.make_image}docker build -t {image} . && {push}kubectl apply {paths}",
        once=" && ".join(
            f"kubectl create secret generic {each}$(carboy secret new --print)" for each in secrets
        ),
        hints=_hints_at_ray(release) if ray else (),
    )


def _hints_at_ray(release: Release) -> cabc.Iterator[str]:
    """Say what the image lacks, which all pods use: they have the same Ray, Python and code."""
    file = release.facts.requirements
    text = read_text(os.path.join(release.facts.root, file)) if file else ""
    if not re.search(r"""(^|["'])ray\b|\[[\w,\s-]*\bray\b""", text, re.MULTILINE):
        file = file or "requirements.txt"
        yield f"The image needs Ray: add a line such as 'ray==2.60.0' to {file}."


KUBERNETES = Platform(
    "k8s",
    "Kubernetes",
    # A label of DNS as for a Service (RFC 1035).
    NameRule(
        r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?",
        "lower-case letters, digits and hyphens, begins with a letter, does not end with a hyphen,"
        " and has at most 63 characters",
    ),
    takes_image=True,
    gives_devices=True,
    scales_by_metrics=True,
    has_ray=True,
    gets_ignored_files=True,
    generate=_generate,
)
