"""The form of an API key, `carboy_ID_SECRET`: what knows one in a log, and what makes and reads
keys (`carboy.access.keytext`).
"""

from __future__ import annotations

import typing as t

PREFIX: t.Final = "carboy_"
ID_LENGTH: t.Final = 12
# 43 characters of 62 have 256 bits.
SECRET_LENGTH: t.Final = 43
CHECK_LENGTH: t.Final = 6
#: Matches the public part of a key, by which an operator finds it in the list of keys.
PUBLIC_PART: t.Final = f"{PREFIX}[0-9A-Za-z]{{{ID_LENGTH}}}_"
#: Matches the secret part and its checksum.
SECRET_PART: t.Final = f"[0-9A-Za-z]{{{SECRET_LENGTH + CHECK_LENGTH}}}"
