"""Select the quick tests: those that are repeated on other Pythons and with other requirements.

Servers and pages are left out: they are tested with the pinned versions, and each needs seconds.
`tests/typing` is left out because type checkers read it alike on each of them.
"""

from __future__ import annotations

OPTIONS = (
    *("-m", "not integration and not browser and not stress"),
    *("--ignore", "tests/typing"),
)
