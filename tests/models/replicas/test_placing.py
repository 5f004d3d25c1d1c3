"""Where the models of a process of another server compute."""

import pytest

from carboy.models.options import Options
from carboy.models.replicas import placing

TWO = Options(replicas=2)


@pytest.fixture(autouse=True)
def undecided(monkeypatch):
    monkeypatch.setattr(placing, "_directory", None)
    monkeypatch.setattr(placing, "_connect", None)


def test_all_models_share_one_connection_to_the_supervisor(monkeypatch):
    monkeypatch.setenv("CARBOY_MODELS_SOCKET", "/run/shop/models.sock")
    first = placing.directory_for(TWO, "Model 'a'")
    assert first is not None
    assert placing.directory_for(TWO, "Model 'b'") is first


@pytest.mark.parametrize("path", ["off", ""])
def test_models_compute_in_the_process_without_a_socket(monkeypatch, path):
    monkeypatch.setenv("CARBOY_MODELS_SOCKET", path)
    assert placing.directory_for(TWO, "Model 'a'") is None


def test_model_without_replicas_computes_in_the_process(monkeypatch):
    monkeypatch.setenv("CARBOY_MODELS_SOCKET", "/run/shop/models.sock")
    assert placing.directory_for(Options(), "Model 'a'") is None
