"""Nkeys: Ed25519 keys as NATS writes them, and the small signed claims (JWT) that a server believes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from backchannel.errors import Forbidden

ACCOUNT, SERVER, USER = 0, 13 << 3, 20 << 3
"""The first byte of a public key says whose it is; in base 32 it becomes the letter A, N or U."""
_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}


class Nkey:
    """The key of an account, from 32 secret bytes. `public` is what a configuration names."""

    def __init__(self, secret: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.public = encoded(ACCOUNT, self._key.public_key().public_bytes_raw())

    def signed(self, claims: Mapping[str, Any]) -> str:
        """The claims as a token in NATS' own dialect of JWT; ``iss`` and ``jti`` are filled in."""
        content = {**claims, "iss": self.public}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()
        content["jti"] = base64.b32encode(digest).decode().rstrip("=")
        said = f"{_part(_HEADER)}.{_part(content)}"
        return f"{said}.{_plain(self._key.sign(said.encode()))}"


def encoded(kind: int, raw: bytes) -> str:
    """A public key as NATS writes it: kind, key and checksum in base 32."""
    body = bytes([kind]) + raw
    return base64.b32encode(body + _checksum(body)).decode().rstrip("=")


def decoded(kind: int, text: str) -> bytes:
    """The 32 bytes of a public key of this kind. Raises Forbidden for what is none."""
    try:
        body = base64.b32decode(text + "=" * (-len(text) % 8))
    except (ValueError, binascii.Error):
        body = b""
    if len(body) != 35 or body[0] != kind or _checksum(body[:-2]) != body[-2:]:
        raise Forbidden("This is not a key of that kind.")
    return body[1:-2]


def read_signed(text: str, kind: int) -> dict[str, Any]:
    """What a token of that dialect says, if whoever it names as its issuer has signed it.

    Raises:
        Forbidden: it is none, or its issuer is of another kind, or did not sign it.
    """
    try:
        header, content, signature = text.split(".")
        claims = json.loads(_bytes(content))
        issuer = Ed25519PublicKey.from_public_bytes(decoded(kind, str(claims["iss"])))
        issuer.verify(_bytes(signature), f"{header}.{content}".encode())
    except (ValueError, KeyError, TypeError, InvalidSignature) as problem:
        raise Forbidden(f"The claims of the NATS server cannot be believed: {problem!r}.") from None
    found: dict[str, Any] = claims
    return found


def _part(content: Mapping[str, Any]) -> str:
    return _plain(json.dumps(content, separators=(",", ":")).encode())


def _plain(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _checksum(body: bytes) -> bytes:
    """CRC-16/XMODEM, least significant byte first."""
    return binascii.crc_hqx(body, 0).to_bytes(2, "little")
