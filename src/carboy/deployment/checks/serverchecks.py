"""Checks of how the app is served: limits, addresses, memory, health checks."""

from __future__ import annotations

import ast
import os
import re
import typing as t

from ...core.bytesizes import format_size
from ...core.processmemory import in_mib
from ...errors import DeploymentError
from ...serving import machine
from ...serving.process import capacity
from ..appmemory import measure_app
from ..configvalues import config_value
from ..projectfiles import TextLine, lines_of
from .checkregistry import Found, check
from .deploymentfiles import deployment_files, instructions, is_dockerfile
from .places import place_of_key, place_of_setting
from .startedprograms import calls_in_programs

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..facts import Facts

# ------------------------------------------------------------------------------------- body limit

# Configuration file -> the server that reads it, which takes request bodies of any size.
_UNLIMITED_SERVERS = {"gunicorn.conf.py": "gunicorn", "uwsgi.ini": "uWSGI"}


@check(
    "carboy.W005",
    "Nothing limits the size of request bodies: a few clients can fill the disk or the memory.",
    remedy="Set MAX_CONTENT_LENGTH in the app's configuration, which every server heeds. Leave"
    " --max-body of 'carboy serve' at its default, or raise it as far as needed.",
    deploy=True,
)
def find_unlimited_bodies(facts: Facts) -> cabc.Iterator[Found]:
    if facts.body_limit is None:
        yield Found(
            place_of_setting("max_body_bytes"),
            "--max-body is 0, and MAX_CONTENT_LENGTH is not set.",
        )
    elif not facts.app.config.get("MAX_CONTENT_LENGTH"):
        for name, server in _UNLIMITED_SERVERS.items():
            if os.path.isfile(os.path.join(facts.root, name)):
                yield Found(
                    name,
                    f"{server} has no limit of its own, and MAX_CONTENT_LENGTH is not set.",
                )


@check(
    "carboy.W010",
    "MAX_CONTENT_LENGTH is larger than the limit of the server, which refuses bodies before (413).",
    remedy="Raise --max-body of 'carboy serve' (CARBOY_SERVE_MAX_BODY) to the same number, or lower"
    " MAX_CONTENT_LENGTH. Web servers in front get the smaller one from 'carboy nginx' and the"
    " like: write their files again.",
    deploy=True,
)
def find_limit_without_effect(facts: Facts) -> cabc.Iterator[Found]:
    of_app = config_value(facts.app, "MAX_CONTENT_LENGTH")
    of_server = facts.settings.max_body_bytes
    is_elsewhere = any(os.path.isfile(os.path.join(facts.root, n)) for n in _UNLIMITED_SERVERS)
    if of_app and of_server and of_app > of_server and not is_elsewhere:
        yield Found(
            place_of_key(facts, "MAX_CONTENT_LENGTH"),
            f"MAX_CONTENT_LENGTH is {format_size(of_app)}, but 'carboy serve' refuses bodies of"
            f" more than {format_size(of_server)} (--max-body).",
        )


# ------------------------------------------------------------------------------------ health check

# Matches a segment of the path of a health check, from which all but the letters were removed.
_HEALTH_ROUTE = re.compile(
    r"(?:health(?:z|check)?|live(?:z|ness)?|ready(?:z)?|readiness|startupz|alive|heartbeat|ping"
    r"|status|up)"
)
# Matches a setting in a file of the deployment by which something asks the app or the server
# regularly whether it works.
_HEALTH_SETTING = re.compile(
    r"health_?check|livenessProbe|readinessProbe|WatchdogSec|http_checks|--management|--probes"
    r"|CARBOY_SERVE_(?:MANAGEMENT|PROBES)",
    re.IGNORECASE,
)


@check(
    "carboy.W006",
    "Nothing tells a platform or a load balancer whether the app can answer (no health check).",
    remedy="Let 'carboy serve' answer probes: at --management (CARBOY_SERVE_MANAGEMENT), such as"
    " 127.0.0.1:9000, or with --probes on the app's own port. Or add a route such as /healthz.",
    deploy=True,
)
def find_missing_health_check(facts: Facts) -> cabc.Iterator[Found]:
    if facts.settings.management or facts.settings.probes:
        return
    if any(map(_is_health_path, facts.app.url_map.iter_rules())):
        return
    if any(_HEALTH_SETTING.search(line.text) for line in _deployment_lines(facts)):
        return
    yield Found(
        place_of_setting("management"),
        "The server answers no probes, and the app has no route such as /healthz: a load balancer"
        " or a platform sends requests also while the app is being loaded or cannot answer.",
    )


def _is_health_path(rule: t.Any) -> bool:
    segments = str(rule.rule).lower().split("/")
    return any(_HEALTH_ROUTE.fullmatch(re.sub(r"[^a-z]", "", each)) for each in segments)


def _deployment_lines(facts: Facts) -> cabc.Iterator[TextLine]:
    for path in deployment_files(facts):
        yield from lines_of(facts.root, path)


# ------------------------------------------------------------------------- address in a container

