"""The responses of control requests as text, for people."""

from __future__ import annotations

import time
import typing as t

from ...core.processmemory import in_mib

if t.TYPE_CHECKING:
    import collections.abc as cabc

    Response = dict[str, t.Any]
    Lines = cabc.Iterator[str]

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def format_age(seconds: float) -> str:
    """Return a duration in its two largest units, such as "3 h 5 min"."""
    rest = max(0, round(seconds))
    parts: list[str] = []
    for size, unit in _UNITS:
        if rest >= size or (unit == "s" and not parts):
            parts.append(f"{rest // size} {unit}")
            rest %= size
        if len(parts) == 2:
            break
    return " ".join(parts)


def format_time(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(at_s))


def table(titles: cabc.Sequence[str], rows: cabc.Iterable[cabc.Sequence[object]]) -> Lines:
    """Yield the lines of a table."""
    cells = [list(titles), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    for row in cells:
        yield "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()


# ------------------------------------------------------------------------------------ status


def status_lines(status: Response) -> Lines:
    now_s, started_s = status["now_s"], status["started_at_s"]
    where = ", ".join(status["addresses"])
    yield f"{status['target'] or 'the app'} on {where}: {_condition(status)}"
    yield ""
    yield f"pid       {status['pid']} (supervisor)"
    yield f"started   {format_time(started_s)}, {format_age(now_s - started_s)} ago"
    yield f"version   carboy {status['version']}, Python {status['python']}"
    yield f"workers   {_workers(status['processes'])}"
    if status["replicas"]:
        yield f"replicas  {_workers(status['replicas'])}"
    yield f"memory    {_memory(status['processes'])}{_memory_of_replicas(status['replicas'])}"
    yield f"reloads   {_reloads(status)}"
    if status["capacity"]:
        yield ""
        yield from status["capacity"]["text"]
    if status["reasons"]:
        yield ""
        yield "Not ready, because:"
        for reason in status["reasons"]:
            yield f"  {_reason(reason)}"


def _condition(status: Response) -> str:
    if status["stopping"]:
        return "stopping"
    return "ready" if status["ready"] else "not ready"


def _memory_of_replicas(replicas: cabc.Sequence[Response]) -> str:
    known = [each["resident_bytes"] for each in replicas if each["resident_bytes"] is not None]
    return f", {in_mib(sum(known))} in replicas" if known else ""


def _workers(processes: cabc.Sequence[Response]) -> str:
    phases = [each["phase"] for each in processes]
    counts = ", ".join(f"{phases.count(phase)} {phase}" for phase in dict.fromkeys(phases))
    restarts = {
        (each.get("model"), each.get("version"), each["number"]): each["restarts"]
        for each in processes
    }
    return f"{counts or 'none'}; restarts: {sum(restarts.values())}"


def _memory(processes: cabc.Sequence[Response]) -> str:
    known = [each["resident_bytes"] for each in processes if each["resident_bytes"] is not None]
    return f"{in_mib(sum(known))} in worker processes" if known else "unknown"


def _reloads(status: Response) -> str:
    text, failed = str(status["generation"]), status["failed_reload"]
    if status["reloading"]:
        text += ", one is in progress"
    if failed is not None:
        text += (
            f"; the last failed at {format_time(failed['at_s'])}:\n\n{failed['reason'].rstrip()}"
        )
    return text


def _reason(reason: Response) -> str:
    worker = (
        f"worker {reason['worker']} (pid {reason.get('pid', '-')}): " if "worker" in reason else ""
    )
    model = f"model {reason['model']!r}: " if "model" in reason else ""
    return f"{worker}{model}{reason['reason']}"


def worker_lines(status: Response) -> Lines:
    titles = ("Worker", "Pid", "State", "Age", "Restarts", "Memory", "Code")
    yield from table(titles, (_worker(each, status) for each in status["processes"]))


def _worker(process: Response, status: Response) -> tuple[object, ...]:
    started_s, size = process["started_at_s"], process["resident_bytes"]
    is_old = process["generation"] < status["generation"] and status["reloading"]
    return (
        process["number"],
        process["pid"] or "-",
        process["phase"],
        "-" if started_s is None else format_age(status["now_s"] - started_s),
        process["restarts"],
        "-" if size is None else in_mib(size),
        "old" if is_old else "new" if status["reloading"] else "current",
    )


# -------------------------------------------------------------------------- other responses


def model_lines(response: Response) -> Lines:
    titles = (
        *("Model", "Version", "Worker", "State", "Memory", "Waiting", "Computing", "Answered"),
        *("Failed", "Refused", "Expired", "Batch", "Waited", "Computed"),
    )
    rows = [
        _model(each, model) for each in response["processes"] for model in each.get("models", ())
    ]
    if rows:
        yield from table(titles, sorted(rows))
    elif not any("error" in each for each in response["processes"]):
        yield "The app has no models."
    if response["replicas"]:
        yield ""
        yield from _replica_lines(response)
    yield from _shadow_lines(response)
    yield from _errors(response)


def _shadow_lines(response: Response) -> Lines:
    """Yield how the shadow of each model compares, with the answer that differs most."""
    for process in response["processes"]:
        for model in process.get("models", ()):
            found = model.get("shadow")
            if found is None:
                continue
            yield (
                f"{model['name']}, worker {process['worker']}: shadow {found['version']} agrees"
                f" with {found['against']} in {found['agreed']} of {found['compared']} answers,"
                f" {found['skipped']} skipped{_medians(found)}"
            )
            for worst in found["worst"][:1]:
                yield f"  the worst: {worst['difference']} for {worst['input']}"


def _medians(found: Response) -> str:
    served, shadow = found["served_ms"].get("p50"), found["shadow_ms"].get("p50")
    return "" if served is None else f"; predict takes {shadow:.3g} ms instead of {served:.3g}"


def _replica_lines(response: Response) -> Lines:
    titles = ("Model", "Version", "Replica", "Pid", "State", "Age", "Restarts", "Memory", "Device")
    if any(each["on_cluster"] for each in response["replicas"]):
        titles = (*titles[:-1], "Node")
    yield from table(titles, (_replica(each, response["now_s"]) for each in response["replicas"]))


def _replica(replica: Response, now_s: float) -> tuple[object, ...]:
    started_s, size = replica["started_at_s"], replica["resident_bytes"]
    return (
        replica["model"],
        replica["label"] or "-",
        replica["number"],
        replica["pid"] or "-",
        replica["phase"],
        "-" if started_s is None else format_age(now_s - started_s),
        replica["restarts"],
        "-" if size is None else in_mib(size),
        replica["node"] or replica["device"] or "-",
    )


def _model(process: Response, model: Response) -> tuple[t.Any, ...]:
    batches, answered, version = model["batches"], model["answered"], model["version"]
    return (
        model["name"],
        "-" if version is None else str(version),
        process["worker"],
        model["not_ready"] or "ready",
        in_mib(model["memory_bytes"]) if model["memory_bytes"] else "-",
        f"{model['waiting']} of {model['queue']}",
        model["computing"],
        answered,
        model["failed"],
        model["refused"],
        model["expired"],
        f"{answered / batches:.1f}" if batches else "-",
        _milliseconds(model["waited_s"], answered),
        _milliseconds(model["computed_s"], batches),
    )


def _milliseconds(total_s: float, count: int) -> str:
    return f"{1000 * total_s / count:.1f} ms" if count else "-"


def stack_lines(response: Response) -> Lines:
    for process in response["processes"]:
        yield f"=== {_process(process)}"
        if "error" in process:
            yield process["error"]
        for group in process.get("stacks", ()):
            yield f"--- {', '.join(group['threads'])}"
            yield group["stack"].rstrip()
        yield ""


def level_lines(response: Response) -> Lines:
    """Yield the levels of loggers; processes with the same levels share the lines."""
    by_levels: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for process in response["processes"]:
        if "levels" in process:
            key = tuple(process["levels"].items())
            by_levels.setdefault(key, []).append(_process(process))
    for levels, processes in by_levels.items():
        yield f"{', '.join(processes)}:"
        for name, level in levels:
            yield f"  {name}: {level}"
    yield from _errors(response)


def _errors(response: Response) -> Lines:
    for process in response["processes"]:
        if "error" in process:
            yield f"{_process(process)}: {process['error']}"


def _process(process: Response) -> str:
    if "replica" in process:
        return f"replica {process['replica']} of model {process['model']!r} (pid {process['pid']})"
    if process["worker"] is None:
        return f"supervisor (pid {process['pid']})"
    return f"worker {process['worker']} (pid {process['pid']})"
