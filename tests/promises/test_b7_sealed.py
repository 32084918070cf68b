"""B7: content that the platform routes without being able to read it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from backchannel.client import Agent, CannotOpen, SealingKey, SidebarMessage
from backchannel.errors import BadMessage, Conflict, Forbidden
from backchannel.protocol.sealed import FORMAT
from tests.promises.running import WAIT, Platform

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECRET = "the vault opens at seven minutes past nine"


def read(path: Path) -> bytes:
    """What lies there; nothing where a server has replaced its file meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


async def next_sealed(me: Agent) -> SidebarMessage:
    while True:
        message = await me.next(timeout=WAIT)
        if isinstance(message, SidebarMessage) and message.format == FORMAT:
            return message


async def test_b7_only_the_participants_read_it_and_no_copy_anywhere_holds_the_text(
    platform: Platform, tmp_path: Path
) -> None:
    async with (
        Agent.connect("ada", data=platform.data, sealing=tmp_path / "ada.key") as ada,
        Agent.connect("bob", data=platform.data, sealing=tmp_path / "bob.key") as bob,
    ):
        room = await ada.sidebar("Talk in private.", with_=["bob"])
        await room.say(SECRET, sealed=True)
        message = await next_sealed(bob)
        assert SECRET not in message.content
        assert bob.unsealed(message) == SECRET
        shown = await platform.json("streams", "view", "BC_EVENTS_main", "--limit", "100000")
        assert SECRET not in str(shown) and message.content[:40] in str(shown)
    files = [path for path in platform.data.rglob("*") if path.is_file()]
    assert files and not [path for path in files if SECRET.encode() in read(path)]


async def test_b7_whoever_comes_later_cannot_read_what_was_before_and_reads_what_follows(
    platform: Platform,
) -> None:
    keys = {name: SealingKey.fresh() for name in ("cid", "dora", "eli")}
    async with (
        Agent.connect("cid", data=platform.data, sealing=keys["cid"]) as cid,
        Agent.connect("dora", data=platform.data, sealing=keys["dora"]) as dora,
        Agent.connect("eli", data=platform.data, sealing=keys["eli"]) as eli,
    ):
        room = await cid.sidebar("Talk in private.", with_=["dora"])
        await room.say("before", sealed=True)
        before = await next_sealed(dora)
        await room.invite("eli")
        with pytest.raises(CannotOpen):
            eli.unsealed(before)
        await room.say("with eli", sealed=True)
        assert eli.unsealed(await next_sealed(eli)) == "with eli"
        await eli.open_sidebar(room.id).leave()
        await room.say("without eli", sealed=True)
        assert dora.unsealed(await next_sealed(dora)) == "with eli"
        after = await next_sealed(dora)
        assert dora.unsealed(after) == "without eli"
        with pytest.raises(CannotOpen):
            eli.unsealed(after)


async def test_b7_what_is_sealed_for_others_than_the_participants_is_refused(platform: Platform) -> None:
    async with (
        Agent.connect("fay", data=platform.data, sealing=SealingKey.fresh()) as fay,
        Agent.connect("gus", data=platform.data) as gus,
    ):
        room = await fay.sidebar("Talk in private.", with_=["gus"])
        with pytest.raises(Conflict, match="gus"):
            await room.say("nobody hears this", sealed=True)
        with pytest.raises(BadMessage, match="no such envelope"):
            await fay.send(
                {"type": "sidebar_message", "sidebar_id": room.id, "content": "plain", "format": FORMAT}
            )
        with pytest.raises(Forbidden, match="sealing="):
            await gus.open_sidebar(room.id).say("no key", sealed=True)
