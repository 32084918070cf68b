"""The consumer of one native agent: where it begins, and how it is made what it must be."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pydantic_core

from backchannel.delivery.native import consumer_of, filters
from backchannel.errors import NotFound
from backchannel.jetstream.answer import api
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.read import describe, following
from backchannel.protocol.subject import events_stream, inbox_of

KEPT = 90 * 86_400
"""Seconds after which the consumer of an agent that never came back is removed."""
ACK_WAIT = 30
MOST_UNACKED = 1000
BORN = "bc-born"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a consumer stands. `delivered`, `acked` and `born` are positions in the log.

    `born` is the first that it sees of what is for everyone; `handed_out` counts deliveries.
    """

    delivered: int
    acked: int
    pending: int
    unacked: int
    filters: frozenset[str]
    born: int
    handed_out: int


def standing(answer: dict[str, Any]) -> Standing:
    """From JetStream's description of a consumer."""
    config = answer["config"]
    single = [config["filter_subject"]] if config.get("filter_subject") else []
    return Standing(
        delivered=max(int(answer["delivered"]["stream_seq"]), int(config.get("opt_start_seq", 1)) - 1),
        acked=max(int(answer["ack_floor"]["stream_seq"]), int(config.get("opt_start_seq", 1)) - 1),
        pending=int(answer["num_pending"]),
        unacked=int(answer["num_ack_pending"]),
        filters=frozenset(config.get("filter_subjects") or single),
        born=int((config.get("metadata") or {}).get(BORN, "1")),
        handed_out=int(answer["delivered"]["consumer_seq"]),
    )


async def look(connection: Connection, group: str, agent: str) -> Standing:
    """Raises NotFound when there is none."""
    stream = events_stream(group)
    return standing(await api(connection, f"CONSUMER.INFO.{stream}.{consumer_of(agent)}"))


async def ensure(connection: Connection, group: str, agent: str) -> Standing:
    """The agent's consumer, made now if it never had one: for what comes from now on, and what waits."""
    try:
        return await look(connection, group, agent)
    except NotFound:
        stream = events_stream(group)
    facts = await describe(connection, stream)
    acked = await _acknowledged(connection, group, agent, facts.epoch)
    born = facts.last + 1 if acked is None else acked + 1
    start = born
    if acked is None and (waiting := await following(connection, stream, inbox_of(group, agent), 0, 1)):
        start = min(waiting[0].sequence, born)
    wanted = _config(agent, filters(group, agent, (), born=start >= born), start, born)
    return await _put(connection, stream, wanted)


async def refilter(connection: Connection, group: str, agent: str, wanted: Sequence[str]) -> Standing:
    """Change what it lets through from where it stands."""
    stream = events_stream(group)
    answer = await api(connection, f"CONSUMER.INFO.{stream}.{consumer_of(agent)}")
    config = {**answer["config"], "filter_subjects": list(wanted)}
    config.pop("filter_subject", None)
    return await _put(connection, stream, config)


async def reset(connection: Connection, group: str, agent: str, sequence: int) -> Standing:
    """Go on from a position of the log, and forget what was not acknowledged."""
    stream, name = events_stream(group), consumer_of(agent)
    await api(connection, f"CONSUMER.RESET.{stream}.{name}", {"seq": sequence})
    return await look(connection, group, agent)


async def count(connection: Connection, group: str, wanted: Sequence[str], start: int) -> int:
    """How many messages behind a position, that included, these filters let through."""
    stream, name = events_stream(group), f"count-{secrets.token_hex(8)}"
    config = {
        "name": name,
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": max(start, 1),
        "ack_policy": "none",
        "filter_subjects": list(wanted),
        "inactive_threshold": 5_000_000_000,
        "mem_storage": True,
        "num_replicas": 1,
    }
    answer = await api(
        connection, f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": config}
    )
    await api(connection, f"CONSUMER.DELETE.{stream}.{name}")
    return int(answer["num_pending"])


def _config(agent: str, wanted: Sequence[str], start: int, born: int) -> dict[str, Any]:
    name = consumer_of(agent)
    return {
        "durable_name": name,
        "name": name,
        "description": f"What {agent} sees of the log",
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": start,
        "ack_policy": "explicit",
        "ack_wait": ACK_WAIT * 10**9,
        "max_deliver": -1,
        "max_ack_pending": MOST_UNACKED,
        "inactive_threshold": KEPT * 10**9,
        "filter_subjects": list(wanted),
        "metadata": {BORN: str(born)},
    }


async def _put(connection: Connection, stream: str, config: dict[str, Any]) -> Standing:
    wanted = {"stream_name": stream, "config": config}
    return standing(await api(connection, f"CONSUMER.CREATE.{stream}.{config['name']}", wanted))


async def _acknowledged(connection: Connection, group: str, agent: str, epoch: str) -> int | None:
    """How far it has acknowledged over a bridge, if it ever came by one."""
    found = await Bucket(connection, "BC_sessions").get(f"{group}.{agent}.primary")
    kept = pydantic_core.from_json(found.payload) if found is not None else None
    if not isinstance(kept, dict) or kept.get("epoch") != epoch:
        return None
    return int(kept["acked"])
