"""Writing to pipes whose readers have stopped."""

from __future__ import annotations

import logging
import os
import pathlib
import socket
import sys
import typing as t

import pytest

from carboy.observability import handlers
from carboy.observability.boundedwrite import BoundedWriter, may_block, open_for_itself
from carboy.observability.handlers import StandardError
from carboy.observability.logfile import RETRY_S, SharedLogFile

BLOCK_S = 0.05


@pytest.fixture
def pipe() -> t.Iterator[tuple[int, int]]:
    """The reading and the writing end of a pipe. The reading end does not block."""
    ends = os.pipe()
    os.set_blocking(ends[0], False)
    yield ends
    for fd in ends:
        os.close(fd)


def read_all(fd: int) -> bytes:
    data = b""
    try:
        while chunk := os.read(fd, 1 << 20):
            data += chunk
    except BlockingIOError:
        pass
    return data


def line(number: int, size: int) -> bytes:
    return b"%06d %s\n" % (number, b"x" * (size - 8))


@pytest.mark.parametrize("size", [10, 1000, 7777, 100_000])
@pytest.mark.parametrize("is_blocking", [True, False])
def test_each_line_is_written_whole_or_returned_whole(pipe, size, is_blocking):
    os.set_blocking(pipe[1], is_blocking)
    writer = BoundedWriter(pipe[1], block_s=0.0)
    written = [line(number, size) for number in range(200_000 // size + 5)]
    returned = received = b""
    for each in written:
        returned += writer.write(each)
    while writer.owed:
        received += read_all(pipe[0])
        writer.write(b"")
    received += read_all(pipe[0])
    assert received.endswith(b"\n")
    assert sorted((received + returned).splitlines(True)) == written


@pytest.mark.parametrize("is_blocking", [True, False])
def test_writer_waits_once_until_there_is_room_again(pipe, is_blocking):
    os.set_blocking(pipe[1], is_blocking)
    writer = BoundedWriter(pipe[1], block_s=BLOCK_S)
    full = b"".join(line(number, 1000) for number in range(200))
    assert writer.write(full)
    assert writer.is_stalled
    assert writer.write(full) == full
    read_all(pipe[0])
    assert not writer.write(b"again\n")
    assert not writer.is_stalled
    assert read_all(pipe[0]).endswith(b"again\n")


def test_descriptor_of_other_programs_keeps_its_flags(pipe):
    own = open_for_itself(pipe[1])
    try:
        assert os.get_blocking(pipe[1])
        assert not os.get_blocking(own)
        os.write(own, b"a\n")
        assert read_all(pipe[0]) == b"a\n"
    finally:
        os.close(own)


def test_file_is_not_waited_for(tmp_path, pipe):
    with (tmp_path / "file").open("wb") as file:
        assert not may_block(file.fileno())
    assert may_block(pipe[1])


# --- stderr -------------------------------------------------------------------------------------


def redirect_stderr(monkeypatch: pytest.MonkeyPatch, pipe: tuple[int, int]) -> StandardError:
    """Return the target, with the pipe as `sys.stderr`.

    Not a fixture: pytest sets `sys.stderr` itself when a test begins.
    """
    monkeypatch.setattr(sys, "stderr", open(pipe[1], "w", closefd=False))  # noqa: SIM115
    return StandardError(block_s=BLOCK_S)


def test_stderr_that_nobody_reads_drops_lines_and_says_so(pipe, monkeypatch):
    stderr = redirect_stderr(monkeypatch, pipe)
    written = [line(number, 1000) for number in range(200)]
    notices = [notice for each in written for notice in stderr.write(each)]
    assert notices == [
        (logging.ERROR, "stderr was not read for 0.05 s: lines for it are dropped until it is")
    ]
    received = read_all(pipe[0])
    [notice] = stderr.write(b"again\n")
    dropped = len(written) - len(received.splitlines())
    assert notice.text == f"stderr is read again: {dropped} lines were dropped"
    assert read_all(pipe[0]) == b"again\n"
    assert not stderr.write(b"more\n")


def test_stderr_that_the_program_redirects_is_followed(pipe, tmp_path, monkeypatch):
    stderr = redirect_stderr(monkeypatch, pipe)
    stderr.write(b"before\n")
    before = os.dup(pipe[1])
    try:
        with (tmp_path / "file").open("wb") as file:
            os.dup2(file.fileno(), pipe[1])
        stderr.write(b"after\n")
    finally:
        os.dup2(before, pipe[1])
        os.close(before)
    assert read_all(pipe[0]) == b"before\n"
    assert (tmp_path / "file").read_bytes() == b"after\n"


def test_stderr_without_a_descriptor_is_written(capsys):
    assert not StandardError().write("ä\n".encode())
    assert capsys.readouterr().err == "ä\n"


# --- a log file that is a pipe ------------------------------------------------------------------


class Kept:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> t.Sequence[handlers.Notice]:
        self.data += data
        return ()

    def close(self) -> None: ...


def named_pipe(folder: pathlib.Path) -> tuple[str, list[int]]:
    os.mkfifo(folder / "fifo")
    return str(folder / "fifo"), [os.open(folder / "fifo", os.O_RDONLY | os.O_NONBLOCK)]


def own_pipe(name: str) -> tuple[str, list[int]]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    return name.format(writer), [reader, writer]


def own_socket() -> tuple[str, list[int]]:
    """A socket, which cannot be opened once more by its name."""
    reader, writer = (each.detach() for each in socket.socketpair())
    os.set_blocking(reader, False)
    return f"/dev/fd/{writer}", [reader, writer]


@pytest.mark.parametrize(
    "opened",
    [
        pytest.param(named_pipe, id="named pipe"),
        pytest.param(lambda folder: own_pipe("/dev/fd/{}"), id="own pipe"),
        pytest.param(lambda folder: own_pipe("/proc/self/fd/{}"), id="own pipe, in /proc"),
        pytest.param(lambda folder: own_socket(), id="own socket"),
    ],
)
def test_lines_for_a_file_that_nobody_reads_go_to_the_fallback(tmp_path, monkeypatch, opened):
    monkeypatch.setattr("carboy.observability.logfile.BLOCK_S", BLOCK_S)
    path, (reader, *others) = opened(tmp_path)
    kept, now_s = Kept(), [100.0]
    file = SharedLogFile(path, fallback=kept, clock=lambda: now_s[0])
    try:
        written = [line(number, 1000) for number in range(200)]
        notices = [notice.text for each in written for notice in file.write(each)]
        assert len(notices) == 1
        assert "cannot be written (nobody has read it for 0.05 s): its lines go to" in notices[0]
        now_s[0] += RETRY_S
        assert not file.write(b"z\n" * 3000)  # which is tried without another wait
        received = read_all(reader)
        now_s[0] += RETRY_S
        assert "is written again" in file.write(b"again\n")[0].text
        assert read_all(reader) == b"again\n"
        lines = (received + kept.data).splitlines(True)
        assert sorted(lines) == sorted([*written, *[b"z\n"] * 3000])
        assert all(map(os.get_blocking, others))  # which other programs may share
    finally:
        file.close()
        for fd in (reader, *others):
            os.close(fd)
