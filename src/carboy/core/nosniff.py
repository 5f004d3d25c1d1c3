"""The header that keeps browsers from treating a response as HTML or as a script, whatever its
bytes look like. Source: https://fetch.spec.whatwg.org/#x-content-type-options-header
"""

from __future__ import annotations

NOSNIFF = ("X-Content-Type-Options", "nosniff")
