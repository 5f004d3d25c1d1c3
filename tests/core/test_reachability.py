"""How a process finds out that it is in a container."""

from __future__ import annotations

import pytest

from carboy.core.reachability import is_in_container

# /proc/self/cgroup as runtimes and systems have it.
DOCKER = "12:pids:/docker/0e1d5b\n1:name=systemd:/docker/0e1d5b\n"
KUBERNETES = "0::/kubepods.slice/kubepods-besteffort.slice/cri-containerd-4f.scope\n"
DESKTOP = "0::/user.slice/user-1000.slice/session-2.scope\n"
SERVICE = "0::/system.slice/shop.service\n"


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        pytest.param(".dockerenv", "", True, id="docker"),
        pytest.param("run/.containerenv", "", True, id="podman"),
        pytest.param("proc/self/cgroup", DOCKER, True, id="docker's control group"),
        pytest.param("proc/self/cgroup", KUBERNETES, True, id="containerd's control group"),
        pytest.param("proc/self/cgroup", DESKTOP, False, id="a desktop"),
        pytest.param("proc/self/cgroup", SERVICE, False, id="a service of systemd"),
        pytest.param("etc/hostname", "pc", False, id="no /proc"),
    ],
)
def test_container_is_recognised_by_its_files(tmp_path, monkeypatch, path, text, expected):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    assert is_in_container(str(tmp_path)) is expected


def test_kubernetes_is_recognised_by_its_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert is_in_container(str(tmp_path))
