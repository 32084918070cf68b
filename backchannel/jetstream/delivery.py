"""What a consumer delivers: the record, and the numbers in its reply subject."""

from __future__ import annotations

from typing import NamedTuple

from backchannel.jetstream.record import Record


class Numbers(NamedTuple):
    """From the reply subject of a delivery (ADR-15). `stored` is in nanoseconds since 1970."""

    consumer: bytes
    attempt: int
    sequence: int
    number: int
    stored: int
    pending: int


def numbers_of(reply: bytes) -> Numbers | None:
    """None for what is no delivery. The newer form has a domain and an account before the stream."""
    parts = reply.split(b".")
    if len(parts) < 9 or parts[1] != b"ACK":
        return None
    start = 3 if len(parts) == 9 else 5
    attempt, sequence, number, stored, pending = parts[start + 1 : start + 6]
    return Numbers(parts[start], int(attempt), int(sequence), int(number), int(stored), int(pending))


def record_of(numbers: Numbers, subject: bytes, head: bytes, payload: bytes) -> Record:
    return Record(numbers.sequence, subject.decode(), payload, head, numbers.stored)
