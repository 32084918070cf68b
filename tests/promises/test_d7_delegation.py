"""Row D7: what is critical for an agent that is away is offered to others, and done by one of them."""

from __future__ import annotations

import asyncio

import pytest

from tests.promises.running import Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def crew(platform: Platform, away: str, *names: str, skill: str) -> list[Raw]:
    """Agents with one specialty; the first of them has been here and has gone."""
    gone = await platform.agent(away, intake={"specialties": [skill]})
    await gone.close()
    return [await platform.enter(platform.signed(name, specialties=[skill])) for name in names]


async def left(asker: Raw, name: str) -> None:
    """Wait until the platform knows that an agent is not connected."""
    await asker.query(
        "agents",
        lambda answer: not next(one for one in answer["agents"] if one["agent_id"] == name)["online"],
    )


async def urgent(sender: Raw, name: str, **fields: str) -> str:
    sent = await sender.send(
        "mention_route", target_agents=[name], message="the disk is full", priority="urgent", **fields
    )
    assert (await sender.answer_to(sent["message_id"]))["type"] == "accepted"
    return str(sent["message_id"])


async def offer(agent: Raw, message_id: str) -> Frame:
    return await agent.find(lambda frame: frame.get("message_id") == message_id and "delegated_from" in frame)


async def word(agent: Raw, message_id: str) -> Frame:
    return await agent.find(lambda frame: frame["type"] == "handled" and frame["handles"] == message_id)


async def test_one_of_those_who_fit_takes_it_and_everybody_is_told(platform: Platform) -> None:
    ada = await platform.agent("ada")
    cleo, dan = await crew(platform, "bob", "cleo", "dan", skill="disks")
    await left(ada, "bob")
    sent = await urgent(ada, "bob")
    for one in (cleo, dan):
        assert (await offer(one, sent))["delegated_from"] == "bob"
    both = await asyncio.gather(
        cleo.result("handled", handles=sent, status="deferred"),
        dan.result("handled", handles=sent, status="deferred"),
    )
    assert sorted(told["status"] for told in both) == ["failed", "success"], both
    winner, loser = (cleo, dan) if both[0]["status"] == "success" else (dan, cleo)
    by = "cleo" if winner is cleo else "dan"
    assert {told["code"] for told in both if told["status"] == "failed"} == {"conflict"}
    assert (await word(loser, sent))["taken_by"] == by
    assert (await word(ada, sent))["taken_by"] == by

    bob = await platform.agent("bob")
    await bob.settled()
    heard = [frame["type"] for frame in bob.frames if sent in (frame.get("message_id"), frame.get("handles"))]
    assert heard == ["mention_route", "handled"]
    assert (await word(bob, sent))["taken_by"] == by
    late = await bob.result("handled", handles=sent, status="done")
    assert (late["status"], late["code"]) == ("failed", "conflict") and by in late["message"]
    assert (await winner.result("handled", handles=sent, status="done"))["status"] == "success"
    assert (await word(bob, sent))["status"] == "done"
    answer = await ada.result("query", query="delivery", params={"message_id": sent})
    rows = {row["agent_id"]: row for row in answer["recipients"]}
    assert set(rows) == {"bob", "cleo", "dan"} and rows["bob"]["taken_by"] == by
    assert rows[by]["handled"]["status"] == "done" and rows[by]["in_place_of"] == "bob"


async def test_who_returns_in_time_does_it_alone(platform: Platform) -> None:
    ada = await platform.agent("ada")
    (fay,) = await crew(platform, "eve", "fay", skill="clocks")
    await left(ada, "eve")
    sent = await urgent(ada, "eve")
    await offer(fay, sent)
    eve = await platform.agent("eve")
    assert (await eve.result("handled", handles=sent, status="done"))["status"] == "success"
    assert (await word(fay, sent))["taken_by"] == "eve"
    assert (await fay.result("handled", handles=sent, status="done"))["code"] == "conflict"


async def test_what_was_taken_and_failed_can_be_taken_by_another(platform: Platform) -> None:
    ada = await platform.agent("ada")
    hal, iris = await crew(platform, "gus", "hal", "iris", skill="tapes")
    await left(ada, "gus")
    sent = await urgent(ada, "gus")
    await offer(hal, sent)
    await offer(iris, sent)
    await hal.result("handled", handles=sent, status="deferred")
    assert (await word(iris, sent))["taken_by"] == "hal"
    await hal.result("handled", handles=sent, status="failed", detail="no tape")
    assert (await word(iris, sent))["taken_by"] is None
    assert (await iris.result("handled", handles=sent, status="done"))["status"] == "success"


async def test_what_belongs_to_a_sidebar_is_offered_to_nobody_outside(platform: Platform) -> None:
    ada = await platform.agent("ada")
    kim, lou = await crew(platform, "jan", "kim", "lou", skill="secrets")
    opened = await ada.result(
        "sidebar_spawn", parent_id="main", task_description="look", participants=["jan", "kim"]
    )
    await left(ada, "jan")
    sent = await urgent(ada, "jan", sidebar_id=opened["sidebar_id"])
    await offer(kim, sent)
    await lou.settled()
    assert all(frame.get("message_id") != sent for frame in lou.frames)


async def test_a_client_cannot_pretend_that_something_was_delegated(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    sent = await urgent(ada, "bob", delegated_from="cleo", in_message="x")
    got = await bob.find(lambda frame: frame.get("message_id") == sent)
    assert "delegated_from" not in got and "in_message" not in got


@pytest.mark.asyncio(loop_scope="function")
async def test_handlers_that_die_between_the_steps_offer_and_decide_once(fragile: Platform) -> None:
    await fragile.stop()
    await fragile.start("--handlers", "2")
    ada = await fragile.agent("ada")
    cleo, dan = await crew(fragile, "bob", "cleo", "dan", skill="disks")
    await left(ada, "bob")
    sent = await urgent(ada, "bob")
    fragile.kill("-m handlers")
    for one in (cleo, dan):
        await offer(one, sent)
    words = [await one.send("handled", handles=sent, status="done") for one in (cleo, dan)]
    fragile.kill("-m handlers")
    told = [await one.result_of(said["message_id"]) for one, said in zip((cleo, dan), words, strict=True)]
    assert sorted(one["status"] for one in told) == ["failed", "success"]
    for one in (cleo, dan):
        await one.settled()
        assert sum(1 for frame in one.events("mention_route") if frame["message_id"] == sent) == 1
