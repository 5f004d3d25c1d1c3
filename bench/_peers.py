"""The peers of models.py: their environments, how they are started, how they are called.

Each peer's program is `peers/<key>.py`, which documents its settings and the reasons. Requests and
responses differ (`Wire`); the computation is the same.
"""

from __future__ import annotations

import base64
import collections.abc as cabc
import dataclasses
import functools
import importlib
import json
import pathlib
import subprocess
import sys
import tempfile
import types
import typing as t

import _baseline
import _servers
from apps import shapes

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
HOME = CACHE / "bench-models"
PINS = ROOT / "bench" / "pins"

# In every environment, so that all peers compute with the same libraries.
COMMON = (
    "numpy==2.4.6", "scikit-learn==1.9.1", "joblib==1.6.0", "onnxruntime==1.32.0",
    "pillow==13.0.0", "orjson==3.13.0",
)  # fmt: skip
# Two cores for server and load: a library that uses both for one product slows the others.
QUIET = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "DO_NOT_TRACK": "1",
    "BENTOML_DO_NOT_TRACK": "True", "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}  # fmt: skip

Wire = tuple[str, str, bytes]  # path, content type, body
JSON = "application/json"


@functools.cache
def _file(name: str) -> bytes:
    return (HOME / name).read_bytes()


def _value(model: str, example: int) -> str:
    """Return an input of a model as JSON text."""
    file = model if model in {"fake", "tensor"} else "digits"
    return _file(f"{file}-{example}.json").decode()


# The content type and the file of each request that is a file.
_FILES = {
    "photo": ("image/jpeg", "photo-{}.jpg"),
    "tensor-binary": ("application/x-npy", "tensor-{}.npy"),
}


def _plain(request: str, example: int = 0) -> Wire:
    """Return `{"x": value}`, or the photograph itself, where the format is free."""
    if request in _FILES:
        content_type, file = _FILES[request]
        return "/predict", content_type, _file(file.format(example))
    return "/predict", JSON, f'{{"x": {_value(request, example)}}}'.encode()


def _form(request: str, example: int = 0) -> Wire:
    if request not in _FILES:
        return _plain(request, example)
    content_type, file = _FILES[request]
    data = _file(file.format(example))
    body = shapes.multipart({}, "x", file.format(example), data, content_type)
    return "/predict", f"multipart/form-data; boundary={shapes.BOUNDARY}", body


def _bentoml(request: str, example: int = 0) -> Wire:
    if request == "tensor-binary":
        return "/predict-file", *_form(request, example)[1:]
    if request in {"photo", "tensor", "alone"}:
        return _form(request, example)
    return "/predict", JSON, f'{{"x": [{_value(request, example)}]}}'.encode()


def _base64(request: str, example: int) -> str:
    """Return a file as the only item of a JSON list."""
    return json.dumps([base64.b64encode(_file(_FILES[request][1].format(example))).decode()])


def _v2(model: str, example: int = 0) -> Wire:
    if model in _FILES:
        data = _base64(model, example)
        shape, kind = [1, 1], '"BYTES", "parameters": {"content_type": "base64"}'
    else:
        # A flat list, as usual in this protocol, which is faster to parse.
        data = _value(model, example).replace("[", "").replace("]", "").join("[]")
        shapes_of = {"tensor": [1, 3, 224, 224], "fake": [1, 1]}
        shape, kind = shapes_of.get(model, [1, 64]), '"FP32"'
    text = f'{{"inputs": [{{"name": "x", "shape": {shape}, "datatype": {kind}, "data": {data}}}]}}'
    return "/v2/models/model/infer", JSON, text.encode()


def _mlflow(model: str, example: int = 0) -> Wire:
    if model == "photo":
        value = _base64(model, example)
    else:
        value = _value(model, example)
        value = value if model == "tensor" else f"[{value}]"
    return "/invocations", JSON, f'{{"inputs": {value}}}'.encode()


Pair = tuple[float, float]


def _pair(found: t.Any) -> Pair:
    return found["label"], found["score"]


def _read_v2(found: t.Any) -> Pair:
    by_name = {each["name"]: each["data"][0] for each in found["outputs"]}
    return by_name["label"], by_name["score"]


