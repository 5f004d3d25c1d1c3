"""Generated files are written whole or not at all, and never over files of the user."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from carboy.deployment.generatedfiles import GeneratedFile, write_files
from carboy.errors import DeploymentError

FILES = [GeneratedFile("a.conf", "one\n"), GeneratedFile("sub/b.sh", "two\n", 0o755)]


def contents(folder) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_files_are_created_with_their_folders_and_modes(tmp_path):
    written = write_files(str(tmp_path), FILES, force=False)
    assert [each.outcome for each in written] == ["created", "created"]
    assert contents(tmp_path) == {"a.conf": "one\n", "sub/b.sh": "two\n"}
    assert (tmp_path / "a.conf").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "sub" / "b.sh").stat().st_mode & 0o777 == 0o755


def test_same_content_is_left_alone(tmp_path):
    write_files(str(tmp_path), FILES, force=False)
    before = (tmp_path / "a.conf").stat().st_mtime_ns
    written = write_files(str(tmp_path), FILES, force=False)
    assert [each.outcome for each in written] == ["unchanged", "unchanged"]
    assert (tmp_path / "a.conf").stat().st_mtime_ns == before


def test_other_content_is_shown_and_nothing_is_written(tmp_path):
    (tmp_path / "a.conf").write_text("mine")
    with pytest.raises(DeploymentError, match=r"a\.conf: exists .* --force") as info:
        write_files(str(tmp_path), FILES, force=False)
    assert "-mine\n+one\n" in info.value.diff
    assert contents(tmp_path) == {"a.conf": "mine"}


def test_force_replaces_other_content_and_shows_the_diff(tmp_path):
    (tmp_path / "a.conf").write_text("mine\n")
    written = write_files(str(tmp_path), FILES, force=True)
    assert written[0].outcome == "replaced"
    assert "-mine\n+one\n" in written[0].diff
    assert contents(tmp_path)["a.conf"] == "one\n"


@pytest.mark.parametrize("obstacle", ["file instead of a folder", "folder instead of a file"])
def test_failure_leaves_nothing_half_written(tmp_path, obstacle):
    files = [*FILES, GeneratedFile("c/d.conf", "three\n")]
    if obstacle == "file instead of a folder":
        (tmp_path / "c").write_text("")
    else:
        (tmp_path / "c" / "d.conf").mkdir(parents=True)
    before = contents(tmp_path)
    with pytest.raises(DeploymentError, match=r"cannot be (written|read)"):
        write_files(str(tmp_path), files, force=True)
    assert contents(tmp_path) == before


# The program may write 4 bytes into each file, as on a disk that is full after those. Python
# ignores the signal SIGXFSZ, so writing more is an OSError.
_ON_A_FULL_DISK = """\
import resource, sys
from carboy.deployment.generatedfiles import GeneratedFile, write_files
resource.setrlimit(resource.RLIMIT_FSIZE, (4, 4))
files = [GeneratedFile("a.conf", "one\\n"), GeneratedFile("new/sub/b.conf", "more than four")]
write_files(sys.argv[1], files, force=True)
"""


def test_full_disk_leaves_nothing_half_written(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _ON_A_FULL_DISK, tmp_path],
        check=False,
        capture_output=True,
        text=True,
    )
    assert "DeploymentError: The files cannot be written: File too large (" in done.stderr
    assert os.listdir(tmp_path) == []


def test_file_that_is_not_text_is_not_replaced(tmp_path):
    (tmp_path / "a.conf").write_bytes(b"\xff")
    with pytest.raises(DeploymentError, match=r"a\.conf: cannot be read"):
        write_files(str(tmp_path), FILES, force=True)
    assert os.listdir(tmp_path) == ["a.conf"]


@pytest.mark.parametrize("is_there", [True, False])
def test_nothing_is_written_through_a_link_that_leads_out_of_the_project(tmp_path, is_there):
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    if is_there:
        elsewhere.mkdir()
        (elsewhere / "b.sh").write_text("of somebody else\n")
    (project / "sub").symlink_to(elsewhere)
    with pytest.raises(DeploymentError, match=r"sub/b\.sh: its folder is a link to .*elsewhere"):
        write_files(str(project), FILES, force=True)
    assert contents(project) == {}
    assert contents(tmp_path) == ({"elsewhere/b.sh": "of somebody else\n"} if is_there else {})
