"""A message as it came off the wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from backchannel.jetstream.head import read_head, write_head


class Arrived(NamedTuple):
    """One message. Headers are taken apart only when somebody asks for them."""

    subject: str
    payload: bytes
    head: bytes = b""
    reply: str = ""

    @property
    def headers(self) -> dict[str, str] | None:
        return read_head(self.head)

    @classmethod
    def made(cls, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> Arrived:
        return cls(subject, payload, write_head(headers))


Reply = Arrived

Receiver = Callable[[bytes, bytes, bytes, bytes], None]
"""Takes subject, reply subject, header block and payload, in the turn in which they were read."""
