"""Locks on files, in processes that are forked while a lock is held."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
import typing as t

import pytest
from alone import measured_alone

from carboy.access.keyfile import changing
from carboy.core.filelocks import locked
from carboy.models.sources import versioncache
from carboy.serving.unixsocket import alone_in
from carboy.uploads import uploadfolder

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")


@contextlib.contextmanager
def forked(then: t.Callable[[], object] = bool) -> t.Iterator[None]:
    """Fork a process, which calls `then` and lives until the block ends."""
    said, say = os.pipe()
    goes_on, go_on = os.pipe()
    if (child := os.fork()) == 0:
        os.close(go_on)
        then()
        os.write(say, b"x")
        os.read(goes_on, 1)
        os._exit(0)
    os.read(said, 1)
    try:
        yield
    finally:
        os.close(go_on)
        os.waitpid(child, 0)
        for fd in (said, say, goes_on):
            os.close(fd)


def is_free(path: str) -> bool:
    import fcntl

    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def forking(context: contextlib.AbstractContextManager[object]) -> contextlib.ExitStack:
    """Enter a context, fork a process in it, and leave the context."""
    forks = contextlib.ExitStack()
    with context:
        forks.enter_context(forked())
    return forks


def who_keeps_its_lock() -> list[str]:
    """Return which locks are still held after their blocks have ended, because a process was forked
    in the block.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "lock")
        pathlib.Path(path).touch()
        uploadfolder.prepare(folder)
        uses: dict[str, tuple[contextlib.AbstractContextManager[object], str]] = {
            "changing keys": (changing(os.path.join(folder, "keys")), folder),
            "replacing a socket": (alone_in(folder), folder),
            "fetching a version": (versioncache._locked(path), path),
            "saving an upload": (
                uploadfolder._locked(folder),
                os.path.join(folder, ".carboy", "lock"),
            ),
        }
        kept = []
        for use, (context, file) in uses.items():
            with forking(context):
                kept += [] if is_free(file) else [use]
        return kept


def whether_a_forked_process_unlocks() -> bool:
    with tempfile.NamedTemporaryFile() as file, contextlib.ExitStack() as block:
        block.enter_context(locked(file.fileno()))
        with forked(then=block.close):
            return is_free(file.name)


def what_a_forked_process_saves() -> int:
    """Return the number of files after a process was forked in which no other thread runs, while a
    thread of its parent saved a file.
    """
    with tempfile.TemporaryDirectory() as folder:
        uploadfolder.LOCK_S = 0.1
        uploadfolder.prepare(folder)

        def save() -> None:
            staged = uploadfolder.stage(open(os.devnull, "rb"), folder)  # noqa: SIM115
            kind = uploadfolder.BY_SUFFIX["png"]
            files = [uploadfolder.Staged(staged, 0, kind)]
            uploadfolder.publish(folder, files, owner=None, replace=False, check_room=None)

        def save_alone() -> None:
            with contextlib.suppress(TimeoutError):
                save()

        lock = os.path.join(folder, ".carboy", "lock")
        with uploadfolder._mutex(folder, lock), forked(then=save_alone):
            pass
        return len(uploadfolder.files(folder))


def test_forked_process_does_not_keep_a_lock():
    assert measured_alone(who_keeps_its_lock) == []


def test_forked_process_does_not_unlock():
    assert measured_alone(whether_a_forked_process_unlocks) is False


def test_forked_process_saves_while_a_thread_of_its_parent_saves():
    assert measured_alone(what_a_forked_process_saves) == 1
