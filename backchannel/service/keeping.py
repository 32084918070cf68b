"""Where a process keeps copies of the audit trail, and with which keys it marks and signs."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backchannel.home import Settings

ANCHOR = "BACKCHANNEL_AUDIT_ANCHOR"


@dataclass(frozen=True, slots=True)
class Records:
    """What the audit service needs of its surroundings.

    Args:
        folder: for the copies on this machine; None keeps none.
        pepper: the key of the digests that take the place of secrets.
        seed: of the key that signs checkpoints; empty signs none.
        grants: the seed of the Ed25519 key that signs grants; empty for one of this process alone.
        anchor: a file outside the data folder to which checkpoints are appended, too.
    """

    folder: Path | None = None
    pepper: bytes = b""
    seed: bytes = b""
    anchor: Path | None = None
    grants: bytes = b""

    @classmethod
    def of(cls, settings: Settings, env: Mapping[str, str]) -> Records:
        """From the data folder or the environment of the platform. Raises FolderError."""
        key = settings.audit_key()
        anchor = Path(env[ANCHOR]) if env.get(ANCHOR) else None
        return cls(settings.audit_folder(), pepper_of(key), seed_of(key), anchor, grants_of(key))

    def grant_key(self) -> Ed25519PrivateKey:
        """What supervision signs grants with."""
        if not self.grants:
            return Ed25519PrivateKey.generate()
        return Ed25519PrivateKey.from_private_bytes(self.grants)


NOWHERE = Records()


def pepper_of(key: bytes) -> bytes:
    """The key of the digests of secrets, from the audit key."""
    return hmac.digest(key, b"digests of secrets", "sha256")


def seed_of(key: bytes) -> bytes:
    """The seed of the Ed25519 key that signs checkpoints, from the audit key."""
    return hmac.digest(key, b"signatures of checkpoints", "sha256")


def grants_of(key: bytes) -> bytes:
    """The seed of the Ed25519 key that signs grants, from the audit key."""
    return hmac.digest(key, b"signatures of grants", "sha256")
