"""The settings of the production server. Each is a field of the class `Settings`.

The option of `carboy serve`, the environment variable, the argument of `app.serve()`, the line of
`--help` and the row of the table in docs/serving.md are derived from the field:

    field             option        environment              argument
    threads           --threads     CARBOY_SERVE_THREADS     threads
    grace_s           --grace       CARBOY_SERVE_GRACE_S     grace_s
    max_body_bytes    --max-body    CARBOY_SERVE_MAX_BODY    max_body     sizes may be text ("64M")

An option or argument takes precedence over the environment, and the environment over the default.
`FLASK_SERVE_*` is read if `CARBOY_SERVE_*` is not set. If neither is set, the variables of hosting
platforms are read: `PORT` and `WEB_CONCURRENCY` (Heroku, Cloud Run, ...), `AIP_HTTP_PORT` (Vertex
AI), `SAGEMAKER_BIND_TO_PORT`. `HOST` is not, because conda and some shells set it to the name of
the machine or of its platform. `CARBOY_PROXY` is a shorter name of `CARBOY_SERVE_PROXY`.
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import asdict, dataclass, fields

from ..errors import AddressError, ServingError
from ..models.raycluster.rayconnection import RayPlace, default_namespace
from . import machine
from .activation import passed_count
from .declaration import (
    PREFIX,
    AccessLogFormat,
    Backlog,
    Bind,
    Connections,
    ControlPath,
    Count,
    File,
    Given,
    HeadSize,
    Host,
    ManagementAddress,
    MemoryLimit,
    Mode,
    OptionalCount,
    OptionalSize,
    Port,
    Proxies,
    ProxyHeaders,
    RayAddress,
    RayCode,
    RayNamespace,
    ReplicasOn,
    ResidentSize,
    Seconds,
    Setting,
    Size,
    Timeout,
    WholeNumber,
    Workers,
    YesOrNo,
    declare,
)
from .http.address import Address, read_written
from .http.limits import Limits

if t.TYPE_CHECKING:
    import collections.abc as cabc

# The default of `host` if a variable such as PORT sets the port: hosting platforms that set it send
# requests over a network, which would not reach 127.0.0.1.
ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - where only a network reaches the app
# The default limits of the HTTP server. The class `Limits` gives the reasons for them.
_HTTP = Limits()


def default_connections() -> int:
    return min(_HTTP.connections, machine.affordable_connections())


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of the supervisor and its workers."""

    host: Host = declare(
        "127.0.0.1",
        "Address to listen on.",
        short="-h",
        computed=f"127.0.0.1, or {ALL_ADDRESSES} if the port comes from PORT",
    )
    port: Port = declare(
        8000,
        "Port to listen on; with 0 the system chooses a free one.",
        short="-p",
        platforms=("PORT", "AIP_HTTP_PORT", "SAGEMAKER_BIND_TO_PORT"),
    )
    bind: Bind = declare(
        (),
        "Address to listen on, in place of host and port: 0.0.0.0:8000, [::1]:8000, or"
        " unix:/run/app.sock for a Unix socket. The option may be repeated; elsewhere, commas"
        " separate several addresses.",
        short="-b",
        computed="host and port",
        several=True,
    )
    # The default is for a proxy that runs as a member of the server's group. Other users of the
    # machine, who could connect to a port of 127.0.0.1, cannot connect.
    socket_mode: Mode = declare(
        "660",
        "Permissions of the Unix sockets that the server creates, as for chmod. Who may write can"
        " connect.",
    )
    tls_cert: File = declare(
        "",
        "File with the server's certificate and the intermediate certificates after it (PEM)."
        " Ports then speak HTTPS; Unix sockets do not.",
        computed="none, no TLS",
    )
    tls_key: File = declare(
        "",
        "File with the private key of the certificate (PEM).",
        computed="the certificate's file",
    )
    tls_password_file: File = declare(
        "", "File with the password of an encrypted private key.", computed="none"
    )
    tls_client_ca: File = declare(
        "",
        "File with the certificates of authorities (PEM). Clients must then have a certificate that"
        " one of these has issued.",
        computed="none",
    )
    # None: the server chooses, when it knows whether the app has models and how much memory it
    # takes (`process.capacity`).
    workers: Workers = declare(
        None,
        "Worker processes. A number that does not fit into the memory is refused. With 0,"
        " app.serve() serves from the calling process.",
        short="-w",
        platforms=("WEB_CONCURRENCY",),
        compute=machine.default_workers,
        computed="one per CPU as far as they fit into the memory, at most"
        f" {machine.MAX_DEFAULT_WORKERS}; one if the app has models; 0 on Windows",
    )
    # None: what the system tells (`machine.memory_limit`).
    memory_limit_bytes: MemoryLimit = declare(
        None,
        "Memory that all processes of the server may use together, such as 512M or 2G, by which the"
        " number of workers is decided; 0 for no limit.",
        computed="the limit of the cgroup (container), or the machine's memory",
    )
    # The default is 16 threads because views that wait (for a database, another service, NumPy
    # without the GIL) need more threads than there are CPUs. A further thread is started only when
    # all others are busy, so a high number costs nothing: a text view is as fast with 32 threads as
    # with 2 (bench/serve.py).
    threads: Count = declare(16, "Requests that each worker handles at the same time.", short="-t")
    proxy: Proxies = declare(
        "0",
        "Trusted proxies in front of the server: their number, such as 1, or their addresses and"
        " networks, such as 10.0.0.0/8,192.0.2.1. Their headers say who the client is.",
        variable="CARBOY_PROXY",
    )
    # By default only X-Forwarded-For and X-Forwarded-Proto count, because nearly every proxy writes
    # them itself. Many proxies do not write the other headers, but pass them on as the client has
    # sent them, so that they may be false: load balancers of AWS pass X-Forwarded-Host on, and
    # nginx passes on all headers that its configuration does not set.
    proxy_headers: ProxyHeaders = declare(
        "for,proto",
        "The headers of trusted proxies that count: of X-Forwarded-* the names for, proto, host,"
        " port, prefix; or forwarded for the header Forwarded.",
        variable="CARBOY_PROXY_HEADERS",
    )
    max_body_bytes: OptionalSize = declare(
        _HTTP.body_bytes,
        "Largest body of a request, such as 64M or 1G; 0 for no limit. A larger body is refused"
        " with 413.",
    )
    max_held_bodies_bytes: Size = declare(
        _HTTP.held_bodies_bytes,
        "Total size of the bodies of predictions that a worker holds until they are answered."
        " Further bodies are refused with 503.",
    )
    max_held_responses_bytes: Size = declare(
        _HTTP.held_responses_bytes,
        "Total size of the responses that clients of a worker have not read yet. Beyond that, a"
        " view keeps its thread until its client has read the response, and predictions are refused"
        " with 503.",
    )
    max_head_bytes: HeadSize = declare(
        _HTTP.head_bytes,
        "Largest size of request line and headers together. More is refused with 431.",
    )
    max_headers: Count = declare(
        _HTTP.header_count,
        "Largest number of headers in a request. More are refused with 431.",
    )
    head_timeout_s: Timeout = declare(
        _HTTP.head_s,
        "How long a client may take to send request line and headers; then the response is 408."
        " A TLS handshake may take as long.",
    )
    body_timeout_s: Timeout = declare(
        _HTTP.body_s,
        "How long the server waits for a body, in sum;"
        f" {_HTTP.body_s_per_mb:g} s more for each MB. Then the response is 408, or a view that"
        " already reads the body gets an error.",
    )
    stall_timeout_s: Timeout = declare(
        _HTTP.stall_s,
        "How long a client may pause within a body or a response before it is disconnected.",
    )
    keep_alive_s: Seconds = declare(_HTTP.keep_alive_s, "How long an idle connection stays open.")
    linger_s: Seconds = declare(
        _HTTP.linger_s,
        "How long the rest of a refused body is discarded, so that the client can read the"
        " response.",
    )
    max_websockets: Count = declare(
        _HTTP.websockets,
        "Largest number of open WebSockets of a worker; each has threads of its own. Further ones"
        " are refused with 503.",
    )
    websocket_idle_s: Seconds = declare(
        _HTTP.websocket_idle_s,
        "How long a WebSocket may transfer nothing in either direction before it is closed; 0 for"
        " no limit.",
    )
    connections: Connections = declare(
        _HTTP.connections,
        "Largest number of open connections of a worker, including idle ones. Further connections"
        " wait in the backlog.",
        compute=default_connections,
        computed=f"{_HTTP.connections}, or what the hard limit of open files allows",
    )
    backlog: Backlog = declare(
        _HTTP.backlog, "Connections that the system accepts before a worker does."
    )
    access_log: AccessLogFormat = declare(
        "auto",
        "A line per request, as text (the combined format) or JSON, for the logger carboy.access."
        " With auto, if LOG_FILE or another LOG_ key is set, or the program has configured logging,"
        " and LOG_LEVEL is not above INFO; JSON if LOG_FORMAT is json.",
    )
    access_log_query: YesOrNo = declare(
        False,
        "Whether the access log has the queries of URLs, which may contain secrets.",
    )
    metrics: YesOrNo = declare(
        True,
        "Whether requests and predictions are counted for /metrics on the management listener.",
    )
    tracing: YesOrNo = declare(
        False,
        "Whether requests and predictions are traced by OpenTelemetry, which the app must have"
        " configured.",
    )
    # The default of `worker_timeout_s` is 30 s, as in gunicorn; nginx gives up on a request after
    # 60 s.
    worker_timeout_s: Seconds = declare(
        30.0,
        "How long a worker may show no sign of life before it is killed and replaced; 0 for no"
        " limit. A view that takes long is no reason, native code that holds the GIL is.",
    )
    # The default is no limit: a view may take long on purpose, such as one that waits for events.
    view_timeout_s: Seconds = declare(
        0.0,
        "How long a view may take until its response begins; 0 for no limit. A view that takes"
        " longer is logged with its stack; a worker whose threads all do is replaced.",
    )
    max_requests: OptionalCount = declare(
        None,
        "How many requests a worker answers before it is replaced, less up to a tenth, so that"
        " workers do not leave together; 0 for no limit. No request is lost.",
    )
    max_rss_bytes: ResidentSize = declare(
        None,
        "How much resident memory a worker may use before it is replaced, such as 1G, less up to a"
        " tenth of what it may grow after loading the app; 0 for no limit. No request is lost."
        " Linux only.",
    )
    # The default of `drain_s`, half a second, is long enough for a client that sends one request
    # after another: it gets a response in that time, which asks it to reconnect.
    drain_s: Seconds = declare(
        0.5,
        "How long, after SIGTERM, new connections are still accepted and responses ask clients to"
        " reconnect.",
    )
    # The default of `grace_s` is 30 s, as are those of gunicorn's graceful_timeout and Kubernetes'
    # terminationGracePeriodSeconds.
    grace_s: Seconds = declare(30.0, "How long requests may go on after SIGTERM and the drain.")
    control: ControlPath = declare(
        "",
        "The Unix socket for carboy ctl, which only the user of the server may use; off for none.",
        computed="ADDRESS:PORT.sock in the folder carboy of XDG_RUNTIME_DIR or /run, or in a"
        " private folder of the temporary folder",
    )
    # By default there is no TCP address for the management, because it would need a second free
    # port.
    management: ManagementAddress = declare(
        "",
        "An address for the probes /livez, /readyz and /startupz, apart from the app, such as"
        " 127.0.0.1:9000. The control socket answers them, too.",
        computed="none",
    )
    probes: YesOrNo = declare(
        False,
        "Whether the server answers /livez, /readyz and /startupz on the port of the app, too,"
        " instead of the app.",
    )
    min_models: WholeNumber = declare(
        0, "How many models the app must have; with fewer it is not ready (/readyz)."
    )

    on: ReplicasOn = declare(
        "local",
        "Where models with replicas= compute: in processes on this machine, or on a Ray cluster.",
    )
    ray_address: RayAddress = declare(
        "",
        "The head node of the Ray cluster. A node of the cluster must run on this machine.",
        computed="RAY_ADDRESS, or the Ray node that runs on this machine",
    )
    ray_namespace: RayNamespace = declare(
        "",
        "Where the replicas of the app are on the cluster. Servers with the same namespace share"
        " them.",
        computed="carboy- and the import path of the app",
    )
    ray_code: RayCode = declare(
        "same",
        "How the code of the app reaches the nodes: each has the same in the same folder or"
        " installed, or the server's folder is uploaded.",
    )
    ray_allow_plaintext: YesOrNo = declare(
        False, "Whether the Ray cluster may have nodes on other machines without RAY_USE_TLS."
    )
    ray_allow_dashboard: YesOrNo = declare(
        False, "Whether other machines may reach the dashboard of the Ray cluster."
    )

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The addresses to listen on."""
        if self.bind:
            return tuple(map(read_written, self.bind))
        return (Address(self.host, self.port),)

    @property
    def urls(self) -> list[str]:
        """The addresses as users write them: URLs, and `unix:` with the path of a Unix socket."""
        return [address.url(tls=bool(self.tls_cert)) for address in self.addresses]

    @property
    def url(self) -> str:
        """The URL that links to the app begin with; "" if there are only Unix sockets, which have
        no URL.
        """
        return next((url for url in self.urls if url.startswith("http")), "")

    def as_dict(self) -> dict[str, t.Any]:
        return asdict(self)

    def changed(self) -> dict[str, t.Any]:
        """Return the values that are not the defaults."""
        values = self.as_dict()
        return {
            each.field: values[each.field]
            for each in SETTINGS
            if values[each.field] != each.default
        }

    def ray_place(self, target: str | None) -> RayPlace:
        """Return the Ray cluster, and what is allowed there.

        Args:
            target: the import path of the app.
        """
        return RayPlace(
            address=self.ray_address,
            namespace=self.ray_namespace or default_namespace(target),
            uploads_code=self.ray_code == "upload",
            allows_plaintext=self.ray_allow_plaintext,
            allows_dashboard=self.ray_allow_dashboard,
        )

    def http_limits(self) -> Limits:
        return Limits(
            head_bytes=self.max_head_bytes,
            header_count=self.max_headers,
            body_bytes=self.max_body_bytes,
            held_bodies_bytes=self.max_held_bodies_bytes,
            held_responses_bytes=self.max_held_responses_bytes,
            head_s=self.head_timeout_s,
            body_s=self.body_timeout_s,
            stall_s=self.stall_timeout_s,
            keep_alive_s=self.keep_alive_s,
            linger_s=self.linger_s,
            websockets=self.max_websockets,
            websocket_idle_s=self.websocket_idle_s,
            connections=self.connections,
            backlog=self.backlog,
        )


def _declared() -> tuple[Setting, ...]:
    formats = t.get_type_hints(Settings, include_extras=True)
    return tuple(
        Setting(field.name, field.default, formats[field.name].__metadata__[0], **field.metadata)
        for field in fields(Settings)
    )


SETTINGS: t.Final = _declared()


# ------------------------------------------------------------------------- reading the values


def as_argument(setting: Setting) -> str:
    return f"the argument {setting.argument} of app.serve()"


def as_option(setting: Setting) -> str:
    return f"the option {setting.option}"


def make_settings(
    arguments: cabc.Mapping[str, object],
    environ: cabc.Mapping[str, str] = os.environ,
    *,
    describe: cabc.Callable[[Setting], str] = as_argument,
) -> Settings:
    """Create the settings. Each value comes from the arguments; if it is not there, from the
    environment; if it is not there either, it is the default.

    Args:
        arguments: the values by `Setting.argument`; None means that an argument is not given.
        environ: the environment variables.
        describe: returns how error messages refer to an argument, as in "the option --port".

    Raises:
        AddressError: the host or the port is not valid, or a setting of the sockets has no effect.
        ServingError: another value is not valid.
        TypeError: an argument is not the name of a setting.
    """
    _refuse_unknown(arguments)
    values: dict[str, t.Any] = {}
    sources: dict[str, str] = {}
    for setting in SETTINGS:
        given = _find_value(setting, arguments, environ, describe)
        if given is not None:
            values[setting.field] = setting.parse(given)
            if not given.by_platform:
                sources[setting.field] = given.source
            elif setting.field == "port":
                values.setdefault("host", ALL_ADDRESSES)
        elif setting.compute is not None:
            values[setting.field] = setting.compute()
    _refuse_ineffective(values)
    _refuse_second_address(values, sources, passed_count(environ))
    if values.get("workers") == 0:
        refuse_without_workers(values)
    if values.get("tracing"):
        from .tracing import require_package

        require_package()
    return Settings(**values)


# For settings that need another one: the setting that they need, and what it must be set to.
_NEEDS = {
    "proxy_headers": ("proxy", "the number of trusted proxies or to their addresses"),
    **dict.fromkeys(
        ("tls_key", "tls_password_file", "tls_client_ca"),
        ("tls_cert", "the file of the certificate"),
    ),
    **dict.fromkeys(
        (
            *("ray_address", "ray_namespace", "ray_code"),
            *("ray_allow_plaintext", "ray_allow_dashboard"),
        ),
        ("on", "ray"),
    ),
    "access_log_query": ("access_log", "auto, text or json"),
}
# Values of settings with which those that need them have no effect.
_OFF = ("0", "local", "", "off")


def _refuse_ineffective(values: cabc.Mapping[str, t.Any]) -> None:
    """Raise ServingError if a value would have no effect, because of the value of another setting,
    or because that one is not set.
    """
    defaults = {setting.field: setting.default for setting in SETTINGS}
    for name, (needed, what) in _NEEDS.items():
        if values.get(name, False) is not False and values.get(needed, defaults[needed]) in _OFF:
            raise ServingError(
                f"Setting {name!r} has no effect without the setting {needed!r}. Set {needed!r} to"
                f" {what}, or leave out {name!r}."
            )


# For settings that have no effect without workers: the reason.
_NEED_WORKERS = {
    "memory_limit_bytes": "it decides how many there are",
    "on": "the models of this process were declared before, and compute in it",
    **dict.fromkeys(
        ("max_requests", "max_rss_bytes", "view_timeout_s", "worker_timeout_s"),
        "nobody could replace the process that serves",
    ),
    **dict.fromkeys(
        ("control", "management", "metrics"),
        "their supervisor answers there. 'probes' answers /readyz on the port of the app",
    ),
    "min_models": "nobody answers /readyz, unless 'probes' lets the port of the app do so",
}


def refuse_without_workers(values: cabc.Mapping[str, t.Any]) -> None:
    """Raise ServingError for the first value that would have no effect without workers.

    Args:
        values: the values that the user has set, by `Setting.field`.
    """
    for setting in SETTINGS:
        reason = _NEED_WORKERS.get(setting.field)
        if setting.field == "min_models" and values.get("probes"):
            continue
        if reason is not None and values.get(setting.field) not in (None, "", "off", "local", 0):
            raise ServingError(
                f"Setting {setting.argument!r} has no effect without workers: {reason}. Leave it"
                " out, or serve with workers."
            )


def _refuse_second_address(
    values: cabc.Mapping[str, t.Any], sources: cabc.Mapping[str, str], passed: int
) -> None:
    """Raise AddressError if the user has set host or port, which have no effect because of `bind`,
    or because systemd passes sockets; if `socket_mode` has no effect without a Unix socket; and if
    `backlog` has none because systemd has opened all sockets.
    """
    bind = values.get("bind", ())
    for name in ("host", "port"):
        if name in sources and (bind or passed):
            because = (
                "beside the setting 'bind', which has all addresses"
                if bind
                else "because systemd passes the sockets to listen on (LISTEN_FDS)"
            )
            raise AddressError(
                f"Setting {name!r} from {sources[name]} has no effect {because}. Leave it out, or"
                " write the address into 'bind', such as 0.0.0.0:8000."
            )
    if "socket_mode" in sources and not any(text.startswith("unix:") for text in bind):
        raise AddressError(
            "Setting 'socket_mode' has no effect, because the server creates no Unix socket. Name"
            " one by the setting 'bind', such as unix:/run/app.sock, or leave out 'socket_mode'."
        )
    if "backlog" in sources and passed and not bind:
        raise AddressError(
            f"Setting 'backlog' from {sources['backlog']} has no effect because systemd passes the"
            " sockets to listen on (LISTEN_FDS). Set Backlog= in the .socket unit, and leave out"
            " 'backlog'."
        )


def _find_value(
    setting: Setting,
    arguments: cabc.Mapping[str, object],
    environ: cabc.Mapping[str, str],
    describe: cabc.Callable[[Setting], str],
) -> Given | None:
    value = arguments.get(setting.argument)
    if value is not None and value != ():  # click gives () if an option is not repeated
        return Given(value, describe(setting))
    for name in setting.variables:
        if text := environ.get(name):
            return Given(
                text,
                f"the environment variable {name}",
                "Correct it (a .env file may set it), or unset it.",
                by_platform=name in setting.platforms,
            )
    return None


def _refuse_unknown(arguments: cabc.Mapping[str, object]) -> None:
    from ..core.advice import did_you_mean

    known = [setting.argument for setting in SETTINGS]
    for name in arguments:
        if name not in known:
            raise TypeError(
                f"app.serve() has no argument {name!r}.{did_you_mean(name, known)} Its arguments"
                f" are {', '.join(known)}."
            )


def unknown_variables(environ: cabc.Mapping[str, str] = os.environ) -> list[str]:
    """Return a warning for each variable `CARBOY_SERVE_*` that does not belong to a setting.

    Unknown variables are not errors, because a deployment that is rolled back to this release may
    still set the variables of a newer release.
    """
    from ..core.advice import did_you_mean

    known = [setting.argument.upper() for setting in SETTINGS]
    unknown = {name.removeprefix(PREFIX) for name in environ if name.startswith(PREFIX)}
    return [
        f"the environment variable {PREFIX}{name} has no effect: it is not the name of a setting"
        f" of the server.{did_you_mean(name, known, prefix=PREFIX)}"
        for name in sorted(unknown - set(known))
    ]


def problems_of_variables(environ: cabc.Mapping[str, str] = os.environ) -> list[str]:
    """Return an error message for each environment variable by which a server would refuse to
    start, and a warning for each that has no effect.
    """
    problems = unknown_variables(environ)
    for setting in SETTINGS:
        given = _find_value(setting, {}, environ, as_argument)
        if given is not None:
            problems += _problems_by(setting.parse, given)
    # Only values that are valid one by one can contradict each other.
    return problems or _problems_by(make_settings, {}, environ)


def _problems_by(read: cabc.Callable[..., object], *args: object) -> list[str]:
    """Call `read` with the arguments. Return the text of the error that it raises, if any."""
    try:
        read(*args)
    except ServingError as exc:
        return [str(exc)]
    return []
