"""Apps built from plain data, so that two processes can build the same random app."""

from __future__ import annotations

import typing as t

from programs import _RETURNED
from sidebyside import error_name
from werkzeug.exceptions import HTTPException

SCOPES = ("app", "outer", "outer.inner", "second")
PREFIXES = {"app": "", "outer": "/o", "outer.inner": "/o/i", "second": "/s"}
HOOKS = ("before", "after", "teardown", "values", "app_teardown")
SIGNALS = (
    "request_started",
    "request_finished",
    "request_tearing_down",
    "got_request_exception",
    "appcontext_pushed",
    "appcontext_tearing_down",
    "appcontext_popped",
)
ERRORS: dict[str, type[Exception]] = {
    "KeyError": KeyError,
    "ValueError": ValueError,
    "LookupError": LookupError,
    "UnicodeError": UnicodeError,
}
READS = (
    "path",
    "url",
    "endpoint",
    "blueprints",
    "args",
    "form",
    "data",
    "json",
    "values",
    "cookies",
)
RETURNS = tuple(_RETURNED)
CONFIG = {
    "TESTING": (True, False),
    "DEBUG": (True, False),
    "TRAP_HTTP_EXCEPTIONS": (True, False),
    "TRAP_BAD_REQUEST_ERRORS": (True, False, None),
    "PROPAGATE_EXCEPTIONS": (True, False, None),
    "MAX_CONTENT_LENGTH": (None, 3, 100),
    "SESSION_REFRESH_EACH_REQUEST": (True, False),
    "SECRET_KEY": (None, "key"),
    "SERVER_NAME": (None, "localhost", "example.com"),
    "TRUSTED_HOSTS": (None, ["localhost"]),
    "APPLICATION_ROOT": ("/", "/root"),
}


def _act(fw: t.Any, log: t.Any, action: list[t.Any], label: str) -> t.Any:
    """Do one thing that views and hooks do, and return a response to end with, or None."""
    what, argument = action
    if what == "read":
        value = getattr(fw.request, argument)
        log(label, argument, sorted(value.items()) if hasattr(value, "items") else value)
    elif what == "session":
        log(label, fw.session.get("n"))
        if argument == "clear":
            fw.session.clear()
        elif argument == "permanent":
            fw.session.permanent = True
        elif argument == "set":
            fw.session["n"] = fw.session.get("n", 0) + 1
    elif what == "g":
        fw.g.n = fw.g.get("n", 0) + 1
        log(label, "g", fw.g.n)
    elif what == "after":
        fw.after_this_request(lambda r: log(label, "after this") or r)
    elif what == "flash":
        fw.flash(argument)
    elif what == "raise":
        raise ERRORS[argument](label)
    elif what == "abort":
        fw.abort(argument)
    elif what == "return":
        return _RETURNED[argument](fw, log)
    return None


def _run(fw: t.Any, log: t.Any, actions: list[t.Any], label: str) -> t.Any:
    log(label)
    for action in actions:
        rv = _act(fw, log, action, label)
        if rv is not None:
            return rv
    return None


def build(spec: dict[str, t.Any]) -> t.Callable[[t.Any, t.Any], t.Any]:
    """Build the program that a description stands for."""

    def program(fw: t.Any, log: t.Any) -> t.Any:
        app = fw.Flask("program", static_folder=None)
        app.config.update(spec["config"])
        scopes = {"app": app}
        for name in SCOPES[1:]:
            own = name.rpartition(".")[2]
            scopes[name] = fw.Blueprint(own, "program", url_prefix=f"/{own[0]}")
        for number, (scope, kind, actions) in enumerate(spec["hooks"]):
            _add_hook(fw, log, scopes[scope], kind, actions, f"{scope} {kind} {number}")
        for scope, wanted, actions in spec["handlers"]:
            key = ERRORS.get(wanted) or (HTTPException if wanted == "HTTP" else int(wanted))
            _add_handler(fw, log, scopes[scope], key, actions, f"{scope} handler {wanted}")
        for scope, actions in spec["views"].items():
            _add_view(fw, log, scopes[scope], actions, f"{scope} view")
        scopes["outer"].register_blueprint(scopes["outer.inner"])
        app.register_blueprint(scopes["outer"])
        app.register_blueprint(scopes["second"])
        for name in spec["signals"]:
            _subscribe(fw, log, app, name)
        return app, *spec["requests"]

    return program


def _add_hook(fw, log, scope, kind, actions, label):
    def before():
        return _run(fw, log, actions, label)

    def after(response):
        rv = _run(fw, log, actions, label)
        return rv if isinstance(rv, fw.Response) else response

    def teardown(exc):
        log(label, error_name(exc))
        try:
            _run(fw, log, actions, label)
        except Exception as error:  # noqa: BLE001 - in Flask a failing function stops the others
            log(label, "failed", error_name(error))

    def app_teardown(exc):
        log(label, error_name(exc), fw.has_request_context())

    def values(endpoint, arguments):
        log(label, endpoint, arguments)
        if arguments:
            arguments["x"] += "+"

    if kind == "before":
        scope.before_request(before)
    elif kind == "after":
        scope.after_request(after)
    elif kind == "teardown":
        scope.teardown_request(teardown)
    elif kind == "values":
        scope.url_value_preprocessor(values)
    elif hasattr(scope, "teardown_appcontext"):
        scope.teardown_appcontext(app_teardown)


def _add_handler(fw, log, scope, key, actions, label):
    def handle(error):
        log(label, error_name(error))
        rv = _run(fw, log, actions, label)
        return ("handled", 418) if rv is None else rv

    scope.register_error_handler(key, handle)


def _add_view(fw, log, scope, actions, label):
    def view(**arguments):
        log(label, arguments)
        rv = _run(fw, log, actions, label)
        return "plain" if rv is None else rv

    scope.add_url_rule("/v/<x>", endpoint="v", view_func=view, methods=["GET", "POST"])
    scope.add_url_rule("/w", endpoint="w", view_func=view)


def _subscribe(fw, log, app, name):
    def receive(sender, **values):
        log(name, sorted(values))

    getattr(fw, name).connect(receive, app, weak=False)
