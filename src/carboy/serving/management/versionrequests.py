"""The control requests about versions of models, in the supervisor.

    models/versions  {model}                   what the source has, and what workers do with it
    models/push      {model, folder, version}  add a version from a folder on this machine
    models/switch    {model, version}          serve another version
    models/rollback  {model, version}          serve an earlier version, such as the one before
    models/refresh   {model, version}          look at the source now

All but the first return when the workers serve the version, or try it as a canary or shadow; the
member `state` says which, or "replaced" if another one was added or chosen meanwhile. The source of
a model is known to the app alone, so a worker is asked for it.
"""

from __future__ import annotations

import os
import typing as t
from functools import partial

from ...errors import ControlRequestError, ModelFileError, WorkerAnswerError
from ..log import logger

if t.TYPE_CHECKING:
    import collections.abc as cabc
    from concurrent.futures import Future

    from ...models.sources import VersionSource
    from ..process.serverstate import ProcessState
    from .managementserver import Command
    from .modelrollout import Refreshed

    Arguments = dict[str, t.Any]
    #: Asks all workers, and waits for their answers; see `ControlRequests`.
    AskWorkers = cabc.Callable[..., list[tuple[ProcessState, Future[t.Any]]]]

#: The question to a worker for the option `source` of a model, and for its trials.
SOURCE: t.Final = "model-source"


class VersionRequests:
    """Carries out the control requests about versions.

    Args:
        ask_workers: asks all workers a question.
        refresh: lets all workers serve the version of a model that its source says, and returns
            their answers; raises ControlRequestError if they cannot.
    """

    def __init__(
        self, ask_workers: AskWorkers, refresh: cabc.Callable[[str], list[Refreshed]]
    ) -> None:
        self._ask_workers = ask_workers
        self._refresh = refresh

    def commands(self) -> dict[str, Command]:
        """Return the functions of the requests, by name."""
        functions = {
            "versions": self._versions,
            "push": self._push,
            "switch": self._switch,
            "rollback": self._roll_back,
            "refresh": self._look,
        }
        return {
            f"models/{name}": partial(_explaining_errors, function)
            for name, function in functions.items()
        }

    def _versions(self, arguments: Arguments) -> Arguments:
        from ...models.sources.changes import describe

        model = _texts(arguments, "model")["model"]
        found = describe(*self._stored(model))
        for version in found["versions"]:
            version["workers"] = []
        by_name = {version["version"]: version["workers"] for version in found["versions"]}
        for process, answer in self._ask_workers("models"):
            for state in _states(answer, model):
                worker = {"worker": process.number, "pid": process.pid, **state}
                by_name.get(state["version"], []).append(worker)
        return {"model": model, **found}

    def _push(self, arguments: Arguments) -> Arguments:
        from ...models.sources.changes import add_version

        given = _texts(arguments, "model", "folder", optional="version")
        if not os.path.isabs(given["folder"]):
            raise ControlRequestError(
                f"folder: expected an absolute path, got {given['folder']!r}: the server may run in"
                " another folder than you."
            )
        source, trials = self._stored(given["model"])
        added = add_version(source, given["folder"], given["version"] or None, trials=trials)
        return self._served(given["model"], added)

    def _switch(self, arguments: Arguments) -> Arguments:
        given = _texts(arguments, "model", "version")
        source, _ = self._stored(given["model"])
        source.choose(given["version"])
        return self._served(given["model"], given["version"])

    def _roll_back(self, arguments: Arguments) -> Arguments:
        from ...models.sources.changes import roll_back

        given = _texts(arguments, "model", optional="version")
        source, trials = self._stored(given["model"])
        before, after = roll_back(source, given["version"] or None, trials=trials)
        return {**self._served(given["model"], after), "before": before}

    def _look(self, arguments: Arguments) -> Arguments:
        given = _texts(arguments, "model", optional="version")
        model, version = given["model"], given["version"]
        self._stored(model)  # refuses a model that the app does not have
        state = self._follow_source(model, version)
        return {"model": model, "version": version, "state": state} if version else {"model": model}

    def _served(self, model: str, version: str) -> Arguments:
        """Let the workers follow the source, and return the response."""
        try:
            state = self._follow_source(model, version)
        except ControlRequestError as exc:
            raise ControlRequestError(
                f"Version {version!r} of {model!r} is in its source, but it is not served: {exc}"
            ) from None
        return {"model": model, "version": version, "state": state}

    def _follow_source(self, model: str, version: str) -> str:
        """Let the workers follow the source, and return what they do with a version. If they
        cannot, the log has the reason, too: whoever looks at it later has not seen the response.
        """
        try:
            answers = self._refresh(model)
            return state_of(version, answers) if version else ""
        except ControlRequestError as exc:
            logger.error("%s", exc)
            raise

    def _stored(self, model: str) -> tuple[VersionSource, dict[str, str]]:
        """Return the source of a model, and what its versions are tried for, as the first worker
        that answers knows it.
        """
        from ...models.sources import source_of

        reasons = []
        for process, answer in self._ask_workers(SOURCE, name=model):
            if not answer.done():
                reasons.append(f"worker {process.number} has not answered")
                continue
            try:
                found = answer.result()
                return source_of(found["source"]), found["trials"]
            except WorkerAnswerError as exc:
                reasons.append(str(exc))
        raise ControlRequestError(reasons[0] if reasons else "No worker of the server is ready.")


def state_of(version: str, answers: cabc.Sequence[Refreshed]) -> str:
    """Return what workers do with a version that was to be served or tried.

    Raises:
        ControlRequestError: they do nothing with it; the message says why.
    """
    if not answers:
        raise ControlRequestError("No worker of the server is ready.")
    if any(each["unloaded"] for each in answers):
        raise ControlRequestError(
            "A client has unloaded the model. It follows its source when it is loaded again."
        )
    if all(each["now"] == version for each in answers):
        return "serving"
    tried = [each["trials"][version] for each in answers if version in each["trials"]]
    for each in tried:
        if each["reason"]:
            raise ControlRequestError(each["reason"])
    return tried[0]["state"] if tried else "replaced"


def _states(answer: Future[t.Any], model: str) -> list[Arguments]:
    """Return the states of the versions of a model in one worker; none if it does not answer."""
    if not answer.done() or answer.exception() is not None:
        return []
    return [
        state
        for each in answer.result()
        if each["name"] == model
        for state in each.get("versions", ())
    ]


def _texts(arguments: Arguments, *names: str, optional: str = "") -> dict[str, str]:
    """Return the arguments of a request, each of which is a text.

    Raises:
        ControlRequestError: one is missing, is none of the known ones, or is not a text.
    """
    known = {*names, optional} - {""}
    if unknown := sorted(arguments.keys() - known):
        raise ControlRequestError(
            f"{unknown[0]}: unknown argument. Expected {', '.join(sorted(known))}."
        )
    found = {name: arguments.get(name, "") for name in known}
    for name, value in found.items():
        if not isinstance(value, str) or (not value and name in names):
            raise ControlRequestError(f"{name}: expected a text, got {arguments.get(name)!r}.")
    return found


def _explaining_errors(function: Command, arguments: Arguments) -> object:
    try:
        return function(arguments)
    except (OSError, ModelFileError) as exc:
        raise ControlRequestError(str(exc)) from None
