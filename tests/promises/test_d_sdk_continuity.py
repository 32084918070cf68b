"""D3, D10, D15 as the SDK keeps them: it notices what is lost, and fetches what was left out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from backchannel.client import Agent, Gap, MemoryUpdate
from tests.eventually import eventually
from tests.promises.running import WAIT, Frame, Platform, bounded, position
from tests.promises.test_d_continuity import LARGE, say, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")
__all__ = ["serving"]
MANY = 180
"""Large events: more than the kernel takes for a reader that has stopped."""


@dataclass
class Proxy:
    """Passes everything on but the first frame that `loses` names."""

    platform: Platform
    loses: Callable[[str], bool] = lambda frame: False
    url: str = ""
    lost: list[str] = field(default_factory=list)
    connections: int = 0
    flowing: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve_one(self, outer: ServerConnection) -> None:
        self.connections += 1
        assert outer.request is not None
        token = {"Authorization": outer.request.headers["Authorization"]}
        async with connect(
            self.platform.ws, additional_headers=token, max_size=None, compression=None
        ) as inner:
            bounded(inner)
            up = asyncio.create_task(self._up(outer, inner.send))
            with contextlib.suppress(ConnectionClosed):
                async for raw in inner:
                    await self.flowing.wait()
                    if not self.lost and self.loses(str(raw)):
                        self.lost.append(str(raw))
                    else:
                        await outer.send(raw)
            up.cancel()

    async def _up(self, outer: ServerConnection, send: Callable[..., object]) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for raw in outer:
                await send(raw)  # type: ignore[misc]  # websockets' send is a coroutine


@asynccontextmanager
async def proxied(platform: Platform) -> AsyncIterator[Proxy]:
    proxy = Proxy(platform)
    proxy.flowing.set()
    async with serve(proxy.serve_one, "127.0.0.1", 0, max_size=None, close_timeout=1) as server:
        proxy.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/ws"
        yield proxy


async def spoken(me: Agent) -> str:
    """What is said next in main."""
    async with asyncio.timeout(WAIT):
        while not isinstance(message := await me.next(), MemoryUpdate):
            pass
    return str(message.exchange.content)


async def heard(me: Agent, until: str) -> list[str]:
    """What is said in main, up to and including these words."""
    said: list[str] = []
    while not said or said[-1] != until:
        said.append(await spoken(me))
    return said


async def test_d15_a_frame_lost_on_the_way_is_noticed_and_comes_after_all(platform: Platform) -> None:
    ada = await platform.agent("lost-ada")
    async with proxied(platform) as proxy:
        proxy.loses = lambda frame: '"content":"lost on the way"' in frame
        async with Agent.connect("lost-bob", url=proxy.url, token=platform.signed("lost-bob")) as me:
            await say(ada, "before", "lost on the way", "after")
            # A heartbeat right behind what is lost has it come before what follows.
            came = [await spoken(me) for _ in range(3)]
            assert sorted(came) == ["after", "before", "lost on the way"]
            assert len(proxy.lost) == 1 and proxy.connections == 2
            await say(ada, "the end")
            assert await heard(me, "the end") == ["the end"], "what came already must not come again"
            assert me.continuity.mismatches == 1


def reached(cursor: str | None, stored: Frame) -> bool:
    return cursor is not None and position({"cursor": cursor}) >= position(stored)


async def test_d15_while_nothing_is_lost_the_counts_agree(platform: Platform) -> None:
    ada = await platform.agent("agree-ada")
    async with Agent.connect("agree-bob", url=platform.ws, token=platform.signed("agree-bob")) as me:
        sent = await say(ada, *map(str, range(20)))
        await heard(me, "19")
        await eventually(lambda: me.ask("ping"), lambda _: reached(me.continuity.verified, sent[-1]))
        assert me.continuity.mismatches == 0 and me.continuity.checks >= 1


async def test_d3_the_sdk_fetches_what_a_gap_left_out_in_one_call(platform: Platform) -> None:
    ada = await platform.agent("slow-ada")
    token = platform.signed("slow-bob")
    async with (
        proxied(platform) as proxy,
        Agent.connect("slow-bob", url=proxy.url, token=token, gaps="notice") as me,
    ):
        proxy.flowing.clear()
        for number in range(MANY):  # nobody reads them meanwhile
            await say(ada, f"{number} {LARGE}")
        proxy.flowing.set()
        came: list[str] = []
        missed: list[Gap] = []
        async with asyncio.timeout(WAIT):
            while len(came) + sum(gap.dropped or 0 for gap in missed) < MANY:
                match await me.next():
                    case Gap() as gap:
                        missed.append(gap)
                    case MemoryUpdate() as message:
                        came.append(str(message.exchange.content))
        assert missed and missed == me.gaps
        for gap in missed:
            history = await me.fetch(gap)
            assert history.count == gap.dropped
            fetched = [message async for message in history]
            came += [
                str(message.exchange.content) for message in fetched if isinstance(message, MemoryUpdate)
            ]
        assert len(came) == len(set(came)) == MANY


async def test_d10_the_sdk_reads_history_with_its_cost_first(platform: Platform) -> None:
    ada = await platform.agent("past-ada")
    await say(ada, "a needle in the hay", "hay", "another NEEDLE in the hay")
    async with Agent.connect("past-bob", url=platform.ws, token=platform.signed("past-bob")) as me:
        history = await me.infodump(pattern="needle in*hay")
        assert (history.count, history.estimated) == (2, False) and history.size > 100
        assert len([message async for message in history]) == 2
        await me.everything()
