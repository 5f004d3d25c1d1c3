"""Run a small program on a framework and record everything that can be observed.

A program is a function `(fw, log) -> (app, step, ...)`. `fw` is the framework with its public
names; `log(...)` records an event; a step is a request ("GET /path", or a dict for werkzeug's
`EnvironBuilder`) or a callable that gets the app and may patch something or log what it finds. The
records can be compared between frameworks, and between the fast path and the full dispatch.

Run as a program, this module records all of `programs` on Flask, as JSON; with --serve, the random
apps that it reads from its input.
"""

from __future__ import annotations

import importlib
import io
import json
import re
import sys
import typing as t

from werkzeug.test import EnvironBuilder

Step = str | dict[str, t.Any] | t.Callable[[t.Any], object]
Log = t.Callable[..., None]

# The parts that differ between two runs of the same program: signatures, times, addresses.
_NOISE = (
    (re.compile(r"(session=[^.;]*\.)[^;]*"), r"\1*"),
    (re.compile(r"Expires=[^;]*"), "Expires=*"),
    (re.compile(r"0x[0-9a-f]{6,}"), "0x*"),
)
_TIMES = {"date", "expires", "last-modified"}


class Framework:
    """A framework's package, with its modules as attributes, optionally with another app class."""

    def __init__(self, package: str, app_class: type | None = None) -> None:
        self._package = importlib.import_module(package)
        self.name = package
        if app_class is not None:
            self.Flask = app_class

    def __getattr__(self, name: str) -> t.Any:
        try:
            return importlib.import_module(f"{self.name}.{name}")
        except ModuleNotFoundError:
            return getattr(self._package, name)


def _quiet(text: str) -> str:
    for pattern, replacement in _NOISE:
        text = pattern.sub(replacement, text)
    return text


def _headers(headers: list[tuple[str, str]]) -> list[list[str]]:
    return [[name, _quiet_header(name.lower(), value)] for name, value in headers]


def _quiet_header(name: str, value: str) -> str:
    if name in _TIMES:
        return "*"
    if name == "allow":  # Werkzeug builds this header from a set
        return ", ".join(sorted(value.split(", ")))
    return _quiet(value)


def error_name(error: BaseException | None) -> str:
    """Return a class name that both frameworks share: a framework's own errors derive from
    built-ins.
    """
    shared = ("builtins", "werkzeug")
    return next(c for c in type(error).__mro__ if c.__module__.startswith(shared)).__name__


def call(app: t.Any, step: str | dict[str, t.Any], log: Log) -> list[t.Any]:
    """Send one request as a server does, and return status, headers and body, or the exception."""
    if isinstance(step, str):
        method, _, path = step.partition(" ")
        step = {"method": method, "path": path}
    options = dict(step)
    environ_changes = options.pop("environ", {})
    environ = EnvironBuilder(**{"base_url": "http://localhost", **options}).get_environ()
    environ["wsgi.errors"] = io.StringIO()
    environ |= environ_changes
    for key in [key for key, value in environ.items() if value is None]:
        del environ[key]
    started: list[t.Any] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: t.Any = None
    ) -> t.Any:
        log("start")
        started[:] = [status, _headers(headers)]
        return None

    try:
        result = app(environ, start_response)
        log("returned")
        try:
            body = b"".join(result)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()
    except BaseException as error:  # noqa: BLE001 - the exception is the program's result
        return [error_name(error)]
    return [*started, _quiet(body.decode("latin-1"))]


def observe(program: t.Callable[[Framework, Log], t.Any], framework: Framework) -> list[t.Any]:
    """Run a program, and return for each step its response and the events until then."""
    events: list[str] = []
    seen: list[t.Any] = []

    def log(*parts: object) -> None:
        events.append(_quiet(" ".join(map(str, parts))))

    try:
        app, *steps = program(framework, log)
        for step in steps:
            del events[:]
            answer = [] if callable(step) else call(app, step, log)
            if callable(step):
                try:
                    step(app)
                except Exception as error:  # noqa: BLE001 - user code may raise anything
                    answer = [error_name(error)]
            seen.append([answer, list(events)])
    finally:
        for signal in vars(framework.signals)["_signals"].values():
            signal._clear_state()  # a receiver would slow down all later tests
    return seen


def main() -> None:
    import asyncio
    import logging

    flask = Framework("flask")
    assert flask.Flask.__module__ == "flask.app", "this is not Flask"
    logging.disable()
    # Flask's own `async_to_sync` requires asgiref, which is not part of the comparison.
    flask.Flask.async_to_sync = lambda app, f: lambda *a, **kw: asyncio.run(f(*a, **kw))
    if "--serve" in sys.argv:
        from randomapps import build

        for line in sys.stdin:
            print(json.dumps(observe(build(json.loads(line)), flask)), flush=True)
        return
    from programs import PROGRAMS

    json.dump({name: observe(p.run, flask) for name, p in PROGRAMS.items()}, sys.stdout)


if __name__ == "__main__":
    main()
