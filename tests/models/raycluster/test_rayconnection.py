"""Which clusters are refused, and how a cluster is named."""

import os
import socket
import subprocess
import sys
import types

import pytest

from carboy.errors import AddressError, RefusedClusterError, ServingError, UnavailableError
from carboy.models.raycluster import rayconnection
from carboy.models.raycluster.codedigest import digest_of
from carboy.models.raycluster.rayconnection import (
    RayPlace,
    default_namespace,
    require_ray,
)
from carboy.serving.settings import make_settings

PLACE = RayPlace("10.0.0.5:6379", "shop")


@pytest.mark.parametrize("url", ["", "127.0.0.1:8265", "localhost:8265", "[::1]:8265"])
def test_a_dashboard_of_this_machine_is_accepted(url):
    rayconnection._refuse_open_dashboard(PLACE, url)


@pytest.mark.parametrize("url", ["192.0.2.7:8265", "0.0.0.0:8265", "http://192.0.2.7:8265"])
def test_a_dashboard_that_others_reach_is_refused_unless_allowed(url):
    with pytest.raises(RefusedClusterError, match=r"--dashboard-host 127\.0\.0\.1"):
        rayconnection._refuse_open_dashboard(PLACE, url)
    rayconnection._refuse_open_dashboard(PLACE._replace(allows_dashboard=True), url)


def test_nodes_of_this_machine_need_no_tls(monkeypatch):
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    rayconnection.refuse_plaintext(PLACE, ["127.0.0.1", "127.0.0.9"])


def test_nodes_on_other_machines_need_tls_unless_allowed(monkeypatch):
    # RFC 5737 keeps 203.0.113.0/24 for documentation: no machine has such an address.
    nodes = ["127.0.0.1", "203.0.113.7"]
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    with pytest.raises(RefusedClusterError, match=r"other machines \(203.0.113.7\)"):
        rayconnection.refuse_plaintext(PLACE, nodes)
    rayconnection.refuse_plaintext(PLACE._replace(allows_plaintext=True), nodes)
    monkeypatch.setenv("RAY_USE_TLS", "1")
    rayconnection.refuse_plaintext(PLACE, nodes)


def test_an_address_at_which_nobody_listens_is_refused_at_once():
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UnavailableError, match=f"nobody answers at {address}.*ray start"):
        rayconnection._refuse_others(address)


def caused_by(exc, cause):
    exc.__cause__ = cause
    return exc


@pytest.mark.parametrize(
    ("failure", "advice"),
    [
        (RuntimeError("InvalidAuthToken: Authentication token is missing"), "RAY_AUTH_MODE=token"),
        (RuntimeError("Version mismatch: Ray: 2.1 Python: 3.10"), "the same versions of Ray"),
        (ConnectionError("Could not find any running Ray instance."), "ray start --head"),
        (
            caused_by(ConnectionError("Failed to connect"), RuntimeError("No node info found\nx")),
            "Failed to connect. No node info found. The cluster needs a Ray node on this machine",
        ),
    ],
    ids=["token", "versions", "no cluster", "no node"],
)
def test_what_ray_says_is_followed_by_what_to_do(failure, advice):
    text = str(rayconnection._unreachable(PLACE, failure))
    assert "10.0.0.5:6379" in text
    assert advice in text


def test_what_ray_knows_of_a_cluster_is_forgotten_even_if_it_did_not_connect(monkeypatch):
    """Otherwise the next cluster at the address would be asked as if it were this one."""
    asked = []

    def fail(**_):
        raise RuntimeError("half way")

    ray = types.SimpleNamespace(
        init=fail, is_initialized=lambda: False, shutdown=lambda: asked.append("shutdown")
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(rayconnection, "_keep_quiet", lambda: None)
    monkeypatch.setattr(rayconnection, "_address_here", lambda: "")
    monkeypatch.setattr(rayconnection, "_LIMITS", {})
    with pytest.raises(UnavailableError, match="half way"):
        rayconnection.connect(RayPlace("", "shop"), "")
    assert asked == ["shutdown"]


def test_a_cluster_of_this_machine_that_has_ended_is_noticed_before_ray_is_asked(monkeypatch):
    """Ray keeps the address of the last one in a file, and would ask it for long."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(rayconnection, "_LIMITS", {})
    monkeypatch.setattr(rayconnection, "_address_here", lambda: address)
    monkeypatch.setattr(rayconnection, "_init", pytest.fail)
    monkeypatch.setattr(rayconnection, "disconnect", lambda: None)
    with pytest.raises(UnavailableError, match=f"nobody answers at {address}"):
        rayconnection.connect(RayPlace("", "shop"), "")


def test_what_the_user_sets_for_ray_is_kept(monkeypatch):
    kept, *others = rayconnection._LIMITS
    for name in others:
        monkeypatch.setenv(name, "")  # so that its absence is restored
        monkeypatch.delenv(name)
    monkeypatch.setenv(kept, "90")
    rayconnection.limit_waits()
    assert os.environ[kept] == "90"
    assert [os.environ[name] for name in others] == [rayconnection._LIMITS[each] for each in others]


@pytest.mark.parametrize("name", [each for each in rayconnection._NOT_SENT if "*" not in each])
def test_files_that_are_not_sent_are_not_compared(tmp_path, name):
    """Otherwise each replica would find that it has other code than the web workers."""
    (tmp_path / "app.py").write_text("app = 1")
    before = digest_of(str(tmp_path))
    (tmp_path / name).mkdir()
    (tmp_path / name / "other.py").write_text("other = 1")
    assert digest_of(str(tmp_path)) == before


def test_the_proxy_of_ray_is_refused():
    with pytest.raises(ServingError, match="Ray's proxy"):
        make_settings({"on": "ray", "ray_address": "ray://10.0.0.5:10001"}, {})


@pytest.mark.parametrize("address", ["10.0.0.5", "10.0.0.5:", "10.0.0.5:70000", "http://a:6379"])
def test_an_address_needs_host_and_port(address):
    with pytest.raises(ServingError, match="host and port of the head node"):
        make_settings({"on": "ray", "ray_address": address}, {})


def test_settings_of_ray_have_no_effect_on_this_machine():
    with pytest.raises(ServingError, match="'ray_address' has no effect without the setting 'on'"):
        make_settings({"ray_address": "10.0.0.5:6379"}, {})


def test_without_ray_the_command_to_install_it_is_named(monkeypatch):
    monkeypatch.setattr(rayconnection, "find_spec", lambda _: None)
    with pytest.raises(ServingError, match=r"pip install 'carboy\[ray\]'") as caught:
        require_ray()
    assert not isinstance(caught.value, AddressError)


@pytest.mark.parametrize(
    ("target", "namespace"),
    [
        ("shop:app", "carboy-shop-app"),
        ("src/shop.py:make()", "carboy-src-shop.py-make"),
        (None, "carboy-app"),
    ],
)
def test_the_namespace_has_the_name_of_the_app(target, namespace):
    assert default_namespace(target) == namespace


@pytest.mark.timeout(60)
def test_a_server_without_ray_imports_nothing_for_it():
    program = "import sys, carboy.serving.process.worker; print({'ctypes', 'ray'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.strip() == b"set()"
