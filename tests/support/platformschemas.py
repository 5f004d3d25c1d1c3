"""JSON Schemas of the files of hosting platforms, written down from their documentation: the keys
that `carboy deploy` uses, each with the values that the platform accepts. A key that is not here
is refused, so that a test fails if a file has a key that nobody has looked up.
"""

from __future__ import annotations

import typing as t

Schema = dict[str, t.Any]


def record(required: Schema, /, **optional: Schema) -> Schema:
    """Return the schema of an object with exactly these keys."""
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **optional},
        "additionalProperties": False,
    }


def listed(item: Schema) -> Schema:
    return {"type": "array", "items": item, "minItems": 1}


def whole(least: int, most: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most}


def matching(pattern: str) -> Schema:
    return {"type": "string", "pattern": f"^({pattern})$"}


TEXT: Schema = {"type": "string", "minLength": 1}
FLAG: Schema = {"type": "boolean"}
PORT = whole(1, 65535)

# https://fly.io/docs/reference/configuration/
DURATION = matching(r"\d+(ms|s|m)")
FLY = record(
    {"app": matching(r"[a-z0-9-]{1,63}")},
    kill_signal={"enum": ["SIGINT", "SIGTERM", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGKILL"]},
    kill_timeout=whole(1, 300),
    build=record({}, dockerfile=TEXT),
    env={"type": "object", "additionalProperties": TEXT, "propertyNames": matching("(?!FLY_).+")},
    http_service=record(
        {"internal_port": PORT},
        force_https=FLAG,
        auto_stop_machines={"enum": ["off", "stop", "suspend"]},
        auto_start_machines=FLAG,
        min_machines_running=whole(0, 1000),
        checks=listed(
            record(
                {"path": matching("/.*")},
                grace_period=DURATION,
                interval=DURATION,
                timeout=DURATION,
                method={"enum": ["GET", "HEAD", "POST"]},
            )
        ),
    ),
    vm=listed(
        record(
            {"memory": matching(r"\d+(mb|gb)")},
            cpu_kind={"enum": ["shared", "performance"]},
            cpus={"enum": [1, 2, 4, 8, 16]},
        )
    ),
)

# https://render.com/docs/blueprint-spec
RENDER = record(
    {
        "services": listed(
            record(
                {
                    "type": {"enum": ["web"]},
                    "name": TEXT,
                    "runtime": {"enum": ["python", "docker", "image"]},
                    "buildCommand": TEXT,
                    "startCommand": TEXT,
                },
                plan={
                    "enum": [
                        *("free", "starter", "standard"),
                        *("pro", "pro plus", "pro max", "pro ultra"),
                    ]
                },
                healthCheckPath=matching("/.*"),
                maxShutdownDelaySeconds=whole(1, 300),
                envVars=listed(
                    {
                        "oneOf": [
                            record({"key": TEXT, "value": TEXT}),
                            record({"key": TEXT, "generateValue": FLAG}),
                        ]
                    }
                ),
            )
        )
    }
)

# https://keda.sh/docs/latest/reference/scaledobject-spec and, for the trigger,
# https://keda.sh/docs/latest/scalers/prometheus/
KEDA = record(
    {
        "apiVersion": {"const": "keda.sh/v1alpha1"},
        "kind": {"const": "ScaledObject"},
        "metadata": record({"name": TEXT}),
        "spec": record(
            {
                "scaleTargetRef": record({"name": TEXT}),
                "triggers": listed(
                    record(
                        {
                            "type": {"const": "prometheus"},
                            "metadata": record(
                                {"serverAddress": TEXT, "query": TEXT, "threshold": TEXT}
                            ),
                        }
                    )
                ),
            },
            minReplicaCount=whole(0, 1000),
            maxReplicaCount=whole(1, 1000),
        ),
    }
)

# https://docs.ray.io/en/latest/cluster/kubernetes/user-guides/config.html. The options of `ray
# start` are those of https://docs.ray.io/en/latest/cluster/cli.html; the pods are Kubernetes' own.
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
RAY_START = record(
    {},
    **{
        "disable-usage-stats": {"enum": ["true", "false"]},
        "include-dashboard": {"enum": ["true", "false"]},
        "node-manager-port": matching(r"\d+"),
        "num-cpus": matching(r"\d+"),
    },
)
RAY_PODS = record({"spec": {"type": "object"}})
RAY_CLUSTER = record(
    {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayCluster"},
        # KubeRay shortens longer names in those of services and pods.
        "metadata": record({"name": matching("[a-z]([a-z0-9-]{0,48}[a-z0-9])?")}, labels=TEXTS),
        "spec": record(
            {
                "headGroupSpec": record({"rayStartParams": RAY_START, "template": RAY_PODS}),
                "workerGroupSpecs": listed(
                    record(
                        {"groupName": TEXT, "rayStartParams": RAY_START, "template": RAY_PODS},
                        minReplicas=whole(0, 1000),
                        maxReplicas=whole(1, 1000),
                    )
                ),
            },
            enableInTreeAutoscaling=FLAG,
            autoscalerOptions=record(
                {},
                idleTimeoutSeconds=whole(1, 86400),
                securityContext={"type": "object"},
                env={"type": "array"},
            ),
        ),
    }
)

# https://huggingface.co/docs/hub/spaces-config-reference
COLOR: Schema = {
    "enum": ["red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"],
}
SPACE = record(
    {"sdk": {"enum": ["docker"]}, "app_port": PORT},
    title=TEXT,
    emoji=TEXT,
    colorFrom=COLOR,
    colorTo=COLOR,
    suggested_hardware={"enum": ["cpu-basic", "cpu-upgrade"]},
    pinned=FLAG,
)

# https://cloud.google.com/run/docs/reference/yaml/v1 and, for probes,
# https://cloud.google.com/run/docs/configuring/healthchecks
PROBE = record(
    {"httpGet": record({"path": matching("/.*")}, port=PORT)},
    initialDelaySeconds=whole(0, 240),
    timeoutSeconds=whole(1, 240),
    periodSeconds=whole(1, 240),
    failureThreshold=whole(1, 240),
)
CLOUD_RUN = record(
    {
        "apiVersion": {"const": "serving.knative.dev/v1"},
        "kind": {"const": "Service"},
        "metadata": record({"name": matching("[a-z]([a-z0-9-]{0,47}[a-z0-9])?")}),
        "spec": record(
            {
                "template": record(
                    {
                        "metadata": record(
                            {
                                "annotations": record(
                                    {},
                                    **{
                                        "autoscaling.knative.dev/maxScale": matching(r"\d+"),
                                        "run.googleapis.com/startup-cpu-boost": {
                                            "enum": ["true", "false"]
                                        },
                                    },
                                )
                            }
                        ),
                        "spec": record(
                            {
                                "containers": listed(
                                    record(
                                        {"image": TEXT},
                                        ports=listed(
                                            record(
                                                {"containerPort": PORT},
                                                name={"enum": ["http1", "h2c"]},
                                            )
                                        ),
                                        env=listed(
                                            # PORT and these are set by Cloud Run alone.
                                            record(
                                                {"name": matching("(?!PORT$|K_).+")},
                                                value={"type": "string"},
                                                valueFrom=record(
                                                    {
                                                        "secretKeyRef": record(
                                                            {"name": TEXT, "key": TEXT}
                                                        )
                                                    }
                                                ),
                                            )
                                        ),
                                        resources=record(
                                            {
                                                "limits": record(
                                                    {
                                                        "cpu": {"enum": ["1", "2", "4", "6", "8"]},
                                                        "memory": matching(r"\d+(Mi|Gi)"),
                                                    }
                                                )
                                            }
                                        ),
                                        startupProbe=PROBE,
                                        livenessProbe=PROBE,
                                    )
                                )
                            },
                            containerConcurrency=whole(1, 1000),
                            timeoutSeconds=whole(1, 3600),
                        ),
                    }
                )
            }
        ),
    }
)
