"""A certificate authority for tests: it issues certificates of any host and date."""

from __future__ import annotations

import dataclasses
import datetime as dt
import ipaddress
import pathlib
import ssl
import typing as t

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = dt.timedelta(days=1)
_PEM = serialization.Encoding.PEM
# Python 3.13 and newer refuse certificates without these (VERIFY_X509_STRICT).
_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    crl_sign=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


@dataclasses.dataclass
class Issued:
    """The files of a certificate and its key."""

    cert: pathlib.Path
    key: pathlib.Path

    @property
    def options(self) -> tuple[str, ...]:
        """The options of `carboy serve` that name the files."""
        return ("--tls-cert", str(self.cert), "--tls-key", str(self.key))


class Authority:
    """Issues certificates; its own is in the file `ca.pem` of the folder.

    Args:
        folder: where the files are written.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("Test Authority")
        made = self._build(self._name, self._key.public_key(), -DAY, 30 * DAY)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        made = made.add_extension(_SIGNS_CERTIFICATES, critical=True)
        self.cert = folder / "ca.pem"
        self.cert.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(_PEM))

    def issue(
        self,
        name: str,
        *,
        host: str = "localhost",
        begin: dt.timedelta = -DAY,
        end: dt.timedelta = 30 * DAY,
        for_client: bool = False,
        password: str = "",
    ) -> Issued:
        """Write `NAME.pem` and `NAME.key`, of a certificate that is valid from `begin` to `end`,
        both counted from now, for the host and 127.0.0.1.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if for_client else ExtendedKeyUsageOID.SERVER_AUTH
        names = [x509.DNSName(host), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        made = (
            self._build(_name(host), key.public_key(), begin, end)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )
        issued = Issued(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        issued.cert.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(_PEM))
        encryption: t.Any = serialization.NoEncryption()
        if password:
            encryption = serialization.BestAvailableEncryption(password.encode())
        issued.key.write_bytes(
            key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        return issued

    def _build(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePublicKey,
        begin: dt.timedelta,
        end: dt.timedelta,
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        mine = self._key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begin)
            .not_valid_after(now + end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(mine), critical=False)
        )

    def client_context(self) -> ssl.SSLContext:
        """The options of a client that trusts this authority alone."""
        return ssl.create_default_context(cafile=str(self.cert))


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
