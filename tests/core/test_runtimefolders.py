"""Where servers have their sockets."""

import os

import pytest

from carboy.core.runtimefolders import runtime_folders


@pytest.mark.parametrize("runtime", ["/run", "/run/"])
def test_a_folder_with_two_names_is_searched_once(monkeypatch, runtime):
    """Otherwise `carboy ctl` would find each server in it twice."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert runtime_folders({"XDG_RUNTIME_DIR": runtime}).count("/run/carboy") == 1


def test_the_folder_of_the_session_comes_first():
    assert runtime_folders({"XDG_RUNTIME_DIR": "/run/user/7"})[0] == "/run/user/7/carboy"
