"""The options of `@app.model(...)`, which are validated when the model is registered."""

from __future__ import annotations

import dataclasses
import math
import re
import typing as t
from collections import abc as cabc

from carboy.access.accessdeclaration import check_access, check_cors, check_rate
from carboy.core.bytesizes import parse_size

from .versions.versionoptions import check_version_options

if t.TYPE_CHECKING:
    from carboy.access.accessdeclaration import AccessRule
    from carboy.access.cors import Declared

#: What a version is tried for.
Trial = t.Literal["canary", "shadow"]
# The default length of a model's queue. Waiting predictions hold their inputs in memory: 1,000
# photographs take some gigabytes, 1,000 rows almost nothing. At 30 ms each, a model computes about
# 1,000 predictions within the default deadline of 30 s, so those in a longer queue would come too
# late.
_QUEUE_ITEMS = 1024
_QUEUE_BATCHES = 8


_COUNTS = {
    "batch": "a whole number, at least 1",
    "concurrency": "a whole number, at least 1",
    "queue": "a whole number, at least 1",
    "max_body_bytes": (
        "a whole number of bytes, at least 1, such as 64 * 1024 * 1024, or None for the config"
        " key MODEL_MAX_BODY"
    ),
}
_MAY_BE_NONE = ("queue", "max_body_bytes")
# For options that concern the processes of replicas: why they have no effect without them.
_NEED_REPLICAS = {
    "retry": "a batch is lost only if another process computes it",
    "max_rss": "it limits the memory of each of these processes",
    "start_timeout_s": "it limits how long these processes may take to load the model",
    "resources": "it says what the node of each of these processes must have",
}
# The resources of a node that Ray itself knows; others have names of their own.
_NODE_RESOURCES = ("num_cpus", "num_gpus", "memory")
#: The device of replicas that divide the cores of the machine among them.
CPU = "cpu"
_CUDA = re.compile(r"cuda(:\d+)?")
_LIKE_CUDA = re.compile(r"cuda|gpu", re.IGNORECASE)
#: The title of the option `example` on the model's page.
EXAMPLE = "Example"
_NAME = re.compile(r"[\w-]+")
_RESOURCE = re.compile(r"[\w:.-]+")
_SMALLEST_AMOUNT = 0.0001
# What users write for the resources that Ray calls otherwise.
_OTHER_NAMES = {
    **dict.fromkeys(("cpu", "cpus", "num_cpu", "ncpus"), "num_cpus"),
    **dict.fromkeys(("gpu", "gpus", "num_gpu", "ngpus"), "num_gpus"),
    **dict.fromkeys(("mem", "ram", "object_store_memory"), "memory"),
}


