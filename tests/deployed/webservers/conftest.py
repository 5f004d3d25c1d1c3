"""Lets pytest explain the failures of `websitecases`, which it does not collect itself."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("websitecases")
