"""Begin and end contexts in random orders, and record what is active after each step.

`record(fw)` runs the same orders on each framework. Run as a program, this module records them on
Flask, as JSON.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
import typing as t

ORDERS = 600
# Two app contexts and two requests of one app, an app context and a request of another.
NAMES = ("app", "app again", "request", "request again", "other app", "other request")


def _orders() -> t.Iterator[list[tuple[str, str]]]:
    """Yield random sequences in which each pushed context is popped, in any order."""
    chooser = random.Random(20261129)
    for _ in range(ORDERS):
        unpushed = chooser.sample(NAMES, chooser.randint(2, 4))
        if chooser.random() < 0.3:
            unpushed.append(chooser.choice(unpushed))  # pushed twice
        pushed: list[str] = []
        steps = []
        while unpushed or pushed:
            if unpushed and (not pushed or chooser.random() < 0.5):
                pushed.append(unpushed.pop())
                steps.append(("push", pushed[-1]))
            else:
                steps.append(("pop", pushed.pop(chooser.randrange(len(pushed)))))
        yield steps


def _contexts(fw: t.Any, log: list[t.Any]) -> dict[str, t.Any]:
    made = {}
    for prefix in ("", "other "):
        app = fw.Flask(f"{prefix}shop")
        app.teardown_appcontext(lambda e, app=app: log.append(f"teardown {app.name}"))
        app.teardown_request(lambda e: log.append(f"teardown {fw.request.path}"))
        app.route("/<name>", endpoint="page")(lambda name: name)
        made[f"{prefix}app"] = app.app_context()
        made[f"{prefix}request"] = app.test_request_context(f"/{prefix}first")
        if not prefix:
            made["app again"] = app.app_context()
            made["request again"] = app.test_request_context("/second")
    return made


def _active(fw: t.Any) -> list[t.Any]:
    found: list[t.Any] = [fw.has_app_context(), fw.has_request_context()]
    if fw.has_app_context():
        found += [fw.current_app.name, fw.g.get("first")]
    if fw.has_request_context():
        found += [fw.request.path, fw.request.view_args]
    return found


def record(fw: t.Any) -> list[t.Any]:
    """Return, for each order, the events and what was active after each step."""
    variables = importlib.import_module(f"{fw.__name__}.globals")
    orders = []
    for steps in _orders():
        log: list[t.Any] = []
        contexts = _contexts(fw, log)
        for action, name in steps:
            try:
                getattr(contexts[name], action)()
            except (AssertionError, LookupError):
                # Flask now reactivates contexts that have ended; carboy does not.
                log.append([action, name, "refused"])
                break
            if fw.has_app_context():
                fw.g.setdefault("first", f"{action} {name}")
            log.append([action, name, _active(fw)])
        orders.append(log)
        for variable in (variables._cv_request, variables._cv_app):
            while variable.get(None) is not None:
                variable.set(None)
    return orders


if __name__ == "__main__":
    json.dump(record(importlib.import_module("flask")), sys.stdout)
