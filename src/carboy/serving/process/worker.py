"""A worker process: loads the app, serves it, and stops on request.

    python -P -m carboy.serving.process.worker FD '{"target": "shop:app", "settings": {...}, ...}'

FD is the descriptor of a socket, by which the worker sends its supervisor `ready`, or `failed` with
the reason; before that `log`, with the options of the log, and each `warning` for the log; `leave`,
when it has reached a limit or got SIGTERM, and another process must replace it. It answers the
message `alive?` with `alive`, from the thread that reads requests. The worker stops on the message
`drain`, on a second SIGTERM, and when the socket closes because the supervisor has died: for a
moment responses ask clients to reconnect; then the worker closes the listening socket, finishes the
requests that have begun, and exits. It does not react to SIGINT and SIGHUP, which a terminal sends
to both processes and the supervisor handles. On SIGQUIT a worker writes the stacks of its threads
to stderr, even if native code holds the GIL.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import sys
import threading
import time
import typing as t
from concurrent.futures import Future
from functools import partial

from ...access.seenfiles import seen
from ...core.dispatch import carboy_app
from ...core.logmasking import mask_failed_threads
from ...core.masking import mask_text
from .. import log
from ..accesslog import access_log_of
from ..http.environ import environ_of
from ..http.forwarded import TrustedProxies
from ..http.server import HTTPServer
from ..machine import raise_descriptor_limit, usable_cpus
from ..mainthread import wait_on_main_thread
from ..management.questions import ANSWER, QUESTION, Answers, Questions
from ..management.workertopics import (
    ModelsOfAllWorkers,
    WorkerTopics,
    models_of,
    versions_of,
)
from ..metrics.sharedtable import SharedTable
from ..metrics.workermetrics import WorkerMetrics
from ..settings import Settings
from ..startscreen import about, advice_on_other_flask, advice_on_socketio
from ..threads.pool import LeaderPool
from ..wsgi import proxyfix
from ..wsgi.gateway import Gateway
from ..wsgi.proxyfix import has_proxy_fix
from ..wsgi.viewwatch import ViewWatch
from . import debugmode
from .apploading import (
    EXIT_S,
    configure_log,
    exit_code,
    explain,
    flush_each_line,
    force_exit,
    install_as_flask_if_asked,
    load,
    send_log_lines,
)
from .capacity import wanted_workers
from .computethreads import advice_on_sessions, imported_libraries
from .hangup import Terminal
from .modelkeeper import ModelKeeper
from .sockets import make_listeners
from .supervisorlink import SupervisorLink, unblock_interrupts
from .tokenloans import borrow_from
from .workerlimits import WorkerLimits

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import types

    from _typeshed.wsgi import WSGIApplication

    from ...models.replicas.replica import ReplicaMaker
    from ...models.versions.versionset import Loading
    from ...observability.access import AccessLog
    from ..certificates import Certificate
    from ..http.listener import Listener
    from ..wsgi.gateway import Complete, Routes
    from .capacity import LoadedApp
    from .sockets import Descriptor

# How many seconds before the end of the grace period the open WebSockets are ended, whose clients
# and views need a moment to end as well, and the predictions refused that still wait, so that their
# clients get an answer. At most half of the grace period.
GIVE_UP_S = 3.0
# How many seconds after the end of the grace period a process ends by itself. Before that, a living
# supervisor kills it, and logs which worker it was.
OVERDUE_S = 2.0
# Python's default interval (`sys.setswitchinterval`), and the one that is set if probes are
# answered on the app's port. The leading thread needs the GIL about ten times for a probe, and each
# time it waits for all threads that compute in Python: ten of them delay a probe by 10 * 10 * 5 ms.
# Measured: a tenth of that delay with the shorter interval, and 5 % less throughput of eight
# threads that compute in Python (bench/probes.py).
DEFAULT_SWITCH_S, PROBES_SWITCH_S = 0.005, 0.0005


class Service:
    """Serves one application: loads its models and runs the HTTP server; when it is stopped, it
    finishes the requests that have begun and closes the models.

    `stop` may be called from any thread, and more than once.

    Args:
        descriptors: the sockets to listen on, as `make_listeners` takes them; by default this
            process opens them.
        table: the memory for the metrics, which the supervisor shares; None for memory of this
            process alone.

    Attributes:
        metrics: the metrics of this process; None if the setting `metrics` is off.
    """

    def __init__(
        self,
        app: WSGIApplication,
        settings: Settings,
        descriptors: cabc.Sequence[Descriptor | None] | None = None,
        table: SharedTable | None = None,
    ) -> None:
        self.metrics = WorkerMetrics(table) if settings.metrics else None
        self._access_log = access_log_of(app, settings)
        self._certificate = certificate_of(settings)
        tls = self._certificate and self._certificate.context
        listeners = make_listeners(settings, descriptors, tls)
        self._watch = ViewWatch() if settings.view_timeout_s else None
        self._server = server_of(
            app, settings, self._access_log, self._watch, listeners, self.metrics
        )
        self._app = app
        self._settings = settings
        self._stopping = threading.Lock()
        if settings.probes:
            hand_over_gil_sooner()

    def about(self) -> list[str]:
        """Return lines for the log that say what the app offers, and where its logs go."""
        lines = about(self._app, self._settings, self._access_log)
        return [*lines, f"TLS: {self._certificate}"] if self._certificate else lines

    def start(self) -> None:
        """Load the app's models, then listen, so that no request has to wait for the models."""
        self.load()
        self.listen()

    def load(self) -> None:
        """Load the app's models.

        Raises:
            ConfigError: the configuration of the app's access is not valid.
        """
        if (carboy := carboy_app(self._app)) is not None:
            carboy._find_access()
        # Only carboy apps have the method `load_models`; `_app` may be any WSGI application.
        load_models = getattr(self._app, "load_models", None)
        if load_models is not None:
            load_models()
        if self.metrics is not None and has_models(self._app):
            self.metrics.follow_models(t.cast("t.Any", self._app).models)

    def loaded(self) -> LoadedApp:
        """Return what the supervisor must know to decide how many workers there will be."""
        models = (models_of(self._app) or {}).values()
        return {
            "models": {each.name: each.loaded_bytes for each in models if not each.is_remote},
            "replicated": [each.name for each in models if each.is_remote],
            "versions": versions_of(models),
            "libraries": imported_libraries(),
        }

    def limit(self, leave: cabc.Callable[[str], object]) -> None:
        """Watch the limits on requests, memory and the time of views from now on.

        Args:
            leave: is called with the reason when a limit is reached.

        Raises:
            ConfigError: the process already uses more memory than it may.
        """
        WorkerLimits(self._settings, lambda: self._server.requests, self._watch, leave).start()

    def listen(self) -> None:
        """Accept connections from now on."""
        raise_descriptor_limit(self._settings.connections)
        self._server.start()

    def call(self, work: cabc.Callable[[], object]) -> None:
        """Let the thread that runs the event loop call a function soon. Return at once."""
        self._server.call(work)

    def stop(self, *, has_successor: bool = False) -> None:
        """Begin to stop: for a moment, responses ask clients to reconnect, which leads them to
        other workers. Returns at once.

        Args:
            has_successor: whether another process listens on the same sockets.
        """
        if self._stopping.acquire(blocking=False):
            drain = partial(self._drain, has_successor=has_successor)
            threading.Thread(target=drain, daemon=True).start()

    def _drain(self, *, has_successor: bool) -> None:
        """Stop step by step. The process ends even if one of the steps fails."""
        settings = self._settings
        until_s = time.monotonic() + settings.drain_s + settings.grace_s
        try:
            self._leave_sockets(has_successor)
        finally:
            self._server.stop()
            try:
                self._give_up(until_s)
            finally:
                if not self._server.await_end(max(0.0, until_s + OVERDUE_S - time.monotonic())):
                    self._cut_off(f"the grace period of {settings.grace_s:g} s (--grace) is over")

    def _leave_sockets(self, has_successor: bool) -> None:
        drain_s = self._settings.drain_s
        self._server.drain(has_successor=has_successor)
        time.sleep(drain_s)
        # A socket that a successor has, too, would refuse its clients for ever. It may still be
        # open here: a busy event loop has not left it yet.
        if not has_successor and self._server.refuse_new():
            # Clients that have connected just before may still send their request: wait a moment
            # for it.
            time.sleep(drain_s / 4)

    def _give_up(self, until_s: float) -> None:
        """Shortly before the end of the grace period, end what does not end by itself: WebSockets,
        unless their clients leave, and predictions, which may wait for a version that is being
        loaded, for a busy model or for replicas that do not start.
        """
        give_up_s = min(GIVE_UP_S, self._settings.grace_s / 2)
        if not self._server.await_end(max(0.0, until_s - give_up_s - time.monotonic())):
            if (models := models_of(self._app)) is not None:
                models.refuse_waiting()
            self._server.end_websockets(give_up_s / 3)

    def stop_at_once(self, because: str) -> None:
        """Stop without waiting for requests. Returns at once; may be called by a signal handler.

        Args:
            because: what asks for that, for the log.
        """
        threading.Thread(target=self._cut_off, args=(because,), daemon=True).start()

    def _cut_off(self, because: str) -> None:
        log.logger.error("%s: requests that have not ended are cut off", because)
        self._server.cut_off()

    def wait(self) -> bool:
        """Wait until the server has sent its last response and stopped, then close the models.

        Returns:
            False if requests were cut off.
        """
        was_drained = self._server.wait()
        close_models = getattr(self._app, "close_models", None)
        if close_models is not None:
            close_models(EXIT_S if was_drained else 0.0)
        return was_drained


