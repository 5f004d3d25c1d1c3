"""Limits of control groups: of both versions, nested, in containers, missing, and wrong."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from controlgroups import limited_group

from carboy.core.cgroups import ResourceLimit, cpu_quota, memory_left, memory_limit

UNLIMITED_V1 = "9223372036854771712\n"
V2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 30 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "33 30 0:33 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
)
BELOW = V1.replace(" / ", " /docker/a1 ")
ROOT = {"sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}


@pytest.fixture
def tree(tmp_path):
    """Write files below a folder that takes the place of `/`."""

    def write(groups, mounts, files):
        for name, text in {
            "proc/self/cgroup": groups,
            "proc/self/mountinfo": mounts,
            **files,
        }.items():
            if text is not None:
                path = tmp_path / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(tmp_path)

    return write


MEMORY = [
    pytest.param("", "", {}, None, id="no cgroups"),
    pytest.param("0::/\n", V2, ROOT, None, id="v2, no limit"),
    pytest.param(
        "0::/\n", V2, {"sys/fs/cgroup/memory.max": "536870912\n"}, (2**29, "/"), id="v2, container"
    ),
    pytest.param(
        "0::/pods/shop/web\n",
        V2,
        {
            "sys/fs/cgroup/pods/shop/web/memory.max": "max\n",
            "sys/fs/cgroup/pods/shop/memory.max": "1000\n",
            "sys/fs/cgroup/pods/memory.max": "3000\n",
        },
        (1000, "/pods/shop"),
        id="v2, a group above has the smallest limit",
    ),
    pytest.param(
        "0::/pods/web\n",
        V2,
        {"sys/fs/cgroup/pods/web/memory.max": "900\n", "sys/fs/cgroup/pods/memory.max": "1000\n"},
        (900, "/pods/web"),
        id="v2, the own group has the smallest limit",
    ),
    pytest.param(
        "4:memory:/\n0::/\n",
        V1,
        {"sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED_V1},
        None,
        id="v1, no limit",
    ),
    pytest.param(
        "4:memory:/batch/job\n1:cpu,cpuacct:/\n",
        V1,
        {
            "sys/fs/cgroup/memory/batch/job/memory.limit_in_bytes": UNLIMITED_V1,
            "sys/fs/cgroup/memory/batch/memory.limit_in_bytes": "2048\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED_V1,
        },
        (2048, "/batch"),
        id="v1, nested",
    ),
    pytest.param(
        "4:memory:/docker/a1\n",
        BELOW,
        {"sys/fs/cgroup/memory/memory.limit_in_bytes": "4096\n"},
        (4096, "/docker/a1"),
        id="v1, container that sees the path of its host",
    ),
    pytest.param(
        "4:memory:/docker/a1/inner\n",
        BELOW,
        {
            "sys/fs/cgroup/memory/inner/memory.limit_in_bytes": "8192\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "4096\n",
        },
        (4096, "/docker/a1"),
        id="v1, group within a container",
    ),
    pytest.param(
        "4:memory:/elsewhere\n",
        BELOW,
        {"sys/fs/cgroup/memory/memory.limit_in_bytes": "4096\n"},
        (4096, "/docker/a1"),
        id="path that the container does not see",
    ),
    pytest.param(
        "4:memory:/job\n0::/job\n",
        V1 + V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified"),
        {
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "4096\n",
            "sys/fs/cgroup/unified/job/memory.max": "2048\n",
        },
        (2048, "/job"),
        id="both versions",
    ),
    pytest.param(
        "0::/a b\n",
        V2.replace("/sys/fs/cgroup", "/sys/c\\040group"),
        {"sys/c group/a b/memory.max": "7\n"},
        (7, "/a b"),
        id="spaces in paths",
    ),
    pytest.param(
        "0::/gone (deleted)\n",
        V2,
        {"sys/fs/cgroup/memory.max": "77\n"},
        (77, "/"),
        id="group that was removed",
    ),
]


@pytest.mark.parametrize(("groups", "mounts", "files", "expected"), MEMORY)
def test_smallest_memory_limit_on_the_way_up_counts(tree, groups, mounts, files, expected):
    found = memory_limit(tree(groups, mounts, files))
    assert found == (expected and ResourceLimit(expected[0], f"cgroup {expected[1]}"))


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "cpus"),
    [
        pytest.param("", "", {}, None, id="no cgroups"),
        pytest.param("0::/\n", V2, ROOT, None, id="v2, no quota"),
        pytest.param("0::/\n", V2, {"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5, id="v2"),
        pytest.param(
            "0::/a/b\n",
            V2,
            {
                "sys/fs/cgroup/a/b/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/a/cpu.max": "40000 20000\n",
            },
            2,
            id="v2, nested",
        ),
        pytest.param(
            "1:cpu,cpuacct:/\n",
            V1,
            {
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            0.5,
            id="v1",
        ),
        pytest.param(
            "1:cpu,cpuacct:/\n",
            V1,
            {
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            None,
            id="v1, no quota",
        ),
    ],
)
def test_smallest_quota_of_cpu_time_on_the_way_up_counts(tree, groups, mounts, files, cpus):
    found = cpu_quota(tree(groups, mounts, files))
    assert (found and found.amount) == cpus


@pytest.mark.parametrize(
    "text",
    ["", "\n", "max", "0", "-5", "1.5", "1e3", "many", "٣", "9" * 40, b"\xff\xfe", b"\0", "1 2"],
    ids=repr,
)
def test_file_without_a_positive_number_is_no_limit(tree, text):
    files = dict.fromkeys(
        [
            "sys/fs/cgroup/memory/memory.limit_in_bytes",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us",
            "sys/fs/cgroup/unified/memory.max",
        ],
        text,
    )
    files["sys/fs/cgroup/unified/cpu.max"] = text if text != "1 2" else "1 0"
    unified = V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    root = tree("4:memory:/\n1:cpu,cpuacct:/\n0::/\n", V1 + unified, files)
    assert memory_limit(root) is None
    assert cpu_quota(root) is None


@pytest.mark.parametrize(
    ("groups", "mounts"),
    [
        ("garbage\n::\n:\n0::relative\n0::\n", V2),
        ("0::/a\n", "garbage\n - \n1 2 3 4 5 - cgroup2 cgroup2 rw\n" + V2.replace(" / ", " ")),
        ("0::/../../..\n", V2.replace(" / ", " /../.. ")),
        (b"0::/\xff\0\n", V2),
        ("0::/" + "a/" * 3000 + "\n", V2),
        (None, V2),
        ("0::/\n", None),
    ],
    ids=[
        "no groups",
        "no mounts",
        "outside of the namespace",
        "no text",
        "path too long",
        "no cgroup",
        "no mountinfo",
    ],
)
def test_files_of_proc_that_are_wrong_or_missing_do_no_harm(tree, groups, mounts):
    root = tree(groups, mounts, {"sys/fs/cgroup/memory.max": "5000\n"})
    found = memory_limit(root)
    assert found is None or found.amount == 5000
    assert cpu_quota(root) is None


def test_folder_in_the_place_of_a_file_is_no_limit(tree, tmp_path):
    (tmp_path / "sys/fs/cgroup/memory.max").mkdir(parents=True)
    assert memory_limit(tree("0::/\n", V2, {})) is None


# ------------------------------------------------------------------------------- real groups (v1)

READ = """
    import sys
    from carboy.core.cgroups import cpu_quota, memory_limit

    print(memory_limit().amount, memory_limit().source, cpu_quota().amount, cpu_quota().source)
