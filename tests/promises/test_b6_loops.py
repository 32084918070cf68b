"""B6: agents that answer each other without end are stopped, and their human is told once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.build import content
from tests.promises.running import Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOPS = 16


async def pair(platform: Platform, *names: str) -> list[Raw]:
    """Agents with a human who is known, and that human."""
    human = await platform.agent(f"human-of-{names[0]}", permission="observer")
    partner = {"human_partner": f"human-of-{names[0]}"}
    agents = [await platform.enter(platform.signed(name, **partner)) for name in names]
    return [human, *agents]


async def say(agent: Raw, **fields: Any) -> tuple[Frame, Frame]:
    frame = content("memory_update", context_id="main", exchange={"content": "and you?"}, **fields)
    await agent.send_raw(frame)
    return frame, await agent.answer_to(frame["message_id"])


async def chain(one: Raw, other: Raw, name: str = "causation_id") -> tuple[Frame, Frame]:
    """Let two agents answer each other until they are stopped; the last message and its answer."""
    last, answer = await say(one)
    assert answer["type"] == "accepted"
    for hop in range(1, HOPS + 2):
        speaker = other if hop % 2 else one
        await speaker.find(
            lambda told, want=last["message_id"]: told.get("message_id") == want and "cursor" in told
        )
        last, answer = await say(speaker, **{name: last["message_id"]}, trace_id="t-1")
        if answer["type"] == "error":
            assert hop == HOPS + 1
            return last, answer
        assert answer["type"] == "accepted", answer
    raise AssertionError("nobody stopped them")


@pytest.mark.parametrize("name", ["causation_id", "reply_to"])
async def test_b6_the_seventeenth_hop_is_parked_and_their_human_is_told_once(
    platform: Platform, name: str
) -> None:
    human, ada, bob = await pair(platform, f"ada-{name[0]}", f"bob-{name[0]}")
    parked, answer = await chain(ada, bob, name)
    assert answer["code"] == "quarantined" and not answer["retryable"]
    again = await bob.ask(
        "memory_update", context_id="main", exchange={"content": "?"}, **{name: parked[name]}
    )
    assert again["code"] == "quarantined"
    told = await human.until("message_quarantined")
    assert told["original_message_id"] == parked["message_id"]
    assert told["agents"] == [ada.welcome["agent_id"], bob.welcome["agent_id"]]
    await ada.settled()
    assert parked["message_id"] not in {event["message_id"] for event in ada.events("memory_update")}
    await human.settled() if human.welcome["permission"] == "active" else None
    assert len(human.events("message_quarantined")) == 1
    listed = await platform.json("quarantine", "ls")
    mine = [one for one in listed if one["sender"] == bob.welcome["agent_id"]]
    assert [one["hops"] for one in mine] == [HOPS + 1, HOPS + 1]


async def test_b6_what_is_released_is_heard_once_and_what_is_dropped_never(platform: Platform) -> None:
    _, ada, bob = await pair(platform, "ada-r", "bob-r")
    parked, _ = await chain(ada, bob)
    lost = await bob.ask(
        "memory_update", context_id="main", exchange={"content": "x"}, causation_id=parked["causation_id"]
    )
    assert lost["code"] == "quarantined"
    code, _, err = await platform.run("quarantine", "release", parked["message_id"])
    assert code == 0, err
    await ada.find(lambda told: told.get("message_id") == parked["message_id"] and "cursor" in told)
    await bob.send_raw(parked)
    assert (await bob.answer_to(parked["message_id"]))["type"] == "duplicate_ack"
    assert (await platform.run("quarantine", "drop", lost["in_reply_to"]))[0] == 0
    assert (await platform.run("quarantine", "drop", lost["in_reply_to"]))[0] == 3
    after, answer = await say(ada, causation_id=parked["message_id"])
    assert answer["type"] == "accepted", "a released message begins a new chain"
    await ada.settled()
    heard = [event["message_id"] for event in ada.events("memory_update")]
    assert heard.count(parked["message_id"]) == 1 and lost["in_reply_to"] not in heard
    assert after["message_id"] in heard


async def test_b6_a_sender_cannot_make_its_chain_look_shorter(platform: Platform) -> None:
    _, ada, bob = await pair(platform, "ada-l", "bob-l")
    parked, _ = await chain(ada, bob)
    for lie in ({"hops": 0}, {"Bc-Hops": "0"}, {"headers": {"Bc-Hops": "0"}}):
        _, answer = await say(bob, causation_id=parked["causation_id"], **lie)
        assert answer["code"] == "quarantined"
    _, answer = await say(bob, causation_id=parked["causation_id"], reply_to="unknown")
    assert answer["code"] == "quarantined"


async def test_b6_two_who_mention_each_other_without_naming_a_cause_are_stopped_by_their_budget(
    platform: Platform,
) -> None:
    from backchannel.home import Home
    from backchannel.jetstream.address import Address
    from backchannel.jetstream.bucket import Bucket
    from backchannel.jetstream.connection import Connection

    human, ada, bob = await pair(platform, "ada-m", "bob-m")
    user, password = Home(platform.data).nats_login("operator")
    async with await Connection.open(Address(platform.nats, user, password), name="test") as connection:
        config = Bucket(connection, "BC_config")
        await config.put("loops.pair_budget", json.dumps(12).encode())
        try:
            answers = []
            for number in range(40):
                one, other = (ada, "bob-m") if number % 2 else (bob, "ada-m")
                answers.append(await one.ask("mention_route", target_agents=[other], message="your turn"))
                if answers[-1]["type"] == "error":
                    break
                await {"bob-m": bob, "ada-m": ada}[other].until("mention_route")
            assert answers[-1]["code"] == "quarantined"
            assert 12 <= len(answers) <= 14
            third = await platform.agent("carol-m")
            assert (await third.ask("mention_route", target_agents=["ada-m"], message="hi"))[
                "type"
            ] == "accepted"
            await human.until("message_quarantined")
        finally:
            await config.delete("loops.pair_budget")


async def test_b6_where_a_human_speaks_a_new_chain_begins(platform: Platform) -> None:
    _, ada, bob = await pair(platform, "ada-h", "bob-h")
    parked, _ = await chain(ada, bob)
    person = await platform.enter(platform.signed("person-h", entity_type="human"))
    said, answer = await say(person, causation_id=parked["causation_id"])
    assert answer["type"] == "accepted"
    _, answer = await say(ada, causation_id=said["message_id"])
    assert answer["type"] == "accepted"
