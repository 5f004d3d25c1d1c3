"""Notice what another WSGI server does that models do not survive, and name the setting that ends
it: uWSGI without threads, and models that are used before the server forks its workers.
"""

from __future__ import annotations

import gc
import os
import sys
import typing as t

from ..errors import ServingError

# Module of a library -> class of its objects that use threads or devices of the process that has
# made them. A fork copies the objects, but neither threads nor devices.
_CLASSES = {
    "torch": "nn.Module",
    "xgboost": "Booster",
    "onnxruntime": "InferenceSession",
}
# Module that a server adds to `sys.modules` of its workers -> name of the server.
_PREFORKING = {"uwsgi": "uWSGI", "gunicorn.arbiter": "gunicorn", "mod_wsgi": "mod_wsgi"}


def preforking_server() -> str:
    """Return the name of the server that has started this process, if it is one that forks
    workers; else "".
    """
    return next((name for module, name in _PREFORKING.items() if module in sys.modules), "")


# ------------------------------------------------------------------------------------------- uWSGI


def refuse_without_threads(owner: str) -> None:
    """Raise ServingError under uWSGI without `enable-threads`: a thread that a model starts does
    not run there while no request is handled, and a prediction waits for ever.
    """
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is not None and not getattr(uwsgi, "has_threads", True):
        raise ServingError(
            f"{owner}: uWSGI runs Python without threads, where a prediction would wait for ever."
            " Add 'enable-threads = true' to its configuration ('carboy uwsgi' writes one)."
        )


def refuse_before_uwsgi_forks(owner: str) -> None:
    """Raise ServingError in the master process of uWSGI, if uWSGI will not tell Python of the fork
    of its workers. They would have copies of a used model, but not its threads, and would not know.
    """
    uwsgi = t.cast("t.Any", sys.modules.get("uwsgi"))
    if uwsgi is None or uwsgi.worker_id() or not uwsgi.masterpid():
        return
    if uwsgi.opt.get("py-call-uwsgi-fork-hooks"):
        return
    raise ServingError(
        f"{owner} is used while uWSGI's master process imports the app, before it forks its"
        " workers, where the model's threads would be missing. Add 'lazy-apps = true' to its"
        " configuration ('carboy uwsgi' writes one), so that each worker imports the app."
    )


# ------------------------------------------------------------------------------------- other forks


class _Fork(t.NamedTuple):
    """The fork that has made this process."""

    parent: int
    used: list[str]  # the libraries that the parent process had used


# The fork that `warning_of_fork` has to report.
_unreported: _Fork | None = None


def _remember_fork() -> None:
    """Note in a new process which libraries its parent process has used, by the objects that the
    fork has copied.
    """
    global _unreported  # noqa: PLW0603  # a process is forked once
    used = used_libraries()
    _unreported = _Fork(os.getppid(), used) if used else None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_remember_fork)


def used_libraries() -> list[str]:
    """Return the libraries of which this process has objects that do not survive a fork."""
    classes = {name: _class_named(name) for name in _CLASSES if name in sys.modules}
    if not any(classes.values()):
        return []
    # `type(each)` and not `isinstance`, because proxies such as `flask.request` fail when they are
    # asked for their class outside of a request.
    kinds = {type(each) for each in gc.get_objects()}
    return [
        name
        for name, found in classes.items()
        if found is not None and any(issubclass(kind, found) for kind in kinds)
    ]


def _class_named(module: str) -> type | None:
    found: object = sys.modules[module]
    for part in _CLASSES[module].split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None


def warning_of_fork() -> str:
    """Return a warning for the log if this process was forked from one that had used a library
    which does not survive that; else "". It is returned once.
    """
    global _unreported
    fork, _unreported = _unreported, None
    if fork is None:
        return ""
    server = preforking_server()
    process = f"This worker of {server}" if server else "This process"
    remedy = " (without --preload)" if server == "gunicorn" else ""
    return (
        f"{process} (pid {os.getpid()}) was forked from process {fork.parent} after"
        f" {' and '.join(fork.used)} had been used there. The threads and devices of that process"
        " do not exist here, so that a prediction may wait for ever or crash. Load models where"
        " @app.model does, in the model's __init__, which runs after the fork; or let each worker"
        f" import the app{remedy}."
    )
