"""A version that could not be loaded for a reason that passes is tried again, as it is."""

from __future__ import annotations

import errno
import functools
import os
import typing as t

import pytest
from modelversions import Counting, write_version
from polling import PATIENCE_S, wait_until

from carboy.errors import ModelLoadError
from carboy.models.sources.versioncache import CACHE_VARIABLE

fsspec = pytest.importorskip("fsspec")
memory = pytest.importorskip("fsspec.implementations.memory")


def states(model) -> dict[str, str]:
    return {each["version"]: each["state"] for each in model.versions.states()}


class Bucket(memory.MemoryFileSystem):
    """A store that lists its versions, and whose files cannot be read while it is `down`."""

    protocol = "bucket-of-versions"
    store: t.ClassVar[dict[str, t.Any]] = {}
    pseudo_dirs: t.ClassVar[list[str]] = [""]
    down: t.ClassVar[OSError | None] = None

    def _open(self, path: str, mode: str = "rb", **options: t.Any) -> t.Any:
        if self.down is not None and mode == "rb" and path.endswith("version.json"):
            raise self.down
        return super()._open(path, mode, **options)


@pytest.fixture
def bucket(app, tmp_path, monkeypatch):
    """Return a model whose versions are in a bucket, and a function that adds one."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr("carboy.models.sources.urlsource.UrlSource.poll_s", 3600.0)
    fsspec.register_implementation(Bucket.protocol, Bucket, clobber=True)
    url = f"{Bucket.protocol}://{tmp_path.name}/m"
    add = functools.partial(write_version, url)
    target = type("Counted", (Counting,), {"alive": []})

    def declare(**options: t.Any):
        app.model("/m", name="m", source=url, **options)(target)
        app.models["m"].load()
        return app.models["m"]

    monkeypatch.setattr(Bucket, "store", {})
    add("1")
    yield declare, add
    app.models.close(PATIENCE_S)


RESET = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("failure", [RESET, FULL], ids=["unreachable", "disk full"])
def test_version_that_cannot_be_fetched_once_is_fetched_later(bucket, monkeypatch, failure):
    declare, add = bucket
    model = declare()
    add("2")
    monkeypatch.setattr(Bucket, "down", failure)
    with pytest.raises(ModelLoadError, match="Version '2' is tried again"):
        model.versions.refresh()
    assert model.versions.refused() is None  # other processes may try it
    assert not model.versions.is_outdated()  # not at once
    monkeypatch.setattr("carboy.models.versions.versionset.RETRY_S", 0.0)
    with pytest.raises(ModelLoadError, match="Version '2' is tried again"):
        model.versions.refresh()
    assert model.versions.is_outdated()
    monkeypatch.setattr(Bucket, "down", None)
    model.versions.refresh()
    assert (model.predict(0), states(model)) == ("2:0", {"2": "serving"})


@pytest.mark.parametrize(
    "trial", [{"canary": {"2": 0.5}}, {"shadow": "2"}], ids=["canary", "shadow"]
)
def test_version_on_trial_that_cannot_be_fetched_once_is_fetched_later(bucket, monkeypatch, trial):
    declare, add = bucket
    model = declare(**trial)
    add("2")
    monkeypatch.setattr(Bucket, "down", RESET)
    model.versions.refresh()
    assert states(model) == {"1": "serving", "2": "failed"}
    assert not model.versions.is_outdated()  # else the watch would try it at each look
    monkeypatch.setattr(Bucket, "down", None)
    model.versions.refresh()  # as another version is served, for example
    assert states(model) == {"1": "serving", "2": "failed"}
    model.versions.refresh(retry=True)
    assert states(model)["2"] == next(iter(trial))


def test_watch_tries_a_version_again_that_could_not_be_fetched(bucket, monkeypatch):
    monkeypatch.setattr("carboy.models.sources.urlsource.UrlSource.poll_s", 0.01)
    monkeypatch.setattr("carboy.models.versions.versionset.RETRY_S", 0.01)
    declare, add = bucket
    model = declare()
    monkeypatch.setattr(Bucket, "down", RESET)
    add("2")
    wait_until(lambda: states(model).get("2") == "failed")
    monkeypatch.setattr(Bucket, "down", None)
    wait_until(lambda: model.predict(0) == "2:0")


@pytest.mark.parametrize(
    "trial", [{"canary": {"2": 0.5}}, {"shadow": "2"}], ids=["canary", "shadow"]
)
def test_version_on_trial_that_failed_is_tried_again_when_asked(declare, store, trial):
    class Unlucky(Counting):
        alive: t.ClassVar[list[str]] = []
        tries: t.ClassVar[list[str]] = []

        def __init__(self, path: t.Any) -> None:
            super().__init__(path)
            self.tries.append(self.name)
            if self.tries.count("2") == 1:
                raise MemoryError("for a moment")

    write_version(store, "1")
    write_version(store, "2")
    model = declare(Unlucky, **trial)
    model.load()
    model.versions.refresh()
    assert states(model) == {"1": "serving", "2": "failed"}
    model.versions.refresh(retry=True)
    assert states(model)["2"] == next(iter(trial))
    assert Unlucky.tries == ["1", "2", "2"]
