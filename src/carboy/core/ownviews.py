"""Recognise the views that carboy itself adds to an app: API documents, and files of its pages.

Lists of routes and suggestions in error messages leave these views out.
"""

from __future__ import annotations

import typing as t

_MODULES = ("carboy.models.page.", "carboy.openapi.", "carboy.cli.")


def is_own_view(view: t.Any) -> bool:
    """Return whether a view function was added by carboy and not by the author of the app."""
    return str(getattr(view, "__module__", "")).startswith(_MODULES)
