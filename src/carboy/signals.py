"""The signals that carboy sends, under Flask's names.

The signals have their own namespace, so that another library's signal of the same name is another
object. While no receiver is connected, `signal.receivers` is empty, and senders can skip making the
arguments.
"""

from __future__ import annotations

from blinker import Namespace

_signals = Namespace()

# Templates; sent with `template` and `context`.
before_render_template = _signals.signal("before-render-template")
template_rendered = _signals.signal("template-rendered")

# The stages of a request.
request_started = _signals.signal("request-started")
request_finished = _signals.signal("request-finished")
request_tearing_down = _signals.signal("request-tearing-down")
got_request_exception = _signals.signal("got-request-exception")

# The application context.
appcontext_pushed = _signals.signal("appcontext-pushed")
appcontext_tearing_down = _signals.signal("appcontext-tearing-down")
appcontext_popped = _signals.signal("appcontext-popped")

message_flashed = _signals.signal("message-flashed")
