"""TLS: what a platform shows of itself, and how its own parts and agents know it again."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from backchannel.errors import BackchannelError

if TYPE_CHECKING:
    from cryptography import x509

OLDEST = ssl.TLSVersion.TLSv1_2


class CertificateError(BackchannelError):
    """A certificate or its key cannot be used."""


def serving(certificate: Path, key: Path) -> ssl.SSLContext:
    """What to serve with. CertificateError when the two are no pair, cannot be read, or are out of date."""
    first = _first(certificate)
    if first.not_valid_after_utc <= datetime.now(UTC):
        raise CertificateError(f"The certificate {certificate} expired on {first.not_valid_after_utc:%F}.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = OLDEST
    context.set_alpn_protocols(["http/1.1"])

    def locked() -> str:
        raise CertificateError(f"The key {key} is encrypted. Store it without a passphrase, with mode 0600.")

    try:
        context.load_cert_chain(certificate, key, password=locked)
    except OSError as problem:  # an SSLError is one as well
        raise CertificateError(
            f"{key} is not the key of the certificate {certificate}, or no PEM file ({_why(problem)})."
        ) from problem
    return context


def trusting(certificate: str | Path | None) -> ssl.SSLContext | None:
    """Trust in the holder of the key of one certificate, under whatever name; None where there is none.

    Only the certificate itself is believed, none that it or its issuers have signed: so the name does not
    matter, and neither does who signed it.
    """
    if certificate is None:
        return None
    from cryptography.hazmat.primitives.serialization import Encoding

    first = _first(Path(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = OLDEST
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=first.public_bytes(Encoding.PEM).decode())
    return context


def names_of(certificate: str | Path) -> list[str]:
    """The names and addresses that a certificate is for, ``*.`` in front of some; none where there is none.

    Raises CertificateError.
    """
    if not str(certificate):
        return []
    from cryptography import x509

    try:
        extension = _first(Path(certificate)).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return []
    names = extension.value.get_values_for_type(x509.DNSName)
    return [*names, *map(str, extension.value.get_values_for_type(x509.IPAddress))]


def _first(path: Path) -> x509.Certificate:
    from cryptography import x509  # most connections show no certificate, and this takes long to load

    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as problem:
        raise CertificateError(f"The certificate {path} cannot be read: {_why(problem)}.") from problem
    except ValueError as problem:
        raise CertificateError(f"{path} does not begin with a certificate in PEM.") from problem


def _why(problem: OSError) -> str:
    return (getattr(problem, "reason", None) or problem.strerror or str(problem)).replace("_", " ").lower()
