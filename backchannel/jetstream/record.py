"""A stored message, as whoever reads a stream gets it."""

from __future__ import annotations

from datetime import UTC, datetime

from backchannel.jetstream.head import read_head, write_head


class Record:
    """One stored message: `sequence`, `subject`, `payload`, `headers`, `time`.

    Headers and time are made from what the server sent only when somebody asks, for most readers never do.
    """

    __slots__ = ("_head", "_stored", "payload", "sequence", "subject")

    def __init__(
        self, sequence: int, subject: str, payload: bytes, head: bytes = b"", stored: int | str = 0
    ) -> None:
        self.sequence = sequence
        self.subject = subject
        self.payload = payload
        self._head = head
        self._stored = stored

    @classmethod
    def made(
        cls,
        sequence: int,
        subject: str,
        payload: bytes,
        headers: dict[str, str] | None = None,
        time: str = "1970-01-01T00:00:00.000Z",
    ) -> Record:
        """A record from headers and time as they read."""
        return cls(sequence, subject, payload, write_head(headers), time)

    @property
    def headers(self) -> dict[str, str] | None:
        return read_head(self._head)

    def bears(self, name: bytes) -> bool:
        """Whether it may have a header of this name; cheaper than to read them all."""
        return name in self._head

    @property
    def time(self) -> str:
        """When it was stored: RFC 3339 in UTC, with at least milliseconds."""
        stored = self._stored
        return stored if isinstance(stored, str) else moment_of(stored)

    def __repr__(self) -> str:
        return f"Record({self.sequence}, {self.subject!r}, {len(self.payload)} bytes)"


def moment_of(nanoseconds: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    moment = datetime.fromtimestamp(nanoseconds // 1_000_000 / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def precise_moment_of(nanoseconds: int) -> str:
    """As JetStream writes it: with as many digits as there are, down to the nanosecond."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"
