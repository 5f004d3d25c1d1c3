"""The methods of the application class for the app's OpenAPI document.

This module decides when the document is built and when its URLs are added. The other modules of
this package build the document.
"""

from __future__ import annotations

import threading
import typing as t

if t.TYPE_CHECKING:
    from logging import Logger

    from .faults import DocumentationFault

# The first thread that needs the URLs adds them and holds this lock; other threads wait.
_adding = threading.Lock()


class DocumentationHost:
    """The methods of `Carboy` for the OpenAPI document."""

    if t.TYPE_CHECKING:
        config: t.Any
        debug: bool

        @property
        def logger(self) -> Logger: ...

    _documented = False
    _document: dict[str, t.Any] | None = None
    #: What could not be documented in the latest document, and what of this was logged.
    _documentation_faults: tuple[DocumentationFault, ...] = ()

    def openapi(self) -> dict[str, t.Any]:
        """Return the OpenAPI 3.1 document of all views that are registered so far.

        If a view cannot be documented completely, the document contains the parts that can. The
        missing parts are logged once, with the view's file and line.

        Works outside of a request too. After the first request the document is built once and
        cached, so do not modify it.
        """
        document = self._document
        if document is None:
            from .collect import document_of

            document, faults = document_of(t.cast("t.Any", self))
            for fault in faults:
                if fault not in self._documentation_faults:
                    self.logger.warning("%s", fault)
            self._documentation_faults = tuple(faults)
            if self._documented and not self.debug:
                self._document = document
        return document

    def _add_documentation(self) -> None:
        """Add the URLs of the document and its pages. Called after all other rules were added."""
        if self._documented:
            return
        with _adding:
            if not self._documented:
                if self._is_documentation_wanted():
                    from .ui import add_routes

                    add_routes(t.cast("t.Any", self))
                self._documented = True

    def _is_documentation_wanted(self) -> bool:
        wanted = self.config.get("OPENAPI_ENABLED")
        if wanted is None:
            # Nothing is added to an app without typed views and models, because Flask would not add
            # a URL that the author has not written.
            views = t.cast("t.Any", self).view_functions.values()
            return any(hasattr(view, "contract") or hasattr(view, "model") for view in views)
        return bool(wanted)
