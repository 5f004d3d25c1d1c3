"""The routes of an app that need more of a web server than others: streams, WebSockets, and long
predictions.
"""

from __future__ import annotations

import inspect
import re
import typing as t
from functools import partial

from ..core.annotations import declared, layers

if t.TYPE_CHECKING:
    from werkzeug.routing import Rule

    from ..models.model import Model
    from ..serving.settings import Settings
    from .facts import Facts

# How many seconds web servers wait for a response unless they are told otherwise: nginx's default.
USUAL_WAIT_S = 60.0
# How many seconds longer than the app a web server waits, so that the client gets the app's own
# answer to what takes too long (503 or 504, a Close frame).
MARGIN_S = 5.0
# How many seconds may pass between two items of a stream, or before a response without a time
# limit, until a web server closes the connection.
SILENCE_S = 3600.0


class SpecialRoute(t.NamedTuple):
    """A route whose requests need more of a web server than others: it sends a stream of items,
    opens a WebSocket, or predicts for a long time.
    """

    rule: str  # as in the app, such as /answers/<int:number>
    # The path, if the rule has no variables; else a regular expression for the whole path (without
    # anchors), in which a variable is [^/]+ or .+: it may match more than the rule does.
    path: str
    is_pattern: bool
    streams: bool
    websocket: bool
    wait_s: float  # how long the app may send nothing


def special_routes(facts: Facts, wait_s: float) -> list[SpecialRoute]:
    """Return the routes for which it does not suffice that a web server waits for `wait_s` seconds,
    and sends responses that it has buffered.
    """
    models = facts.model_endpoints
    found = (
        _special_route(facts, rule, models.get(rule.endpoint), wait_s)
        for rule in facts.app.url_map.iter_rules()
        if not rule.build_only
    )
    return sorted({route for route in found if route is not None})


def _special_route(
    facts: Facts, rule: Rule, model: Model | None, usual_s: float
) -> SpecialRoute | None:
    path, is_pattern = _path_of(rule)
    special = partial(SpecialRoute, rule.rule, path, is_pattern)
    if rule.websocket:
        return special(False, True, _silence_of_websocket(facts.settings))
    if model is not None:
        deadline_s = model.options.deadline_s
        wait_s = SILENCE_S if deadline_s is None else deadline_s + MARGIN_S
        streams = model.answers.streams
        if streams or wait_s > usual_s:
            return special(streams, False, max(wait_s, usual_s))
        return None
    if _streams(facts.app.view_functions.get(rule.endpoint)):
        return special(True, False, SILENCE_S)
    return None


def _silence_of_websocket(settings: Settings) -> float:
    """Return for how many seconds a WebSocket may be silent before a web server closes it."""
    idle_s = settings.websocket_idle_s
    return idle_s + MARGIN_S if idle_s else 24 * SILENCE_S


def _streams(view: object) -> bool:
    """Return whether a view is known to send its response item by item."""
    contract = declared(view, "contract")
    if contract is not None and any(each.answer.streams for each in contract.operations.values()):
        return True
    return any(map(inspect.isgeneratorfunction, layers(view)))


def _path_of(rule: Rule) -> tuple[str, bool]:
    """Return the path of a rule, and whether it is a regular expression."""
    parts = rule._trace[rule._trace.index((False, "|")) + 1 :]
    if not any(dynamic for dynamic, _ in parts):
        return "".join(text for _, text in parts), False
    return "".join(
        _VARIABLES[rule._converters[text].part_isolating] if dynamic else re.escape(text)
        for dynamic, text in parts
    ), True


# Regular expression for a variable: True if it is a part of one segment of the path, False if it
# may contain slashes.
_VARIABLES = {True: "[^/]+", False: ".+"}
