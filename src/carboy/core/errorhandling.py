"""Find the error handler for an exception, and create the response if there is none.

The user's handlers are found by status code, class and blueprint. Without a handler, an HTTP
exception is its own response, and any other exception is logged and becomes a 500.
`carboy.core.dispatch` decides when these methods are called.
"""

from __future__ import annotations

import sys
import typing as t

from werkzeug.exceptions import BadRequest, BadRequestKeyError, HTTPException, InternalServerError
from werkzeug.routing import RoutingException

from ..errors import InputError
from ..globals import _find_request_ctx
from ..signals import got_request_exception

if t.TYPE_CHECKING:
    from types import TracebackType

    from blinker import Signal

    from .. import typing as ft
    from ..config import Config
    from ..wrappers import Response

    ExceptionInfo: t.TypeAlias = tuple[type, BaseException, TracebackType] | tuple[None, None, None]


class ErrorHandling:
    """The methods of an app that turn exceptions into responses."""

    if t.TYPE_CHECKING:
        config: Config
        debug: bool
        testing: bool
        logger: t.Any
        error_handler_spec: dict[
            ft.AppOrBlueprintKey,
            dict[int | None, dict[type[Exception], ft.ErrorHandlerCallable]],
        ]

        def log_exception(self, exc_info: ExceptionInfo) -> None: ...
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
        """Call the error handler for an exception from a view or hook; without one, raise the
        exception again.

        An `InputError` without an error handler becomes an HTTP exception with the status of the
        error, such as 422.
        """
        if isinstance(e, BadRequestKeyError) and (
            self.debug or self.config["TRAP_BAD_REQUEST_ERRORS"]
        ):
            e.show_exception = True
        if isinstance(e, HTTPException) and not self.trap_http_exception(e):
            return self.handle_http_exception(e)
        handler = self._find_error_handler(e, _find_request_ctx().request.blueprints)
        if handler is None:
            if isinstance(e, InputError):
                from .problemdetails import as_http_exception

                return self.handle_http_exception(as_http_exception(e, _find_request_ctx()))
            try:
                raise e
            finally:
                del e  # break a reference cycle: the exception's traceback refers to this frame
        return t.cast("ft.ResponseReturnValue", self.ensure_sync(handler)(e))

    def handle_http_exception(self, e: HTTPException) -> HTTPException | ft.ResponseReturnValue:
        """Call the error handler for an HTTP exception; without one, return the exception, which
        can be sent as a response.
        """
        # No error handler is called for an exception without a code, which `abort(response)` raises
        # and which carries a finished response, nor for a routing exception, by which Werkzeug
        # redirects.
        if e.code is None or isinstance(e, RoutingException):
            return e
        handler = self._find_error_handler(e, _find_request_ctx().request.blueprints)
        if handler is None:
            return e
        return t.cast("ft.ResponseReturnValue", self.ensure_sync(handler)(e))

    def handle_exception(self, e: Exception) -> Response:
        """Log an unhandled exception and return a response with status 500.

        In debug and testing mode (`PROPAGATE_EXCEPTIONS`) the exception is raised again instead. A
        handler for 500 gets an `InternalServerError` whose `original_exception` is `e`.
        """
        exc_info = sys.exc_info()
        self._send(got_request_exception, exception=e)
        propagate = self.config["PROPAGATE_EXCEPTIONS"]
        if propagate is None:
            propagate = self.testing or self.debug
        if propagate:
            raise e
        self.log_exception(exc_info)
        rv: InternalServerError | ft.ResponseReturnValue
        rv = InternalServerError(original_exception=e)
        handler = self._find_error_handler(rv, _find_request_ctx().request.blueprints)
        if handler is not None:
            rv = self.ensure_sync(handler)(rv)
        return self.finalize_request(rv, from_error_handler=True)

    def trap_http_exception(self, e: Exception) -> bool:
        """Return whether an HTTP exception is treated like any other exception, so that a debugger
        can show it.
        """
        if self.config["TRAP_HTTP_EXCEPTIONS"]:
            return True
        trap_bad_request = self.config["TRAP_BAD_REQUEST_ERRORS"]
        if trap_bad_request is None and self.debug and isinstance(e, BadRequestKeyError):
            return True
        return isinstance(e, BadRequest) if trap_bad_request else False

    def should_ignore_error(self, error: BaseException | None) -> bool:
        """Return whether the exception `error` is hidden from teardown functions, which then get
        None. This method returns False, but subclasses may override it.
        """
        return False

    def _find_error_handler(
        self, e: Exception, blueprints: list[str]
    ) -> ft.ErrorHandlerCallable | None:
        """Return the most specific error handler for an exception, or None.

        A handler for the status code takes precedence over one for the class, a blueprint's handler
        over the app's, and a handler for a class over one for its base class.
        """
        exc_class, code = self._get_exc_class_and_code(type(e))
        for status in (code, None) if code is not None else (None,):
            for name in (*blueprints, None):
                handlers = self.error_handler_spec.get(name, {}).get(status)
                if not handlers:
                    continue
                for cls in exc_class.__mro__:
                    if (handler := handlers.get(cls)) is not None:
                        return handler
        return None
