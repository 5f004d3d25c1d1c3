"""Suggestions in error messages."""

from __future__ import annotations

from carboy.core.advice import did_you_mean


def test_suggestion_is_near_or_one_of_three():
    assert did_you_mean("rotues", ["routes", "run", "shell", "serve"]) == " Did you mean 'routes'?"
    assert did_you_mean("THREDS", ["THREADS", "PROBES"]) == " Did you mean 'THREADS'?"
    assert did_you_mean("zzz", ["a", "b"], prefix="m:") == " Did you mean 'm:a' or 'm:b'?"
    assert did_you_mean("zzz", ["a", "b", "c", "d"]) == ""