"""


@pytest.mark.integration
def test_limits_of_real_groups_are_found_by_a_process_in_them():
    with limited_group(memory_bytes=300 * 2**20, quota_us=150_000) as group:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(READ)],
            preexec_fn=group.enter,
            capture_output=True,
            text=True,
            check=True,
        )
    outer = f"cgroup {group.name}"
    assert done.stdout == f"{300 * 2**20} {outer} 1.5 {outer}\n"


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "expected"),
    [
        pytest.param("0::/\n", V2, ROOT, None, id="no limit"),
        pytest.param(
            "0::/\n",
            V2,
            {
                "sys/fs/cgroup/memory.max": "1000\n",
                "sys/fs/cgroup/memory.current": "700\n",
                "sys/fs/cgroup/memory.stat": "anon 500\ninactive_file 150\nactive_file 50\n",
            },
            450,
            id="v2, pages of files that can be dropped are free",
        ),
        pytest.param(
            "4:memory:/\n",
            V1,
            {
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "1000\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "1200\n",
                "sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 100\n",
            },
            0,
            id="v1, more than the limit is used",
        ),
        pytest.param(
            "0::/\n", V2, {"sys/fs/cgroup/memory.max": "1000\n"}, None, id="use is unknown"
        ),
    ],
)
def test_memory_that_is_left_is_the_limit_without_what_is_used(
    tree, groups, mounts, files, expected
):
    found = memory_left(tree(groups, mounts, files))
    assert (found and found.amount) == expected
