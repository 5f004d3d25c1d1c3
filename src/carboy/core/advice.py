"""Sentences that tell a user what to do about a mistake, for the messages of all layers."""

from __future__ import annotations

import typing as t


def did_you_mean(name: str, candidates: t.Iterable[str], *, prefix: str = "") -> str:
    """Return a sentence with the candidates most similar to a name; "" if there are none."""
    import difflib

    names = sorted(set(candidates) - {name})
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if not near and len(names) <= 3:
        near = names
    if not near:
        return ""
    return f" Did you mean {' or '.join(repr(prefix + other) for other in near)}?"
