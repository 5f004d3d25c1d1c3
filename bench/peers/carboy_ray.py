"""carboy: `carboy serve --on ray`, one worker, in a cluster of this machine only.

The app and its settings are those of `peers/carboy.py`; the cluster is that of `peers/ray.py`.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys

import ray

if __name__ == "__main__":
    context = ray.init(
        num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20,
        _node_ip_address="127.0.0.1", _temp_dir=os.environ["BENCH_TEMP"],
        logging_level=logging.WARNING, log_to_driver=False,
    )  # fmt: skip
    server = subprocess.Popen([
        *(sys.executable, "-m", "carboy", "--app", "peers.carboy:app", "serve"),
        *("--host", "127.0.0.1", "--port", sys.argv[1], "--workers", "1"),
        *("--on", "ray", "--ray-address", context.address_info["gcs_address"]),
    ])  # fmt: skip
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    server.terminate()
    server.wait()
    ray.shutdown()
