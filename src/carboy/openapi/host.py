"""What the application class knows of its document: one method, and when the URLs are added."""

from __future__ import annotations

import threading
import typing as t

# Whoever comes first adds the URLs, the others wait until they are there.
_adding = threading.Lock()


class DocumentationHost:
    """The part of `Carboy` that documents itself."""

    if t.TYPE_CHECKING:
        config: t.Any
        debug: bool

    _documented = False
    _document: dict[str, t.Any] | None = None

    def openapi(self) -> dict[str, t.Any]:
        """The OpenAPI 3.1 document of this app, with all views that are registered by now.

        Outside of a request too. Once requests are handled it is made once; change no part of it.
        """
        document = self._document
        if document is None:
            from .collect import document_of

            document = document_of(t.cast("t.Any", self))
            if self._documented and not self.debug:
                self._document = document
        return document

    def _add_documentation(self) -> None:
        """Add the URLs of the document and its pages, when all of the app's own are known."""
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
            # An app in Flask's manner gets no URL that its author did not write.
            views = t.cast("t.Any", self).view_functions.values()
            return any(hasattr(view, "contract") or hasattr(view, "model") for view in views)
        return bool(wanted)
