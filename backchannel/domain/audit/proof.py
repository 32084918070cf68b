"""What a checkpoint says: that the chain of a group had this hash at this position at this time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backchannel.domain.canonical import canonical

ACTION = "checkpoint"


@dataclass(frozen=True, slots=True)
class Claim:
    """What is signed."""

    group: str
    position: int
    hash: str
    made: str

    @property
    def statement(self) -> bytes:
        """The bytes under the signature."""
        return canonical(
            {
                "checkpoint": 1,
                "group": self.group,
                "position": self.position,
                "hash": self.hash,
                "made": self.made,
            }
        )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A claim with its signature. `signer` is the public key, `proof` the signature, both in hexadecimal."""

    claim: Claim
    signer: str
    proof: str

    @property
    def facts(self) -> dict[str, Any]:
        said = self.claim
        return {
            "position": said.position,
            "hash": said.hash,
            "made": said.made,
            "signer": self.signer,
            "proof": self.proof,
        }


def read_checkpoint(group: str, facts: Mapping[str, Any]) -> Checkpoint | None:
    """A checkpoint from the facts of its record, or from a line of an anchor file; None if they are none."""
    match facts:
        case {
            "position": int() as position,
            "hash": str() as own,
            "made": str() as made,
            "signer": str() as signer,
            "proof": str() as proof,
        }:
            return Checkpoint(Claim(group, position, own, made), signer, proof)
    return None
