"""What answers an exception: the user's handlers, Werkzeug's pages, the log.

Decides which handler an exception goes to, and what becomes of one that has none. When they are
asked stands in `carboy.core.dispatch`.
"""

from __future__ import annotations

import sys
import typing as t

from werkzeug.exceptions import BadRequest, BadRequestKeyError, HTTPException, InternalServerError
from werkzeug.routing import RoutingException

from ..globals import _find_request_ctx
from ..signals import got_request_exception

if t.TYPE_CHECKING:
    from types import TracebackType

    from blinker import Signal

    from .. import typing as ft
    from ..config import Config
    from ..wrappers import Response


class ErrorHandling:
    """The part of an app that answers exceptions."""

    if t.TYPE_CHECKING:
        config: Config
        debug: bool
        testing: bool
        logger: t.Any
        error_handler_spec: dict[
            ft.AppOrBlueprintKey,
            dict[int | None, dict[type[Exception], ft.ErrorHandlerCallable]],
        ]

        def ensure_sync(self, func: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]: ...
        def finalize_request(
            self, rv: ft.ResponseReturnValue | HTTPException, from_error_handler: bool = False
        ) -> Response: ...
        def _send(self, signal: Signal, **values: t.Any) -> None: ...
        @staticmethod
        def _get_exc_class_and_code(
            exc_class_or_code: type[Exception] | int,
        ) -> tuple[type[Exception], int | None]: ...

    def handle_user_exception(self, e: Exception) -> HTTPException | ft.ResponseReturnValue:
        """Answer an exception that a view or hook raised by its handler, or raise it again."""
        if isinstance(e, BadRequestKeyError) and (
            self.debug or self.config["TRAP_BAD_REQUEST_ERRORS"]
        ):
            e.show_exception = True
        if isinstance(e, HTTPException) and not self.trap_http_exception(e):
            return self.handle_http_exception(e)
        handler = self._find_error_handler(e, _find_request_ctx().request.blueprints)
        if handler is None:
            try:
                raise e
            finally:
                del e  # it holds this frame
        return t.cast("ft.ResponseReturnValue", self.ensure_sync(handler)(e))

    def handle_http_exception(self, e: HTTPException) -> HTTPException | ft.ResponseReturnValue:
        """Answer an HTTP error by its handler, or by itself when it has none."""
        # Without a code it is a finished response in the clothes of an exception; a routing
        # exception is no error, but how Werkzeug says "redirect".
        if e.code is None or isinstance(e, RoutingException):
            return e
        handler = self._find_error_handler(e, _find_request_ctx().request.blueprints)
        if handler is None:
            return e
        return t.cast("ft.ResponseReturnValue", self.ensure_sync(handler)(e))

    def handle_exception(self, e: Exception) -> Response:
        """Answer an exception that nobody handled with 500, after logging it.

        In debug and testing mode (`PROPAGATE_EXCEPTIONS`) it is raised again instead. A handler
        for 500 gets an `InternalServerError` whose `original_exception` is `e`.
        """
        exc_info = sys.exc_info()
        self._send(got_request_exception, exception=e)
        propagate = self.config["PROPAGATE_EXCEPTIONS"]
        if propagate is None:
            propagate = self.testing or self.debug
        if propagate:
            raise e
        self.log_exception(exc_info)
        answer: InternalServerError | ft.ResponseReturnValue
        answer = InternalServerError(original_exception=e)
        handler = self._find_error_handler(answer, _find_request_ctx().request.blueprints)
        if handler is not None:
            answer = self.ensure_sync(handler)(answer)
        return self.finalize_request(answer, from_error_handler=True)

    def log_exception(
        self,
        exc_info: tuple[type, BaseException, TracebackType] | tuple[None, None, None],
    ) -> None:
        """Log an unhandled exception with its traceback, at level error."""
        request = _find_request_ctx().request
        where = request.path, request.method
        self.logger.error("Exception on %s [%s]", *where, exc_info=exc_info)

    def trap_http_exception(self, e: Exception) -> bool:
        """Whether an HTTP error goes to the debugger instead of the client."""
        if self.config["TRAP_HTTP_EXCEPTIONS"]:
            return True
        trap_bad_request = self.config["TRAP_BAD_REQUEST_ERRORS"]
        if trap_bad_request is None and self.debug and isinstance(e, BadRequestKeyError):
            return True
        return isinstance(e, BadRequest) if trap_bad_request else False

    def should_ignore_error(self, error: BaseException | None) -> bool:
        """Whether teardown functions shall not hear of `error`. For subclasses to override."""
        return False

    def _find_error_handler(
        self, e: Exception, blueprints: list[str]
    ) -> ft.ErrorHandlerCallable | None:
        """The nearest handler: by code before by class, blueprint before app, class before base."""
        exc_class, code = self._get_exc_class_and_code(type(e))
        for wanted in (code, None) if code is not None else (None,):
            for name in (*blueprints, None):
                handlers = self.error_handler_spec.get(name, {}).get(wanted)
                if not handlers:
                    continue
                for cls in exc_class.__mro__:
                    if (handler := handlers.get(cls)) is not None:
                        return handler
        return None
