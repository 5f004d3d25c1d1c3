"""Recognise the views that carboy adds to an app: documents, and the assets of its pages.

Lists of routes and suggestions in error messages leave these views out.
"""

from __future__ import annotations

import typing as t

_MODULES = ("carboy.models.page.", "carboy.openapi.", "carboy.cli.")


def is_own_view(view: t.Any) -> bool:
    """Return whether a view function is one that the author of the app has not written."""
    return str(getattr(view, "__module__", "")).startswith(_MODULES)
