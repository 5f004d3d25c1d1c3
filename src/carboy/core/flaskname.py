"""Whether this process imports carboy under Flask's name."""

from __future__ import annotations

import sys


def is_flask_installed_as_us() -> bool:
    """Return whether `import flask` gives carboy in this process."""
    return sys.modules.get("flask") is sys.modules.get("carboy") is not None