def check_name(name: object, rule: str) -> None:
    """Refuse a name that cannot be an endpoint of the app or of a blueprint.

    `a.b` is the endpoint of the view `b` in the blueprint `a`, and `a:b` is an endpoint that
    belongs to the model `a` itself, so a name contains neither `.` nor `:`.

    Raises:
        ValueError: the name has other characters than letters, digits, `_` and `-`.
    """
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise ValueError(
            f"app.model({rule!r}): the name {name!r} cannot be used in `url_for` and `app.models`:"
            " expected letters, digits, '_' and '-'. Pass another one: name=..."
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """The options of one model, as documented at `Carboy.model`."""

    batch: int = 1
    wait_ms: float | t.Literal["auto"] = 0
    deadline_s: float | None = 30.0
    queue: int | None = None
    concurrency: int = 1
    example: t.Any = None
    examples: cabc.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    device: str | cabc.Sequence[str] | None = None
    max_body_bytes: int | None = None
    source: str | None = None
    replicas: int | tuple[int, int] | None = None
    resources: cabc.Mapping[str, float] = dataclasses.field(default_factory=dict)
    device_lock: bool = True
    retry: bool = True
    max_rss: int | str | None = None
    # Large models take minutes to load from a network drive; a process that waits for ever must not
    # look as if it were loading.
    start_timeout_s: float = 600.0
    canary: cabc.Mapping[str, float] = dataclasses.field(default_factory=dict)
    canary_key: str | None = None
    shadow: str | None = None
    access: AccessRule | None = None
    rate: str | cabc.Sequence[str] | None = None
    cors: Declared = None
    hold_s: float | None = None

    def __post_init__(self) -> None:
        # The type is Any, because users may have passed any object, which is checked here.
        examples: t.Any = self.examples
        if not isinstance(examples, cabc.Mapping) or not all(map(_is_title, examples)):
            raise ValueError(
                f"app.model(..., examples={examples!r}): expected a dict of inputs by their"
                " titles on the model's page, such as {'A red one': ..., 'A blue one': ...}."
            )
        if self.example is not None and EXAMPLE in examples:
            raise ValueError(
                f"app.model(..., example=..., examples={{{EXAMPLE!r}: ...}}): this is the title of"
                " `example` on the model's page. Give the other one another title."
            )
        for name, expected in _COUNTS.items():
            number = getattr(self, name)
            if number is None and name in _MAY_BE_NONE:
                continue
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ValueError(f"app.model(..., {name}={number!r}): expected {expected}.")
        self._check_number_of_replicas()
        self._check_devices()
        self._check_replicas()
        self._check_resources()
        if self.wait_ms != "auto" and not _is_duration(self.wait_ms, above_zero=False):
            raise ValueError(
                f"app.model(..., wait_ms={self.wait_ms!r}): expected milliseconds, at least 0, or"
                " 'auto'."
            )
        if self.deadline_s is not None and not _is_duration(self.deadline_s, above_zero=True):
            raise ValueError(
                f"app.model(..., deadline_s={self.deadline_s!r}): expected seconds above 0, or None"
                " for no limit."
            )
        if self.hold_s is not None and not _is_duration(self.hold_s, above_zero=True):
            raise ValueError(
                f"app.model(..., hold_s={self.hold_s!r}): expected seconds above 0, or None to"
                " refuse versions that do not fit into the memory beside the one that is served."
            )
        self._check_wait()
        check_version_options(self)
        check_access(self.access, "app.model(...)")
        check_rate(self.rate, "app.model(...)")
        check_cors(self.cors, "app.model(...)")

    @property
    def trials(self) -> dict[str, Trial]:
        """The versions that are loaded beside the one that all clients get, and what for."""
        shadow: dict[str, Trial] = {} if self.shadow is None else {self.shadow: "shadow"}
        return {**dict.fromkeys(self.canary, "canary"), **shadow}

    def _check_wait(self) -> None:
        """Refuse a time by which no batch would be computed in time. With `batch=1` nothing waits,
        whatever the time is, so that programs can take `batch` from their environment.
        """
        if self.batch == 1 or self.wait_s == "auto" or self.deadline_s is None:
            return
        if self.wait_s >= self.deadline_s:  # which is above 0
            raise ValueError(
                f"app.model(..., wait_ms={self.wait_ms!r}, deadline_s={self.deadline_s!r}): a"
                " prediction would wait for others until its deadline, and never be computed."
                " Lower wait_ms, or raise deadline_s."
            )

    def _check_number_of_replicas(self) -> None:
        # The type is Any, because users may have passed any object, which is checked here.
        given: t.Any = self.replicas
        if given is None or _is_count(given):
            return
        if (
            not isinstance(given, (tuple, list))
            or len(given) != 2
            or not all(map(_is_count, given))
        ):
            raise ValueError(
                f"app.model(..., replicas={given!r}): expected a whole number, at least 1, or"
                " None to compute in the process of the app; or the least and the most, such"
                " as (1, 8)."
            )
        least, most = given
        if least > most:
            raise ValueError(
                f"app.model(..., replicas={given!r}): expected the least number first, such as"
                f" ({most}, {least})."
            )

    def _check_resources(self) -> None:
        given: t.Any = self.resources
        if not isinstance(given, cabc.Mapping):
            raise ValueError(  # noqa: TRY004  # as for all options
                f"app.model(..., resources={given!r}): expected a dict of amounts by their names,"
                " such as {'num_gpus': 1, 'num_cpus': 2}."
            )
        for name, amount in given.items():
            if not isinstance(name, str) or _RESOURCE.fullmatch(name) is None:
                raise ValueError(
                    f"app.model(..., resources=...): the name {name!r} is none of a resource:"
                    f" expected {', '.join(_NODE_RESOURCES)}, or letters, digits, '_', '-', ':'."
                )
            if near := _near_resource(name):
                raise ValueError(
                    f"app.model(..., resources={{{name!r}: ...}}): Ray calls this {near!r}."
                )
            if not _is_duration(amount, above_zero=False):
                raise ValueError(
                    f"app.model(..., resources={{{name!r}: {amount!r}}}): expected a number, at"
                    " least 0."
                )
            if rule := _rule_of_amount(name, amount):
                raise ValueError(
                    f"app.model(..., resources={{{name!r}: {amount!r}}}): expected {rule}."
                )

    def _check_devices(self) -> None:
        # The types are Any, because users may have passed any object, which is checked here.
        device: t.Any = self.device
        given = device if isinstance(device, (list, tuple)) and self.replicas else (device,)
        if device is not None and not (given and all(map(_is_word, given))):
            raise ValueError(
                f"app.model(..., device={device!r}): expected one word, such as 'cuda:0', or with"
                " replicas=... a list of such words. Models with the same word do not compute at"
                " the same time."
            )
        most = self.most_replicas or 1
        if len(given) > most:
            raise ValueError(
                f"app.model(..., device={device!r}, replicas={self.replicas}): each replica"
                f" computes on one device, so that {len(given) - most} of these"
                f" would not be used. Raise replicas to {len(given)}, or name fewer devices."
            )
        for each in given if self.replicas and device is not None else ():
            if _LIKE_CUDA.match(each) and not _CUDA.fullmatch(each):
                raise ValueError(
                    f"app.model(..., device={device!r}): expected 'cuda' or 'cuda:' and a number,"
                    f" such as 'cuda:0', and not {each!r}: the process of a replica sees this"
                    " device alone."
                )
        for name in ("device_lock", "retry"):
            value: object = getattr(self, name)
            if value not in (True, False):
                raise ValueError(f"app.model(..., {name}={value!r}): expected True or False.")
        if not self.device_lock and device is None:
            raise ValueError(
                "app.model(..., device_lock=False) has no effect without a device, such as"
                " device='cuda:0'."
            )

    def _check_replicas(self) -> None:
        if self.replicas is None:
            for field in dataclasses.fields(self):
                value = getattr(self, field.name)
                default = {} if field.name == "resources" else field.default
                if field.name in _NEED_REPLICAS and value != default:
                    raise ValueError(
                        f"app.model(..., {field.name}={value!r}) has no effect without replicas:"
                        f" {_NEED_REPLICAS[field.name]}. Add replicas=1 or more, or leave it out."
                    )
        elif self.concurrency > 1:
            raise ValueError(
                f"app.model(..., replicas={self.replicas}, concurrency={self.concurrency}): a"
                " replica computes one batch at a time. Leave out concurrency, and set replicas to"
                " the number of batches that shall compute at the same time."
            )
        if self.max_rss is not None and not _parse_size(self.max_rss):
            raise ValueError(
                f"app.model(..., max_rss={self.max_rss!r}): expected a number of bytes, or a size"
                " such as '500M' or '2G'."
            )
        if not _is_duration(self.start_timeout_s, above_zero=True):
            raise ValueError(
                f"app.model(..., start_timeout_s={self.start_timeout_s!r}): expected seconds above"
                " 0."
            )

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices that the replicas use in turn; without replicas, the one of the model."""
        given = (self.device,) if isinstance(self.device, str) else self.device or ()
        # Replicas on "cuda" and on "cuda:0" share one device, and one lock on it.
        return tuple("cuda:0" if self.replicas and each == "cuda" else each for each in given)

    @property
    def shared_device(self) -> str | None:
        """The device on which the model does not compute at the same time as others of this
        process, if it computes in this process; None without one.
        """
        return self.devices[0] if self.devices and self.device_lock else None

    @property
    def max_rss_bytes(self) -> int | None:
        """How much resident memory each replica may use; None without a limit."""
        return None if self.max_rss is None else _parse_size(self.max_rss)

    @property
    def least_replicas(self) -> int | None:
        """How many replicas there are without load; None if the model has none."""
        return self.replicas[0] if isinstance(self.replicas, (tuple, list)) else self.replicas

    @property
    def most_replicas(self) -> int | None:
        """How many replicas there are at most; None if the model has none."""
        return self.replicas[1] if isinstance(self.replicas, (tuple, list)) else self.replicas

    @property
    def parallel(self) -> int:
        """How many batches of the model compute at the same time."""
        return self.most_replicas or self.concurrency

    @property
    def wait_s(self) -> float | t.Literal["auto"]:
        return "auto" if self.wait_ms == "auto" else self.wait_ms / 1000

    @property
    def queue_items(self) -> int:
        return self.queue or max(_QUEUE_ITEMS, _QUEUE_BATCHES * self.batch)

    @property
    def ahead(self) -> int:
        """How many predictions `model.map` keeps queued, so that the next batches can be formed."""
        return min(self.queue_items, self.batch * (self.parallel + 2))


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _near_resource(name: str) -> str:
    """Return what Ray calls a resource that the user has named otherwise; "" if it is unknown."""
    return _OTHER_NAMES.get(name.lower(), "")


def _rule_of_amount(name: str, amount: float) -> str:
    """Return which rule of Ray an amount breaks; "" if it breaks none."""
    if 0 < amount < _SMALLEST_AMOUNT:
        return f"0, or at least {_SMALLEST_AMOUNT}: Ray counts no smaller parts"
    if name == "num_gpus" and amount > 1 and amount != int(amount):
        return "a part of one GPU, or whole GPUs"
    return ""


def _is_title(key: object) -> bool:
    return isinstance(key, str) and bool(key.strip())


def _is_word(device: object) -> bool:
    return isinstance(device, str) and len(device.split()) == 1


def _parse_size(size: object) -> int | None:
    """Return a number of bytes above zero; None if `size` is none, and no text for one."""
    if isinstance(size, str):
        try:
            size = parse_size(size)
        except ValueError:
            return None
    return size if type(size) is int and size > 0 else None


def _is_duration(value: t.Any, *, above_zero: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return False
    return value > 0 if above_zero else value >= 0
