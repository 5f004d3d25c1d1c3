"""The pipes by which workers send log lines to the supervisor."""

from __future__ import annotations

import errno
import os
import pathlib
import threading
import typing as t

import pytest
from alone import measured_alone
from polling import wait_until

from carboy.observability.logfile import SharedLogFile
from carboy.observability.logoptions import LogOptions
from carboy.serving.process.logpipe import LogPipe, LogWriter, WorkerLog, read_all
from carboy.serving.process.supervisorlog import SupervisorLog
from carboy.serving.process.workerprocess import WorkerProcess


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "app.log"


@pytest.fixture
def pipe() -> t.Iterator[tuple[int, int]]:
    """The reading and the writing end of a pipe."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def lines(count: int, size: int = 1000) -> list[bytes]:
    return [f"{number:06} {'x' * (size - 8)}\n".encode() for number in range(count)]


def log_pipe(path: pathlib.Path, ends: tuple[int, int], block_s: float = 0.05) -> LogPipe:
    return LogPipe(SharedLogFile(str(path)), *ends, block_s=block_s)


def test_lines_go_into_the_pipe(path, pipe):
    assert not log_pipe(path, pipe).write(b"a\nb\n")
    assert read_all(pipe[0]) == b"a\nb\n"
    assert not path.exists()


def test_worker_writes_itself_if_the_supervisor_does_not_and_says_so_once(path, pipe):
    log = log_pipe(path, pipe)
    written = lines(200)
    notices = [notice.text for line in written for notice in log.write(line)]
    assert len(notices) == 1
    assert "the supervisor has taken no line for 0.05 s" in notices[0]
    in_pipe = read_all(pipe[0])
    log.close()  # sends the rest of the line that has been begun
    assert sorted((in_pipe + read_all(pipe[0]) + path.read_bytes()).splitlines(True)) == written


@pytest.mark.parametrize("size", [10, 1000, 7777, 100_000])
def test_line_that_was_begun_is_continued_in_the_pipe(path, pipe, size):
    """Some lines go to the file while the pipe is full, but none in two parts."""
    log = log_pipe(path, pipe, block_s=0.0)
    written = lines(50, size)
    received = b""
    for line in written:
        log.write(line)
        received += os.read(pipe[0], 5000)
    while log._writer.owed:
        received += read_all(pipe[0])
        log.close()
    received += read_all(pipe[0])
    left = path.read_bytes() if path.exists() else b""
    assert received.endswith(b"\n")
    assert sorted((received + left).splitlines(True)) == written


def test_pipe_is_used_again_when_the_supervisor_reads(path, pipe):
    log = log_pipe(path, pipe)
    for line in lines(200):
        log.write(line)
    read_all(pipe[0])
    log.write(b"again\n")
    assert read_all(pipe[0]).endswith(b"again\n")


def test_wait_for_the_supervisor_is_said_if_it_is_long(path, pipe, monkeypatch):
    monkeypatch.setattr("carboy.serving.process.logpipe.SAY_S", 0.0)
    log = log_pipe(path, pipe, block_s=30.0)
    data = b"".join(lines(200))
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(read_until(pipe[0], len(data))))
    reader.start()
    [notice] = log.write(data)
    reader.join()
    assert "has waited" in notice.text
    assert received == [data]


def test_line_about_a_wait_is_not_followed_by_one_about_its_own_wait(path, pipe, monkeypatch):
    """The line may go through the same pipe, and wait itself."""
    monkeypatch.setattr("carboy.serving.process.logpipe.SAY_S", 0.0)
    log = log_pipe(path, pipe)
    assert log.write(b"a\n")
    assert not log.write(b"this worker has waited\n")


def read_until(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += os.read(fd, 65536)
    return data


def test_lines_that_a_dead_supervisor_has_left_are_written(path, pipe):
    log = log_pipe(path, pipe)
    log.write(b"in the pipe\n")
    log.take_over()
    log.write(b"later\n")
    assert path.read_bytes() == b"in the pipe\nlater\n"


def where_a_process_and_its_fork_write():
    path, ends = pathlib.Path("app.log").absolute(), os.pipe()
    log = log_pipe(path, ends)
    child = os.fork()
    if child == 0:
        log.write(b"child\n")
        os._exit(0)
    os.waitpid(child, 0)
    log.write(b"parent\n")
    return [path.read_text(), read_all(ends[0]).decode()]


def test_forked_process_writes_to_the_file(tmp_path, monkeypatch):
    """Long lines of two processes could mix in the pipe."""
    monkeypatch.chdir(tmp_path)
    assert measured_alone(where_a_process_and_its_fork_write) == ["child\n", "parent\n"]


def test_second_file_of_a_worker_is_written_directly(path, pipe):
    announced: list[LogOptions] = []
    log = WorkerLog(*pipe, announced.append)
    options = LogOptions(file=str(path))
    assert isinstance(log.open(options), LogPipe)
    assert isinstance(log.open(LogOptions(file=f"{path}.other")), SharedLogFile)
    assert announced == [options]


# --- the supervisor's thread ------------------------------------------------------------------


def test_writer_copies_the_lines_of_all_workers_and_ends_with_their_last(path):
    writer = LogWriter()
    options = LogOptions(file=str(path), max_bytes=200_000, backup_count=50)
    pipes = [os.pipe() for _ in range(3)]
    for read_fd, _ in pipes:
        writer.read(read_fd, options)
    written = lines(900)
    threads = [
        threading.Thread(target=send, args=(write_fd, written[number::3]))
        for number, (_, write_fd) in enumerate(pipes)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.stop()
    found = b"".join(each.read_bytes() for each in path.parent.iterdir())
    assert sorted(found.splitlines(True)) == written


def send(fd: int, data: list[bytes]) -> None:
    with open(fd, "wb", buffering=0) as pipe:
        for line in data:
            pipe.write(line)


def test_pipe_of_a_dead_worker_is_closed_even_if_a_process_that_it_forked_lives(path, pipe):
    writer = LogWriter()
    reader = writer.read(os.dup(pipe[0]), LogOptions(file=str(path)))
    os.write(pipe[1], b"whole\ncut o")
    writer.finish(reader)  # the test still holds the writing end
    wait_until(lambda: not reader.is_open)
    writer.stop()
    assert path.read_bytes() == b"whole\ncut o\n"


def test_rotation_by_a_worker_that_writes_itself_is_not_said(path, pipe, caplog):
    options = LogOptions(file=str(path), max_bytes=10, backup_count=2)
    writer = LogWriter()
    writer.read(os.dup(pipe[0]), options)
    os.write(pipe[1], b"0123456\n")
    wait_until(lambda: path.exists() and path.read_bytes() == b"0123456\n")
    SharedLogFile(str(path), max_bytes=10, backup_count=2).write(b"worker\n")
    os.write(pipe[1], b"x\n")
    wait_until(lambda: path.read_bytes() == b"worker\nx\n")
    writer.stop()
    assert "moved or removed" not in caplog.text


def test_file_is_reopened(path, pipe):
    writer = LogWriter()
    writer.read(os.dup(pipe[0]), LogOptions(file=str(path)))
    os.write(pipe[1], b"before\n")
    wait_until(lambda: path.exists() and path.read_bytes() == b"before\n")
    path.rename(f"{path}.moved")
    assert writer.reopen() == [str(path)]
    os.write(pipe[1], b"after\n")
    wait_until(lambda: path.exists() and path.read_bytes() == b"after\n")
    writer.stop()


@pytest.mark.parametrize(
    ("where", "name", "failure"),
    [
        (os, "pipe", OSError(errno.EMFILE, "Too many open files")),
        (threading.Thread, "start", RuntimeError("can't start new thread")),
    ],
    ids=["descriptors", "threads"],
)
@pytest.mark.parametrize("is_open", [True, False], ids=["after the first line", "before"])
def test_process_writes_itself_if_the_supervisor_cannot_read_its_pipe(
    path, pipe, monkeypatch, caplog, where, name, failure, is_open
):
    """And the supervisor goes on, and tries again for the next process."""

    def fail(*args: object) -> t.NoReturn:
        raise failure

    process, told = WorkerProcess(1), []
    process.log_fd, write_fd = os.dup(pipe[0]), os.dup(pipe[1])
    process.send = lambda word, payload=None: told.append(word)  # type: ignore[method-assign, assignment]
    supervisor_log = SupervisorLog()
    options = LogOptions(file=str(path))
    with monkeypatch.context() as patch:
        patch.setattr(where, name, fail)
        supervisor_log.follow(process, options.as_dict())
    assert told == ["write-log"]
    assert "cannot read the log lines of worker 1 (pid -)" in caplog.text
    worker_log = WorkerLog(*pipe, lambda options: None)
    if is_open:
        target = worker_log.open(options)
        target.write(b"into the pipe\n")
    worker_log.take_over()
    if not is_open:
        target = worker_log.open(options)
    target.write(b"afterwards\n")
    lines = b"into the pipe\n" if is_open else b""
    assert path.read_bytes() == lines + b"afterwards\n"
    supervisor_log.follow(process, options.as_dict())
    assert process.log_fd is None
    os.write(write_fd, b"read again\n")
    wait_until(lambda: path.read_bytes().endswith(b"read again\n"))
    os.close(write_fd)
    supervisor_log.stop()
