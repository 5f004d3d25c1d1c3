"""The signals that carboy sends, under Flask's names.

They have their own namespace, so that a signal of the same name in another library is a different
object. `signal.receivers` is empty if no receiver is connected; the sender then need not build the
arguments.
"""

from __future__ import annotations

from blinker import Namespace

_signals = Namespace()

# Signals for rendering a template, which are sent with the arguments `template` and `context`.
before_render_template = _signals.signal("before-render-template")
template_rendered = _signals.signal("template-rendered")

# Signals for the stages of a request.
request_started = _signals.signal("request-started")
request_finished = _signals.signal("request-finished")
request_tearing_down = _signals.signal("request-tearing-down")
got_request_exception = _signals.signal("got-request-exception")

# Signals for the application context.
appcontext_pushed = _signals.signal("appcontext-pushed")
appcontext_tearing_down = _signals.signal("appcontext-tearing-down")
appcontext_popped = _signals.signal("appcontext-popped")

message_flashed = _signals.signal("message-flashed")
