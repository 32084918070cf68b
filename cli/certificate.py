"""The certificate of a platform: looked at before anything starts, and kept in its data folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backchannel.home import Home
from backchannel.home.files import read_secret, refuse_open, write
from backchannel.tls import serving
from cli.failure import Failure


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files in PEM: a certificate, with those of its issuers behind it, and its key."""

    shown: Path
    key: Path

    @property
    def pair(self) -> tuple[Path, Path]:
        return self.shown, self.key


def checked(shown: str | None, key: str | None) -> Certificate | None:
    """None for no TLS. Failure or BackchannelError when the two cannot be served with."""
    if not shown and not key:
        return None
    if not shown or not key:
        raise Failure(
            "TLS needs a certificate and its key.", code="usage", hint="give --tls-cert and --tls-key"
        )
    found = Certificate(Path(shown), Path(key))
    refuse_open(found.key, 0o600)
    serving(*found.pair)
    return found


def kept(home: Home, given: Certificate | None) -> Certificate | None:
    """Copies in the data folder, so that a file that is renewed meanwhile does not divide the platform."""
    copies = Certificate(home.path / "certificate.pem", home.secrets / "tls.key")
    if given is None:
        for left_over in copies.pair:
            left_over.unlink(missing_ok=True)
        return None
    write(copies.key, read_secret(given.key) + "\n", mode=0o600)
    write(copies.shown, given.shown.read_text("utf-8"))
    serving(*copies.pair)
    return copies
