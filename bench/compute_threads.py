"""What it brings that each worker computes on its share of the CPUs.

    python bench/compute_threads.py [--quick] [--rounds 12] [--processes 2] [--shares]

As many processes as `--processes` says compute at the same time, each one prediction after the
other: once with the variables that `carboy serve` sets for its workers (OMP_NUM_THREADS and the
like), and once without, so that each library starts as many threads as there are CPUs. All
processes live during the whole measurement; those with the variables and those without compute in
turn, and the ratios are taken within a round. Needs NumPy, scikit-learn, onnx and ONNX Runtime.

On a busy machine a process with more threads gets more of the CPUs, so that predictions per second
say little there. With `--shares` (root and cgroup v1 only) the processes with the variables and
those without are in control groups that get equally much. CPU time per prediction holds anyway.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import typing as t

import _measure
import _results
from carboy.serving.machine import usable_cpus
from carboy.serving.process.computethreads import set_by_user, thread_environment

SIDE = 512  # the width of the network's layers


def forest() -> t.Callable[[], object]:
    """A forest of 100 trees that predicts 32 rows, with n_jobs=-1: threads of joblib."""
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier

    random = np.random.default_rng(1)
    rows, labels = random.normal(size=(2000, 20)), random.integers(0, 3, 2000)
    model = RandomForestClassifier(100, n_jobs=-1, random_state=1).fit(rows, labels)
    return lambda: model.predict_proba(rows[:32])


def boosting() -> t.Callable[[], object]:
    """Gradient boosting of 100 trees that predicts 2,000 rows: threads of OpenMP."""
    import numpy as np
    from sklearn.ensemble import HistGradientBoostingClassifier

    random = np.random.default_rng(1)
    rows, labels = random.normal(size=(2000, 20)), random.integers(0, 2, 2000)
    model = HistGradientBoostingClassifier(random_state=1).fit(rows, labels)
    return lambda: model.predict_proba(rows)


def network() -> t.Callable[[], object]:
    """A network of eight dense layers that predicts 16 rows: ONNX Runtime's own threads."""
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(1)
    nodes, weights = [], []
    for layer in range(8):
        weight = random.normal(size=(SIDE, SIDE)).astype(np.float32) / SIDE**0.5
        weights.append(numpy_helper.from_array(weight, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [f"y{layer}", f"w{layer}"], [f"x{layer}"]))
        nodes.append(helper.make_node("Relu", [f"x{layer}"], [f"y{layer + 1}"]))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, SIDE])
        for name in ("y0", "y8")
    ]
    graph = helper.make_graph(nodes, "dense", ends[:1], ends[1:], weights)
    net = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(
        net.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rows = random.normal(size=(16, SIDE)).astype(np.float32)
    return lambda: session.run(None, {"y0": rows})


KINDS = WITH, WITHOUT = "with the variables", "without"
MODELS = {"forest": forest, "boosting": boosting, "network": network}


def compute(name: str) -> None:
    """Be one of the processes: for each line with a number of seconds, predict for that long, and
    print how long each prediction took.
    """
    predict = MODELS[name]()
    predict()
    print("ready", flush=True)
    for line in sys.stdin:
        cpu_s, end = time.process_time(), time.perf_counter() + float(line)
        taken = []
        while (begun := time.perf_counter()) < end:
            predict()
            taken.append(time.perf_counter() - begun)
        print(json.dumps([time.process_time() - cpu_s, *taken]), flush=True)


class Processes:
    """Processes that predict at the same time."""

    def __init__(self, name: str, number: int, env: dict[str, str], group: str) -> None:
        self._all = [
            subprocess.Popen(
                [sys.executable, __file__, "--compute", name],
                env={**os.environ, **env},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(number)
        ]
        for process in self._all:
            process.stdout.readline()
            if group:
                pathlib.Path(group, "cgroup.procs").write_text(str(process.pid))

    def run(self, seconds: float) -> tuple[float, list[float]]:
        """Return the CPU time of all processes, and how long each prediction took."""
        for process in self._all:
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
        cpu_s, taken = 0.0, []
        for process in self._all:
            its_cpu_s, *its_taken = json.loads(process.stdout.readline())
            cpu_s, taken = cpu_s + its_cpu_s, taken + its_taken
        return cpu_s, taken

    def stop(self) -> None:
        for process in self._all:
            process.stdin.close()
            process.wait()
            process.stdout.close()


@contextlib.contextmanager
def control_groups(wanted: bool) -> t.Iterator[dict[str, str]]:
    """Make two control groups that get as much of the CPUs as two processes each."""
    top = pathlib.Path("/sys/fs/cgroup/cpu")
    groups = {kind: top / f"carboy-bench-{kind.partition(' ')[0]}-{os.getpid()}" for kind in KINDS}
    if not wanted:
        yield dict.fromkeys(KINDS, "")
        return
    for folder in groups.values():
        folder.mkdir()
        (folder / "cpu.shares").write_text("2048")
    yield {kind: str(folder) for kind, folder in groups.items()}
    for folder in groups.values():
        folder.rmdir()


def measure(row: _results.Row, options: argparse.Namespace) -> None:
    name, number = row.key, options.processes
    seconds = 0.5 if options.quick else 1
    env = {WITH: thread_environment(usable_cpus(), number), WITHOUT: {}}
    with control_groups(options.shares) as groups:
        processes = {kind: Processes(name, number, env[kind], groups[kind]) for kind in KINDS}
        for turn in range(options.rounds + 1):
            for kind in KINDS[:: 1 if turn % 2 else -1]:
                cpu_s, taken = processes[kind].run(seconds)
                if turn:  # the first round is not counted: caches, threads that are started
                    row.add(
                        kind,
                        results_per_s=len(taken) / seconds,
                        p99_ms=statistics.quantiles(taken, n=100)[98] * 1000,
                        cpu_us=cpu_s / len(taken) * 1e6,
                    )
        for each in processes.values():
            each.stop()


def main() -> None:
    parser = _measure.arguments(__doc__)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--shares", action="store_true", help="equal shares of the CPUs (cgroups)")
    parser.add_argument("--compute", choices=MODELS, help="be one of the processes")
    options = parser.parse_args()
    if options.compute:
        compute(options.compute)
        return
    if mine := set_by_user():
        sys.exit(f"unset {' '.join(mine)}: the measurement sets these variables itself")
    options.rounds = options.rounds or (1 if options.quick else 12)
    how = f"{options.processes} processes; the variables are {thread_environment(2, 2, {})}"
    versions = ("carboy", "numpy", "scikit-learn", "onnxruntime")
    record = _results.Record("compute_threads", options, *versions, how=how)
    for name in options.only:
        measure(record.row(name, f"{name}, {options.processes} processes", ours=WITH), options)
    record.close()


if __name__ == "__main__":
    main()
