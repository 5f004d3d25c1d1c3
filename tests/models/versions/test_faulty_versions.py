"""A version that cannot be used is logged, and the others are served."""

from __future__ import annotations

import logging

from modelversions import Counting, write_version

from carboy.models.collection import Model
from carboy.models.options import Options


def test_reason_of_a_version_that_cannot_be_used_is_logged_once(tmp_path, caplog):
    write_version(tmp_path, "7")
    (tmp_path / "8").mkdir()
    model = Model("net", "/net", Counting, Options(source=str(tmp_path)))
    with caplog.at_level(logging.WARNING, logger="carboy.models"):
        model.load()
        (tmp_path / "8" / "card.json").write_text("{")  # another reason, while it is copied
        model.versions.refresh()
    said = "Model 'net': version '8' cannot be used: it has no card.json"
    assert [each.partition(":")[0] for each in caplog.messages] == ["Model 'net'"]
    assert caplog.messages[0].startswith(said)
    assert model.predict(1) == "7:1"
    model.close()