def hand_over_gil_sooner() -> None:
    """Let threads that compute in Python hand over the GIL after `PROBES_SWITCH_S`, unless the app
    has set the interval itself.
    """
    if sys.getswitchinterval() == DEFAULT_SWITCH_S:
        sys.setswitchinterval(PROBES_SWITCH_S)


def certificate_of(settings: Settings) -> Certificate | None:
    """Return the TLS certificate that the settings name; None if they name none.

    Raises:
        ServingError: the certificate cannot be used.
    """
    if not settings.tls_cert:
        return None
    # `ssl` is imported only where TLS is used.
    from ..certificates import read_certificate

    return read_certificate(settings)


def server_of(
    app: WSGIApplication,
    settings: Settings,
    access_log: AccessLog | None = None,
    watch: ViewWatch | None = None,
    listeners: cabc.Sequence[Listener] | None = None,
    metrics: WorkerMetrics | None = None,
) -> HTTPServer:
    """Return the HTTP server for an application. The caller must start it."""
    tracing: Tracing | None = None
    if settings.tracing:
        from ..tracing import Tracing

        tracing = Tracing()
    limits = settings.http_limits()
    pool = LeaderPool(settings.threads, settings.max_websockets)
    options: dict[str, t.Any] = {
        "limits": limits,
        "threads": settings.threads,
        "pool": pool,
        "timed": access_log is not None,
        "watch": watch,
        "tracing": tracing,
        "routes": partial(model_routes, app),
        "complete": completion_of(app),
    }
    if settings.probes:
        from ..management.appprobes import ProbingGateway

        gateway: Gateway = ProbingGateway(app, settings.min_models, **options)
    else:
        gateway = Gateway(app, **options)
    if metrics is not None:
        metrics.follow_views(gateway.slots)
    return HTTPServer(
        make_listeners(settings) if listeners is None else listeners,
        handler=gateway,
        pool=pool,
        limits=limits,
        multiprocess=wanted_by(app, settings) > 1,
        # Poll the sockets before sleeping (busy-polling) only if another CPU remains for clients
        # and other threads.
        spins=usable_cpus() > 1,
        proxies=trusted_proxies(app, settings),
        access_log=access_log,
        metrics=metrics,
        timed=tracing is not None,
    )


