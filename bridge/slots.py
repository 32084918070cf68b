"""Slots: how many messages are on their way to the log, and who waits for that to be fewer."""

from __future__ import annotations

from typing import Protocol

from backchannel.jetstream.publish import Publisher


class Waiter(Protocol):
    """A connection of which nothing more is read until there is a slot."""

    def read_on(self) -> None: ...


class Slots:
    """Free places of the publisher, handed on in the order in which they were asked for."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._waiting: dict[Waiter, None] = {}

    def free_for(self, waiter: Waiter) -> bool:
        """Whether there is a slot now; if not, the waiter is told to read on later."""
        if self._publisher.free > 0:
            return True
        self._waiting[waiter] = None
        return False

    def freed(self) -> None:
        """A slot may have become free: whoever waits takes it, or will ask again."""
        while self._waiting and self._publisher.free > 0:
            waiter = next(iter(self._waiting))
            del self._waiting[waiter]
            waiter.read_on()

    def forget(self, waiter: Waiter) -> None:
        self._waiting.pop(waiter, None)
