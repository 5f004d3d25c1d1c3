"""The log file of several processes: rotation, moved files, full disks, locks."""

from __future__ import annotations

import collections
import errno
import fcntl
import itertools
import logging
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
from alone import measured_alone

from carboy import Carboy
from carboy.observability import logfile
from carboy.observability.handlers import LineHandler, Notice
from carboy.observability.logfile import LOCK_S, RETRY_S, SKIP_S, SharedLogFile, fitting


class Kept:
    """A target that keeps its lines."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> t.Sequence[Notice]:
        self.data += data
        return ()

    def close(self) -> None: ...


class Clock:
    """A clock that is set by hand, or goes on by `step_s` with each look at it."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.now_s = 100.0
        self.step_s = step_s

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "logs" / "app.log"


def texts(notices: t.Sequence[Notice]) -> str:
    return "\n".join(notice.text for notice in notices)


def read_all(path: pathlib.Path) -> bytes:
    """Return the content of the file and its backups, the oldest first."""
    backups = sorted(path.parent.glob("app.log.*"), key=lambda each: -int(each.suffix[1:]))
    return b"".join(each.read_bytes() for each in [*backups, path])


# --- rotation ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "room", "length"),
    [
        (b"ab\ncd\n", 6, 6),
        (b"ab\ncd\n", 5, 3),
        (b"ab\ncd\n", 3, 3),
        (b"ab\ncd\n", 2, 0),
        (b"ab\n", -7, 0),
    ],
)
def test_whole_lines_that_fit(data, room, length):
    assert fitting(data, room) == length


def test_folder_and_file_are_created(path):
    assert not SharedLogFile(str(path)).write(b"a\n")
    assert path.read_bytes() == b"a\n"


def test_file_is_rotated_before_it_exceeds_its_limit(path):
    file = SharedLogFile(str(path), max_bytes=10, backup_count=2)
    for number in range(8):
        assert not file.write(b"%04d\n" % number)
    assert path.read_bytes() == b"0006\n0007\n"
    assert path.with_suffix(".log.1").read_bytes() == b"0004\n0005\n"
    assert path.with_suffix(".log.2").read_bytes() == b"0002\n0003\n"
    assert not path.with_suffix(".log.3").exists()


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_rotation_keeps_the_permissions_that_the_file_was_given(path, mode):
    file = SharedLogFile(str(path), max_bytes=10, backup_count=3)
    file.write(b"first\n")
    path.chmod(mode)
    file.write(b"second\n")
    assert path.read_bytes() == b"second\n"
    assert path.stat().st_mode & 0o777 == mode


def test_many_lines_at_once_are_distributed_to_files(path):
    file = SharedLogFile(str(path), max_bytes=10, backup_count=9)
    data = b"".join(b"%03d\n" % number for number in range(10))
    file.write(data)
    assert read_all(path) == data
    assert all(each.stat().st_size == 8 for each in path.parent.iterdir())


def test_line_that_is_longer_than_the_limit_has_a_file_of_its_own(path):
    file = SharedLogFile(str(path), max_bytes=10, backup_count=3)
    file.write(b"a\n")
    file.write(b"x" * 30 + b"\n")
    file.write(b"b\n")
    assert path.read_bytes() == b"b\n"
    assert path.with_suffix(".log.1").stat().st_size == 31
    assert path.with_suffix(".log.2").read_bytes() == b"a\n"


def test_file_that_cannot_be_renamed_is_written_and_rotation_tried_later(path):
    clock = Clock()
    file = SharedLogFile(str(path), max_bytes=10, backup_count=1, clock=clock)
    file.write(b"0123456\n")
    backup = path.with_suffix(".log.1")
    backup.mkdir()
    (backup / "x").touch()  # a folder that is not empty cannot be replaced
    assert "cannot be rotated" in texts(file.write(b"abcdefg\n"))
    assert not file.write(b"hijklmn\n")
    assert path.read_bytes() == b"0123456\nabcdefg\nhijklmn\n"
    (backup / "x").unlink()
    backup.rmdir()
    clock.now_s += SKIP_S
    assert not file.write(b"opqrstu\n")
    assert path.read_bytes() == b"opqrstu\n"


WRITER = """
import sys
from carboy.observability.logfile import SharedLogFile
path, number, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
file = SharedLogFile(path, max_bytes=20_000, backup_count=1000)
for line in range(count):
    notices = file.write(b"%d %d %s\\n" % (number, line, b"x" * (line % 100)))
    assert not notices, notices
"""


