"""Log injection: what a client sends stays within its record, whatever handler writes it.

ASVS 5.0: 16.4.1
Also tested in: tests/serving/test_access_log.py, tests/observability/test_formatters.py
"""

from __future__ import annotations

import io
import re

import pytest

from carboy import Carboy, request
from carboy.logging import default_handler

FORGED = "[2030-01-01 00:00:00,000] CRITICAL in app: the door is open"
TEXTS = [
    f"a\n{FORGED}",
    f"a\r{FORGED}",
    f"a\r\n{FORGED}",
    f"a\u2028{FORGED}",
    f"a\x85{FORGED}",
    f"a\x1b[2K\x1b[1G{FORGED}",
    f"a\x0b{FORGED}",
    "a\x00b\x08\x7f",
    "a\u202eb",
]
RECORD = re.compile(
    r"\[\d{4}-\d\d-\d\d .*\] (WARNING|ERROR) in test_log_injection|\[.*\] ERROR in app"
)


@pytest.fixture
def app() -> Carboy:
    app = Carboy("shop")
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.post("/log")
    def log() -> str:
        app.logger.warning("bought by %s", request.get_data(as_text=True))
        app.logger.warning(f"bought by {request.get_data(as_text=True)}")  # noqa: G004 - programs do
        return "logged"

    @app.post("/fail/<name>")
    def fail(name: str) -> str:
        raise RuntimeError(f"no such article: {name}")

    return app


def written_by(app: Carboy, path: str, text: str = "") -> list[str]:
    log = io.StringIO()
    before = default_handler.setStream(log)
    # pytest has a handler of its own, so that the app adds none.
    app.logger.addHandler(default_handler)
    try:
        app.test_client().post(path, data=text.encode())
    finally:
        app.logger.removeHandler(default_handler)
        default_handler.setStream(before)
    return log.getvalue().split("\n")[:-1]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_message_of_the_default_handler_cannot_forge_a_record(app, text):
    lines = written_by(app, "/log", text)
    assert len([line for line in lines if RECORD.match(line)]) == 2
    for line in lines:
        assert line.isprintable()
        assert not line.startswith("[2030")


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_path_and_exception_of_a_failed_request_cannot_forge_a_record(app, text):
    first, *others = written_by(app, f"/fail/{text.replace(' ', '%20')}")
    assert RECORD.match(first)
    assert others
    for line in others:
        assert line.startswith("    ")
        assert line.isprintable()


def test_ordinary_record_is_written_as_by_flask(app):
    for line in written_by(app, "/log", "Zoë"):
        assert line.endswith("] WARNING in test_log_injection_v16_4_1: bought by Zoë")