def trusted_proxies(app: WSGIApplication, settings: Settings) -> TrustedProxies | None:
    """Return the proxies that the settings `proxy` and `proxy_headers` trust; None if they trust
    none. If the app is wrapped in `ProxyFix`, which reads the same headers, log advice.
    """
    if has_proxy_fix(app):
        if settings.proxy != "0":
            log.logger.warning("%s", proxyfix.TWICE)
        elif has_models(app):
            log.logger.info("%s", proxyfix.INSTEAD)
    if settings.proxy == "0":
        return None
    return TrustedProxies(settings.proxy, settings.proxy_headers)


def completion_of(app: WSGIApplication) -> Complete | None:
    """Return the function that adds the headers of an app to responses of the server itself; None
    if the app adds none.

    This reads the configuration of access at the start and not at the first request, so that the
    server does not start if it is not valid.

    Raises:
        ConfigError: the configuration of the app is not valid.
    """
    own = carboy_app(app)
    browsers = None if own is None else own.find_overrides().browsers
    if own is None or browsers is None or not browsers.adds_headers:
        return None
    complete = partial(browsers.completed, own)
    return lambda exchange, headers: complete(environ_of(exchange, None), headers)


def model_routes(app: WSGIApplication, gateway: Gateway) -> Routes:
    """Return, by URL path, the functions that accept requests for predictions without calling a
    view.
    """
    if not has_models(app):
        return {}
    # `predictions` is imported only here, because apps without models need neither it nor what it
    # imports.
    from ..predictions import routes

    return routes(app, gateway)


