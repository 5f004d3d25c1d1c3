"""Problem details: an error that a program can read.

`Problem` is an HTTP exception like any other, so `@app.errorhandler(422)` and
`@app.errorhandler(HTTPException)` see it and may answer in their own way.
Source: RFC 9457, https://www.rfc-editor.org/rfc/rfc9457
"""

from __future__ import annotations

import typing as t
from json import dumps

from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MEDIA_TYPE = "application/problem+json"


class Problem(HTTPException):
    """A status with a sentence for people and members for programs.

    Args:
        status: 400 to 599.
        detail: what happened here, to be read by the sender; never the inside of a 5xx.
        members: further JSON members, such as `errors`.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        original_exception: BaseException | None = None,
        **members: t.Any,
    ) -> None:
        super().__init__(detail)
        self.code = status
        self.members = members
        # As Werkzeug's InternalServerError: a handler for 500 may look at the cause.
        self.original_exception = original_exception

    @property
    def name(self) -> str:
        return HTTP_STATUS_CODES.get(self.code or 0, "Unknown Error")

    def to_dict(self) -> dict[str, t.Any]:
        """The members in the order in which one reads them.

        `type` is left out: its default, "about:blank", says that the title is the status's.
        """
        return {"title": self.name, "status": self.code, "detail": self.description, **self.members}

    def get_body(self, environ: WSGIEnvironment | None = None, scope: t.Any = None) -> str:
        return dumps(self.to_dict(), ensure_ascii=False)

    def get_headers(
        self, environ: WSGIEnvironment | None = None, scope: t.Any = None
    ) -> list[tuple[str, str]]:
        return [("Content-Type", MEDIA_TYPE)]
