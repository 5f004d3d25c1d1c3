"""The methods by which the class `Carboy` offers the app's OpenAPI document.

This module decides when the document is built and when its URLs are added. The other modules of
this package build the document.
"""

from __future__ import annotations

import threading
import typing as t

if t.TYPE_CHECKING:
    from logging import Logger

    from .faults import DocumentationFault

# Held by the first thread that needs the URLs of the document, while it adds them; other threads
# wait.
_adding = threading.Lock()


class DocumentationHost:
    """The base class of `Carboy` that builds the OpenAPI document and adds its URLs."""

    if t.TYPE_CHECKING:
        config: t.Any
        debug: bool

        @property
        def logger(self) -> Logger: ...

        @property
        def _has_keys(self) -> bool: ...

    _documented = False
    _document: dict[str, t.Any] | None = None
    # Whether the app had API keys when the latest document was built.
    _documented_needs_keys = False
    #: The parts that the latest document lacks. They were logged, and are not logged again.
    _documentation_faults: tuple[DocumentationFault, ...] = ()

    def openapi(self) -> dict[str, t.Any]:
        """Return the OpenAPI 3.1 document of all views that are registered so far.

        If a view cannot be documented completely, the document contains the parts that can. The
        missing parts are logged once, with the view's file and line.

        This also works outside of a request. After the first request the document is built once and
        cached, except in debug mode and when the app gets its first API key. So do not modify it.
        """
        document = self._document
        if document is None or self._documented_needs_keys != self._has_keys:
            from .collect import document_of

            document, faults = document_of(t.cast("t.Any", self))
            for fault in faults:
                if fault not in self._documentation_faults:
                    self.logger.warning("%s", fault)
            self._documentation_faults = tuple(faults)
            self._documented_needs_keys = self._has_keys
            if self._documented and not self.debug:
                self._document = document
        return document

    def _add_documentation(self) -> None:
        """Add the URLs of the document and its pages. Called after the app has added all its own
        rules, because these take precedence.
        """
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
            # An app without typed views and models gets no URLs, because it should behave as with
            # Flask, which adds none that the author has not written.
            views = t.cast("t.Any", self).view_functions.values()
            return any(hasattr(view, "contract") or hasattr(view, "model") for view in views)
        return bool(wanted)
