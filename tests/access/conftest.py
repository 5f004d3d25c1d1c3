from __future__ import annotations

import pytest

from carboy.access.tokensources import OwnTokens, use_source


@pytest.fixture
def clock():
    """Let rate limits count from zero, by a clock that stands until the test moves it."""
    now = [0.0]
    use_source(lambda: OwnTokens(lambda: now[0]), shared=False)
    yield now
    use_source(OwnTokens, shared=False)
