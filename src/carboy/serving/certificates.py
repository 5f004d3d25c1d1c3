"""The server's TLS certificate: read it, and find out in time what clients would refuse.

A server whose certificate has expired starts, but no client connects to it. So before the server
listens, a client in memory makes a handshake with it, and the dates are compared with the clock.
"""

from __future__ import annotations

import ssl
import time
import typing as t

from ..errors import ServingError

if t.TYPE_CHECKING:
    from .settings import Settings

# Suites with forward secrecy and authenticated encryption, for clients of TLS 1.2: those of the
# configuration "intermediate" that Mozilla recommends for servers, without the slow DHE. All suites
# of TLS 1.3 are of this kind.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
# Log a warning if the certificate expires within so many days. Let's Encrypt's are renewed 30 days
# before.
WARN_DAYS = 14
_DAY_S = 86400.0
# The value of X509_V_FLAG_NO_CHECK_TIME in <openssl/x509_vfy.h>; Python's `ssl` lacks the constant.
_NO_CHECK_TIME = 0x200000


class Certificate(t.NamedTuple):
    """A certificate that was found good.

    Attributes:
        context: the certificate, its key, and the options of TLS.
        names: the host names and addresses for which it is valid.
        until: when it expires, as text.
        days_left: how many days are left until then.
    """

    context: ssl.SSLContext
    names: list[str]
    until: str
    days_left: float

    def __str__(self) -> str:
        return f"certificate of {', '.join(self.names) or 'no host'}, valid until {self.until}"

    @property
    def warning(self) -> str:
        """A text for the log if the certificate expires soon; else ""."""
        if self.days_left > WARN_DAYS:
            return ""
        return (
            f"the TLS certificate expires in {self.days_left:.0f} days, on {self.until}. Renew it,"
            " and send SIGHUP to the server, which then reads it"
        )


def read_certificate(settings: Settings) -> Certificate:
    """Return the certificate that the settings name.

    Raises:
        ServingError: a file cannot be read, the key does not fit, or clients would refuse the
            certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    # A client that asks for HTTP/2 as well gets HTTP/1.1.
    context.set_alpn_protocols(["http/1.1"])
    # Renegotiation is no use to HTTP, but lets a client cost the server many handshakes.
    context.options |= ssl.OP_NO_RENEGOTIATION
    _load(context, settings)
    if settings.tls_client_ca:
        _require_client_certificates(context, settings.tls_client_ca)
    return _check(context, settings)


def _load(context: ssl.SSLContext, settings: Settings) -> None:
    """Load certificate and key. What is wrong with them is told from the files' texts, because
    OpenSSL's errors do not say it.
    """
    path, key_path = settings.tls_cert, settings.tls_key or settings.tls_cert
    if "-----BEGIN CERTIFICATE-----" not in _read(path, "tls_cert"):
        raise ServingError(
            f"Setting 'tls_cert': {path} has no certificate in PEM format, which begins with"
            " '-----BEGIN CERTIFICATE-----'. Name the file of the certificate, or convert it with"
            " 'openssl x509'."
        )
    if "PRIVATE KEY-----" not in _read(key_path, "tls_key"):
        raise ServingError(
            f"Setting 'tls_key': {key_path} has no private key in PEM format. Name the file of the"
            " certificate's key by the setting 'tls_key'."
        )
    password = _Password(settings.tls_password_file)
    try:
        context.load_cert_chain(path, key_path, password)
    except ssl.SSLError as exc:
        raise ServingError(_explain(exc, path, key_path, password)) from None
    if password.path and not password.was_read:
        raise ServingError(
            f"Setting 'tls_password_file' has no effect, because the key in {key_path} is not"
            " encrypted. Leave it out."
        )


class _Password:
    """Gives OpenSSL the password in a file, if the key is encrypted. Without this object, OpenSSL
    would ask for the password on the terminal.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.was_read = False

    def __call__(self) -> str:
        self.was_read = True
        if not self.path:
            raise ServingError(
                "Setting 'tls_key': the private key is encrypted. Write its password into a file"
                " that only the server's user can read, and name the file by the setting"
                " 'tls_password_file'."
            )
        return _read(self.path, "tls_password_file").partition("\n")[0].rstrip("\r")


def _explain(exc: ssl.SSLError, path: str, key_path: str, password: _Password) -> str:
    if exc.reason == "KEY_VALUES_MISMATCH":
        return (
            f"The private key in {key_path} does not belong to the certificate in {path}. Name the"
            " key with which the certificate was requested, by the setting 'tls_key'; in the file"
            " of the certificate, the server's own certificate must come first."
        )
    if password.was_read:
        return (
            f"Setting 'tls_password_file': the password in {password.path} does not decrypt the"
            f" private key in {key_path}."
        )
    reason = (exc.reason or "a part of them is damaged").lower().replace("_", " ")
    return (
        f"OpenSSL cannot use the certificate in {path} with the key in {key_path} ({reason})."
        " Compare them with 'openssl x509 -text' and 'openssl pkey -text', and request a new"
        " certificate if necessary."
    )


def _require_client_certificates(context: ssl.SSLContext, path: str) -> None:
    _read(path, "tls_client_ca")
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise ServingError(
            f"Setting 'tls_client_ca': {path} has no certificate in PEM format. Name the file with"
            " the certificate of the authority that issues those of the clients."
        ) from None
    context.verify_mode = ssl.CERT_REQUIRED


def _read(path: str, name: str) -> str:
    try:
        with open(path, encoding="latin-1") as file:
            return file.read()
    except OSError as exc:
        raise ServingError(
            f"Setting {name!r}: cannot read {path}: {exc.strerror}. Correct the path, or let the"
            " server's user read the file."
        ) from None


def _check(context: ssl.SSLContext, settings: Settings) -> Certificate:
    """Make a handshake with a client in memory, and check the dates of the certificate that the
    client gets.
    """
    path = settings.tls_cert
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.load_verify_locations(path)
    trusting.verify_flags = ssl.VerifyFlags(
        trusting.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    )
    try:
        found = _meet(context, trusting)
    except ssl.SSLError as exc:
        reason = getattr(exc, "verify_message", None) or exc.reason or exc.strerror
        raise ServingError(
            f"Setting 'tls_cert': clients would refuse the certificate in {path}: {reason}."
        ) from None
    begin, until = found["notBefore"], found["notAfter"]
    now_s = time.time()
    for refused, what in (
        (ssl.cert_time_to_seconds(until) < now_s, f"has expired on {until}"),
        (ssl.cert_time_to_seconds(begin) > now_s, f"is not valid before {begin}"),
    ):
        if refused:
            raise ServingError(
                f"Setting 'tls_cert': the certificate in {path} {what}. Clients would refuse it."
                " Name a valid one, or set the clock of this machine, which shows"
                f" {time.strftime('%b %d %H:%M:%S %Y GMT', time.gmtime(now_s))}."
            )
    names = [value for _, value in found.get("subjectAltName", ())]
    days_left = (ssl.cert_time_to_seconds(until) - now_s) / _DAY_S
    return Certificate(context, names, until, days_left)


def _meet(context: ssl.SSLContext, trusting: ssl.SSLContext) -> dict[str, t.Any]:
    """Let a client make a handshake with a server, and return the certificate that it gets.

    The server's side may fail because this client has no certificate; the client has got that of
    the server before.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = trusting.wrap_bio(to_client, to_server)
    for _ in range(4):
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            pass
        try:
            server.do_handshake()
        except ssl.SSLWantReadError:
            pass
    return t.cast("dict[str, t.Any]", client.getpeercert())