def has_models(app: WSGIApplication) -> bool:
    """Return whether an application has models."""
    return bool(models_of(app))


def wanted_by(app: WSGIApplication, settings: Settings) -> int:
    """Return how many workers serve the app, unless the supervisor finds that fewer fit into the
    memory.
    """
    return wanted_workers(settings.workers, usable_cpus(), has_models=has_models(app))


class Control(SupervisorLink):
    """The worker's connection with its supervisor, by which the supervisor stops the worker."""

    def __init__(self, channel: socket.socket) -> None:
        super().__init__(channel)
        self._service: Service | ModelKeeper | None = None
        # Reentrant, because the handler of SIGTERM may interrupt its thread when it holds the lock.
        self._lock = threading.RLock()
        self._asked_to_leave = False
        self._may_listen = threading.Event()
        self._questions = Questions(lambda _, payload: self.report(QUESTION, payload))
        self.on(ANSWER, self._questions.receive)
        self.on("alive?", self._answer_heartbeat)
        self.on("drain", lambda has_successor: self.stop(has_successor=bool(has_successor)))
        self.on("listen", lambda _: self._may_listen.set())
        self.on_orphaned.append(partial(self._questions.forget_all_but, ()))
        self.on_orphaned.append(self._stop_orphaned)

    def _stop_orphaned(self) -> None:
        log.logger.error("the supervisor has died: finishing the requests that have begun")
        self.stop()

    def ask(self, topic: str, **arguments: t.Any) -> Future[t.Any]:
        """Let the supervisor do something; return the future of its answer. Thread-safe."""
        return self._questions.put(os.getppid(), topic, **arguments)

    def _answer_heartbeat(self, payload: object) -> None:
        if self._service is not None:
            self._service.call(partial(self.report, "alive"))

    def on_sigterm(self) -> None:
        """Let another process replace this one. The supervisor has the listening socket, too: if
        this process left it now, clients would connect to it, and nobody would accept them.
        Without an effect if the supervisor has died, because this process stops then anyway.

        On a second SIGTERM, stop at once: the supervisor may be suspended. If not, it will start
        another process when this one has ended.
        """
        with self._lock:
            may_wait = self._service is not None and not self._asked_to_leave
            self._asked_to_leave = True
        if may_wait:
            # On another thread, because this one may have been interrupted while it reported.
            leave = partial(self.report, "leave", "it got SIGTERM")
            threading.Thread(target=leave, daemon=True).start()
        else:
            self.stop(has_successor=True)

    def stop(self, *, has_successor: bool = False) -> None:
        with self._lock:
            service = self._service
        if service is not None:
            service.stop(has_successor=has_successor)
        else:
            # The app is still being loaded. An import cannot be interrupted and no client waits, so
            # end the process at once.
            os._exit(0)

    def serve(self, service: Service | ModelKeeper) -> bool:
        """Serve until the end. Return whether all requests that had begun were finished."""
        service.load()
        service.limit(partial(self.report, "leave"))
        if advice := advice_on_sessions():
            self.report("warning", advice)
        self.report("loaded", service.loaded())
        # Meanwhile the supervisor measures the memory of this process. If it does not want it to
        # serve, it sends `drain`, which ends the process here.
        wait_on_main_thread(self._may_listen.wait)
        with self._lock:  # `stop` must not end this process when it already accepts connections
            service.listen()
            self._service = service
        self.report("ready", service.about())
        return service.wait()


def open_table(fd: int | None) -> SharedTable | None:
    """Return the table for metrics in the memory that the supervisor shares; None without one."""
    if fd is None:
        return None
    table = SharedTable(fd)
    os.close(fd)  # the mapping of the memory stays, and programs that the app starts get no part
    return table


