"""The connection: dials, says hello, reads, and comes back until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from backchannel.client.backoff import Backoff
from backchannel.client.beside import beside
from backchannel.client.closing import Again, Closed, Stop, after
from backchannel.client.compose import compose
from backchannel.client.credentials import Access
from backchannel.client.link import Dial, Link, LinkLost, TokenRefused
from backchannel.client.mailbox import Bounds
from backchannel.client.mailroom import Mailroom
from backchannel.client.notice import Gap
from backchannel.client.requests import Pending, Requests
from backchannel.client.session import Session
from backchannel.errors import BackchannelError, Internal, RateLimited, Unavailable
from backchannel.protocol.attention import Renew
from backchannel.protocol.frame import Ack, CloseCode, Hello, Resume, Welcome

ACK_EVERY = 0.5
"""Seconds for which acknowledgements are collected."""
ACK_AT = 50
"""Or so many."""
_log = logging.getLogger("backchannel.client")


class Connection:
    """One agent's connection through all its links. `run` serves it; everything else may be called beside.

    Args:
        name: the agent the token must be for.
        hello: what to say on arrival; `resume` is filled in.
        bounds: how many events may wait for the user before reading stops.
        on_gap: told of every gap; must return at once.
        notices: whether the user is told what was left out for slowness, instead of being given it later.

    Attributes:
        opened: the first welcome, or why there will be none.
        trouble: why the last attempt to connect failed.
    """

    def __init__(
        self,
        name: str,
        access: Access,
        dial: Dial,
        hello: Hello,
        bounds: Bounds,
        on_gap: Callable[[Gap], None],
        *,
        notices: bool = False,
    ) -> None:
        self.requests = Requests(self._carry, lambda: self.mailroom.nudge())
        self.mailroom = Mailroom(name, bounds, self.requests, lambda: self._starved.set())
        self.opened: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        self.trouble: BackchannelError | None = None
        self.error: BackchannelError | None = None
        self._name = name
        self._access = access
        self._dial = dial
        self._hello = hello
        self._session = Session(self.mailroom, self.requests, on_gap, notices=notices)
        self.continuity = self._session.continuity
        self.histories = self._session.histories
        self.gaps = self._session.gaps
        self._backoff = Backoff(random.random)
        self._opened: Link | None = None
        self._link: Link | None = None
        self._wants_fresh_token = False
        self._refusals = 0
        self._leaving = asyncio.Event()
        self._starved = asyncio.Event()

    @property
    def welcome(self) -> Welcome | None:
        """What the bridge said at the last arrival."""
        return self._session.welcome

    @property
    def up(self) -> bool:
        """There is a link now."""
        return self._link is not None

    async def run(self) -> None:
        """Serve until `leave`, or until coming back is useless. Every waiter is told how it ended."""
        try:
            while not self._leaving.is_set():
                await self._one_life()
        except BackchannelError as error:
            self._end(error)
        except Exception as bug:
            _log.exception("The connection failed unexpectedly.")
            self._end(Internal(f"The connection failed unexpectedly: {bug!r}. Please report this."))
        finally:
            self._end(None)

    async def leave(self) -> bool:
        """Acknowledge what is done and close. Whether `run` returns by itself then; if not, cancel it."""
        self._leaving.set()
        self.mailroom.leave()
        if self._link is not None:
            with suppress(LinkLost):
                await self._acknowledge(self._link)
        if self._opened is None:
            return False
        await self._opened.close()
        return True

    async def _one_life(self) -> None:
        began = asyncio.get_running_loop().time()
        try:
            link = await self._open()
        except (Unavailable, RateLimited) as trouble:
            self.trouble = trouble
            await self._pause(trouble.retry_after)
            return
        except TokenRefused as refusal:
            await self._try_another_token(refusal)
            return
        closed = await self._live(link)
        self._backoff.lasted(asyncio.get_running_loop().time() - began)
        await self._go_on(closed)

    async def _open(self) -> Link:
        token = await self._access.token(fresh=self._wants_fresh_token)
        link = await self._dial(self._access.url(), token)
        self._wants_fresh_token = False
        return link

    async def _try_another_token(self, refusal: TokenRefused) -> None:
        """After the first refusal a fresh token is tried; a second one in a row is final."""
        self._refusals += 1
        if self._refusals > 1 or not self._access.refreshable:
            raise refusal
        self._wants_fresh_token = True
        await self._pause(None)

    async def _live(self, link: Link) -> Closed:
        """From hello to the end of this link."""
        self._opened = link
        try:
            welcome = await self._session.begin(link, self._greeting(), self._name)
            self._arrived(link, welcome)
            return await self._serve(link)
        except LinkLost as lost:
            return self._session.complete(lost.closed)
        finally:
            self._link = None
            await link.close()
            self._opened = None

    def _greeting(self) -> Hello:
        arrivals = self.mailroom.arrivals
        if self._session.token is None and arrivals.position is None:
            return self._hello
        # A position is named only where nothing can have been overtaken; elsewhere the bridge knows better.
        cursor = self.continuity.resume_from(arrivals.position) or arrivals.certain
        resume = Resume(session=self._session.token, cursor=cursor)
        return self._hello.model_copy(update={"resume": resume})

    def _arrived(self, link: Link, welcome: Welcome) -> None:
        self._refusals = 0
        self.trouble = None
        self._starved.clear()
        self._link = link
        if not self.opened.done():
            self.opened.set_result(welcome)

    async def _serve(self, link: Link) -> NoReturn:
        """Read until the link is lost. Raises LinkLost."""
        async with beside(
            self._send_again(link),
            self._keep_acknowledging(link),
            self._end_starving(link),
            self._renew(link),
        ):
            while True:
                await self.mailroom.room()
                await self._session.next(link)

    async def _go_on(self, closed: Closed) -> None:
        if self._leaving.is_set() or (self._starved.is_set() and closed.code == CloseCode.DONE):
            return
        match after(closed, refreshable=self._access.refreshable):
            case Stop(error):
                raise error
            case Again(at_least, fresh_token, without_session):
                _log.info("The connection ended with %d (%s); coming back.", closed.code, closed.words)
                self._wants_fresh_token = self._wants_fresh_token or fresh_token
                if without_session:
                    self._session.token = None
                await self._pause(at_least)

    async def _send_again(self, link: Link) -> None:
        """What was on its way when the last link broke; the same ids, so nothing is stored twice."""
        for pending in self.requests.unsent(link):
            await self._send_over(link, pending)

    async def _carry(self, pending: Pending) -> None:
        if self._link is not None:
            with suppress(LinkLost):
                await self._send_over(self._link, pending)

    async def _send_over(self, link: Link, pending: Pending) -> None:
        if pending.answer.done() or pending.carrier is link:
            return
        pending.carrier = link
        await link.send(pending.body)

    async def _keep_acknowledging(self, link: Link) -> None:
        arrivals, finished = self.mailroom.arrivals, self.mailroom.finished
        await self._acknowledge(link)
        while True:
            finished.clear()
            await finished.wait()
            enough = arrivals.moves + ACK_AT
            with suppress(TimeoutError):
                async with asyncio.timeout(ACK_EVERY):
                    while arrivals.moves < enough:
                        finished.clear()
                        await finished.wait()
            await self._acknowledge(link)

    async def _acknowledge(self, link: Link) -> None:
        position, moves = self.mailroom.arrivals.position, self.mailroom.arrivals.moves
        moved = position is not None and moves != self._session.acknowledged
        names = list(self.mailroom.named)
        if not moved and not names:
            return
        self._session.acknowledged = moves if moved else self._session.acknowledged
        said = Ack(cursor=position if moved else None, message_ids=names)
        await link.send(said.model_dump_json(exclude_none=True))
        for name in names:
            self.mailroom.named.pop(name, None)

    async def _end_starving(self, link: Link) -> None:
        """Somebody waits for events that were left out: a new link brings them."""
        await self._starved.wait()
        await self._acknowledge(link)
        await link.close()

    async def _renew(self, link: Link) -> None:
        """Hand in a fresh token before the old one expires, if one can be had."""
        while True:
            await self._session.expiring.wait()
            self._session.expiring.clear()
            if self._access.refreshable:
                token = await self._access.token(fresh=True)
                await link.send(compose(Renew, token=token).model_dump_json(exclude_none=True))

    async def _pause(self, at_least: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._backoff.wait(at_least)):
                await self._leaving.wait()

    def _end(self, error: BackchannelError | None) -> None:
        self.error = self.error or error
        gone = self.error or Unavailable("This agent has left; connect again to send.")
        self.requests.end(gone)
        self.histories.lost()
        self.mailroom.close(self.error)
        if not self.opened.done():
            self.opened.set_exception(gone)
