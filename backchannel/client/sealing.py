"""Sealing: how a text is locked for its readers and opened again, and whose keys are believed.

A content key for each message, made at random, encrypts it with AES-256-GCM. For each reader that key is
wrapped with AES-256-GCM under a key derived by HKDF-SHA256 (RFC 5869) from two X25519 agreements (RFC 7748):
of an ephemeral key with the reader's, and of the sender's with the reader's, as in the authenticated mode of
HPKE (RFC 9180, 5.1.3). The second tells the reader who sealed it; the first keeps old messages closed if the
sender's key becomes known later.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from backchannel.errors import Conflict, Forbidden, Refused
from backchannel.home.files import FolderError, decode_key, new_key, parse, read_secret, write
from backchannel.protocol.sealed import KEY_FIELD, Envelope, Slot, bound, envelope_in, to_text

_WRAP_NONCE = bytes(12)
"""A wrapping key is used once, so its nonce need not differ."""


class CannotOpen(Refused):
    """It is not sealed for this key, or was changed, moved or forged since."""

    code = "forbidden"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands. It can be opened nowhere else, under no other id, in nobody else's name."""

    group: str
    context_id: str
    sender: str
    message_id: str

    def bytes(self, readers: Mapping[str, bytes], digest: bytes = b"") -> bytes:
        named = {name: to_text(key) for name, key in readers.items()}
        return bound(
            group=self.group,
            context_id=self.context_id,
            sender=self.sender,
            message_id=self.message_id,
            readers=named,
            ciphertext=to_text(digest),
        )


@dataclass(slots=True)
class SealingKey:
    """An agent's X25519 key, and the public keys of others as they were first seen.

    A key in the directory that is another than the one seen first is not believed: the platform, or whoever
    has broken into it, could have put it there.
    """

    private: X25519PrivateKey = field(repr=False)
    known: dict[str, str] = field(default_factory=dict)
    path: Path | None = None

    @classmethod
    def fresh(cls) -> SealingKey:
        """A new key that lives as long as this process."""
        return cls(X25519PrivateKey.generate())

    @classmethod
    def kept_in(cls, path: str | os.PathLike[str]) -> SealingKey:
        """The key in a file, made there (mode 0600) if there is none; known keys stand beside it.

        Raises:
            FolderError: the file is open to others, or holds no key.
        """
        where = Path(path)
        if not where.exists():
            try:
                write(where, new_key(), mode=0o600)
            except OSError as problem:
                raise FolderError(f"{where} cannot be written: {problem.strerror}.") from problem
        private = X25519PrivateKey.from_private_bytes(decode_key(read_secret(where), where)[:32])
        beside = _beside(where)
        known = parse(beside.read_text("utf-8"), beside) if beside.exists() else {}
        return cls(private, {str(name): str(key) for name, key in known.items()}, where)

    @property
    def public(self) -> bytes:
        return self.private.public_key().public_bytes_raw()

    @property
    def intake(self) -> dict[str, str]:
        """What the directory is told."""
        return {KEY_FIELD: to_text(self.public)}

    def believe(self, agent: str, key: bytes) -> None:
        """Note an agent's public key at its first sight.

        Raises:
            Forbidden: it was another one before.
        """
        said = to_text(key)
        before = self.known.setdefault(agent, said)
        if before != said:
            raise Forbidden(
                f"The sealing key of {agent} is another than before. Ask {agent} over another way whether"
                " that is so, then call forget() for it."
            )
        self._keep()

    def forget(self, agent: str) -> None:
        """Believe the next key seen of an agent."""
        if self.known.pop(agent, None) is not None:
            self._keep()

    def _keep(self) -> None:
        if self.path is not None:
            write(_beside(self.path), bound(**self.known).decode(), mode=0o600)

    def seal(self, text: str, place: Place, readers: Mapping[str, bytes]) -> Envelope:
        """Text that only `readers` (name to public key) can open."""
        content_key, ephemeral, nonce = os.urandom(32), X25519PrivateKey.generate(), os.urandom(12)
        ciphertext = AESGCM(content_key).encrypt(nonce, text.encode(), place.bytes(readers))
        # Whoever is a reader knows the content key: the slots hold the ciphertext to what the sender sealed.
        facts = place.bytes(readers, hashlib.sha256(nonce + ciphertext).digest())
        own, once = self.public, ephemeral.public_key().public_bytes_raw()
        slots = {}
        for name, key in readers.items():
            theirs = X25519PublicKey.from_public_bytes(key)
            secret = ephemeral.exchange(theirs) + self.private.exchange(theirs)
            wrapped = AESGCM(_derived(secret, once, key, own)).encrypt(_WRAP_NONCE, content_key, facts)
            slots[name] = Slot(key=key, wrapped=wrapped)
        return Envelope(sender_key=own, ephemeral=once, nonce=nonce, ciphertext=ciphertext, readers=slots)

    def open(self, envelope: Envelope, place: Place, reader: str) -> str:
        """The text in an envelope that stands at `place`.

        Raises:
            CannotOpen: it is not for `reader` with this key, or something about it was changed.
            Forbidden: its sender's key is another than before.
        """
        slot = envelope.readers.get(reader)
        if slot is None or slot.key != self.public:
            raise CannotOpen("It is not sealed for this key; who joined later cannot read what was before.")
        readers = {name: one.key for name, one in envelope.readers.items()}
        facts = place.bytes(readers, hashlib.sha256(envelope.nonce + envelope.ciphertext).digest())
        try:
            secret = b"".join(
                self.private.exchange(X25519PublicKey.from_public_bytes(key))
                for key in (envelope.ephemeral, envelope.sender_key)
            )
            key = _derived(secret, envelope.ephemeral, slot.key, envelope.sender_key)
            content_key = AESGCM(key).decrypt(_WRAP_NONCE, slot.wrapped, facts)
            text = AESGCM(content_key).decrypt(envelope.nonce, envelope.ciphertext, place.bytes(readers))
        except (InvalidTag, ValueError):
            raise CannotOpen(
                "The sealed content was changed, moved or forged; it cannot be opened."
            ) from None
        self.believe(place.sender, envelope.sender_key)
        return text.decode()


def readers_among(members: tuple[str, ...], keys: Mapping[str, bytes]) -> dict[str, bytes]:
    """The public key of every member.

    Raises:
        Conflict: somebody has published none.
    """
    missing = sorted(set(members) - set(keys))
    if missing:
        raise Conflict(f"{', '.join(missing)} published no sealing key; nothing was said.")
    return {name: keys[name] for name in sorted(members)}


def _derived(secret: bytes, ephemeral: bytes, reader: bytes, sender: bytes) -> bytes:
    salt, about = ephemeral + reader + sender, b"backchannel.sealed.v1 content key"
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=about).derive(secret)


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".known")


__all__ = ["CannotOpen", "Place", "SealingKey", "envelope_in", "readers_among"]
