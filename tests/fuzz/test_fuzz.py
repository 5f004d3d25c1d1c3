"""Fuzzing in its short form. `make fuzz` sends 10^6 inputs."""

from __future__ import annotations

import pathlib
import random
import subprocess
import sys

import pytest

import carboy

FOLDER = pathlib.Path(__file__).parent
INPUTS = "80"


def test_changed_requests_are_answered_or_refused():
    """All targets share one process, which must not die either."""
    names = ("front", "multipart", "npy", "parquet", "arrow", "v2", "json")
    targets = [part for name in names for part in ("--target", name)]
    command = [
        sys.executable,
        FOLDER / "run.py",
        "--here",
        "--random",
        "--inputs",
        INPUTS,
        *targets,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_failure_inside_is_not_taken_for_a_refusal(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import targets

    app = carboy.Carboy("failing")
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.post("/")
    def fail():
        raise ValueError("not foreseen")

    monkeypatch.setattr(targets, "make_app", lambda: app)
    with pytest.raises(targets.Refused, match="500"):
        targets.post("/", b"", "")


def test_same_seed_gives_the_same_inputs(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    from mutations import mutated

    first, second = random.Random(3), random.Random(3)
    made = [mutated(first, [b"abc", b"x" * 50], [b"--"]) for _ in range(50)]
    assert made == [mutated(second, [b"abc", b"x" * 50], [b"--"]) for _ in range(50)]
    assert len(set(made)) > 30