@dataclasses.dataclass(frozen=True)
class Peer:
    """A peer; `key` names its program and its environment (unless `home` names another's)."""

    key: str
    name: str
    requires: tuple[str, ...]
    command: tuple[str, ...]
    env: cabc.Mapping[str, str] = dataclasses.field(default_factory=dict)
    write: cabc.Callable[[str, int], Wire] = _plain
    """Makes the request of a model, given the number of the example."""
    read: cabc.Callable[[t.Any], Pair] = _pair
    binary: bool = False
    """Whether it accepts the tensor as `.npy`: as the body, in a form, or as base64 in JSON."""
    before: tuple[str, ...] = ()
    """A command that prepares a model, before the time to start is measured."""
    shows: tuple[str, ...] = ()
    """The distributions whose versions are printed; the first names the peer."""
    home: str = ""
    pins: str = ""
    """Whose versions it has, if not versions of its own."""
    project: pathlib.Path | None = None
    """The folder of the project that is installed besides, without what it requires."""
    processes: str = "1"
    """How many of its processes respond, and for what."""

    @property
    def pinned(self) -> str:
        return self.pins or self.home or self.key

    @property
    def python(self) -> str:
        return str(CACHE / "venvs" / f"bench-{self.home or self.key}" / "bin" / "python")

    def environment(self, model: str, counts: pathlib.Path) -> dict[str, str]:
        folder = pathlib.Path(self.python).parent
        known = {
            "BENCH_HOME": str(HOME), "BENCH_MODEL": model, "BENCH_COUNTS": str(counts),
            "PATH": f"{folder}:/usr/local/bin:/usr/bin:/bin",
        }  # fmt: skip
        return {**QUIET, **known, **self.env}

    def kind(self, model: str, counts: pathlib.Path) -> _servers.Kind:
        words = {
            "FOLDER": str(HOME / f"{self.key}-{model}"),
            "REPLICAS": self.env.get("BENCH_REPLICAS", "1"),
        }
        command = tuple(words.get(word, word) for word in self.command)
        env = self.environment(model, counts)
        return _servers.Kind(self.name, command, python=self.python, env=env)

    def prepare(self, model: str, counts: pathlib.Path) -> None:
        if self.before:
            done = subprocess.run(
                [self.python, *self.before], cwd=_servers.HERE, capture_output=True, text=True,
                env=self.environment(model, counts) | {"PYTHONPATH": str(_servers.HERE)},
                check=False,
            )  # fmt: skip
            if done.returncode:
                raise RuntimeError(f"{self.name} cannot be prepared:\n{done.stderr[-2000:]}")


