"""Requests of many agents are decided together: once each, in their order, and never before the trail."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from backchannel.domain.audit import read_link
from backchannel.jetstream.page import page
from backchannel.jetstream.read import Record, last
from backchannel.protocol.json_object import read_object
from backchannel.protocol.subject import AUDIT, audit_of, events_stream, order_subject
from tests.build import message
from tests.handlers.crew import GROUP, Command, Crew, InLoop, InProcess

AGENTS = tuple(f"agent-{number}" for number in range(12))
EACH = 8
CLAIMS = json.dumps({"supervision_level": "autonomous", "tools": {"allowed": ["file_read", "web_search"]}})

HUMAN = json.dumps({"entity_type": "human"})


def request(agent: str, number: int) -> Command:
    """Every fourth is for a tool that the agent may not use."""
    tool = "shell" if number % 4 == 3 else "file_read"
    params = {"path": "/srv/data/a.txt", "number": number}
    return Command(agent, message("tool_request", tool=tool, params=params), claims=CLAIMS)


@pytest.fixture
async def crew(tmp_path: Path) -> AsyncIterator[Crew]:
    assembled = await Crew.assemble(tmp_path, AGENTS, service="supervision")
    yield assembled
    await assembled.dismiss()


async def test_requests_decided_together_are_decided_once_and_in_order_whoever_is_killed(
    crew: Crew, tmp_path: Path
) -> None:
    order = random.Random("together")
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        crew.handlers.append(InProcess(crew.server, tmp_path / name))
    lines = [[request(agent, number) for number in range(EACH)] for agent in AGENTS]
    asked = [line[number] for number in range(EACH) for line in lines]
    await crew.deliver_all(asked)
    await asyncio.gather(*(handlers.start() for handlers in crew.handlers))
    for victims in (crew.handlers[:1], crew.handlers):
        await crew.grown(crew.position, order.randint(1, 60))
        await asyncio.gather(*(handlers.kill() for handlers in victims))
        again = [order.choice(asked) for _ in range(6)]
        await crew.deliver_all(again)
        await asyncio.gather(*(handlers.start() for handlers in victims))
    await crew.drained()
    told = decisions(crew.since(0))
    for agent, line in zip(AGENTS, lines, strict=True):
        assert [event["in_reply_to"] for _, event in told[agent]] == list(map(id_of, line))
        granted = [event for _, event in told[agent] if event["decision"] == "approved"]
        assert len(granted) == EACH - EACH // 4
        assert (await marked(crew, f"habit.{agent}"))["calls"] == len(granted)
    results = Counter(read_object(one.payload)["in_reply_to"] for one in crew.since(0) if is_result(one))
    assert results == Counter({id_of(one): 1 for one in asked})
    await everything_was_announced(crew, told)


async def test_many_requests_at_once_share_commits(crew: Crew) -> None:
    crew.handlers.append(InLoop("one", crew.server.address()))
    asked = [request(agent, number) for number in range(2) for agent in AGENTS]
    await crew.deliver_all(asked)
    await crew.handlers[0].start()
    await crew.drained()
    batches = {read_batch(record) for record in crew.since(0) if is_decision(record)}
    assert None not in batches
    assert len(batches) < len(asked)


async def test_of_two_agents_with_one_id_the_first_has_it(crew: Crew) -> None:
    crew.handlers.append(InLoop("one", crew.server.address()))
    first = request("agent-0", 0)
    await crew.deliver_all([first, Command("agent-1", first.message, claims=CLAIMS), request("agent-2", 0)])
    await crew.handlers[0].start()
    await crew.drained()
    told = decisions(crew.since(0))
    assert {agent: len(found) for agent, found in told.items()} == {"agent-0": 1, "agent-2": 1}
    [refused] = [one for one in crew.since(0) if is_result(one) and ".agent-1." in one.subject]
    assert read_object(refused.payload)["code"] == "conflict"


async def test_nothing_is_decided_before_a_command_that_others_may_rest_on(crew: Crew) -> None:
    """A request behind the taking back of an allowance is not decided together with one before it."""
    crew.handlers.append(InLoop("one", crew.server.address()))
    revoke = Command("hugo", message("allowance_revoke", allowance_id="none"), claims=HUMAN)
    first, second, third, fourth = (request(f"agent-{number}", 0) for number in range(4))
    for command in (first, second, revoke, third, fourth):
        await crew.deliver(command)
    await crew.handlers[0].start()
    await crew.drained()
    results = [record.subject.split(".")[4] for record in crew.since(0) if is_result(record)]
    assert set(results[:2]) == {"agent-0", "agent-1"}
    assert results[2] == "hugo"
    assert set(results[3:]) == {"agent-2", "agent-3"}


def id_of(command: Command) -> str:
    return str(command.message.message_id)


def is_decision(record: Record) -> bool:
    return record.subject.endswith(".decision")


def is_result(record: Record) -> bool:
    return record.subject.endswith(".result")


def read_batch(record: Record) -> str | None:
    return (record.headers or {}).get("Nats-Batch-Id")


def decisions(records: list[Record]) -> dict[str, list[tuple[Record, dict[str, Any]]]]:
    """By agent, in the order of the log."""
    found: dict[str, list[tuple[Record, dict[str, Any]]]] = defaultdict(list)
    for record in filter(is_decision, records):
        found[record.subject.split(".")[4]].append((record, read_object(record.payload)))
    return found


async def marked(crew: Crew, what: str) -> dict[str, Any]:
    record = await last(crew.connection, events_stream(GROUP), order_subject(GROUP, what))
    assert record is not None
    return read_object(record.payload)


async def everything_was_announced(crew: Crew, told: dict[str, list[tuple[Record, dict[str, Any]]]]) -> None:
    """The intent of each decision was stored before the decision itself; both by the clock of one server."""
    part = await page(crew.connection, AUDIT, 0, limit=1000, filter=audit_of(GROUP))
    assert part.done
    first: dict[tuple[str, str], datetime] = {}
    for record in part.records:
        fields = read_link(record.payload).fields
        if fields["phase"] == "intent":
            known = (fields["of"], fields["facts"]["decision"])
            first.setdefault(known, datetime.fromisoformat(record.time))
    for record, event in [one for found in told.values() for one in found]:
        intent = first[f"request:{event['request_id']}", event["decision"]]
        assert intent <= datetime.fromisoformat(record.time)
