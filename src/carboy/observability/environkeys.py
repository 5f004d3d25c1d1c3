"""The keys of the WSGI environ by which the server, the app and the log tell one another about a
request.
"""

from __future__ import annotations

#: The id of the request, a text; see `requestid`.
REQUEST_ID = "carboy.request_id"
#: Further fields of the request's line in the access log: a dict by name, such as `model`. The key
#: is there, and its value is None, if the server has an access log.
FIELDS = "carboy.access_fields"
