"""The vigil: whether a client is still there, by what it is heard of and by the pings it answers."""

from __future__ import annotations

from websockets.frames import PING, Frame


class Vigil:
    """Heartbeats that a client let pass in a row, and the latest ping: only the answer to that one counts."""

    __slots__ = ("_asked", "_question", "_strikes", "heard")

    def __init__(self) -> None:
        self.heard = True  # anything, since the last heartbeat
        self._strikes = 0
        self._question = 0  # number of the latest ping
        self._asked: float | None = None  # when it was sent, until it is answered

    def beat(self, *, deaf: bool) -> int:
        """A heartbeat: how many the client let pass in a row. Whom nobody reads need not be heard."""
        silent = not self.heard and not deaf
        self._strikes = self._strikes + 1 if silent else 0
        self.heard = False
        return self._strikes

    def ask(self, now: float) -> bytes:
        """The next ping, as a frame."""
        self._question = (self._question + 1) & 0xFFFF_FFFF
        self._asked = now
        return Frame(PING, self._question.to_bytes(4)).serialize(mask=False)

    def answered(self, payload: bytes, now: float) -> float | None:
        """After how many seconds a pong answers the latest ping; None if it does not, or did before."""
        if self._asked is None or payload != self._question.to_bytes(4):
            return None
        seconds, self._asked = now - self._asked, None
        return seconds
