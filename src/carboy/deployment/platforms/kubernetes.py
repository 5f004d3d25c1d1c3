"""Kubernetes: `deploy/k8s.yaml`, with a Deployment, a Service, a HorizontalPodAutoscaler and a
PodDisruptionBudget.

Its contract: probes by HTTP; when a pod ends, the `preStop` hook, then SIGTERM, and SIGKILL when
`terminationGracePeriodSeconds` have passed since the beginning of the hook.
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from __future__ import annotations

import typing as t

from ...serving.metrics.families import QUEUE_DEPTH
from ..dockerfiles import PROBES, written_in_image
from ..generatedfiles import GeneratedFile
from ..generators import Generated
from .hosting import PORT, NameRule, Platform, environment
from .sizing import round_up

if t.TYPE_CHECKING:
    from .hosting import Release

# How long a pod that ends still takes requests, because all nodes must hear that it ends, before
# they send it none.
_PRE_STOP_S = 5
# How long the app and its models may take to load.
_LOADING_S = 300
_PROBE_PERIOD_S = 2


def _generate(release: Release) -> Generated:
    times = release.stop_times()
    settings = release.settings(1, times, management=f"0.0.0.0:{PROBES}")
    image = release.image or f"{release.name}:1"
    text = release.write(
        "k8s.yaml",
        image=image,
        environment={"PORT": PORT, **environment(settings)},
        port=PORT,
        management_port=PROBES,
        memory_mib=round_up(release.room.mib, 64, 128),
        pre_stop_s=_PRE_STOP_S,
        termination_s=_PRE_STOP_S + times.platform_s,
        startup_attempts=_LOADING_S // _PROBE_PERIOD_S,
        startup_period_s=_PROBE_PERIOD_S,
        written_folders=["/tmp", *written_in_image(release.facts)],  # noqa: S108 - of the pod alone
        gpus=len(release.facts.accelerators),
        queue_depth_metric=QUEUE_DEPTH.name,
    )
    path = "deploy/k8s.yaml"
    return Generated([GeneratedFile(path, text)], _next_step(release, image, path))


def _next_step(release: Release, image: str, path: str) -> str:
    push = f"docker push {image} && " if release.image else ""
    return release.next_step(
        f"{release.make_image}docker build -t {image} . && {push}kubectl apply -f {path}",
        once=f"kubectl create secret generic {release.name}"
        " --from-literal=SECRET_KEY=$(carboy secret new --print)"
        if release.reads_secrets
        else "",
    )


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
    gets_ignored_files=True,
    generate=_generate,
)
