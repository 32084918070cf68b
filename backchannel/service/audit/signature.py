"""Signatures of checkpoints (Ed25519): only the platform can make them, everybody can check them (ADR-14)."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from backchannel.domain.audit.proof import Checkpoint, Claim


class Signer:
    """Signs with the key that a seed of 32 bytes makes."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @property
    def public(self) -> str:
        """The public key, by which anybody can check what was signed."""
        return self._key.public_key().public_bytes_raw().hex()

    def sign(self, claim: Claim) -> Checkpoint:
        return Checkpoint(claim, self.public, self._key.sign(claim.statement).hex())


def genuine(checkpoint: Checkpoint, public: str) -> bool:
    """Whether the holder of this key signed it."""
    if checkpoint.signer != public:
        return False
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        key.verify(bytes.fromhex(checkpoint.proof), checkpoint.claim.statement)
    except (ValueError, InvalidSignature):
        return False
    return True
