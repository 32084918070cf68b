"""The seam between the SDK and what carries it: one link to the platform, whatever it is made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from backchannel.client.closing import Closed
from backchannel.errors import Forbidden


class LinkLost(Exception):
    """The link is gone; `closed` says how. Never reaches the user."""

    def __init__(self, closed: Closed) -> None:
        super().__init__(closed.words)
        self.closed = closed


class TokenRefused(Forbidden):
    """The platform does not accept the token; a fresh one may do."""


class Link(Protocol):
    """One connection, for one life. A frame is the text of one JSON object."""

    async def send(self, frame: str) -> None:
        """Send a frame; waits while the other side does not read. Raises LinkLost."""

    async def receive(self) -> str | bytes:
        """The next frame. Raises LinkLost."""

    async def close(self) -> None:
        """End it in good order, within a few seconds."""


Dial = Callable[[str, str], Awaitable[Link]]
"""Opens a link to a URL with a token.

Raises TokenRefused (ask for a fresh token), RateLimited and Unavailable (try later, see `retry_after`),
any other BackchannelError (trying again is useless).
"""
