"""End what an app has on a cluster."""

from __future__ import annotations

import ray

from .controller import CONTROLLER, REPLICA_PREFIX


def end_all() -> bool:
    """End the controller and the replicas of the namespace of this process, which is connected.
    Returns False if there are none.
    """
    names = [
        name
        for name in ray.util.list_named_actors()
        if name == CONTROLLER or name.startswith(REPLICA_PREFIX)
    ]
    for name in sorted(names):  # the controller first: it would start replicas again
        try:
            ray.kill(ray.get_actor(name))
        except ValueError:  # it has just ended
            continue
    return bool(names)
