"""What can be wrong with an app's documentation: a branch of the tree in `carboy.errors`.

    CarboyError                     status  code                     also a
    ├── DocumentationError          500     documentation-invalid    ValueError
    └── YAMLMissingError            500     yaml-missing             ImportError

The author's, found when the document is made; no request of the app's own views meets them.
"""

from __future__ import annotations

from carboy.errors import CarboyError


class DocumentationError(CarboyError, ValueError):
    """What an author wrote for the document cannot be read."""

    status = 500
    code = "documentation-invalid"


class YAMLMissingError(CarboyError, ImportError):
    """YAML is to be read or written, and PyYAML is not there."""

    status = 500
    code = "yaml-missing"
