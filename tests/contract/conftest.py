"""Pictures good and bad."""

from __future__ import annotations

from pictures import claimed_png, picture

__all__ = ["claimed_png", "picture"]
