"""Sealed content: an envelope that only its readers can open; the platform sees who they are."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from backchannel.errors import BadMessage
from backchannel.protocol.identifier import Identifier

FORMAT = "sealed.v1"
"""What the field ``format`` of a message says whose content is an envelope."""

KEY_BYTES = 32
"""What an X25519 public key has."""

KEY_FIELD = "sealing_key"
"""Where an agent's public key stands in its intake, and so in the directory."""


def to_text(raw: bytes) -> str:
    """Base64url without padding (RFC 4648, 5)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_text(text: str) -> bytes:
    """Raises ValueError."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("it is not base64url") from None


def _to_bytes(value: object) -> object:
    return from_text(value) if isinstance(value, str) else value


Octets = Annotated[bytes, BeforeValidator(_to_bytes), PlainSerializer(to_text, return_type=str)]
PublicKey = Annotated[Octets, Field(min_length=KEY_BYTES, max_length=KEY_BYTES)]


class Slot(BaseModel):
    """The content key, wrapped for one reader: for the key whose public half is `key`."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)

    key: PublicKey
    wrapped: Annotated[Octets, Field(min_length=48, max_length=48)]


class Envelope(BaseModel):
    """Content sealed for its `readers` by the holder of `sender_key`.

    The nonce belongs to `ciphertext`; `ephemeral` is the public half of a key made for this message alone.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)

    sealed: Literal["v1"] = "v1"
    sender_key: PublicKey
    ephemeral: PublicKey
    nonce: Annotated[Octets, Field(min_length=12, max_length=12)]
    ciphertext: Annotated[Octets, Field(min_length=16, max_length=1_000_000)]
    readers: Annotated[dict[Identifier, Slot], Field(min_length=1, max_length=4096)]

    def written(self) -> str:
        return self.model_dump_json()


def envelope_in(content: object) -> Envelope:
    """The envelope in a message's content: JSON text, or the object itself.

    Raises:
        BadMessage: there is none.
    """
    try:
        if isinstance(content, str):
            return Envelope.model_validate_json(content)
        return Envelope.model_validate(content)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise BadMessage(
            f"The content says it is {FORMAT} and is no such envelope ({where}: {first['msg']}).",
            field="content",
        ) from None


def bound(**facts: Any) -> bytes:
    """Facts in the one form in which both ends authenticate them: compact JSON with sorted keys."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
