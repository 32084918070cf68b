"""A mention reaches its targets, there or not, or nobody at all."""

from __future__ import annotations

from tests.bridge.house.conftest import Platform


async def test_a_mention_reaches_who_is_there_at_once_and_nobody_else(platform: Platform) -> None:
    ada, bob, eve = [await platform.agent(name) for name in ("ada", "bob", "eve")]
    sent = await ada.ask("mention_route", target_agents=["bob"], message="Can you look at this?")
    heard = await bob.hears(sent["in_reply_to"])
    assert heard["type"] == "mention_route"
    assert heard["cursor"] == sent["cursor"]
    said = await ada.remember("the end")
    await eve.hears(said["in_reply_to"])
    assert len(eve.events) == 1


async def test_an_agent_that_was_never_here_finds_its_mention_when_it_comes(platform: Platform) -> None:
    ada = await platform.agent("ada")
    await platform.known("bob")
    before = await ada.remember("said before bob was ever here")
    sent = await ada.ask("mention_route", target_agents=["bob"], message="Welcome.", priority="urgent")
    assert sent["type"] == "accepted"
    bob = await platform.agent("bob")
    assert bob.welcome["outcome"] == "live_only"
    assert bob.welcome["replaying"] == 1
    assert [event["message_id"] for event in bob.events] == [sent["in_reply_to"]]
    assert before["in_reply_to"] not in [event["message_id"] for event in bob.events]


async def test_mentions_wait_in_order_for_who_has_gone(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    await bob.leave()
    for number in range(5):
        await ada.ask("mention_route", target_agents=["bob"], message=str(number))
    again = await platform.agent("bob")
    assert again.welcome["outcome"] == "resumed"
    assert [event["message"] for event in again.events] == ["0", "1", "2", "3", "4"]


async def test_several_targets_are_told_in_one_step(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    await platform.known("carol", "dan")
    targets = ["bob", "carol", "dan", "bob"]
    sent = await ada.ask("mention_route", target_agents=targets, message="All of you.")
    assert sent["type"] == "accepted"
    await bob.hears(sent["in_reply_to"])
    subjects = [record.subject for record in await platform.log()]
    assert subjects == [f"bc.main.evt.inbox.{name}.normal.mention" for name in ("bob", "carol", "dan")]
    assert len(bob.events) == 1


async def test_an_unknown_name_is_named_and_nobody_is_told(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    refused = await ada.ask("mention_route", target_agents=["bob", "nobody", "noone"], message="x")
    assert refused["code"] == "unknown_agent"
    assert refused["field"] == "target_agents"
    assert "nobody" in refused["message"]
    assert "noone" in refused["message"]
    assert await platform.log() == []
    await bob.alive()
    assert bob.events == []


async def test_who_came_in_through_another_bridge_can_be_mentioned_at_once(platform: Platform) -> None:
    await platform.bridge()
    ada = await platform.agent("ada")
    for number in range(5):
        newcomer = await platform.connect(f"new{number}", bridge=1)
        await newcomer.hello()
        sent = await ada.ask("mention_route", target_agents=[f"new{number}"], message="Hello.")
        assert sent["type"] == "accepted"
        await newcomer.hears(sent["in_reply_to"])


async def test_nobody_mentions_itself(platform: Platform) -> None:
    ada = await platform.agent("ada")
    refused = await ada.ask("mention_route", target_agents=["ada"], message="x")
    assert refused["code"] == "bad_message"


async def test_a_mention_about_a_sidebar_needs_its_sender_to_be_in_there(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    await platform.life("logins", ["ada"])
    good = await ada.ask("mention_route", target_agents=["bob"], message="x", sidebar_id="logins")
    assert good["type"] == "accepted"
    bad = await bob.ask("mention_route", target_agents=["ada"], message="x", sidebar_id="logins")
    assert bad["code"] == "forbidden"


async def test_messages_behind_a_slow_one_keep_their_order(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    await platform.known("carol")
    sent = []
    for number in range(20):
        targets = ["bob", "carol"] if number % 2 else ["bob"]
        sent.append(await ada.send("mention_route", target_agents=targets, message=str(number)))
    await bob.until(lambda one: len(one.events) == 20)
    assert [event["message_id"] for event in bob.events] == sent
