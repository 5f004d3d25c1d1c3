"""The logger of messages about keys and rates.

It is not `carboy.access`, whose records are the lines of the access log, and which programs send to
a file of its own.
"""

from __future__ import annotations

from carboy.core.logmasking import get_masked_logger

logger = get_masked_logger("carboy.admission")
