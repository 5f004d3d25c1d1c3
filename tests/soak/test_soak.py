"""The soak test in its short form. `make soak` runs it for longer, with more requests."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]

RUN = pathlib.Path(__file__).with_name("run.py")
SHORT = (
    *("--seconds", "12", "--rate", "300", "--kill-every", "3", "--reload-every", "4"),
    *("--full-disk-every", "3", "--sample-every", "0.5"),
)


@pytest.mark.timeout(240)
def test_no_request_is_lost_while_workers_are_killed_and_the_disk_is_full():
    command = [sys.executable, RUN, *SHORT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
