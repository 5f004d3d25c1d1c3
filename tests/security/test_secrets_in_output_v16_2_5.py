"""Secrets in output: logs, pages, documents, metrics and command lines show no secret.

ASVS 5.0: 16.2.5, 13.3.2, 14.2.1
Also tested in: tests/serving/test_canary.py, tests/core/test_masking.py,
tests/core/test_logmasking.py, tests/cli/test_configuration.py,
tests/deployment/test_platform_files.py, tests/deployed/containers/test_generated_image.py
"""

from __future__ import annotations

import os
from urllib.parse import quote

import pytest

from carboy import Carboy
from carboy.access.keytext import new_key
from carboy.core.masking import MASK, known_secrets, mask_known

PASSWORD = "c4n4ry-p@ss/w0rd"
URLS = {
    "plain": f"postgresql://shop:{PASSWORD}@db.example/shop",
    "quoted": f"postgresql://shop:{quote(PASSWORD, safe='')}@db.example/shop",
    "no user": f"redis://:{PASSWORD}@cache.example:6379/0",
    "several": f"amqp://a:{PASSWORD}@one.example,amqp://b:other-p4ssw0rd@two.example",
    "with a parameter": f"mysql+pymysql://shop:{PASSWORD}@db.example/shop?charset=utf8mb4",
}


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
def test_password_in_a_url_of_the_environment_is_masked_by_its_value(
    monkeypatch: pytest.MonkeyPatch, url: str
):
    monkeypatch.setenv("DATABASE", url)
    said = f"authentication of shop by {PASSWORD} failed: {url}"
    assert PASSWORD not in mask_known(said)
    assert quote(PASSWORD, safe="") not in mask_known(said)


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
@pytest.mark.parametrize("wrap", [str, lambda url: {"shop": url}, lambda url: [url]])
def test_password_in_a_url_of_a_config_is_masked_by_its_value(url: str, wrap):
    app = Carboy("shop")
    app.config["SQLALCHEMY_BINDS"] = wrap(url)
    assert mask_known(f"failed: {PASSWORD}") == f"failed: {MASK}"


def test_url_that_is_replaced_in_the_environment_is_noticed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATABASE", URLS["plain"])
    assert PASSWORD not in mask_known(PASSWORD)
    monkeypatch.setenv("DATABASE", "postgresql://shop:an0ther-secret@db.example/shop")
    assert mask_known("an0ther-secret") == MASK


@pytest.mark.parametrize(
    "value",
    [
        "postgresql://shop:postgres@db.example/shop",  # as in a tutorial: any text may contain it
        "https://shop.example/?mail=ada@example.com",
        "http://127.0.0.1:5000/@ada",
        "shop@example.com",
    ],
)
def test_url_without_a_password_of_its_own_masks_nothing(
    monkeypatch: pytest.MonkeyPatch, value: str
):
    before = set(known_secrets())
    monkeypatch.setenv("SHOP", value)
    assert set(known_secrets()) <= before


def test_log_of_an_app_without_own_settings_shows_no_password(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("DATABASE_URL", URLS["plain"])
    app = Carboy("shop_with_default_log")

    @app.get("/")
    def fail():
        raise ConnectionError("cannot reach " + os.environ["DATABASE_URL"])

    assert app.test_client().get("/").status_code == 500
    assert "ConnectionError: cannot reach postgresql://shop:" in caplog.text
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize("has_secrets", [True, False])
def test_api_key_that_a_program_logs_is_masked_but_for_its_public_id(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, has_secrets: bool
):
    """The server knows only hashes of the keys, so it recognises a key by its form."""
    if has_secrets:
        monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
    key = new_key()
    app = Carboy("shop_that_logs_keys")
    app.config["ACCESS_KEYS"] = [f"phone={key}"]
    app.logger.warning("headers: %s", {"X-API-Key": key})
    try:
        raise RuntimeError(f"no answer for {key}")
    except RuntimeError:
        app.logger.exception("failed")
    public = key[: len("carboy_") + 13]
    assert caplog.text.count(public + MASK) == 2
    assert key not in caplog.text
    assert key not in repr(app.config)
