"""The keys of the WSGI environ by which the server, the app and the log tell one another about a
request.
"""

from __future__ import annotations

#: The id of the request, a text; see `requestid`.
REQUEST_ID = "carboy.request_id"
#: The times that `app.timer` has measured in the request: a dict of milliseconds by name. Times of
#: the same name are added up.
TIMINGS = "carboy.timings"
#: Further fields of the request's line in the access log, which its view sets: a dict by name. The
#: key is there, and its value is None, if the server has an access log.
FIELDS = "carboy.access_fields"
