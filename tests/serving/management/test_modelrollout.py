"""How the versions of a model change in several workers, which are here in one process."""

from __future__ import annotations

import shutil
import typing as t

import pytest
from modelversions import Counting, write_version
from polling import PATIENCE_S

from carboy import Carboy
from carboy.errors import ControlRequestError
from carboy.serving.management.modelrollout import ModelRollout
from carboy.serving.management.versionrequests import state_of
from carboy.serving.management.workertopics import WorkerTopics
from carboy.serving.process.serverstate import ProcessState, ServerState
from carboy.serving.process.workerprocess import WorkerProcess

if t.TYPE_CHECKING:
    import pathlib

    from carboy.models.model import Model


class Workers:
    """Workers that serve versions 1 and later of one model, and the rollout that changes them.

    Args:
        generations: the generation of each worker.
        reloading: whether workers with the newest code are about to replace the others.
    """

    def __init__(
        self,
        store: pathlib.Path,
        generations: t.Sequence[int],
        *,
        reloading: bool = False,
        **options: t.Any,
    ) -> None:
        self.models: list[Model] = []
        self.answering: list[WorkerTopics] = []
        for _ in generations:
            app, topics = Carboy("worker"), WorkerTopics()
            target = type("M", (Counting,), {"alive": []})
            app.model("/m", name="m", source=str(store), **options)(target)
            topics.app = app
            self.models.append(app.models["m"])
            self.answering.append(topics)
            self.models[-1].load()
        processes = tuple(
            ProcessState(number, number, "ready", 0.0, 0, generation)
            for number, generation in enumerate(generations, start=1)
        )
        state = ServerState(
            "worker:app", (), 99, 0.0, serving=True, processes=processes, reloading=reloading
        )
        self.rollout = ModelRollout(lambda: state, self._ask)
        self.rollout.note_loaded({"m": "1"})

    def _ask(self, process: ProcessState, topic: str, **arguments: t.Any) -> t.Any:
        answer: t.Any = self.answering[process.number - 1].topics()[topic](arguments)
        return answer.result(PATIENCE_S) if answer is not None else None

    def look(self) -> None:
        """Look at the source as the thread of the first worker that watches it."""
        if self.models[0].versions.is_outdated():
            self.rollout.refresh("m")

    def serving(self) -> list[str]:
        return [model.current.name for model in self.models]

    def states(self) -> list[dict[str, str]]:
        return [
            {each["version"]: each["state"] for each in model.versions.states()}
            for model in self.models
        ]


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Return a function that serves version 1 by several workers."""
    monkeypatch.setattr("carboy.models.sources.localsource.FolderSource.poll_s", 3600.0)
    write_version(tmp_path, "1")
    running: list[Workers] = []

    def serve(*generations: int, **options: t.Any) -> Workers:
        running.append(Workers(tmp_path, generations, **options))
        return running[-1]

    yield serve
    for workers in running:
        for model in workers.models:
            model.close(PATIENCE_S)


@pytest.mark.parametrize(
    ("options", "state"),
    [({"canary": {"2": 0.5}}, "canary"), ({"shadow": "2"}, "shadow")],
    ids=["canary", "shadow"],
)
def test_version_on_trial_reaches_all_workers_although_the_newest_is_refused(
    serve, tmp_path, options, state
):
    workers = serve(0, 0, 0, **options)
    write_version(tmp_path, "3", fails="init")
    with pytest.raises(ControlRequestError, match=r"version '3' .*the weights are missing"):
        workers.look()
    write_version(tmp_path, "2")
    workers.look()
    assert workers.states() == [{"1": "serving", "2": state, "3": "failed"}] * 3


def test_who_asks_for_a_refused_version_learns_each_time_that_it_is_not_served(serve, tmp_path):
    workers = serve(0, 0)
    write_version(tmp_path, "2", fails="init")
    for _ in range(2):
        with pytest.raises(ControlRequestError, match=r"version '2' .*the weights are missing"):
            workers.rollout.refresh("m", retry=True)
    assert workers.serving() == ["1", "1"]


def test_version_is_not_said_to_be_served_while_the_model_is_unloaded(serve, tmp_path):
    workers = serve(0, 0)
    write_version(tmp_path, "2")
    for model in workers.models:
        model.unload()
    answers = workers.rollout.refresh("m", retry=True)
    with pytest.raises(ControlRequestError, match="A client has unloaded the model"):
        state_of("2", answers)
    with pytest.raises(ControlRequestError, match="No worker of the server is ready"):
        state_of("2", [])


def test_version_that_another_one_has_replaced_meanwhile_is_not_said_to_be_served(serve, tmp_path):
    workers = serve(0)
    for name in ("2", "3"):
        write_version(tmp_path, name)
    answers = workers.rollout.refresh("m", retry=True)
    assert (state_of("2", answers), state_of("3", answers)) == ("replaced", "serving")


@pytest.mark.parametrize(
    ("loading", "was_ready", "refused"),
    [("1", False, [False]), ("2", False, [True]), ("2", True, [False, True])],
    ids=["the-served-one", "at-the-start", "while-it-serves"],
)
def test_version_is_refused_of_which_processes_die(serve, loading, was_ready, refused):
    rollout, process = serve(0).rollout, WorkerProcess(1)
    process.was_ready = was_ready
    process.handlers["loading-version"](["m", {"version": loading, "fingerprint": "f"}])
    assert [rollout.note_death(process, "was killed") for _ in refused] == refused
    known = [each["version"] for each in rollout.known(0)["m"]["refused"]]
    assert known == [loading] * any(refused)
    process.handlers["loading-version"](["m", None])
    assert not rollout.note_death(process, "was killed")


def test_refused_version_is_tried_by_new_code_and_not_by_replacements(serve, tmp_path):
    workers = serve(0, 0)
    write_version(tmp_path, "2", fails="init")
    with pytest.raises(ControlRequestError):
        workers.look()
    refused = [workers.rollout.known(generation)["m"]["refused"] for generation in (0, 1)]
    assert [[each["version"] for each in known] for known in refused] == [["2"], []]


def test_worker_with_old_code_does_not_keep_those_with_new_code_from_a_version(serve, tmp_path):
    """The second worker has not been replaced yet, and cannot read the version."""
    workers = serve(1, 0, reloading=True)
    write_version(tmp_path, "2")
    old = workers.models[1].versions
    (there,) = [each for each in old.source.look().versions if each.name == "2"]
    old.refuse({"version": "2", "fingerprint": there.fingerprint, "reason": "old code"})
    workers.look()
    assert workers.serving() == ["2", "1"]
    assert workers.rollout.known(1)["m"] == {"serving": "2", "refused": []}


def test_workers_of_two_codes_serve_the_same_version_after_a_reload_that_has_failed(
    serve, tmp_path
):
    """Nothing replaces the second worker, which cannot read the version."""
    workers = serve(1, 0)
    write_version(tmp_path, "2")
    old = workers.models[1].versions
    (there,) = [each for each in old.source.look().versions if each.name == "2"]
    old.refuse({"version": "2", "fingerprint": there.fingerprint, "reason": "old code"})
    with pytest.raises(ControlRequestError, match=r"version '2' .*old code"):
        workers.look()
    assert workers.serving() == ["1", "1"]


@pytest.mark.parametrize("reloading", [True, False])
def test_old_code_refuses_no_version_for_new_code_that_is_starting(serve, tmp_path, reloading):
    """After a reload that has failed, it does."""
    workers = serve(0, reloading=reloading)
    write_version(tmp_path, "2", fails="init")
    workers.rollout.known(1)  # the first process with new code is started
    with pytest.raises(ControlRequestError, match=r"version '2' .*the weights are missing"):
        workers.look()
    assert bool(workers.rollout.known(1)["m"]["refused"]) == (not reloading)


def test_canary_that_was_refused_and_loads_later_is_served_by_all(serve, tmp_path):
    workers = serve(0, 0, canary={"2": 0.5})
    rollout, process = workers.rollout, WorkerProcess(1)
    write_version(tmp_path, "2")
    (there,) = [
        each for each in workers.models[0].versions.source.look().versions if each.name == "2"
    ]
    process.loading_versions["m"] = {"version": "2", "fingerprint": there.fingerprint}
    assert rollout.note_death(process, "was killed by SIGKILL")
    assert rollout.known(0)["m"]["refused"]
    rollout.refresh("m", retry=True)
    assert workers.states() == [{"1": "serving", "2": "canary"}] * 2
    assert rollout.known(0)["m"]["refused"] == []
    for model in workers.models:
        model.versions.refuse({"version": "2", "fingerprint": "", "reason": "late"})
    assert workers.states() == [{"1": "serving", "2": "canary"}] * 2


def test_canary_is_not_replaced_by_files_that_were_refused(serve, tmp_path):
    write_version(tmp_path, "2")
    workers = serve(0, canary={"2": 0.5})
    versions = workers.models[0].versions
    shutil.rmtree(tmp_path / "2")
    write_version(tmp_path, "2", fails="init")
    (there,) = [each for each in versions.source.look().versions if each.name == "2"]
    versions.refuse({"version": "2", "fingerprint": there.fingerprint, "reason": "it was killed"})
    versions.refresh()
    assert workers.states() == [{"1": "serving", "2": "canary"}]
