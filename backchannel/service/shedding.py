"""Shedding: a log that nearly reaches its size gives up what was said longest ago, and says so.

Lives of sidebars, timers and marks stay: all that is decided rests on them. What is shed is conversation. Up
to where is a mark in the log, and lies there before anything goes: whoever has not read so far is told of a
gap.
"""

from __future__ import annotations

import asyncio

from pydantic_core import to_json

from backchannel.jetstream.answer import api
from backchannel.jetstream.entry import MSG_ID, Entry
from backchannel.jetstream.read import describe, last
from backchannel.jetstream.size import NO_LIMIT, SIZE, Fill
from backchannel.logger import Logger
from backchannel.protocol.json_object import read_object
from backchannel.protocol.subject import events_stream, shed_mark, sheddable_in
from backchannel.service.house import House

log = Logger(__name__)
NOTICED = 1.0
"""Seconds in which every bridge has read the mark, which it does as it reads everything else."""
AT_ONCE = 16
"""Steps of one round; the next round goes on."""


async def shed(house: House, group: str) -> int:
    """Make a log smaller if need be; how many messages were given up.

    Raises:
        Unavailable: the log does not answer.
    """
    gone = 0
    for step in range(AT_ONCE):
        facts = await describe(house.connection, events_stream(group))
        fill = Fill(facts.name, facts.bytes, int(facts.config.get(SIZE, NO_LIMIT)))
        through = await shed_through(house, group)
        cut = fill.cut(max(facts.first, through + 1), facts.last, begun=step > 0)
        if cut is None:
            break
        mark = {MSG_ID: f"shed:{group}:{cut}", "Nats-Rollup": "sub"}
        await house.publisher.store(Entry(shed_mark(group), to_json({"through": cut}), mark))
        await asyncio.sleep(NOTICED)
        gone += await _purge(house, group, cut)
        log.warning("log_shed", group=group, through=cut, gone=gone, bytes=facts.bytes, most=fill.most)
    return gone


async def shed_through(house: House, group: str) -> int:
    """Up to which position the conversation of a group was given up; 0 if it never was."""
    found = await last(house.connection, events_stream(group), shed_mark(group))
    return int(read_object(found.payload)["through"]) if found is not None else 0


async def _purge(house: House, group: str, cut: int) -> int:
    purged = 0
    for filter in sheddable_in(group):
        wanted = {"filter": filter, "seq": cut + 1}
        purged += int((await api(house.connection, f"STREAM.PURGE.{events_stream(group)}", wanted))["purged"])
    return purged
