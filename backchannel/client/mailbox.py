"""A mailbox: events that wait for the user, within bounds."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backchannel.client.arrivals import Arrival
from backchannel.client.notice import Gap
from backchannel.errors import BackchannelError


@dataclass(frozen=True, slots=True)
class Letter:
    """One event as it came, or a gap; `size` is in bytes, about."""

    content: dict[str, Any] | Gap
    arrival: Arrival | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait before the SDK stops reading. Twice as much is never kept."""

    letters: int = 1000
    length: int = 16 << 20


class Closed(Exception):
    """Nothing will come any more; `error` says why, None in good order."""

    def __init__(self, error: BackchannelError | None) -> None:
        super().__init__()
        self.error = error


class Mailbox:
    """A bounded queue that remembers whether something had to be left out.

    Args:
        on_change: called when something was taken, or somebody waits for what is not there.
    """

    def __init__(self, bounds: Bounds, on_change: Callable[[Mailbox], None]) -> None:
        self.left_out = False
        self.wants_own = False
        self.impatient = False
        self._bounds = bounds
        self._on_change = on_change
        self._letters: deque[Letter] = deque()
        self._length = 0
        self._takers = 0
        self._closed: Closed | None = None
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._letters)

    @property
    def full(self) -> bool:
        return len(self._letters) >= self._bounds.letters or self._length >= self._bounds.length

    @property
    def overfull(self) -> bool:
        return len(self._letters) >= 2 * self._bounds.letters or self._length >= 2 * self._bounds.length

    @property
    def hungry(self) -> bool:
        """Somebody waits, and there is nothing to take."""
        return self._takers > 0 and not self._letters

    def put(self, letter: Letter) -> None:
        self._letters.append(letter)
        self._length += letter.size
        self._news.set()

    def put_back(self, letter: Letter) -> None:
        """Before all others."""
        self._letters.appendleft(letter)
        self._length += letter.size
        self._news.set()

    def gap(self, gap: Gap) -> None:
        """Always taken in; of several in a row that cannot be fetched the last one stays."""
        if self._letters and isinstance(before := self._letters[-1].content, Gap) and not before.spans:
            self._letters.pop()
        self.put(Letter(gap))

    async def take(self) -> Letter:
        """The oldest letter, when there is one.

        Raises:
            Closed: there is none and none will come.
        """
        self._takers += 1
        try:
            while not self._letters:
                if self._closed is not None:
                    raise self._closed
                self._news.clear()
                self._on_change(self)
                await self._news.wait()
        finally:
            self._takers -= 1
        return self._taken()

    def drain(self, wanted: Callable[[Letter], bool] = lambda _: True) -> list[Letter]:
        """Take out all that are wanted, oldest first."""
        chosen = [letter for letter in self._letters if wanted(letter)]
        self._letters = deque(letter for letter in self._letters if not wanted(letter))
        self._length -= sum(letter.size for letter in chosen)
        return chosen

    def close(self, error: BackchannelError | None, *, at_once: bool = False) -> None:
        """Nothing will come any more. `at_once`: what waits is not handed out either."""
        if self._closed is None:
            self._closed = Closed(error)
        if at_once:
            self.drain()
        self._news.set()

    def _taken(self) -> Letter:
        letter = self._letters.popleft()
        self._length -= letter.size
        self.impatient = False
        self._on_change(self)
        return letter
