"""On how many threads the numerical libraries of a worker compute.

Each of these libraries starts as many threads as the machine has cores. With several workers, these
threads compete for the cores, and under the CPU quota of a container they use it up in a part of
each period and then stand still. So each worker gets its share of the CPUs, by the environment
variables that the libraries read when they are imported.
"""

from __future__ import annotations

import gc
import os
import sys
import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc

_OPENMP = "OMP_NUM_THREADS"
_ONNX_RUNTIME = "ORT_INTRA_OP_NUM_THREADS"
# By variable, the variables that its library reads if that one is not set. If the user has set one
# of these, the library must go on following it.
_VARIABLES: t.Final[dict[str, tuple[str, ...]]] = {
    _OPENMP: (),  # OpenMP: scikit-learn, LightGBM, XGBoost, PyTorch, Arrow
    "OPENBLAS_NUM_THREADS": ("GOTO_NUM_THREADS", _OPENMP),  # NumPy and SciPy from PyPI
    "MKL_NUM_THREADS": (_OPENMP,),  # NumPy and SciPy of conda; PyTorch, which has no other variable
    "BLIS_NUM_THREADS": (_OPENMP,),
    "VECLIB_MAXIMUM_THREADS": (),  # Accelerate of macOS
    "NUMEXPR_NUM_THREADS": (_OPENMP,),
    "LOKY_MAX_CPU_COUNT": (),  # joblib: what n_jobs=-1 means, also for threads
    _ONNX_RUNTIME: (),  # ONNX Runtime since 1.29
    "ORT_INTER_OP_NUM_THREADS": (),
}
# The first version of ONNX Runtime that reads the variables ORT_*.
_FIRST_ONNX_RUNTIME = (1, 29)
# The modules of libraries that compute on threads and read the variables once, when they are
# imported.
_LIBRARIES = ("numpy", "torch", "onnxruntime", "numexpr", "pyarrow")


def threads_of_each(cpus: int, processes: int) -> int:
    """Return on how many threads a library should compute in each of the processes."""
    return max(1, cpus // max(1, processes))


def thread_environment(
    cpus: int, processes: int, environ: cabc.Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the environment variables by which the libraries of one of several processes use its
    share of the CPUs; none that the user has set, or that would override one that the user has set.
    """
    number = str(threads_of_each(cpus, processes))
    return {
        name: number
        for name, others in _VARIABLES.items()
        if not any(environ.get(each) for each in (name, *others))
    }


def set_by_user(environ: cabc.Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that the user has set, with their values."""
    names = dict.fromkeys([*_VARIABLES, *(each for more in _VARIABLES.values() for each in more)])
    return {name: environ[name] for name in names if environ.get(name)}


def imported_libraries() -> list[str]:
    """Return the libraries that this process has imported and that read the variables once."""
    return [name for name in _LIBRARIES if name in sys.modules]


def advice_on_sessions(environ: cabc.Mapping[str, str] = os.environ) -> str:
    """Return advice for the log if this process has sessions of an ONNX Runtime that does not read
    the environment variable for its threads, so that they have more threads; else "".
    """
    runtime, threads = sys.modules.get("onnxruntime"), environ.get(_ONNX_RUNTIME, "")
    version = _version_of(runtime)
    if version is None or version >= _FIRST_ONNX_RUNTIME or not threads.isdecimal():
        return ""
    if int(threads) >= (os.cpu_count() or 1):
        return ""
    number = _sessions_with_default_threads(getattr(runtime, "InferenceSession", None))
    if not number:
        return ""
    return (
        f"sessions of ONNX Runtime ({number} of them) compute on as many threads as the machine has"
        f" cores: only version {'.'.join(map(str, _FIRST_ONNX_RUNTIME))} and newer read"
        f" {_ONNX_RUNTIME}, which is {threads} here. Upgrade onnxruntime, or make the sessions with"
        f" SessionOptions whose intra_op_num_threads is {threads}"
    )


def _version_of(module: object) -> tuple[int, ...] | None:
    parts = str(getattr(module, "__version__", "")).split(".")[:2]
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else None


def _sessions_with_default_threads(session_class: object) -> int:
    if not isinstance(session_class, type):
        return 0
    # `type(each)` and not `isinstance`, because proxies such as `flask.request` fail when they are
    # asked for their class outside of a request.
    found = [each for each in gc.get_objects() if issubclass(type(each), session_class)]
    return sum(not each.get_session_options().intra_op_num_threads for each in found)
