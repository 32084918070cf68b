"""Inboxes: what came, one message after the other, acknowledged when the next one is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from backchannel.client.mailbox import Closed, Letter, Mailbox
from backchannel.client.mailroom import Mailroom
from backchannel.client.notice import Gap, Incoming, read_event


class Reader:
    """Takes letters out of a mailbox and opens them, one at a time."""

    def __init__(self, mailroom: Mailroom, box: Mailbox) -> None:
        self._mailroom = mailroom
        self._box = box
        self._in_hand: Letter | None = None

    async def next(self) -> Incoming | None:
        """Finish the message before, and hand out the next one; None if nothing will come any more.

        Raises:
            BackchannelError: the connection has ended for good.
        """
        self.finish()
        while True:
            try:
                letter = await self._box.take()
            except Closed as closed:
                if closed.error is not None:
                    raise closed.error from None
                return None
            opened = letter.content if isinstance(letter.content, Gap) else read_event(letter.content)
            if opened is not None:
                self._in_hand = letter
                self._mailroom.taken(letter)
                return opened
            self._mailroom.done(letter)

    def finish(self) -> None:
        """The message in hand is acknowledged."""
        if self._in_hand is not None:
            self._mailroom.done(self._in_hand)
            self._in_hand = None

    def put_back(self) -> None:
        """The message in hand was not finished and comes first again."""
        if self._in_hand is not None:
            self._box.put_back(self._in_hand)
            self._in_hand = None


class Inbox(AsyncIterator[Incoming]):
    """Messages in the order in which they came: ``async for message in me.inbox()``.

    A message is acknowledged when the loop asks for the next one. A loop that is left in the middle, by an
    exception or by `break`, has not finished its last message: the next loop, or the next start of the
    agent, gets it again, unless `acknowledge` was called.
    """

    def __init__(self, mailroom: Mailroom, is_current: Callable[[Inbox], bool]) -> None:
        self._reader = Reader(mailroom, mailroom.inbox)
        self._is_current = is_current

    def __aiter__(self) -> Inbox:
        return self

    async def __anext__(self) -> Incoming:
        message = await self._reader.next() if self._is_current(self) else None
        if message is None:
            raise StopAsyncIteration
        return message

    def acknowledge(self) -> None:
        """Finish the current message now, before the next one is asked for."""
        self._reader.finish()

    def give_up(self) -> None:
        """Let the next loop have the current message again."""
        self._reader.put_back()
