"""The versions of models as text, for people."""

from __future__ import annotations

import typing as t

from .ctltexts import table

if t.TYPE_CHECKING:
    import collections.abc as cabc

    Found = dict[str, t.Any]


def version_lines(models: cabc.Sequence[Found]) -> cabc.Iterator[str]:
    """Yield the lines of a table of versions, the newest of each model first, and below it why
    versions cannot be served.
    """
    if not models:
        yield "No model has a source of versions."
        return
    rows = [(model, version) for model in models for version in reversed(model["versions"])]
    titles = ("Model", "Version", "Source", "Servers", "Made", "Size", "Metrics")
    yield from table(titles, (_row(model, version) for model, version in rows))
    for model, version in rows:
        for reason in _reasons(version):
            yield f"{model['model']} {version['version']}: {reason}"
    for model in models:
        if not model["versions"]:
            yield f"{model['model']}: no version in {model['source']}"


def _row(model: Found, version: Found) -> tuple[str, ...]:
    return (
        model["model"],
        version["version"],
        _in_source(model, version),
        _in_servers(version["workers"]) or "-",
        version["made_at"] or "-",
        f"{version['bytes']:,} bytes",
        version["measured"],
    )


def _in_source(model: Found, version: Found) -> str:
    """Return what the source says of a version."""
    if version["fault"]:
        return "unusable"
    if version["wanted"]:
        return "chosen" if model["chosen"] == version["version"] else "newest"
    if version["trial"]:
        return str(version["trial"])
    return "rolled back" if version["rolled_back"] else "older"


def _in_servers(workers: cabc.Sequence[Found]) -> str:
    """Return what workers do with a version, such as "2 serving, 1 loading"."""
    states = [each["state"] for each in workers]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def _reasons(version: Found) -> cabc.Iterator[str]:
    """Yield why a version cannot be served. Workers with the same reason share a line."""
    if version["fault"]:
        yield version["fault"]
    by_reason: dict[str, list[str]] = {}
    for each in version["workers"]:
        if each["reason"] and each["reason"] != version["fault"]:
            by_reason.setdefault(each["reason"], []).append(str(each["worker"]))
    for reason, workers in by_reason.items():
        many = "s" if len(workers) > 1 else ""
        yield f"worker{many} {', '.join(workers)}: {reason}"