_SERVER = re.compile(r"(?<![\w.-])(?:carboy\s(?:.*\s)?serve|gunicorn)(?![\w.-])")
_ADDRESS = re.compile(r"\s(?:--host|--bind|-h|-b)[=\s]+(\S+)")
_OF_FILE = re.compile(r"\s(?:--config|-c)[=\s]")
_LOOPBACK = re.compile(r"127\.|localhost\b|\[?::1\b")
# Environment variables that say on which address servers listen: on all addresses, if PORT is set.
_ADDRESS_VARIABLE = re.compile(
    r"(?<!\w)(?:PORT|GUNICORN_CMD_ARGS|(?:CARBOY|FLASK)_SERVE_(?:HOST|BIND))[=\s]\s*(\S+)"
)


@check(
    "carboy.E008",
    "In a container, the server listens on the loopback address, which nobody outside of the"
    " container can reach.",
    remedy="Let it listen on all addresses of the container: 'carboy serve --host 0.0.0.0', or ENV"
    " PORT=8000.",
    deploy=True,
)
def find_unreachable_address(facts: Facts) -> cabc.Iterator[Found]:
    for path in filter(is_dockerfile, deployment_files(facts)):
        for line in _start_commands(facts, path):
            if any(_are_loopback(facts, line, each) for each in _servers(facts, line)):
                yield Found(line.place, "The server that the image starts listens on 127.0.0.1.")
    if _is_container() and facts.settings.addresses and (field := _loopback_setting(facts)):
        yield Found(place_of_setting(field), "This is a container, and the address is 127.0.0.1.")


def _start_commands(facts: Facts, path: str) -> cabc.Iterator[TextLine]:
    """Yield the lines of a Dockerfile that say what its last stage starts."""
    lines = [each.line for each in instructions(facts, "FROM", "CMD", "ENTRYPOINT")]
    for line in reversed([each for each in lines if each.path == path]):
        if line.text.strip().upper().startswith("FROM"):
            return
        yield line


def _servers(facts: Facts, line: TextLine) -> cabc.Iterator[list[str]]:
    """Yield, for each server that a command starts, the addresses on which it is told to listen."""
    if _SERVER.search(line.words):
        yield _ADDRESS.findall(line.words)
    for _, call in calls_in_programs(facts.root, line.words, "serve"):
        # The name is None in `serve(**options)`.
        values = [each.value for each in call.keywords if each.arg in {"host", "bind", None}]
        yield [ast.unparse(value).strip("[('\"") for value in values]


def _are_loopback(facts: Facts, line: TextLine, addresses: list[str]) -> bool:
    """Return whether a server listens on loopback addresses only: those that the command line or
    the program says, or else those of environment variables, or else the default.
    """
    if addresses:
        return all(map(_LOOPBACK.match, addresses))
    if "gunicorn" in line.words and _has_gunicorn_file(facts, line):
        return False
    return not any(
        not _LOOPBACK.match(found[1])
        for each in instructions(facts, "ENV")
        if each.line.path == line.path
        for found in _ADDRESS_VARIABLE.finditer(each.line.words)
    )


def _has_gunicorn_file(facts: Facts, line: TextLine) -> bool:
    by_default = os.path.join(facts.root, "gunicorn.conf.py")
    return _OF_FILE.search(line.words) is not None or os.path.isfile(by_default)


def _loopback_setting(facts: Facts) -> str | None:
    """Return the name of the setting by which the server listens on a loopback address only; None
    if it listens elsewhere, or if nobody has set an address (tests may run in this container, and
    no server).
    """
    field = "bind" if facts.settings.bind else "host"
    is_default = place_of_setting(field).endswith("(default)")
    hosts = [each.host for each in facts.settings.addresses if not each.path]
    if is_default or not hosts or not all(map(_LOOPBACK.match, hosts)):
        return None
    return field


def _is_container() -> bool:
    signs = ("/.dockerenv", "/run/.containerenv")
    return "KUBERNETES_SERVICE_HOST" in os.environ or any(map(os.path.exists, signs))


# -------------------------------------------------------------------------------- workers x memory


@check(
    "carboy.E009",
    "The workers that are set do not fit into the memory together.",
    remedy="Set fewer (--workers, CARBOY_SERVE_WORKERS, WEB_CONCURRENCY), or let 'carboy serve'"
    " choose; or raise the limit of the container. If the limit that is found is wrong, state it by"
    " CARBOY_SERVE_MEMORY_LIMIT.",
    deploy=True,
)
def find_too_many_workers(facts: Facts) -> cabc.Iterator[Found]:
    """Start the app once to measure its memory, if several workers are set."""
    limit = capacity.limit_of(facts.settings)
    if limit is None or (facts.settings.workers or 0) < 2:
        return
    place = place_of_setting("workers")
    try:
        measured = measure_app(facts.target)
    except DeploymentError as exc:
        yield Found(place, str(exc))
        return
    plan = capacity.make_plan(facts.settings.workers, machine.find_cpus(), limit, measured)
    if plan.refused:
        yield Found(
            place,
            f"{plan.workers} workers do not fit into the memory:"
            f" {capacity.sum_of(measured, plan.workers)}, more than the {in_mib(limit.amount)} of"
            f" {limit.source}.",
        )
