"""Comments that silence security linters in src/; `make test-judges` runs the linters."""

from __future__ import annotations

import silenced


def test_each_silenced_finding_has_a_reason():
    assert [f"{file}: {rules}" for file, rules, reason in silenced.rows() if not reason] == []


def test_comments_of_both_linters_are_read(tmp_path):
    file = tmp_path / "a.py"
    file.write_text(
        "exec(a)  # noqa: S102 - a file of the author\n"
        "b = 1  # noqa: BLE001, S110\n"
        "KEY = None  # nosec B105 - None is no key\n"
        "c = 2  # noqa: B904 - bugbear's rule\n"
    )
    assert silenced.comments(file) == {
        1: (("S102",), "a file of the author"),
        2: (("S110",), ""),
        3: (("S105",), "None is no key"),
    }
