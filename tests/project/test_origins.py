"""How origins of values name files."""

from __future__ import annotations

import pytest

from carboy.project.origins import shortened


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        pytest.param("/srv/shop", "config.py", id="below the folder"),
        pytest.param("/srv/other", "/srv/shop/config.py", id="elsewhere"),
        pytest.param("/srv/sho", "/srv/shop/config.py", id="same beginning of the name"),
        pytest.param("/", "/srv/shop/config.py", id="root folder"),
    ],
)
def test_path_is_relative_below_the_current_folder_unless_that_is_the_root(start, expected):
    assert shortened("/srv/shop/config.py", start) == expected