def handle_signals(control: Control) -> None:
    """Handle signals as a worker does. The app may replace the handlers of SIGUSR1 and SIGUSR2."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    unblock_interrupts()
    signal.signal(signal.SIGTERM, lambda *_: control.on_sigterm())
    terminal = Terminal()

    def on_signal_for_supervisor(number: int, frame: types.FrameType | None) -> None:
        if not terminal.is_closed():
            # Log on another thread: this one may have been interrupted while it was logging.
            threading.Thread(target=_name_supervisor, args=(number,), daemon=True).start()

    # Handlers, and not SIG_IGN, which programs that the app starts would inherit.
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, on_signal_for_supervisor)
    if hasattr(faulthandler, "register"):  # Windows does not have this function
        faulthandler.register(signal.SIGQUIT)


def _name_supervisor(number: int) -> None:
    log.logger.warning(
        "%s has no effect on this process, which is a worker. Send it to the supervisor, the"
        " process %d",
        signal.Signals(number).name,
        os.getppid(),
    )


def main(argv: list[str]) -> None:
    control = Control(socket.socket(fileno=int(argv[0])))
    topics = WorkerTopics()
    control.on(QUESTION, Answers(control.report, topics.topics()).answer)
    handle_signals(control)
    mask_failed_threads()
    control.listen()
    job = json.loads(argv[1])
    log.configure()
    flush_each_line()
    try:
        install_as_flask_if_asked()
        settings = Settings(**job["settings"])
        send_log_lines(control, job["log_fds"])
        use_replicas_of(control, job["generation"], job["target"], settings)
        borrow_from(control)
        seen.files, seen.tell = job["key_files"], partial(control.report, "key-file")
        asked_by = debugmode.disable_in_environment()
        topics.app = app = load(job["target"])
        if models := models_of(app):
            models.lifecycle = ModelsOfAllWorkers(control.ask)
            models.withhold(job["models"]["unloaded"])
            models.follow(job["models"]["versions"], partial(report_loading, control))
        if reason := debugmode.disable(app, asked_by):
            control.report("warning", reason)
        several = advice_on_socketio(app, wanted_by(app, settings))
        for advice in filter(None, (advice_on_other_flask(app), several)):
            control.report("warning", advice)
        configure_log(app, control, several=wanted_by(app, settings) > 1)
        table = open_table(job.get("metrics_fd"))
        if job["serves"]:
            finished = control.serve(Service(app, settings, job["descriptors"], table))
        else:
            finished = control.serve(ModelKeeper(app))
    except BaseException as exc:  # noqa: BLE001  # the user's module may raise SystemExit
        control.report("failed", mask_text(explain(exc)))
        sys.exit(exit_code(exc))
    code = 0 if finished else 1
    threading.Thread(target=force_exit, args=(code,), daemon=True).start()
    sys.exit(code)


def report_loading(control: SupervisorLink, name: str, loading: Loading | None) -> None:
    """Tell the supervisor which version of a model this process begins to load, so that it knows
    of what the process has died; None when that has ended.
    """
    control.report("loading-version", [name, loading])


def use_replicas_of(
    control: SupervisorLink, generation: int, target: str | None, settings: Settings
) -> None:
    """Let models with replicas compute in those of the supervisor, or of a Ray cluster.

    Args:
        generation: how many reloads the supervisor had been asked for when it started this process.
        target: the import path of the app.
    """
    from ...models.replicas.placing import use_directory

    def connect() -> ReplicaMaker:
        from ...models.replicas.modelssocketclient import ModelsSocketClient

        return ModelsSocketClient(partial(find_models_socket, control), generation)

    def connect_to_ray() -> ReplicaMaker:
        from ...models.raycluster.cluster import RayCluster
        from .clusterapp import load_on_cluster

        place = settings.ray_place(target)
        tell, leave = partial(control.report, "cluster"), partial(control.report, "leave")
        return RayCluster(place, target, load_on_cluster, tell, leave)

    if settings.on == "ray":
        from ...models.raycluster.rayconnection import limit_waits

        limit_waits()
        use_directory(connect_to_ray)
    else:
        use_directory(connect)


def find_models_socket(control: SupervisorLink) -> str:
    """Ask the supervisor for the path of the models' socket, which it opens when it is first asked.

    Raises:
        ModelLoadError: it cannot be opened.
    """
    from ...errors import ModelLoadError

    answer: Future[dict[str, str]] = Future()
    control.on("models-socket", answer.set_result)
    control.report("models-socket")
    opened = answer.result()
    if not opened["path"]:
        raise ModelLoadError(opened["reason"])
    return opened["path"]


if __name__ == "__main__":
    main(sys.argv[1:])
