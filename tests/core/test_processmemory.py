"""The resident memory of a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from carboy.core.processmemory import MIB, ProcessMemory, in_mib, memory_of

GROWN = """
import json, mmap, os, sys
from carboy.core.processmemory import memory_of
before = memory_of(os.getpid())
held = b"x" * (40 << 20)
heap = memory_of(os.getpid())
with open(sys.argv[1], "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
assert mapped.find(b"y") == -1
files = memory_of(os.getpid())
print(json.dumps([before, heap, files]))
"""


# In an integration test, because in the chroot of other Pythons the file would lie in memory.
@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_heap_is_the_own_memory_of_a_process_and_mapped_files_are_not(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(bytes(30 * MIB))
    done = subprocess.run(
        [sys.executable, "-c", GROWN, str(path)], capture_output=True, text=True, check=True
    )
    before, heap, files = (ProcessMemory(*each) for each in json.loads(done.stdout))
    assert heap.own_bytes - before.own_bytes == pytest.approx(40 * MIB, abs=4 * MIB)
    assert files.own_bytes - heap.own_bytes < 4 * MIB
    assert files.file_bytes - heap.file_bytes == pytest.approx(30 * MIB, abs=4 * MIB)
    assert files.resident_bytes == files.own_bytes + files.file_bytes


def test_memory_of_a_process_that_does_not_exist_is_not_known():
    assert memory_of(2**30) is None
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert memory_of(process.pid) is None  # it has ended, and nobody has asked for its exit code
    process.wait()


def test_sizes_are_shown_in_whole_mib():
    assert (in_mib(34.4 * MIB), in_mib(0)) == ("34 MiB", "0 MiB")