PEERS: tuple[Peer, ...] = (
    Peer(
        "carboy", "carboy", ("onnx", "granian"),
        ("-m", "carboy", "--app", "peers.carboy:app", "serve", "--host", "127.0.0.1",
         "--port", "PORT", "--workers", "1"),
        binary=True, shows=("carboy", "granian"), processes="1 + supervisor", project=ROOT,
    ),
    Peer(
        "baseline", _baseline.NAME, (),
        ("-m", "carboy", "--app", "peers.carboy:app", "serve", "--host", "127.0.0.1",
         "--port", "PORT", "--workers", "1"),
        binary=True, shows=("carboy", "granian"), processes="1 + supervisor",
        pins="carboy", project=_baseline.SOURCE,
    ),
    Peer(
        "mosec", "mosec", ("mosec==0.9.8",), ("-m", "peers.mosec"),
        env={"MOSEC_ADDRESS": "127.0.0.1", "MOSEC_PORT": "PORT", "MOSEC_LOG_LEVEL": "warning",
             "MOSEC_TIMEOUT": "30000"},
        binary=True, shows=("mosec",), processes="1 + Rust server",
    ),
    Peer(
        "litserve", "LitServe", ("litserve==0.2.19", "uvloop", "httptools", "python-multipart"),
        ("-m", "peers.litserve", "PORT"), write=_form, binary=True,
        shows=("litserve", "fastapi", "pyzmq"), processes="1 + API server",
    ),
    Peer(
        "bentoml", "BentoML", ("bentoml==1.4.40", "uvloop", "httptools"),
        ("-m", "bentoml", "serve", "peers.bentoml:Service", "--host", "127.0.0.1",
         "--port", "PORT", "--api-workers", "1"),
        env={"BENTOML_HOME": str(HOME / "bentoml"),
             "BENTOML_CONFIG_OPTIONS": "services.logging.access.enabled=false"
                                       " services.metrics.enabled=false"},
        write=_bentoml, binary=True, shows=("bentoml", "uvicorn"), processes="1 + supervisor",
    ),
    Peer(
        "ray", "Ray Serve", ("ray[serve]",), ("-m", "peers.ray", "PORT"),
        env={"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
             # Otherwise it uses the machine's outer address and listens on all of them.
             "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
             "HOME": str(HOME / "ray-home"), "BENCH_TEMP": f"{tempfile.gettempdir()}/carboy-ray"},
        shows=("ray", "uvicorn"), processes="1 + proxy, controller, cluster",
    ),
    Peer(
        "mlserver", "MLServer", ("mlserver==1.7.1", "uvloop<0.22"),
        ("-m", "peers.mlserver", "FOLDER", "PORT"),
        write=_v2, read=_read_v2, binary=True, shows=("mlserver", "fastapi", "uvicorn"),
    ),
    Peer(
        "mlflow", "mlflow", ("mlflow", "uvloop", "httptools"),
        ("-m", "mlflow", "models", "serve", "--model-uri", "FOLDER", "--host", "127.0.0.1",
         "--port", "PORT", "--workers", "1", "--env-manager", "local"),
        write=_mlflow, read=lambda found: _pair(found["predictions"][0]),
        before=("-m", "peers.mlflow"), shows=("mlflow", "fastapi", "uvicorn"),
        processes="1 + launcher",
    ),
    Peer(
        "fastapi", "FastAPI by hand", ("fastapi", "uvicorn", "uvloop", "httptools"),
        (*_servers.UVICORN, "peers.fastapi:app"), binary=True,
        shows=("fastapi", "uvicorn", "uvloop", "httptools"),
    ),
    Peer(
        "flask", "Flask by hand", ("flask", "gunicorn==27.0.1", "gunicorn_h1c==0.6.10"),
        (*(word.replace("THREADS", "32") for word in _servers.GUNICORN), "--timeout", "0",
         "peers.flask:app"),
        binary=True, shows=("flask", "gunicorn"), processes="1 + arbiter",
    ),
    Peer(
        "gunicorn", "gunicorn dirty", (),
        (*(word.replace("THREADS", "32") for word in _servers.GUNICORN), "--timeout", "0",
         "--dirty-app", "peers.gunicorn:Dirty", "--dirty-workers", "REPLICAS",
         "peers.gunicorn:app"),
        binary=True, shows=("gunicorn", "flask"), processes="1 + arbiters", home="flask",
    ),
)  # fmt: skip
BY_KEY = {peer.key: peer for peer in PEERS}


def bootstrap() -> types.ModuleType:
    """Return scripts/bootstrap.py."""
    sys.path.insert(0, str(ROOT / "scripts"))
    return importlib.import_module("bootstrap")


def install(peers: cabc.Iterable[Peer]) -> dict[str, str]:
    """Create the environments; return by name the peers that have none, with the reason."""
    missing = {}
    for peer in peers:
        home = pathlib.Path(peer.python).parent.parent
        try:
            if peer.key == "baseline":
                _baseline.export()
            bootstrap().hashed(home, PINS / f"{peer.pinned}.txt", peer.project)
        except (SystemExit, RuntimeError) as failed:
            missing[peer.name] = str(failed)
    return missing


def versions(peer: Peer) -> dict[str, str]:
    code = ("import importlib.metadata as m, json, sys;"
            "print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))")  # fmt: skip
    wanted = (*peer.shows, "numpy", "scikit-learn", "onnxruntime")
    done = subprocess.run([peer.python, "-c", code, *wanted], capture_output=True, check=True)
    return dict(json.loads(done.stdout))
