"""The process of a replica: loads the app, builds one of its models, and computes batches of that
model for other processes.

    python -P -m carboy.serving.process.replicaprocess FD '{"target": "shop:app", "replica": {...}}'

FD is the descriptor of the socket to the supervisor; `carboy.models.replicas.supervision` has the
messages, and before them the process sends `log` and `warning`, as a worker does. The process does
not react to SIGINT, SIGTERM and SIGHUP, which a terminal or a container sends to all processes: the
workers need their replicas until they have answered their last request, and the supervisor then
stops the process by `drain`. On SIGQUIT it writes the stacks of its threads to stderr.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import sys
import threading
import typing as t

from ...core.logmasking import mask_failed_threads
from ...core.masking import mask_text
from ...errors import ModelLoadError
from ...models.replicas.placing import compute_here
from .. import log
from ..management.questions import QUESTION, Answers
from ..management.workertopics import WorkerTopics, models_of
from . import debugmode
from .apploading import (
    configure_log,
    exit_code,
    explain,
    flush_each_line,
    force_exit,
    install_as_flask_if_asked,
    load,
    send_log_lines,
)
from .supervisorlink import SupervisorLink, unblock_interrupts

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from ...models.model import Model
    from ...models.replicas.supervision import ReplicaJob


def handle_signals() -> None:
    """Leave the end of this process to the supervisor."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        # Handlers, and not SIG_IGN, which programs that the model starts would inherit.
        signal.signal(number, lambda *_: None)
    unblock_interrupts()
    faulthandler.register(signal.SIGQUIT)


def model_named(app: WSGIApplication, name: str) -> Model:
    """Return a model of an app. Raises ModelLoadError if the app has none of this name."""
    models = models_of(app)
    if models is None or name not in models:
        known = ", ".join(models or ()) or "none"
        raise ModelLoadError(
            f"the app {getattr(app, 'import_name', app)!r} has no model {name!r}: its models are"
            f" {known}. The process that asks for its replicas may run other code"
        )
    return models[name]


def run(link: SupervisorLink, job: dict[str, t.Any]) -> int:
    """Load the app and its model, and compute batches until the supervisor asks for the end."""
    from ...models.replicas.process import run_replica

    topics = WorkerTopics()
    link.on(QUESTION, Answers(link.report, topics.topics()).answer)
    # An import cannot be interrupted, so until the model is loaded, the process ends at once.
    link.on("drain", lambda _: os._exit(0))
    link.on_orphaned.append(lambda: os._exit(0))
    link.listen()
    install_as_flask_if_asked()
    send_log_lines(link, job["log_fds"])
    compute_here()
    asked_by = debugmode.disable_in_environment()
    topics.app = app = load(job["target"])
    debugmode.disable(app, asked_by)
    configure_log(app, link, several=True)
    replica: ReplicaJob = job["replica"]
    return run_replica(model_named(app, replica["model"]), replica, link)


def main(argv: list[str]) -> None:
    link = SupervisorLink(socket.socket(fileno=int(argv[0])))
    handle_signals()
    mask_failed_threads()
    log.configure()
    flush_each_line()
    code = 0
    try:
        code = run(link, json.loads(argv[1]))
    except BaseException as exc:  # noqa: BLE001  # the user's module may raise SystemExit
        link.report("failed", mask_text(explain(exc)))
        sys.exit(exit_code(exc))
    threading.Thread(target=force_exit, args=(code,), daemon=True).start()
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
