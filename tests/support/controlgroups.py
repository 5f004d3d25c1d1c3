"""Real control groups of cgroup v1, in which tests start processes. Only root can make them."""

from __future__ import annotations

import contextlib
import os
import pathlib
import typing as t

import pytest

if t.TYPE_CHECKING:
    import collections.abc as cabc

_TOP = pathlib.Path("/sys/fs/cgroup")


class Group(t.NamedTuple):
    """A group that was made, with one of the same limits below it.

    Attributes:
        name: the path of the outer group, such as `/carboy-test-1`, which has the limits.
        enter: moves the calling process to the inner group; for `preexec_fn`.
    """

    name: str
    enter: cabc.Callable[[], None]


@contextlib.contextmanager
def limited_group(*, memory_bytes: int, quota_us: int) -> cabc.Iterator[Group]:
    """Make a group with limits of memory and of CPU time (in each 100,000 us), and a group without
    limits in it. Skip the test if the system does not allow that.
    """
    name = f"carboy-test-{os.getpid()}"
    folders = [_TOP / "memory" / name, _TOP / "cpu" / name]
    inner = [folder / "inner" for folder in folders]
    with contextlib.ExitStack() as made:
        try:
            for folder in (*folders, *inner):
                folder.mkdir()
                made.callback(folder.rmdir)
            (folders[0] / "memory.limit_in_bytes").write_text(str(memory_bytes))
            (folders[1] / "cpu.cfs_quota_us").write_text(str(quota_us))
            (folders[1] / "cpu.cfs_period_us").write_text("100000")
        except OSError:
            pytest.skip("no groups of cgroup v1 can be made here")

        def enter() -> None:
            for folder in inner:
                (folder / "cgroup.procs").write_text("0")  # 0 is the process that writes

        yield Group(f"/{name}", enter)
