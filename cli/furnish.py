"""Streams and buckets as they are shipped: made so, or compared."""

from __future__ import annotations

from collections.abc import Sequence

from backchannel.errors import Conflict, NotFound, Unavailable
from backchannel.jetstream.answer import api
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.entry import EXPECTED, EXPECTED_SUBJECT, MSG_ID, Entry
from backchannel.jetstream.publish import Publisher
from backchannel.jetstream.read import describe
from backchannel.jetstream.size import USUAL, Sizes
from backchannel.jetstream.topology import differences, provision, wanted_streams
from backchannel.protocol.subject import COMMANDS, order_subject
from cli.failure import Failure


async def require_jetstream(connection: Connection, url: str) -> None:
    """Failure when the server does not answer for JetStream; after a start it may need a moment."""
    try:
        await api(connection, "INFO")
    except Unavailable as problem:
        raise Failure(
            f"The NATS server at {url} does not offer JetStream.",
            code="unavailable",
            hint="start it with JetStream (nats-server -js), and allow it for the account of this login",
        ) from problem


async def furnish(
    connection: Connection, groups: Sequence[str], replicas: int | None = None, sizes: Sizes = USUAL
) -> list[str]:
    """Create and change what has to be; a sentence for each change.

    Without `replicas` each stream keeps as many copies as the streams there have: a cluster that somebody
    has set up for three is not taken back to one.
    """
    told = await provision(connection, groups, replicas=replicas or await _copies(connection), sizes=sizes)
    for group in groups:
        await _begin(connection, group)
    return told


async def _begin(connection: Connection, group: str) -> None:
    """Let an empty log begin with something that stays.

    Timers leave the log when they are done. If they were the first that lay there, the log would seem to
    have lost its beginning, and whoever was here before the first event would be told of a gap.
    """
    publisher = Publisher(connection)
    wanted = {MSG_ID: f"origin:{group}", EXPECTED: "0", EXPECTED_SUBJECT: f"bc.{group}.>"}
    try:
        await publisher.store(Entry(order_subject(group, "origin"), b"", wanted))
    except Conflict:
        pass  # it has begun long ago
    finally:
        await publisher.close()


async def faults(connection: Connection, groups: Sequence[str]) -> list[str]:
    """What is missing or differs; nothing is changed."""
    found = []
    for wanted in wanted_streams(groups, await _copies(connection)):
        name = wanted["name"]
        try:
            facts = await describe(connection, name)
        except NotFound:
            found.append(f"{name} is missing")
            continue
        if differing := differences(facts.config, wanted):
            found.append(f"{name} differs in {', '.join(differing)}")
    return found


async def _copies(connection: Connection) -> int:
    try:
        return int((await describe(connection, COMMANDS)).config.get("num_replicas", 1))
    except NotFound:
        return 1
