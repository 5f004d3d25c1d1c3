"""Reading the server's certificate: what is wrong with it is said before the server listens."""

from __future__ import annotations

import ssl

import pytest
from authority import DAY, Authority

from carboy.errors import ServingError
from carboy.serving.certificates import read_certificate
from carboy.serving.settings import make_settings


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def issued(authority):
    """Certificates by name, with their keys."""
    made = {
        "good": authority.issue("good"),
        "other": authority.issue("other"),
        "expired": authority.issue("expired", begin=-9 * DAY, end=-DAY),
        "future": authority.issue("future", begin=DAY, end=9 * DAY),
        "client": authority.issue("client", for_client=True),
        "secret": authority.issue("secret", password="open sesame"),
    }
    folder = authority.folder
    both = made["good"].cert.read_text() + made["good"].key.read_text()
    (folder / "both.pem").write_text(both)
    (folder / "password").write_text("open sesame\n")
    (folder / "wrong-password").write_text("open says me\n")
    (folder / "empty.pem").write_text("")
    damaged = made["good"].cert.read_text().replace("MII", "AAA", 1)
    (folder / "damaged.pem").write_text(damaged)
    (folder / "chain.pem").write_text(authority.cert.read_text() + made["good"].cert.read_text())
    return made


def read(authority, **files):
    """Read the certificate with the settings `tls_*`, whose values are names of files."""
    given = {f"tls_{key}": str(authority.folder / name) for key, name in files.items()}
    return read_certificate(make_settings(given, {}))


def test_certificate_and_key_are_read_from_two_files_or_from_one(authority, issued):
    for files in ({"cert": "good.pem", "key": "good.key"}, {"cert": "both.pem"}):
        found = read(authority, **files)
        assert found.names == ["localhost", "127.0.0.1"]
        assert found.warning == ""
        assert str(found).startswith("certificate of localhost, 127.0.0.1, valid until ")


def test_options_are_those_of_a_modern_server(authority, issued):
    context = read(authority, cert="both.pem").context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    of_tls_1_2 = [each for each in context.get_ciphers() if each["protocol"] == "TLSv1.2"]
    assert of_tls_1_2
    assert all(each["aead"] and "ecdhe" in each["kea"].lower() for each in of_tls_1_2)
    assert context.verify_mode == ssl.CERT_NONE


def test_password_of_the_key_is_read_from_its_file(authority, issued):
    found = read(authority, cert="secret.pem", key="secret.key", password_file="password")
    assert found.names == ["localhost", "127.0.0.1"]


def test_certificates_of_clients_are_required_if_their_authority_is_named(authority, issued):
    context = read(authority, cert="both.pem", client_ca="ca.pem").context
    assert context.verify_mode == ssl.CERT_REQUIRED


def test_certificate_that_expires_soon_is_warned_of(authority):
    authority.issue("old", end=3 * DAY)
    warning = read(authority, cert="old.pem", key="old.key").warning
    assert "expires in 3 days, on " in warning
    assert "send SIGHUP" in warning


@pytest.mark.parametrize(
    ("files", "words"),
    [
        pytest.param({"cert": "good.pem"}, "good.pem has no private key", id="no key"),
        pytest.param(
            {"cert": "good.pem", "key": "other.key"},
            "other.key does not belong to the certificate in",
            id="key of another certificate",
        ),
        pytest.param(
            {"cert": "chain.pem", "key": "good.key"},
            "the server's own certificate must come first",
            id="authority first",
        ),
        pytest.param(
            {"cert": "good.key", "key": "good.key"},
            "has no certificate in PEM",
            id="no certificate",
        ),
        pytest.param(
            {"cert": "empty.pem", "key": "good.key"}, "has no certificate in PEM", id="empty"
        ),
        pytest.param(
            {"cert": "damaged.pem", "key": "good.key"}, "OpenSSL cannot use the", id="damaged"
        ),
        pytest.param(
            {"cert": "expired.pem", "key": "expired.key"}, "has expired on ", id="expired"
        ),
        pytest.param(
            {"cert": "future.pem", "key": "future.key"}, "is not valid before ", id="not yet valid"
        ),
        pytest.param(
            {"cert": "client.pem", "key": "client.key"}, "clients would refuse", id="of a client"
        ),
        pytest.param(
            {"cert": "none.pem", "key": "good.key"},
            "Setting 'tls_cert': cannot read",
            id="no such file",
        ),
        pytest.param(
            {"cert": "good.pem", "key": "."}, "Setting 'tls_key': cannot read", id="folder"
        ),
        pytest.param(
            {"cert": "secret.pem", "key": "secret.key"},
            "the private key is encrypted. Write its password into a file",
            id="encrypted key",
        ),
        pytest.param(
            {"cert": "secret.pem", "key": "secret.key", "password_file": "wrong-password"},
            "wrong-password does not decrypt",
            id="wrong password",
        ),
        pytest.param(
            {"cert": "secret.pem", "key": "secret.key", "password_file": "none"},
            "Setting 'tls_password_file': cannot read",
            id="no password file",
        ),
        pytest.param(
            {"cert": "good.pem", "key": "good.key", "password_file": "password"},
            "'tls_password_file' has no effect",
            id="password of a key that is not encrypted",
        ),
        pytest.param(
            {"cert": "both.pem", "client_ca": "empty.pem"},
            "Setting 'tls_client_ca':",
            id="authority of clients without a certificate",
        ),
    ],
)
def test_certificate_that_clients_would_not_get_is_refused(authority, issued, files, words):
    with pytest.raises(ServingError) as caught:
        read(authority, **files)
    assert words in str(caught.value)
    assert "open sesame" not in str(caught.value)