def test_processes_that_write_into_one_rotating_file_lose_tear_and_double_no_line(path):
    count = 3000
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, str(number), str(count)])
        for number in range(4)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    expected = {
        b"%d %d %s" % (number, line, b"x" * (line % 100))
        for number in range(4)
        for line in range(count)
    }
    found = collections.Counter(read_all(path).splitlines())
    assert found.keys() == expected
    assert max(found.values()) == 1
    assert all(each.stat().st_size <= 20_000 for each in path.parent.iterdir())


def what_a_process_and_its_fork_write():
    file = SharedLogFile(os.path.abspath("app.log"))
    file.write(b"parent\n")
    child = os.fork()
    if child == 0:
        file.write(b"child\n")
        os._exit(0 if file._pid == os.getpid() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    file.write(b"parent\n")
    return pathlib.Path("app.log").read_text()


def test_forked_process_opens_the_file_for_itself(tmp_path, monkeypatch):
    """A descriptor that it has inherited shares the lock of its parent."""
    monkeypatch.chdir(tmp_path)
    assert measured_alone(what_a_process_and_its_fork_write) == "parent\nchild\nparent\n"


# --- files that other programs change ---------------------------------------------------------


@pytest.mark.parametrize(
    ("max_bytes", "target"),
    [
        (0, "app.log.1"),
        *itertools.product([0, 1000], ["app.log.old", "archive.log", None]),
    ],
)
def test_moved_or_removed_file_is_replaced_and_said(path, max_bytes, target):
    file = SharedLogFile(str(path), max_bytes=max_bytes)
    file.write(b"before\n")
    if target is None:
        path.unlink()
    else:
        path.rename(path.with_name(target))
    assert "moved or removed" in texts(file.write(b"after\n"))
    assert path.read_bytes() == b"after\n"
    if target is not None:
        assert path.with_name(target).read_bytes() == b"before\n"


def test_rotation_by_another_process_is_not_said(path):
    file, other = (SharedLogFile(str(path), max_bytes=10, backup_count=2) for _ in range(2))
    file.write(b"0123456\n")
    other.write(b"abcdefg\n")
    assert not file.write(b"x\n")
    assert path.read_bytes() == b"abcdefg\nx\n"


def test_file_that_is_removed_while_several_processes_write_is_said(path):
    file = SharedLogFile(str(path), max_bytes=1000)
    file.write(b"before\n")
    path.unlink()
    assert "moved or removed" in texts(file.write(b"after\n"))


def test_removed_folder_is_created_again(path):
    file = SharedLogFile(str(path))
    file.write(b"before\n")
    path.unlink()
    path.parent.rmdir()
    assert "moved or removed" in texts(file.write(b"after\n"))
    assert path.read_bytes() == b"after\n"


def test_truncated_file_is_continued_at_its_start(path):
    """As by `copytruncate` of logrotate."""
    file = SharedLogFile(str(path))
    file.write(b"before\n")
    os.truncate(path, 0)
    file.write(b"after\n")
    assert path.read_bytes() == b"after\n"


def test_closed_file_is_opened_by_the_next_line(path):
    """`logging.config.dictConfig` closes all handlers that exist."""
    handler = LineHandler(SharedLogFile(str(path)))
    handler.write(b"before\n")
    handler.close()
    handler.write(b"after\n")
    assert path.read_bytes() == b"before\nafter\n"


# --- files that cannot be written -------------------------------------------------------------


def test_lines_go_to_the_fallback_while_the_disk_is_full():
    clock, kept = Clock(), Kept()
    file = SharedLogFile("/dev/full", fallback=kept, clock=clock)
    assert "/dev/full cannot be written (No space left on device)" in texts(file.write(b"a\n"))
    assert not file.write(b"b\n")
    clock.now_s += RETRY_S
    assert not file.write(b"c\n")  # it is said once
    assert kept.data == b"a\nb\nc\n"


def test_recovery_is_said_with_the_number_of_lines_that_went_elsewhere(path):
    clock, kept = Clock(), Kept()
    file = SharedLogFile(str(path), fallback=kept, clock=clock)
    path.parent.touch()  # a file where the folder should be
    file.write(b"a\n")
    file.write(b"b\nc\n")
    path.parent.unlink()
    assert not file.write(b"d\n")
    clock.now_s += RETRY_S
    assert "is written again: 4 lines" in texts(file.write(b"e\n"))
    assert (kept.data, path.read_bytes()) == (b"a\nb\nc\nd\n", b"e\n")


def test_reopening_tries_at_once(path):
    kept = Kept()
    file = SharedLogFile(str(path), fallback=kept, clock=Clock())
    path.parent.touch()
    file.write(b"a\n")
    path.parent.unlink()
    file.reopen()
    file.write(b"b\n")
    assert path.read_bytes() == b"b\n"


LIMITED = """
import os, resource, sys
from carboy.observability.logfile import SharedLogFile
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
file = SharedLogFile(sys.argv[1])
notices = [*file.write(b"".join(b"%03d %s\\n" % (n, b"x" * 60) for n in range(30)))]
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
file.reopen()
notices += file.write(b"at last\\n")
print([notice.text for notice in notices])
"""


def test_disk_that_becomes_full_within_a_line_leaves_whole_lines(path):
    """A limit on the size of files, which breaks a write off in its middle as a full disk does."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, path], capture_output=True, text=True, check=True
    )
    assert "cannot be written (File too large)" in done.stdout
    assert "written again: 15 lines" in done.stdout
    lines = [f"{number:03} {'x' * 60}\n" for number in range(30)]
    assert path.read_text() == "".join(lines[:15]) + "at last\n"
    assert done.stderr == "".join(lines[15:])


# --- locks ------------------------------------------------------------------------------------


def test_lock_that_is_not_released_is_ignored_and_said(path):
    clock = Clock(step_s=LOCK_S / 3)
    file = SharedLogFile(str(path), max_bytes=10, clock=clock)
    file.write(b"before\n")
    with path.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        clock.now_s += SKIP_S
        assert "another process has locked" in texts(file.write(b"without it\n"))
        clock.step_s = 0.0
        assert not file.write(b"again\n")
    clock.now_s += SKIP_S
    assert not file.write(b"after\n")
    assert path.with_suffix(".log.1").read_bytes() == b"before\nwithout it\nagain\n"
    assert path.read_bytes() == b"after\n"


def test_file_system_without_locks_is_written_and_said(path, monkeypatch):
    def flock(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(logfile, "flock", flock)
    file = SharedLogFile(str(path), max_bytes=10)
    assert "has no locks (No locks available)" in texts(file.write(b"0123456\n"))
    assert not file.write(b"abcdefg\n")
    assert path.read_bytes() == b"0123456\nabcdefg\n"


def test_file_is_rotated_where_the_system_has_no_locks(path, monkeypatch):
    """As on Windows, which does not rename open files either."""
    monkeypatch.setattr(logfile, "HAS_LOCKS", False)
    file = SharedLogFile(str(path), max_bytes=10, backup_count=1)
    assert not file.write(b"0123456\n")
    assert not file.write(b"abcdefg\n")
    assert path.read_bytes() == b"abcdefg\n"
    assert path.with_suffix(".log.1").read_bytes() == b"0123456\n"


# --- handlers ---------------------------------------------------------------------------------


def test_notices_are_logged_after_the_lock_is_released(caplog):
    class Failing(Kept):
        def write(self, data: bytes) -> t.Sequence[Notice]:
            return [Notice(logging.ERROR, "the disk is full")]

    handler = LineHandler(Failing())
    with caplog.at_level(logging.INFO, "carboy.log"):
        handler.write(b"x\n")
    assert caplog.messages == ["the disk is full"]


def test_record_that_cannot_be_formatted_does_not_stop_the_program(capsys):
    kept = Kept()
    handler = LineHandler(kept)
    handler.handle(logging.makeLogRecord({"msg": "%d", "args": ("no number",)}))
    assert kept.data == b""
    assert "--- Logging error ---" in capsys.readouterr().err


def test_secret_in_a_record_that_cannot_be_formatted_is_masked(capsys):
    app = Carboy(__name__)
    app.secret_key = "canary-0123456789"
    LineHandler(Kept()).handle(logging.makeLogRecord({"msg": "%d", "args": (app.secret_key,)}))
    written = capsys.readouterr().err
    assert "Message: '%d'" in written
    assert "canary" not in written


def test_text_that_is_no_utf8_is_written():
    kept = Kept()
    LineHandler(kept).handle(logging.makeLogRecord({"msg": "file \udcff"}))
    assert kept.data == b"file \\udcff\n"


def test_filter_may_drop_a_record():
    kept = Kept()
    handler = LineHandler(kept)
    handler.addFilter(lambda record: record.levelno >= logging.ERROR)
    handler.handle(logging.makeLogRecord({"msg": "a", "levelno": logging.INFO}))
    handler.handle(logging.makeLogRecord({"msg": "b", "levelno": logging.ERROR}))
    assert kept.data == b"b\n"
