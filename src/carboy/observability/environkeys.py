"""The keys of the WSGI environ by which the server, the app and the log tell one another about a
request.
"""

from __future__ import annotations

#: The id of the request, a text; see `requestid`.
REQUEST_ID = "carboy.request_id"
# A dict of the fields that the app adds to the line of the request in the access log, by name, such
# as `model`. A server that writes an access log adds this key to the environ, at first with the
# value None; other servers do not add it.
FIELDS = "carboy.access_fields"
# The rule that the path of the request matches, such as "/items/<int:id>", from the app to the
# server. If carboy's server cannot find the rule itself, it adds this key to the environ, at first
# with the value "", which stands for no rule; other servers do not add it.
ROUTE = "carboy.route"
# The entries `ADDRESSES` of the environ before carboy's server has replaced them by what trusted
# proxies report; other servers do not add it.
RECEIVED = "carboy.received"
# What a client has connected to, and from where.
ADDRESSES = ("HTTP_HOST", "SERVER_PORT", "REMOTE_ADDR")
