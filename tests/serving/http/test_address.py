"""Addresses as texts."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from carboy.serving.http.address import Address, address_of, parse_address, read_written
from carboy.serving.unixsocket import MAX_PATH_BYTES


@pytest.mark.parametrize(
    ("text", "address", "url"),
    [
        ("127.0.0.1:8000", Address("127.0.0.1", 8000), "https://127.0.0.1:8000"),
        ("[::1]:0", Address("::1", 0), "https://[::1]:0"),
        ("shop.example:65535", Address("shop.example", 65535), "https://shop.example:65535"),
        ("unix:/run/app.sock", Address(path="/run/app.sock"), "unix:/run/app.sock"),
        ("unix:/run/a:b.sock", Address(path="/run/a:b.sock"), "unix:/run/a:b.sock"),
    ],
)
def test_address_is_read_and_written(text, address, url):
    assert parse_address(text) == address
    assert str(address) == text
    assert read_written(text) == address
    assert address.url(tls=True) == url


def test_path_of_a_unix_socket_may_be_relative_or_a_url():
    assert parse_address("unix:app.sock").path == os.path.abspath("app.sock")
    assert parse_address("unix:///run/app.sock").path == "/run/app.sock"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "an address is empty"),
        ("8000", "'8000' is not an address"),
        (":8000", "is not an address"),
        ("127.0.0.1", "is not an address"),
        ("::1:8000", "is not an address"),
        ("http://127.0.0.1:8000", "is not an address"),
        ("127.0.0.1:65536", "the port 65536 is larger than 65535"),
        ("127.0.0.1:-1", "is not an address"),
        ("unix:", "does not name a file"),
        ("unix:/run/", "does not name a file"),
        ("unix:/run/a\0b", "does not name a file"),
        ("unix:\0a", "does not name a file"),
    ],
)
def test_text_that_is_no_address_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parse_address(text)


def test_path_that_is_too_long_for_the_system_is_refused_with_both_lengths(tmp_path):
    path = f"/tmp/{'x' * (MAX_PATH_BYTES - 5)}"
    assert parse_address(f"unix:{path}").path == path
    with pytest.raises(ValueError, match=f"has {MAX_PATH_BYTES + 1} bytes.* {MAX_PATH_BYTES} for"):
        parse_address(f"unix:{path}x")
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(OSError, match="too long"):
        sock.bind(f"{path}x")


def test_address_of_a_socket_is_where_it_is_bound(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert address_of(sock) == Address(*sock.getsockname())
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "a"))
        assert address_of(sock) == Address(path=str(tmp_path / "a"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract sockets")
@pytest.mark.parametrize("name", [b"carboy-shop", b"a/b", b"with\xff", b"a\0b"])
def test_name_of_an_abstract_socket_is_written_with_an_at_sign(name):
    own = name + str(os.getpid()).encode()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(b"\0" + own)
        address = address_of(sock)
        text = own.decode(errors="replace").replace("\0", "@")
        assert str(address) == address.url(tls=True) == f"unix:@{text}"
        assert read_written(str(address)).path.startswith("\0")
    assert parse_address("unix:@shop").path == os.path.abspath("@shop"), (
        "a file, if a user names it"
    )
