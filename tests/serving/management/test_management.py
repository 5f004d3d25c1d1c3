"""Which sockets the management of a server opens."""

from __future__ import annotations

import pytest

from carboy.errors import AddressError
from carboy.serving.http.address import Address, parse_address
from carboy.serving.management import controlpath, management
from carboy.serving.settings import Settings


def test_server_runs_without_a_control_socket_if_no_default_folder_can_be_used(monkeypatch):
    monkeypatch.setattr(controlpath, "runtime_folders", lambda: ["/proc/carboy"])
    assert management._open_control_socket(Settings()) is None


def test_control_socket_can_be_switched_off():
    assert management._open_control_socket(Settings(control="off")) is None


def test_address_that_this_machine_does_not_have_is_refused():
    with pytest.raises(
        AddressError, match=r"192\.0\.2\.1:0 .*\. Choose another address by --manage"
    ):
        management._open_listener("192.0.2.1:0")


@pytest.mark.parametrize("address", ["127.0.0.1:9000", "[::1]:9000"])
def test_address_is_split_into_host_and_port(address):
    host, port, _ = parse_address(address)
    assert str(Address(host, port)) == address


def test_control_socket_is_named_after_an_address_with_a_port(tmp_path, monkeypatch):
    monkeypatch.setattr(controlpath, "runtime_folders", lambda: [str(tmp_path / "r")])
    settings = Settings(bind=("unix:/run/app.sock", "127.0.0.1:81"))
    control = management._open_control_socket(settings)
    assert control is not None
    assert control.path == str(tmp_path / "r" / "127.0.0.1:81.sock")
    control.close()
